//! Reading a transaction: one bad event in it spoils nothing but itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Inbox, JOINING};
use crate::{
    base::json_writer,
    event::{Pdu, Rules, version},
    graph::RoomNo,
    rooms::for_servers,
    store::{CommitError, ReadError},
};

/// The most events of a transaction (server-server API, "Transactions").
const MOST_PDUS: usize = 50;
/// The most EDUs of a transaction (there too).
const MOST_EDUS: usize = 100;
/// The longest reason that is told of a bad event, in characters.
const LONGEST_REASON: usize = 100;
/// The longest id under which anything is told of an event, in bytes (appendices, "Event IDs").
const LONGEST_ID: usize = 255;

/// Why a transaction is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransactionError {
    /// It is no transaction.
    #[error("this is no transaction: {0}")]
    Malformed(String),
    /// It says to be of another server than the one that has signed it.
    #[error("the transaction is of another server")]
    WrongOrigin,
    /// More than fifty events or a hundred EDUs.
    #[error("a transaction holds at most 50 PDUs and 100 EDUs")]
    TooMany,
    /// A user of this server is joining a room of it: the server is to send it again.
    #[error("a room of the transaction is being joined; send it again in a moment")]
    Joining,
    /// There are too many under way, or too much waits to be judged.
    #[error("too much is waiting to be worked off")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A transaction, as its server wrote it.
pub(super) struct Transaction<'a> {
    pdus: Vec<&'a RawValue>,
    pub(super) edus: Vec<&'a RawValue>,
}

/// How a room is to a server that sends something there.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    Unknown,
    /// Nobody of this server is in it, or an administrator has closed it.
    Closed(&'static Rules),
    /// Its access control list does not let the server in.
    Denied(&'static Rules),
    /// It may send. Whether one of its users is joined there, as far as this server knows.
    Open {
        room: RoomNo,
        rules: &'static Rules,
        is_in: bool,
    },
}

/// An event that is to be staged.
pub(super) struct Good {
    pub(super) room: RoomNo,
    pub(super) pdu: Pdu,
    /// Whether its server is in the room.
    pub(super) is_in: bool,
}

/// The events of a transaction, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) good: Vec<Good>,
    /// What is answered of each event: nothing, or why it is ignored.
    answers: BTreeMap<OwnedEventId, Option<String>>,
}

impl<'a> Transaction<'a> {
    pub(super) fn read(body: &'a [u8], origin: &ServerName) -> Result<Self, TransactionError> {
        #[derive(Deserialize)]
        struct Body<'a> {
            origin: Option<OwnedServerName>,
            #[serde(default, borrow)]
            pdus: Vec<&'a RawValue>,
            #[serde(default, borrow)]
            edus: Vec<&'a RawValue>,
        }
        let body: Body<'_> =
            serde_json::from_slice(body).map_err(|error| TransactionError::Malformed(error.to_string()))?;
        if body.origin.is_some_and(|of| of != origin) {
            return Err(TransactionError::WrongOrigin);
        }
        if body.pdus.len() > MOST_PDUS || body.edus.len() > MOST_EDUS {
            return Err(TransactionError::TooMany);
        }
        Ok(Self { pdus: body.pdus, edus: body.edus })
    }

    /// The rooms that its events name.
    pub(super) fn rooms(&self) -> BTreeSet<OwnedRoomId> {
        self.pdus.iter().filter_map(|raw| room_of(raw)).collect()
    }

    /// Sorts the events by what can be seen of them without keys.
    ///
    /// Of a server that is not in the room only what its own users do is taken, their joins above all: that it was let in may
    /// not be known here yet.
    pub(super) fn sort(&self, origin: &ServerName, rooms: &BTreeMap<OwnedRoomId, Standing>) -> Sorted {
        let (mut sorted, mut seen) = (Sorted::default(), HashSet::new());
        for raw in &self.pdus {
            let standing = room_of(raw).and_then(|room| rooms.get(&room).copied()).unwrap_or(Standing::Unknown);
            match standing {
                Standing::Unknown => sorted.ignore(raw, default_rules(), "the room is not known here"),
                Standing::Closed(rules) => sorted.ignore(raw, Some(rules), "this server is not in the room"),
                Standing::Denied(rules) => {
                    sorted.ignore(raw, Some(rules), "the room's access control list does not let your server in");
                }
                Standing::Open { room, rules, is_in } => match Pdu::parse(raw.get().as_bytes(), rules) {
                    Ok(pdu) if !is_in && pdu.sender().server_name() != origin => {
                        sorted.ignore(raw, Some(rules), "your server is not in the room");
                    }
                    Ok(pdu) => {
                        sorted.answers.entry(pdu.event_id().to_owned()).or_default();
                        if seen.insert(pdu.event_id().to_owned()) {
                            sorted.good.push(Good { room, pdu, is_in });
                        }
                    }
                    Err(error) => sorted.ignore(raw, Some(rules), &error.to_string()),
                },
            }
        }
        sorted
    }
}

/// By what an event goes whose room nobody here knows: in most versions an id is made in the same way.
fn default_rules() -> Option<&'static Rules> {
    version::rules(&version::DEFAULT)
}

fn room_of(raw: &RawValue) -> Option<OwnedRoomId> {
    #[derive(Deserialize)]
    struct Placed {
        room_id: OwnedRoomId,
    }
    serde_json::from_str::<Placed>(raw.get()).ok().map(|placed| placed.room_id)
}

impl Sorted {
    fn ignore(&mut self, raw: &RawValue, rules: Option<&Rules>, why: &str) {
        tracing::info!(why, "an event of another server is ignored");
        let Some(id) = rules.and_then(|rules| Pdu::claimed_id(raw.get().as_bytes(), rules)) else { return };
        if id.as_str().len() > LONGEST_ID {
            return;
        }
        self.answers.entry(id).or_insert_with(|| Some(why.chars().take(LONGEST_REASON).collect()));
    }

    /// An event that looked good is not staged after all.
    pub(super) fn refuse(&mut self, pdu: &Pdu, why: &str) {
        self.answers.insert(pdu.event_id().to_owned(), Some(why.to_owned()));
    }

    /// The rooms in which something is staged.
    pub(super) fn rooms(&self) -> BTreeSet<RoomNo> {
        self.good.iter().map(|good| good.room).collect()
    }

    /// The answer to the transaction.
    pub(super) fn answer(&self) -> String {
        let answer = json_writer::object(|answer| {
            answer.object("pdus", |pdus| {
                for (id, error) in &self.answers {
                    pdus.object(id.as_str(), |pdu| {
                        if let Some(error) = error {
                            pdu.value("error", error.as_str());
                        }
                    });
                }
            });
        });
        String::from_utf8(answer).unwrap_or_default()
    }
}

impl Inbox {
    /// How the rooms of a transaction are to its server, once none of them is being joined: whoever let a user of ours in sends
    /// what happens from then on, and when it was answered that the room is not known, nobody sends it again.
    pub(super) async fn standings_by_now(
        &self,
        server: &ServerName,
        transaction: &Transaction<'_>,
    ) -> Result<BTreeMap<OwnedRoomId, Standing>, TransactionError> {
        let rooms = transaction.rooms();
        let standings = self.standings(server, rooms.clone()).await?;
        let is_here = |standing: &Standing| matches!(standing, Standing::Open { .. } | Standing::Denied(_));
        let elsewhere: Vec<&RoomId> =
            standings.iter().filter(|(_, standing)| !is_here(standing)).map(|(room, _)| &**room).collect();
        let over = self.0.federation.joins().over(elsewhere);
        match tokio::time::timeout(JOINING, over).await {
            Ok(true) => Ok(self.standings(server, rooms).await?),
            Ok(false) => Ok(standings),
            Err(_) => Err(TransactionError::Joining),
        }
    }

    /// How rooms are to a server.
    async fn standings(
        &self,
        server: &ServerName,
        rooms: BTreeSet<OwnedRoomId>,
    ) -> Result<BTreeMap<OwnedRoomId, Standing>, ReadError> {
        let (reader, server) = (self.0.graph.reader().clone(), server.to_owned());
        let read = self.0.store.read(move |view| {
            let mut standings = BTreeMap::new();
            for room_id in &rooms {
                let found = reader.room(view, room_id)?;
                let found = found.and_then(|(no, head)| Some((no, version::rules(&head.room_version)?, head)));
                let standing = match found {
                    None => Standing::Unknown,
                    Some((_, rules, head)) if head.is_left || head.is_blocked => Standing::Closed(rules),
                    Some((no, rules, head)) => {
                        let is_let_in = for_servers::acl_allows(&reader, view, (no, &head), &server)?;
                        let is_in = reader.has_server(view, no, &server)?;
                        if is_let_in { Standing::Open { room: no, rules, is_in } } else { Standing::Denied(rules) }
                    }
                };
                standings.insert(room_id.clone(), standing);
            }
            Ok::<_, ReadError>(standings)
        });
        read.await
    }
}
