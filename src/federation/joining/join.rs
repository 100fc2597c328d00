//! Joining a room through a server that is in it.

use std::collections::HashSet;

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, ServerName,
    api::federation::membership::{create_join_event::v2 as send_join, prepare_join_event::v1 as make_join},
    canonical_json::CanonicalJsonObject,
};
use serde_json::value::RawValue;

use super::{HandshakeError, Handshakes, template::Wish, versions};
use crate::{
    event::{Pdu, Rules, Verified, json, version},
    federation::Bounds,
    graph::{Adoption, Membership, Placed, SendError},
};

/// A join of a user of ours.
#[derive(Clone, Debug)]
pub struct Join {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// What the event says; who lets the user into a restricted room is added.
    pub content: CanonicalJsonObject,
}

impl Handshakes {
    /// Joins through this server, and makes the room one of ours. Nothing is left of an attempt that fails.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn join(&self, server: &ServerName, join: &Join) -> Result<Placed, HandshakeError> {
        let mut request = make_join::Request::new(join.room_id.clone(), join.user_id.clone());
        request.ver = versions();
        let made = self.client().request(server, request, Bounds::USUAL).await?;
        let version = made.room_version.unwrap_or(RoomVersionId::V1);
        let rules = version::rules(&version).ok_or_else(|| HandshakeError::UnknownVersion(version.clone()))?;
        let (room_id, user_id) = (&*join.room_id, &*join.user_id);
        let wish = Wish { room_id, user_id, membership: Membership::Join, content: &join.content };
        let ours = self.0.graph.sign(wish.template(&made.event, rules, server)?, &version)?;

        let request = send_join::Request::new(join.room_id.clone(), ours.event_id().to_owned(), raw(&ours)?);
        let answer = self.client().request(server, request, Bounds::STATE).await?.room_state;
        if answer.members_omitted {
            return Err(HandshakeError::Malformed(format!("{server} left out members without being asked to")));
        }
        let event = match answer.event {
            Some(event) => signed_by_both(&event, &ours, rules),
            None => ours,
        };
        let parsed = tokio::task::spawn_blocking(move || parse(&answer.state, &answer.auth_chain, rules)).await;
        let Parsed { mut pdus, state } = parsed.map_err(|_| SendError::Stopped)?;
        pdus.push(event);
        let mut verified = self.keys().verify(pdus, rules).await?;
        let wrong = |error: &dyn std::fmt::Display| HandshakeError::Malformed(format!("the join: {error}"));
        let event = verified.pop().ok_or_else(|| wrong(&"it is gone"))?.map_err(|error| wrong(&error))?;
        let (events, unsigned): (Vec<_>, Vec<_>) = verified.into_iter().partition(Result::is_ok);
        if !unsigned.is_empty() {
            tracing::info!(%server, room_id = %join.room_id, count = unsigned.len(), "events of a room were left out: their signatures do not hold");
        }
        let events: Vec<Verified> = events.into_iter().flatten().collect();
        let adoption = Adoption { room_version: version, join: event, state, events };
        Ok(self.0.graph.adopt(adoption).await?)
    }
}

/// An event as it goes into a request.
pub(super) fn raw(pdu: &Pdu) -> Result<Box<RawValue>, HandshakeError> {
    serde_json::from_slice(pdu.json()).map_err(|error| HandshakeError::Malformed(error.to_string()))
}

/// Our event as the other server gives it back, with its own signature, if it is the same otherwise; else ours.
pub(super) fn signed_by_both(given_back: &RawValue, ours: &Pdu, rules: &Rules) -> Pdu {
    let unsigned = |pdu: &Pdu| {
        let mut object = json::parse(pdu.json()).ok()?;
        object.remove("signatures");
        Some(object)
    };
    let theirs = Pdu::parse(given_back.get().as_bytes(), rules).ok();
    let same = theirs.filter(|theirs| unsigned(theirs).is_some_and(|theirs| Some(theirs) == unsigned(ours)));
    same.unwrap_or_else(|| ours.clone())
}

struct Parsed {
    /// Each once.
    pdus: Vec<Pdu>,
    /// Those of the state.
    state: Vec<OwnedEventId>,
}

/// Reads events one by one: one that is none costs the others nothing.
fn parse(state: &[Box<RawValue>], auth_chain: &[Box<RawValue>], rules: &Rules) -> Parsed {
    let mut parsed = Parsed { pdus: Vec::with_capacity(state.len()), state: Vec::with_capacity(state.len()) };
    let mut seen = HashSet::new();
    for (event, is_state) in
        state.iter().map(|event| (event, true)).chain(auth_chain.iter().map(|event| (event, false)))
    {
        let Ok(pdu) = Pdu::parse(event.get().as_bytes(), rules) else { continue };
        if is_state {
            parsed.state.push(pdu.event_id().to_owned());
        }
        if seen.insert(pdu.event_id().to_owned()) {
            parsed.pdus.push(pdu);
        }
    }
    parsed
}
