//! The resident side: users of other servers join, leave and knock on rooms of this one.

use bytes::Bytes;
use ruma::{
    EventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::Handshakes;
use crate::{
    base::json_writer::string,
    event::{Pdu, Rules, auth::AuthError, build, version},
    graph::{Head, Membership, Placed, Proposal, Reader, Receipt, RoomNo, SendError, Verdict},
    rooms::{
        for_servers::{self, Large, ServerAccessError, acl_allows},
        restricted::{self, AUTHORISED_VIA, Admission},
        stripped,
    },
    store::{ReadError, View},
};

const MEMBER: &str = "m.room.member";

/// Why a user of another server does not get what it asks for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResidentError {
    /// This server is not in such a room.
    #[error("this server is not in this room")]
    UnknownRoom,
    /// The room does not let them.
    #[error("{0}")]
    Forbidden(String),
    /// The other server does not know the room's version.
    #[error("your server does not say that it knows room version {0}")]
    IncompatibleVersion(RoomVersionId),
    /// Whether the user may join a restricted room is not known here.
    #[error("this server does not know whether the user is in a room whose members may join")]
    UnableToAuthorise,
    /// The user may join, but nobody of this server may let them in.
    #[error("the user may join, but nobody of this server may let them in")]
    UnableToGrant,
    /// The server does this too often. It may do so again after a while.
    #[error("too often")]
    TooOften(std::time::Duration),
    /// The request or its event is not what it must be.
    #[error("{0}")]
    Invalid(String),
    /// The answer can't be put together.
    #[error(transparent)]
    Answer(#[from] ServerAccessError),
    /// The graph could not take the event.
    #[error(transparent)]
    Send(SendError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<SendError> for ResidentError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::UnknownRoom => Self::UnknownRoom,
            SendError::NotAllowed(AuthError(rule)) => Self::Forbidden(rule),
            SendError::Blocked => Self::Forbidden(error.to_string()),
            SendError::NotRecommended(why) => Self::Forbidden(why),
            SendError::Invalid(error) => Self::Invalid(error.to_string()),
            SendError::Read(error) => Self::Read(error),
            error => Self::Send(error),
        }
    }
}

/// The event that a user of another server may sign, as far as this one knows it.
#[derive(Clone, Debug)]
pub struct Made {
    /// The room's version.
    pub room_version: RoomVersionId,
    /// The event, unsigned, as JSON.
    pub event: Box<RawValue>,
}

/// A room of this server's that a user of another one turns to.
#[derive(Clone)]
pub(super) struct Resident {
    pub(super) room: RoomNo,
    pub(super) head: Head,
    rules: &'static Rules,
}

/// The room, if this server is in it and the other one may take part.
pub(super) fn resident(
    reader: &Reader,
    view: &View<'_>,
    room_id: &RoomId,
    origin: &ServerName,
) -> Result<Resident, ResidentError> {
    let known = reader.room(view, room_id)?.filter(|(_, head)| !head.is_left && !head.is_blocked);
    let (room, head) = known.ok_or(ResidentError::UnknownRoom)?;
    let rules = version::rules(&head.room_version).ok_or(ResidentError::UnknownRoom)?;
    if !acl_allows(reader, view, (room, &head), origin)? {
        return Err(ResidentError::Forbidden("the room's access control list does not let your server in".to_owned()));
    }
    Ok(Resident { room, head, rules })
}

/// Who of this server lets a user join, if somebody must.
fn admitted(
    reader: &Reader,
    view: &View<'_>,
    resident: &Resident,
    user_id: &UserId,
    own: &ServerName,
) -> Result<Option<OwnedUserId>, ResidentError> {
    match restricted::admission(reader, view, (resident.room, &resident.head), user_id, own)? {
        Admission::NotNeeded => Ok(None),
        Admission::By(authoriser) => Ok(Some(authoriser)),
        Admission::Refused => {
            Err(ResidentError::Forbidden("the user is in none of the rooms whose members may join".to_owned()))
        }
        Admission::Unknown => Err(ResidentError::UnableToAuthorise),
        Admission::NoAuthoriser => Err(ResidentError::UnableToGrant),
    }
}

/// What somebody asks this server for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The server that asks.
    pub origin: OwnedServerName,
    /// The room.
    pub room_id: OwnedRoomId,
    /// What the user wants to be: `join`, `leave` or `knock`.
    pub membership: Membership,
}

impl Handshakes {
    /// The event that a user of another server may sign (`/make_join`, `/make_leave`, `/make_knock`). With `versions` the
    /// room must be of one of them.
    ///
    /// # Errors
    /// See [`ResidentError`].
    pub async fn make(
        &self,
        wanted: Wanted,
        user_id: OwnedUserId,
        versions: Option<Vec<RoomVersionId>>,
    ) -> Result<Made, ResidentError> {
        if user_id.server_name() != wanted.origin {
            return Err(ResidentError::Forbidden("this is no user of your server".to_owned()));
        }
        let own = self.0.graph.server_name().to_owned();
        let (whom, asked) = (user_id.clone(), wanted.clone());
        let read = self.0.rooms.read(move |reader, view| {
            let resident = resident(reader, view, &asked.room_id, &asked.origin)?;
            if versions.as_ref().is_some_and(|versions| !versions.contains(&resident.head.room_version)) {
                return Err(ResidentError::IncompatibleVersion(resident.head.room_version));
            }
            let authoriser = match asked.membership {
                Membership::Join => admitted(reader, view, &resident, &whom, &own)?,
                _ => None,
            };
            Ok((resident, authoriser))
        });
        let (resident, authoriser) = read.await?;
        let mut content = CanonicalJsonObject::new();
        let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
        content.insert("membership".to_owned(), text(wanted.membership.as_str()));
        if let Some(authoriser) = authoriser {
            content.insert(AUTHORISED_VIA.to_owned(), text(authoriser.as_str()));
        }
        let state_key = user_id.to_string();
        let mut template =
            self.0.graph.template(resident.room, Proposal::state(user_id, MEMBER, state_key, content)).await?;
        template.event_id = None;
        let event = self.with_origin(&build::unsigned_text(template, resident.rules));
        Ok(Made { room_version: resident.head.room_version, event: event? })
    }

    /// The specification wants to see who made it.
    fn with_origin(&self, event: &str) -> Result<Box<RawValue>, ResidentError> {
        let mut origin = Vec::new();
        string(&mut origin, self.0.graph.server_name().as_str());
        let origin = String::from_utf8(origin).unwrap_or_default();
        let event = format!("{{\"origin\":{origin},{}", event.get(1..).unwrap_or_default());
        RawValue::from_string(event).map_err(|error| ResidentError::Invalid(error.to_string()))
    }

    /// Takes the event that a user of another server has signed into the room (`/send_join`, `/send_leave`,
    /// `/send_knock`). It goes to the other servers of the room from here.
    ///
    /// # Errors
    /// See [`ResidentError`].
    pub async fn take(&self, wanted: Wanted, event_id: &EventId, event: &RawValue) -> Result<Placed, ResidentError> {
        let asked = wanted.clone();
        let read = self.0.rooms.read(move |reader, view| resident(reader, view, &asked.room_id, &asked.origin));
        let resident = read.await?;
        let pdu = Pdu::parse(event.get().as_bytes(), resident.rules)
            .map_err(|error| ResidentError::Invalid(error.to_string()))?;
        check(&pdu, &wanted, event_id)?;
        let pdu = self.admit(&resident, pdu, wanted.membership).await?;
        let verified = self.keys().verify(vec![pdu.clone()], resident.rules).await?.pop();
        let verified = match verified {
            Some(Ok(verified)) => verified,
            Some(Err(error)) => return Err(ResidentError::Invalid(error.to_string())),
            None => return Err(ResidentError::Invalid("the event can't be checked".to_owned())),
        };
        if verified.was_redacted() {
            return Err(ResidentError::Invalid("the content of the event is not what its hash says".to_owned()));
        }
        let receipt = Receipt { relay: true, ..Receipt::from(verified) };
        let placed = match self.0.policy.receive(resident.room, receipt).await? {
            Verdict::Accepted(placed) => placed,
            Verdict::Duplicate(placed) => self.accepted_before(placed, pdu.sender(), wanted.membership).await?,
            Verdict::SoftFailed(_) => {
                return Err(ResidentError::Forbidden("the current state of the room does not allow it".to_owned()));
            }
            Verdict::Rejected(AuthError(rule)) => return Err(ResidentError::Forbidden(rule)),
            Verdict::Needs(_) => {
                return Err(ResidentError::Invalid("the event cites what this server does not know".to_owned()));
            }
        };
        if wanted.membership != Membership::Join {
            // Whoever is not in the room does not type there.
            self.0.typing.stop(resident.room, pdu.sender());
        }
        Ok(placed)
    }

    /// A join into a restricted room gets the signature of this server, once it has found that it stands for it.
    async fn admit(&self, resident: &Resident, pdu: Pdu, membership: Membership) -> Result<Pdu, ResidentError> {
        let via: Option<String> = pdu.content_field(AUTHORISED_VIA);
        let must_sign = resident.rules.signatures.check_join_authorised_via_users_server;
        let Some(via) = via.filter(|_| membership == Membership::Join && must_sign) else { return Ok(pdu) };
        let own = self.0.graph.server_name();
        let is_ours = UserId::parse(via).is_ok_and(|via| via.server_name() == own);
        if !is_ours {
            return Err(ResidentError::Invalid(format!("`{AUTHORISED_VIA}` is no user of this server")));
        }
        let (asked, joining, own) = (resident.clone(), pdu.sender().to_owned(), own.to_owned());
        self.0.rooms.read(move |reader, view| admitted(reader, view, &asked, &joining, &own)).await?;
        // That the named user may let others in is for the auth rules to say.
        Ok(self.0.graph.countersign(&pdu, &resident.head.room_version)?)
    }

    /// What was accepted once is answered again, as the first answer may have been lost: as long as it still holds. Who was
    /// put out since is told no more of the room.
    async fn accepted_before(
        &self,
        placed: Placed,
        user_id: &UserId,
        membership: Membership,
    ) -> Result<Placed, ResidentError> {
        let (room, seq, user_id) = (placed.room, placed.seq, user_id.to_owned());
        let read = move |reader: &Reader, view: &View<'_>| {
            let is_accepted = reader.event(view, room, seq)?.is_some_and(|event| event.is_accepted());
            let now = reader.member(view, room, &user_id)?.map(|member| member.membership);
            Ok::<_, ReadError>((is_accepted, now))
        };
        match self.0.rooms.read(read).await? {
            (false, _) => Err(ResidentError::Forbidden("the event was not accepted".to_owned())),
            (true, now) if membership != Membership::Leave && now != Some(membership) => {
                Err(ResidentError::Forbidden("the user's membership has changed since".to_owned()))
            }
            (true, _) => Ok(placed),
        }
    }

    /// The answer to a join that was just taken: what the other server needs to know of the room.
    ///
    /// # Errors
    /// When it would be too large, or too many are being put together.
    pub async fn joined(&self, placed: &Placed) -> Result<Large, ResidentError> {
        let (at, own) = ((placed.room, placed.seq), self.0.graph.server_name().to_owned());
        let reading = self.0.rooms.read(move |reader, view| for_servers::joined(reader, view, at, &own));
        Ok(self.0.rooms.large_reads().take(reading).await?)
    }

    /// What is told of a room to whoever has just knocked on it: whole events, as servers exchange them.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn knocked(&self, placed: &Placed) -> Result<Vec<Bytes>, ResidentError> {
        let room = placed.room;
        let read = self.0.rooms.read(move |reader, view| {
            let root = reader.root(view, room)?;
            stripped::of_state(reader, view, (room, root), None)
        });
        Ok(read.await?.into_iter().map(|event| event.body.pdu).collect())
    }
}

/// The event must be what the endpoint is for, and of a user of the server that sends it.
fn check(pdu: &Pdu, wanted: &Wanted, event_id: &EventId) -> Result<(), ResidentError> {
    let invalid = |what: &str| Err(ResidentError::Invalid(what.to_owned()));
    let membership: Option<String> = pdu.content_field("membership");
    if pdu.room_id() != &*wanted.room_id {
        return invalid("the event is of another room");
    }
    if pdu.event_id() != event_id {
        return invalid("the event has another id");
    }
    if !pdu.is_state(MEMBER, pdu.sender().as_str()) {
        return invalid("the event is not the sender's own membership");
    }
    if pdu.sender().server_name() != wanted.origin {
        return invalid("the sender is no user of your server");
    }
    if membership.as_deref() != Some(wanted.membership.as_str()) {
        return invalid("the event is of another membership");
    }
    Ok(())
}
