//! Sending a message into a room, and redacting.
//!
//! A request with a transaction id is done once: the answer is written in the commit of the event, and given again to
//! whoever repeats the request, also at the same time, after a restart, or from another process.

use std::sync::Arc;

use ruma::{
    EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, UserId, canonical_json::CanonicalJsonObject,
};

use super::{guest_access, room_error::RoomError};
use crate::{
    app::App,
    appservice::Registration,
    base::clock::UnixMillis,
    event::power::Action,
    graph::{Direction, Event, Head, LocalEcho, Membership, Proposal, Reader, RoomNo, SendError},
    rooms::{
        content::RelatesTo,
        guest_access::{GUEST_ACCESS, note_due},
        power::power_levels,
    },
    store::View,
    users::txn::{self, Claim, TxnKey},
};

/// How often a request is looked at again when it was answered meanwhile.
const TRIES: usize = 3;
/// Reactions to one event that are looked through for the same one.
const MOST_REACTIONS: usize = 500;
const REDACTION: &str = "m.room.redaction";

/// Who sends.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the access token belongs to.
    pub device_id: Option<OwnedDeviceId>,
    /// When that device was made.
    pub device_created_at: UnixMillis,
    /// An administrator of this server.
    pub is_admin: bool,
    /// A guest.
    pub is_guest: bool,
    /// A suspended user: may redact what is their own, and no more.
    pub is_suspended: bool,
    /// The application service that is this user.
    pub appservice: Option<Arc<Registration>>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its type.
    pub kind: String,
    /// Its content.
    pub content: CanonicalJsonObject,
    /// The event to redact, if it is a redaction.
    pub redacts: Option<OwnedEventId>,
    /// When it shall be said to have been sent, in ms since the Unix epoch; now if absent.
    pub timestamp: Option<UnixMillis>,
}

impl Message {
    /// A message as `/send` carries it: a redaction says in its content what it redacts, in every room version.
    pub fn new(kind: String, mut content: CanonicalJsonObject) -> Result<Self, RoomError> {
        if kind != REDACTION {
            return Ok(Self { kind, content, redacts: None, timestamp: None });
        }
        let redacts = content.remove("redacts");
        let redacts = redacts.as_ref().and_then(|redacts| redacts.as_str());
        let target = redacts.and_then(|redacts| EventId::parse(redacts).ok());
        let target = target.ok_or_else(|| RoomError::BadContent("`redacts` must be the id of an event".to_owned()))?;
        Ok(Self { kind, content, redacts: Some(target), timestamp: None })
    }

    /// A redaction.
    pub fn redaction(target: OwnedEventId, content: CanonicalJsonObject) -> Self {
        Self { kind: REDACTION.to_owned(), content, redacts: Some(target), timestamp: None }
    }
}

/// A request that may be repeated: its transaction id, and the endpoint that it belongs to.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The endpoint, the room, and what is sent there: what the path says besides the transaction id.
    pub endpoint: [String; 3],
    /// The transaction id.
    pub txn_id: String,
}

enum Ready {
    Answered(OwnedEventId),
    To(Target),
}

/// Where a message goes, and what goes with it.
struct Target {
    room: RoomNo,
    /// Whether it may take away what lets guests in.
    of_guests: bool,
    /// What it must be the first to say.
    claim: Option<Claim>,
}

/// Sends a message, once for a transaction id.
pub async fn send(
    app: &App,
    sender: &Sender,
    room_id: OwnedRoomId,
    message: Message,
    transaction: Transaction,
) -> Result<OwnedEventId, RoomError> {
    // Without a device (nobody but application services have none) the transaction belongs to the user.
    let device = sender.device_id.as_deref().map(|device_id| (device_id, sender.device_created_at));
    let [endpoint, room, target] = &transaction.endpoint;
    let key = TxnKey::new(&sender.user_id, device, &[endpoint, room, target, &transaction.txn_id]);
    for _ in 0..TRIES {
        let (checked, whose, id, wanted) = (key.clone(), sender.clone(), room_id.clone(), message.clone());
        let check = move |reader: &Reader, view: &View<'_>| check(reader, view, &checked, (&whose, &id, &wanted));
        let Target { room, of_guests, claim } = match app.rooms.read(check).await? {
            Ready::Answered(event_id) => return Ok(event_id),
            Ready::To(target) => target,
        };
        let (recorded, now, number) = (key.clone(), app.clock.now(), app.random.u64());
        let mut proposal = proposal(&sender.user_id, message.clone());
        if let Some(device_id) = &sender.device_id {
            let (device_id, transaction_id) = (device_id.to_string(), transaction.txn_id.clone());
            proposal = proposal.from_request(LocalEcho { device_id, transaction_id });
        }
        let proposal = proposal.with_rider(move |placed, batch| {
            let answer = placed.event_id.as_bytes();
            txn::record(batch, &recorded, answer.to_vec(), now);
            if let Some(claim) = &claim {
                claim.take(batch, answer.to_vec(), now);
            }
            if of_guests {
                note_due(batch, placed.room, number);
            }
        });
        match app.policy.send_one(room, proposal).await {
            Ok(placed) => {
                if of_guests {
                    guest_access::start(app, room);
                }
                return Ok(placed.event_id);
            }
            // The same request, or the same reaction by another one, was answered while this one waited.
            Err(SendError::Rider) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RoomError::Busy)
}

fn proposal(sender: &UserId, message: Message) -> Proposal {
    let proposal = match message.redacts {
        Some(target) => Proposal::redaction(sender.to_owned(), target, message.content),
        None => Proposal::message(sender.to_owned(), message.kind, message.content),
    };
    Proposal { origin_server_ts: message.timestamp, ..proposal }
}

/// What must hold before the graph is asked: the request is new, the sender in the room, the message one that this server
/// sends. The auth rules are the graph's.
fn check(
    reader: &Reader,
    view: &View<'_>,
    key: &TxnKey,
    (sender, room_id, message): (&Sender, &OwnedRoomId, &Message),
) -> Result<Ready, RoomError> {
    if let Some(answer) = txn::recorded(view, key)? {
        let event_id = String::from_utf8(answer).ok().and_then(|answer| EventId::parse(answer).ok());
        if let Some(event_id) = event_id {
            return Ok(Ready::Answered(event_id));
        }
    }
    let (room, head) = reader.room(view, room_id)?.ok_or(RoomError::NotInRoom)?;
    let joined = reader.user_room(view, &sender.user_id, room)?.is_some_and(|row| row.membership == Membership::Join);
    if !joined {
        return Err(RoomError::NotInRoom);
    }
    let (of_guests, claim) = match &message.redacts {
        Some(target) => (may_redact(reader, view, (room, &head), sender, target)?, None),
        None => (false, annotate(reader, view, room, (&sender.user_id, message))?),
    };
    Ok(Ready::To(Target { room, of_guests, claim }))
}

/// The auth rules let a server redact whatever its own users sent; which of its users may is for it to say: the sender,
/// who has the power, and (client-server API, `PUT /redact`) its administrators. Says whether it is
/// the room's guest access.
fn may_redact(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    sender: &Sender,
    target: &EventId,
) -> Result<bool, RoomError> {
    let Some(target) = reader.event_in(view, room, target)?.filter(Event::is_accepted) else {
        // Another server may have it: then the redaction waits here for it.
        let elsewhere = reader.servers(view, room)?.into_iter().filter(|(_, row)| row.joined_users > 0);
        let is_shared = elsewhere.take(2).count() > 1;
        let levels = power_levels(reader, view, (room, head))?.filter(|_| is_shared && !sender.is_suspended);
        let may = levels.is_some_and(|levels| levels.of(&sender.user_id) >= levels.to(Action::Redact));
        return if may { Ok(false) } else { Err(RoomError::UnknownEvent) };
    };
    let of_guests = target.kind == GUEST_ACCESS;
    if target.sender == sender.user_id {
        return Ok(of_guests);
    }
    if sender.is_suspended {
        return Err(RoomError::Suspended);
    }
    if sender.is_admin && target.sender.server_name() == sender.user_id.server_name() {
        return Ok(of_guests);
    }
    match power_levels(reader, view, (room, head))? {
        Some(levels) if levels.of(&sender.user_id) >= levels.to(Action::Redact) => Ok(of_guests),
        _ => Err(RoomError::Forbidden("you may not redact what others sent here".to_owned())),
    }
}

/// Client-server API, "Avoiding duplicate annotations". Two of them that come at once claim the same row.
fn annotate(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    (user_id, message): (&UserId, &Message),
) -> Result<Option<Claim>, RoomError> {
    const ANNOTATION: &str = "m.annotation";
    let wanted = RelatesTo::of(&crate::event::json::to_bytes(&message.content));
    let Some(wanted) = wanted.filter(|relation| relation.rel_type == ANNOTATION) else { return Ok(None) };
    let Ok(target) = EventId::parse(&wanted.event_id) else { return Ok(None) };
    let Some(target) = reader.event_in(view, room, &target)? else { return Ok(None) };
    let rows = reader.relations(view, room, target.seq, Some(ANNOTATION), None, Direction::Backward, MOST_REACTIONS)?;
    let events = reader.events(view, &rows.rows.iter().map(|(_, seq)| (room, *seq)).collect::<Vec<_>>())?;
    let same = |event: &Event| {
        event.sender == *user_id
            && event.kind == message.kind
            && event.meta.redacted_by.is_none()
            && RelatesTo::of(event.content()).is_some_and(|relation| relation.key == wanted.key)
    };
    if events.iter().flatten().any(same) {
        return Err(RoomError::DuplicateAnnotation);
    }
    let key = wanted.key.unwrap_or_default();
    let claimed = ["annotation", target.event_id.as_str(), &message.kind, &key];
    Ok(Some(Claim::of(view, TxnKey::new(user_id, None, &claimed))?))
}
