//! Requests that are read here and not by ruma's types: where those refuse what the specification allows, lose what
//! clients sent, or break.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, value::RawValue};

use crate::http::{Caller, RawRequest, Refusal, json_object};

/// A JSON object as a `T`; an empty body is an empty object. Of a key that is there twice, the last one counts.
pub(in crate::api) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let json = match json_object(body)? {
        [] => Json::Object(Map::new()),
        body => serde_json::from_slice(body).map_err(|error| Refusal::not_json(error.to_string()))?,
    };
    serde_json::from_value(json).map_err(|error| match error.to_string() {
        message if message.contains("missing field") => Refusal::missing_param(message),
        message => Refusal::bad_json(message),
    })
}

/// A JSON object as it came, fit to be kept and handed out again.
pub(super) fn object(body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    serde_json::from_slice(json_object(body)?).map_err(|_| Refusal::not_json("The body is not JSON"))
}

/// The user of the path, who must be the caller.
pub(super) fn own_user_id(caller: &Caller, request: &RawRequest) -> Result<OwnedUserId, Refusal> {
    let user_id = UserId::parse(request.arg("user_id")?).map_err(|_| Refusal::invalid_param("this is no user id"))?;
    if caller.user_id == user_id { Ok(user_id) } else { Err(Refusal::forbidden("you can only do this for yourself")) }
}

/// The room of the path.
pub(super) fn room_id(request: &RawRequest) -> Result<OwnedRoomId, Refusal> {
    RoomId::parse(request.arg("room_id")?).map_err(|_| Refusal::invalid_param("this is no room id"))
}
