//! What another server says an event of a user of ours could be (`/make_join` and its like), and what of it is taken.

use ruma::{
    EventId, OwnedEventId, OwnedUserId, RoomId, ServerName, UserId, canonical_json::CanonicalJsonObject,
    canonical_json::CanonicalJsonValue,
};
use serde::Deserialize;
use serde_json::{Value as Json, value::RawValue};

use super::HandshakeError;
use crate::{
    event::{Rules, Template, build::Citation, version},
    graph::Membership,
    rooms::restricted::AUTHORISED_VIA,
};

const MEMBER: &str = "m.room.member";
/// The largest integer of canonical JSON.
const LARGEST_DEPTH: u64 = (1 << 53) - 1;

/// The event that a user of ours wants to send to a room that is elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) room_id: &'a RoomId,
    pub(super) user_id: &'a UserId,
    pub(super) membership: Membership,
    /// The content; what the other server says there is not taken, but for who lets the user in.
    pub(super) content: &'a CanonicalJsonObject,
}

impl Wish<'_> {
    /// The event, as ours: of what the other server says there are only the place in the graph, and who lets the user in.
    ///
    /// # Errors
    /// When the template is not of the event that was asked for (server-server API, `GET /make_join`: "MUST verify").
    pub(super) fn template(
        &self,
        offered: &RawValue,
        rules: &Rules,
        server: &ServerName,
    ) -> Result<Template, HandshakeError> {
        let malformed = |what: &str| HandshakeError::Malformed(format!("{server} made a template whose {what}"));
        let offered: Offered =
            serde_json::from_str(offered.get()).map_err(|error| malformed(&format!("form is wrong: {error}")))?;
        let (user_id, membership) = (self.user_id.as_str(), self.membership.as_str());
        for (name, found, wanted) in [
            ("room is another one", offered.room_id.as_deref(), self.room_id.as_str()),
            ("type is not m.room.member", offered.kind.as_deref(), MEMBER),
            ("sender is another user", offered.sender.as_deref(), user_id),
            ("state key is another user", offered.state_key.as_deref(), user_id),
            ("membership is another one", text(&offered.content, "membership"), membership),
        ] {
            if found != Some(wanted) {
                return Err(malformed(name));
            }
        }
        if offered.depth > LARGEST_DEPTH {
            return Err(malformed("depth is too large"));
        }
        let cited = |cited: Vec<Json>, what: &str| -> Result<Vec<Citation>, HandshakeError> {
            let cited = cited.iter().map(|one| citation(one, rules));
            cited.collect::<Option<_>>().ok_or_else(|| malformed(what))
        };
        let (prev_events, auth_events) = (offered.prev_events, offered.auth_events);
        let mut content = self.content.clone();
        if let Some(via) = authoriser(&offered.content, rules, self.membership) {
            if via.server_name() != server {
                return Err(malformed("user who lets others in is of another server"));
            }
            content.insert(AUTHORISED_VIA.to_owned(), CanonicalJsonValue::String(via.to_string()));
        }
        Ok(Template {
            room_id: Some(self.room_id.to_owned()),
            // Chosen, and dated, when it is signed.
            event_id: None,
            origin_server_ts: 0,
            sender: self.user_id.to_owned(),
            kind: MEMBER.to_owned(),
            state_key: Some(user_id.to_owned()),
            content,
            redacts: None,
            prev_events: cited(prev_events, "previous events are none")?,
            auth_events: cited(auth_events, "auth events are none")?,
            depth: offered.depth,
        })
    }
}

/// The fields of a template that are looked at.
#[derive(Deserialize)]
struct Offered {
    room_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    sender: Option<String>,
    state_key: Option<String>,
    #[serde(default)]
    content: Json,
    prev_events: Vec<Json>,
    auth_events: Vec<Json>,
    depth: u64,
}

fn text<'a>(content: &'a Json, field: &str) -> Option<&'a str> {
    content.get(field)?.as_str()
}

fn authoriser(content: &Json, rules: &Rules, membership: Membership) -> Option<OwnedUserId> {
    if membership != Membership::Join || !rules.authorization.restricted_join_rule {
        return None;
    }
    UserId::parse(text(content, AUTHORISED_VIA)?).ok()
}

/// A cited event: its id, or in versions 1 and 2 the pair of its id and its hash.
fn citation(cited: &Json, rules: &Rules) -> Option<Citation> {
    let id = |id: &Json| -> Option<OwnedEventId> { EventId::parse(id.as_str()?).ok() };
    if !version::has_event_ids(rules) {
        return Some(Citation { event_id: id(cited)?, sha256: None });
    }
    let sha256 = cited.get(1)?.get("sha256")?.as_str()?.to_owned();
    Some(Citation { event_id: id(cited.get(0)?)?, sha256: Some(sha256) })
}
