//! Requests that are read here and not by ruma's types: where those refuse what the specification allows, lose what
//! clients sent, or break.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, value::RawValue};

use crate::http::{Caller, RawRequest, Refusal};

/// A JSON object as a `T`; an empty body is an empty object. serde would read an array as a struct too, field by field.
pub(in crate::api) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let json = if body.is_empty() { Json::Object(Map::new()) } else { checked(body)? };
    serde_json::from_value(json).map_err(|error| match error.to_string() {
        message if message.contains("missing field") => Refusal::missing_param(message),
        message => Refusal::bad_json(message),
    })
}

/// A JSON object as it came. All of it was read once: what is kept as it came and handed out again must be JSON that
/// everybody can read, of bounded depth and without lone surrogates.
pub(super) fn object(body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    checked(body)?;
    serde_json::from_slice(body).map_err(|_| Refusal::not_json("The body is not JSON"))
}

fn checked(body: &[u8]) -> Result<Json, Refusal> {
    match serde_json::from_slice(body) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(_) => Err(Refusal::bad_json("The body must be a JSON object")),
        Err(_) => Err(Refusal::not_json("The body is not JSON")),
    }
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
