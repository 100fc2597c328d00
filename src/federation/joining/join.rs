//! Joining a room through a server that is in it.

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, ServerName,
    api::federation::membership::prepare_join_event::v1 as make_join, canonical_json::CanonicalJsonObject,
};
use serde_json::value::RawValue;

use super::{
    HandshakeError, Handshakes,
    answer::{self, Answer},
    segment,
    template::Wish,
    versions,
};
use crate::{
    event::{Pdu, Rules, Verified, json, version},
    federation::{Bounds, fetch::Large},
    graph::{Adoption, Membership, Placed, SendError},
};

/// Answers of more bytes take a turn, until their events are kept.
const LARGE: usize = 4 << 20;

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
    /// Joins through this server, and makes the room one of ours. Of an attempt that fails no room is left. `None` if another
    /// user has brought the room here meanwhile.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn join(&self, server: &ServerName, join: &Join) -> Result<Option<Placed>, HandshakeError> {
        let was_here = self.is_here(&join.room_id).await?;
        let mut request = make_join::Request::new(join.room_id.clone(), join.user_id.clone());
        request.ver = versions();
        let made = self.client().request(server, request, Bounds::USUAL).await?;
        let version = made.room_version.unwrap_or(RoomVersionId::V1);
        let rules = version::rules(&version).ok_or_else(|| HandshakeError::UnknownVersion(version.clone()))?;
        let (room_id, user_id) = (&*join.room_id, &*join.user_id);
        let wish = Wish { room_id, user_id, membership: Membership::Join, content: &join.content };
        let ours = self.0.graph.sign(wish.template(&made.event, rules, server)?, &version)?;

        // Only now: a server that takes its time over the first question keeps nobody else waiting.
        let _turn = self.turn(room_id).await;
        if !was_here && self.is_here(room_id).await? {
            return Ok(None);
        }
        let _under_way = self.0.federation.joins().begin(room_id);
        let (event, answer, _large) = self.send(server, room_id, ours, rules).await?;
        let adoption = self.verified(server, (version, rules), event, answer).await?;
        Ok(Some(self.0.graph.adopt(adoption).await?))
    }

    /// Sends a join; the event, as both servers have signed it, and what the other one says of the room.
    async fn send(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        ours: Pdu,
        rules: &'static Rules,
    ) -> Result<(Pdu, Answer, Option<Large>), HandshakeError> {
        let target = format!(
            "/_matrix/federation/v2/send_join/{}/{}",
            segment(room_id.as_str()),
            segment(ours.event_id().as_str())
        );
        // Never closed. Held until the answer is read: also what waits for its turn to be read is in memory.
        let _answer = self.0.answers.acquire().await.ok();
        let body = self.client().put(server, &target, ours.json().to_vec(), Bounds::STATE).await?;
        let large = if body.len() > LARGE { self.0.federation.fetch().large().await } else { None };
        let read = tokio::task::spawn_blocking(move || answer::read(&body, rules)).await;
        let answer = read.map_err(|_| SendError::Stopped)?;
        let mut answer =
            answer.map_err(|error| HandshakeError::Malformed(format!("{server} took the join: {error}")))?;
        if answer.members_omitted {
            return Err(HandshakeError::Malformed(format!("{server} left out members without being asked to")));
        }
        let event = match answer.event.take() {
            Some(event) => signed_by_both(&event, &ours, rules),
            None => ours,
        };
        Ok((event, answer, large))
    }

    async fn verified(
        &self,
        server: &ServerName,
        (room_version, rules): (RoomVersionId, &'static Rules),
        event: Pdu,
        answer: Answer,
    ) -> Result<Adoption, HandshakeError> {
        let Answer { mut pdus, state, .. } = answer;
        let room_id = event.room_id().to_owned();
        pdus.push(event);
        let mut verified = self.keys().verify(pdus, rules).await?;
        let wrong = |error: &dyn std::fmt::Display| HandshakeError::Malformed(format!("the join: {error}"));
        let join = verified.pop().ok_or_else(|| wrong(&"it is gone"))?.map_err(|error| wrong(&error))?;
        let (events, unsigned): (Vec<_>, Vec<_>) = verified.into_iter().partition(Result::is_ok);
        if !unsigned.is_empty() {
            tracing::info!(%server, %room_id, count = unsigned.len(), "events of a room were left out: their signatures do not hold");
        }
        let events: Vec<Verified> = events.into_iter().flatten().collect();
        Ok(Adoption { room_version, join, state, events })
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
