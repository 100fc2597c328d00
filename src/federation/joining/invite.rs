//! Inviting across servers (server-server API, "Inviting to a room").

use ruma::{
    EventId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::membership::{RawStrippedState, create_invite::v2 as create_invite},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    HandshakeError, Handshakes,
    join::{raw, signed_by_both},
    resident::{ResidentError, resident},
    segment, stripped,
};
use crate::{
    event::{Pdu, Rules, Verified, json, version},
    federation::{Bounds, ClientError},
    graph::{
        Membership, Proposal, Reader, RoomNo, SendError,
        outside::{By, Outside, Standing, Stood},
    },
    store::View,
};

/// Tries to make room for an invite where many wait.
const TRIES: usize = 3;

/// An invite of a local user that another server sends, checked.
#[derive(Clone, Debug)]
pub struct Invite {
    /// The event: it is what it must be, and its sender's server has signed it.
    pub pdu: Pdu,
    /// The user who is invited.
    pub invitee: ruma::OwnedUserId,
    room_version: RoomVersionId,
    stripped: Vec<Box<RawValue>>,
    origin: OwnedServerName,
}

/// What comes with a request to invite.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The server that asks.
    pub origin: &'a ServerName,
    /// The room, by the path.
    pub room_id: &'a RoomId,
    /// The event's id, by the path.
    pub event_id: &'a EventId,
    /// The room's version.
    pub room_version: RoomVersionId,
    /// The event.
    pub event: &'a RawValue,
    /// What is told of the room.
    pub room_state: Vec<Box<RawValue>>,
}

impl Handshakes {
    /// Checks an invite of a local user that another server wants to have signed (`/invite`).
    ///
    /// # Errors
    /// See [`ResidentError`].
    pub async fn read_invite(&self, asked: Asked<'_>) -> Result<Invite, ResidentError> {
        let invalid = |what: &str| ResidentError::Invalid(what.to_owned());
        let here = self.invited_to(&asked).await?;
        let rules = version::rules(&asked.room_version)
            .ok_or_else(|| ResidentError::IncompatibleVersion(asked.room_version.clone()))?;
        let pdu = Pdu::parse(asked.event.get().as_bytes(), rules).map_err(|error| invalid(&error.to_string()))?;
        let membership: Option<String> = pdu.content_field("membership");
        if pdu.room_id() != asked.room_id || pdu.event_id() != asked.event_id {
            return Err(invalid("the event is not that of the path"));
        }
        if pdu.kind() != "m.room.member" || membership.as_deref() != Some("invite") {
            return Err(invalid("the event is no invite"));
        }
        if pdu.sender().server_name() != asked.origin {
            return Err(invalid("the sender is no user of your server"));
        }
        let invitee = pdu.state_key().and_then(|user_id| UserId::parse(user_id).ok());
        let invitee = invitee.filter(|user_id| self.0.graph.is_local(user_id));
        let invitee = invitee.ok_or_else(|| invalid("the invited user is none of this server"))?;
        if !stripped::has_create(&asked.room_state, asked.room_id, rules) {
            return Err(invalid("`invite_room_state` has not the room's create event"));
        }
        let verified = self.keys().verify(vec![pdu], rules).await?.pop();
        let verified = verified.ok_or_else(|| invalid("the event can't be checked"))?;
        let verified = verified.map_err(|error| invalid(&error.to_string()))?;
        if verified.was_redacted() {
            return Err(invalid("the content of the event is not what its hash says"));
        }
        let pdu = verified.pdu().clone();
        if let Some(room) = here {
            self.check_allowed(room, &pdu, &invitee).await?;
        }
        let told = match stripped::must_be_whole(rules) {
            true => self.whole(&asked.room_state, (asked.room_id, rules)).await?,
            false => asked.room_state,
        };
        let members = [pdu.sender(), &*invitee];
        let stripped = stripped::for_clients(&told, (asked.room_id, rules), &members);
        let (room_version, origin) = (asked.room_version, asked.origin.to_owned());
        Ok(Invite { pdu, invitee, room_version, stripped, origin })
    }

    /// The room of an invite, if this server is in it: it must let the other server in, and be of the version that is said
    /// (server-server API, "Server Access Control Lists").
    async fn invited_to(&self, asked: &Asked<'_>) -> Result<Option<RoomNo>, ResidentError> {
        let (room_id, origin) = (asked.room_id.to_owned(), asked.origin.to_owned());
        let read = move |reader: &Reader, view: &View<'_>| {
            if reader.room(view, &room_id)?.is_some_and(|(_, head)| head.is_blocked) {
                return Err(ResidentError::Forbidden("this server takes no part in this room".to_owned()));
            }
            match resident(reader, view, &room_id, &origin) {
                Ok(resident) => Ok(Some((resident.room, resident.head.room_version))),
                Err(ResidentError::UnknownRoom) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match self.0.rooms.read(read).await? {
            Some((_, version)) if version != asked.room_version => {
                Err(ResidentError::Invalid(format!("the room is of version {version}")))
            }
            here => Ok(here.map(|(room, _)| room)),
        }
    }

    /// What the room's current state does not let its sender do is not signed.
    async fn check_allowed(&self, room: RoomNo, invite: &Pdu, invitee: &UserId) -> Result<(), ResidentError> {
        let content = json::parse(invite.content().get().as_bytes());
        let content = content.map_err(|error| ResidentError::Invalid(error.to_string()))?;
        let sender = invite.sender().to_owned();
        let proposal = Proposal::state(sender, "m.room.member", invitee.as_str(), content);
        self.0.graph.template(room, proposal).await?;
        Ok(())
    }

    /// What is told of a room, every entry of which must be a signed event of it (server-server API, `PUT /v2/invite`).
    async fn whole(
        &self,
        told: &[Box<RawValue>],
        (room_id, rules): (&RoomId, &'static Rules),
    ) -> Result<Vec<Box<RawValue>>, ResidentError> {
        let invalid = |what: String| ResidentError::Invalid(format!("`invite_room_state`: {what}"));
        let mut pdus = Vec::with_capacity(told.len());
        if told.len() > stripped::MOST {
            return Err(invalid(format!("more than {} events", stripped::MOST)));
        }
        for entry in told {
            let pdu = Pdu::parse(entry.get().as_bytes(), rules).map_err(|error| invalid(error.to_string()))?;
            if pdu.room_id() != room_id {
                return Err(invalid("an event of another room".to_owned()));
            }
            pdus.push(pdu);
        }
        let mut whole = Vec::with_capacity(pdus.len());
        for verified in self.keys().verify(pdus, rules).await? {
            let verified = verified.map_err(|error| invalid(error.to_string()))?;
            whole.extend(serde_json::from_slice::<Box<RawValue>>(verified.pdu().json()));
        }
        Ok(whole)
    }

    /// Signs an invite and keeps it for its user, who may take it. If this server is in the room, the event comes again,
    /// as one of the room.
    ///
    /// # Errors
    /// See [`ResidentError`].
    pub async fn accept_invite(&self, invite: Invite) -> Result<Pdu, ResidentError> {
        let Invite { pdu, invitee, room_version, stripped, origin } = invite;
        self.0.invites.take(&origin, &invitee).map_err(ResidentError::TooOften)?;
        let signed = self.0.graph.countersign(&pdu, &room_version)?;
        let outside = Outside::new(&signed, room_version, stripped, vec![origin]);
        let outside =
            outside.ok_or_else(|| ResidentError::Invalid("the event is too large for an invite".to_owned()))?;
        let user_id = invitee.clone();
        let standing = Standing { user_id, membership: Membership::Invite, outside, by: By::Server, instead_of: None };
        for _ in 0..TRIES {
            match self.0.graph.stand_outside(standing.clone()).await? {
                Stood::Yes | Stood::InRoom(_) | Stood::Otherwise => return Ok(signed),
                // Of one server the newest stand: it may be that somebody there floods the user, and others do not.
                Stood::Crowded(Some(oldest)) => self.make_room(&invitee, *oldest).await?,
                Stood::Crowded(None) => break,
            }
        }
        Err(ResidentError::Forbidden("too many invites wait for this user's answer".to_owned()))
    }

    /// Lets the server of an invited user sign the invite. The event is one of ours; so is the one that is given back, but
    /// for their signature.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn invite(
        &self,
        server: &ServerName,
        event: &Pdu,
        room_version: &RoomVersionId,
        room_state: Vec<Box<RawValue>>,
    ) -> Result<Verified, HandshakeError> {
        let rules = version::rules(room_version)
            .ok_or_else(|| HandshakeError::Send(SendError::UnknownVersion(room_version.clone())))?;
        let (room_id, event_id) = (event.room_id().to_owned(), event.event_id().to_owned());
        let told = room_state.iter().cloned().map(RawStrippedState::Pdu).collect();
        let request =
            create_invite::Request::new(room_id.clone(), event_id.clone(), room_version.clone(), raw(event)?, told);
        let given_back = match self.client().request(server, request, Bounds::USUAL).await {
            Ok(answer) => answer.event,
            // Server-server API, `PUT /v2/invite`: an older server knows only version 1, for rooms of versions 1 and 2.
            Err(ClientError::Refused { status, code, .. })
                if version::has_event_ids(rules)
                    && (status.as_u16() == 404 || (status.as_u16() == 400 && code == "M_UNRECOGNIZED")) =>
            {
                #[derive(Deserialize)]
                struct Event {
                    event: Box<RawValue>,
                }
                let (room_id, event_id) = (segment(room_id.as_str()), segment(event_id.as_str()));
                let target = format!("/_matrix/federation/v1/invite/{room_id}/{event_id}");
                let body = v1_body(event, &room_state)?;
                let answer = self.client().put(server, &target, body, Bounds::USUAL).await?;
                let answer: (u16, Event) = serde_json::from_slice(&answer)
                    .map_err(|error| HandshakeError::Malformed(format!("{server}: {error}")))?;
                answer.1.event
            }
            Err(error) => return Err(error.into()),
        };
        let signed = signed_by_both(&given_back, event, rules);
        let malformed = |what: &str| HandshakeError::Malformed(format!("{server} gave an invite back {what}"));
        if !self.keys().is_signed_by(&signed, server, rules).await? {
            return Err(malformed("without its own signature"));
        }
        let verified = self.keys().verify(vec![signed], rules).await?.pop();
        verified.ok_or_else(|| malformed("that is gone"))?.map_err(|error| malformed(&error.to_string()))
    }
}

/// The body of version 1 of the endpoint, of which ruma's type knows only some fields: the event, with what is told of the
/// room beside it.
fn v1_body(event: &Pdu, room_state: &[Box<RawValue>]) -> Result<Vec<u8>, HandshakeError> {
    let wrong = |error: serde_json::Error| HandshakeError::Malformed(error.to_string());
    let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(event.json()).map_err(wrong)?;
    body.insert("unsigned".to_owned(), serde_json::json!({ "invite_room_state": room_state }));
    serde_json::to_vec(&body).map_err(wrong)
}
