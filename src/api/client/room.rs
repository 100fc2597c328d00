//! What the endpoints of rooms share: reading their requests, writing their replies.

use ::http::StatusCode;
use ruma::{EventId, OwnedEventId, RoomVersionId, UInt};

use crate::{
    app::App,
    base::{clock::UnixMillis, json_writer::Array},
    flows::send::Sender,
    graph::Direction,
    http::{Caller, CallerKind, RawRequest, Refusal},
    rooms::{events::Recipient, filter::RoomEventFilter, page_token::AnyToken},
    users::Standing,
};

/// Versions of the path under which the endpoints of rooms stand that are read by hand.
pub(super) const VERSIONS: [&str; 2] = ["r0", "v3"];
/// The most events of one page.
const MOST: u64 = 1_000;

/// Who sends, of a caller.
pub(super) fn sender(caller: &Caller) -> Sender {
    Sender {
        user_id: caller.user_id.clone(),
        device_id: caller.device_id.clone(),
        device_created_at: caller.device_created_at,
        is_admin: caller.is_admin,
        is_guest: is_guest(caller),
        is_suspended: caller.standing == Standing::Suspended,
        appservice: caller.appservice().cloned(),
    }
}

/// Whether the caller is a guest.
pub(super) fn is_guest(caller: &Caller) -> bool {
    caller.kind == CallerKind::Guest
}

/// Whom events are written for, of a caller.
pub(super) fn recipient(app: &App, caller: &Caller) -> Recipient {
    Recipient { user_id: caller.user_id.clone(), device_id: caller.device_id.clone(), now: app.clock.now() }
}

/// The time at which an application service wants its event to have been sent (application service API, "Timestamp
/// massaging"). What others say is not looked at.
pub(super) fn timestamp(caller: &Caller, request: &RawRequest) -> Result<Option<UnixMillis>, Refusal> {
    let Some(text) = request.query_value("ts").filter(|_| caller.appservice().is_some()) else { return Ok(None) };
    let timestamp = text.parse::<UInt>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let timestamp = timestamp.ok_or_else(|| Refusal::invalid_param("`ts` must be a time in milliseconds"))?;
    Ok(Some(timestamp.into()))
}

/// The event of the path.
pub(super) fn event_id(request: &RawRequest) -> Result<OwnedEventId, Refusal> {
    EventId::parse(request.arg("event_id")?).map_err(|_| Refusal::invalid_param("this is no event id"))
}

/// A version of rooms by its name. One that could not even be one is unsupported like any other that is unknown; to ruma's
/// types it would be bad JSON.
pub(super) fn version(name: String) -> Result<RoomVersionId, Refusal> {
    RoomVersionId::try_from(name).map_err(|_| {
        let text = "this server knows no such room version";
        Refusal::custom(StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", text)
    })
}

/// `dir`, if it is given.
pub(super) fn direction(request: &RawRequest) -> Result<Option<Direction>, Refusal> {
    match request.query_value("dir").as_deref() {
        None => Ok(None),
        Some("b") => Ok(Some(Direction::Backward)),
        Some("f") => Ok(Some(Direction::Forward)),
        Some(_) => Err(Refusal::invalid_param("`dir` must be `b` or `f`")),
    }
}

/// `limit`, cut to what is served at once.
pub(super) fn limit(request: &RawRequest, default: usize) -> Result<usize, Refusal> {
    let Some(limit) = request.query_value("limit") else { return Ok(default) };
    let is_number = !limit.is_empty() && limit.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(Refusal::invalid_param("`limit` must be a number of 0 or more"));
    }
    // Digits that are no u64 are a large number all the same.
    Ok(cut(limit.parse().unwrap_or(u64::MAX)))
}

/// A number of events that is asked for, cut to what is served at once.
pub(in crate::api) fn cut(limit: u64) -> usize {
    usize::try_from(limit.min(MOST)).unwrap_or_default()
}

/// `filter`, as JSON.
pub(super) fn filter(request: &RawRequest) -> Result<RoomEventFilter, Refusal> {
    let Some(filter) = request.query_value("filter").filter(|filter| !filter.is_empty()) else {
        return Ok(RoomEventFilter::default());
    };
    // serde reads an array as a struct too, field by field.
    if !filter.trim_start().starts_with('{') {
        return Err(Refusal::invalid_param("`filter` must be a JSON object"));
    }
    serde_json::from_str(&filter).map_err(|error| Refusal::invalid_param(format!("`filter`: {error}")))
}

/// A token of a query parameter.
pub(super) fn token(name: &str, token: Option<&str>) -> Result<Option<AnyToken>, Refusal> {
    let token = token.filter(|token| !token.is_empty()).map(AnyToken::decode).transpose();
    token.map_err(|_| Refusal::invalid_param(format!("`{name}` is no token of this server")))
}

/// Writes items that are JSON already.
pub(super) fn all(array: &mut Array<'_>, items: &[Vec<u8>]) {
    for item in items {
        array.raw(item);
    }
}
