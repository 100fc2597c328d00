//! What an event needs before it can be judged: the events that it cites, the state where they can't be had, the signature of
//! a policy server. All of it is fetched from servers that may lie.
//!
//! The events before it come from `/get_missing_events` of who sent it, and, where that server does not have them, from
//! `/backfill` of others: whoever has joined lately, or again, cites what it never saw. Only where *all that* ends is the state
//! believed that a server says was there, and a gap left open (`leap.rs`).

mod leap;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use http::StatusCode;
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use thiserror::Error;

use self::leap::Leap;
use super::{Inbox, staging::rider};
use crate::{
    event::{Verified, version},
    federation::{
        client::ClientError,
        fetch::{Fetch, FetchError, MOST_MISSING, RoomRules, in_graph_order, keep_outliers},
        policy::Recommendation,
    },
    graph::{Needs, Receipt, RoomNo, SendError, Tie, Verdict},
    rooms::for_servers,
    store::{ReadError, View},
};

/// Rounds of `/get_missing_events`.
const MOST_ROUNDS: usize = 5;
/// Events before others that another server is asked for at once.
const MOST_BEFORE: u32 = 100;
/// Other servers of the room that are asked at each try when the one that sent the event was of no help.
const MOST_OTHERS: usize = 2;
/// Tries at which nobody's word is taken for a state while another server that was asked does not answer.
const PATIENT_TRIES: u8 = 4;

/// Why an event does not get what it needs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum SupplyError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("of the state before {0} nothing can be had")]
    NoState(OwnedEventId),
    #[error("{0} events of the state before {1} can't be had now")]
    Lacking(usize, OwnedEventId),
    #[error("only {0} itself says what was before its event {1}")]
    OneWord(OwnedServerName, OwnedEventId),
    #[error("it takes too long")]
    TooLong,
}

impl SupplyError {
    /// Whether the server may answer otherwise at another time: there was no answer, or it had no time for one.
    fn is_silence(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Client(ClientError::Transport { .. })) => true,
            Self::Fetch(FetchError::Client(ClientError::Refused { status, .. })) => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// One of the tries to fetch what an event needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// How many there were before.
    pub(super) number: u8,
    /// Whether other servers than the one that sent the event are asked.
    pub(super) asks_others: bool,
}

impl Attempt {
    /// Whether a state is taken of which some events can't be had: not at once, for whoever has them may be out of reach.
    fn may_lack(self) -> bool {
        self.number >= leap::WHOLE_STATE_TRIES
    }
}

/// What was fetched.
#[derive(Clone, Debug)]
pub(super) enum Supplied {
    /// Events, as far as they could be had; they are here.
    Events,
    /// The event with one more signature.
    Signed(Verified),
    /// The policy server does not recommend it.
    Refused,
}

/// Fetches for events of one room.
pub(super) struct Supply {
    inbox: Inbox,
    no: RoomNo,
    room: RoomRules,
}

/// Events that were fetched and are not judged yet.
pub(super) type Waiting = BTreeMap<OwnedEventId, Verified>;

impl Supply {
    pub(super) fn new(inbox: Inbox, no: RoomNo, room: RoomRules) -> Self {
        Self { inbox, no, room }
    }

    /// For a room that this server is in.
    pub(super) async fn of(inbox: &Inbox, no: RoomNo) -> Result<Option<Self>, ReadError> {
        let reader = inbox.0.graph.reader().clone();
        let head = inbox.0.store.read(move |view| reader.head(view, no)).await?;
        let room = head.filter(|head| !head.is_left && !head.is_blocked).and_then(|head| {
            Some(RoomRules { rules: version::rules(&head.room_version)?, room_id: head.room_id.clone() })
        });
        Ok(room.map(|room| Self { inbox: inbox.clone(), no, room }))
    }

    pub(super) fn room(&self) -> &RoomRules {
        &self.room
    }

    pub(super) fn fetch(&self) -> &Fetch {
        self.inbox.0.federation.fetch()
    }

    /// Fetches what an event needs: from the server that sent it and, if that does not give all of it, from others of the room.
    pub(super) async fn supply(
        &self,
        event: &Verified,
        needs: Needs,
        (origin, attempt): (&OwnedServerName, Attempt),
    ) -> Result<Supplied, SupplyError> {
        let (prev, auth) = match needs {
            Needs::Missing { prev, auth } => (prev, auth),
            Needs::PolicySignature => {
                return Ok(match self.inbox.0.policy.ask(self.no, event.pdu()).await? {
                    Recommendation::Signed(event) => Supplied::Signed(event),
                    Recommendation::Refused(_) => Supplied::Refused,
                });
            }
        };
        let mut servers = vec![(origin.clone(), true)];
        let others = self.in_turn(event.pdu().sender().server_name(), origin, attempt.number).await?;
        let is_alone = others.is_empty();
        servers.extend(others.into_iter().filter(|_| attempt.asks_others));
        let (mut result, mut givers, mut is_one_silent) = (Ok(Supplied::Events), Vec::new(), false);
        let mut waiting = Waiting::new();
        for (server, is_in) in servers {
            let gathered = if server == *origin {
                self.gather(&server, event, (&prev, &auth), &mut waiting).await
            } else {
                self.gather_before(&server, event, &mut waiting).await
            };
            match gathered {
                Ok(()) if self.has_all(event).await? => return Ok(Supplied::Events),
                // The events of who is gone speak for themselves; its word does not.
                Ok(()) if is_in => givers.push(server),
                Ok(()) => {}
                Err(error @ (SupplyError::Read(_) | SupplyError::Send(_))) => return Err(error),
                Err(error) => {
                    is_one_silent |= error.is_silence();
                    result = Err(error);
                }
            }
        }
        // Whoever does not answer now may have it: nobody's word is taken for it yet.
        if is_one_silent && !is_alone && attempt.number < PATIENT_TRIES {
            return result;
        }
        // The word of others first.
        givers.sort_by_key(|server| server == origin);
        for server in givers {
            let leap = Leap { server: &server, attempt, is_alone };
            result = self.leap(leap, event, waiting.clone()).await.map(|()| Supplied::Events);
            if result.is_ok() && self.has_all(event).await? {
                break;
            }
        }
        result
    }

    /// Whether all that an event cites is here and has its place.
    async fn has_all(&self, event: &Verified) -> Result<bool, SupplyError> {
        let (prev, auth) = (event.pdu().prev_events().to_vec(), event.pdu().auth_events().to_vec());
        Ok(self.without_place(prev).await?.is_empty() && self.inbox.0.graph.unknown(auth).await?.is_empty())
    }

    /// The other servers that are asked at a try, each time others: the server of the event's sender first, those of the most
    /// users next, at last those that are out of the room by now; and whether each is in it. What the sender of an event has
    /// seen may have been told by one that has left since. Whom the room does not let in is not asked: by what we ask for it
    /// would learn what happens there.
    async fn in_turn(
        &self,
        first: &ServerName,
        origin: &OwnedServerName,
        number: u8,
    ) -> Result<Vec<(OwnedServerName, bool)>, ReadError> {
        let others = self.others(first, Some(origin), usize::MAX).await?;
        let mut others: Vec<_> = others.into_iter().map(|name| (name, true)).collect();
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let all = self.inbox.0.store.read(move |view| reader.servers(view, no)).await?;
        let gone = all.into_iter().filter(|(_, row)| row.joined_users == 0);
        let gone = gone.filter_map(|(name, _)| OwnedServerName::try_from(name).ok());
        let gone = gone.filter(|name| name != origin && name != self.inbox.0.graph.server_name());
        others.extend(gone.map(|name| (name, false)));
        let skipped = usize::from(number).saturating_mul(MOST_OTHERS).checked_rem(others.len()).unwrap_or_default();
        others.rotate_left(skipped);
        let reader = self.inbox.0.graph.reader().clone();
        let let_in = move |view: &View<'_>| {
            let Some(head) = reader.head(view, no)? else { return Ok(Vec::new()) };
            let acl = for_servers::acl(&reader, view, (no, &head))?;
            let mut let_in = others.clone();
            let_in.retain(|(name, _)| acl.allows(name));
            let_in.truncate(MOST_OTHERS);
            Ok::<_, ReadError>(let_in)
        };
        self.inbox.0.store.read(let_in).await
    }

    /// Some servers of the room, but for ours and one more: this one first, then those of the most users.
    pub(super) async fn others(
        &self,
        first: &ServerName,
        without: Option<&OwnedServerName>,
        most: usize,
    ) -> Result<Vec<OwnedServerName>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let servers = self.inbox.0.store.read(move |view| reader.servers(view, no)).await?;
        let own = self.inbox.0.graph.server_name();
        let joined = servers.into_iter().filter(|(_, row)| row.joined_users > 0);
        let mut others: Vec<(bool, u32, OwnedServerName)> = joined
            .filter_map(|(name, row)| Some((OwnedServerName::try_from(name).ok()?, row.joined_users)))
            .filter(|(name, _)| Some(name) != without && name != own)
            .map(|(name, users)| (name == first, users, name))
            .collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        Ok(others.into_iter().take(most).map(|(.., name)| name).collect())
    }

    /// Fetches the events between an event and what is here, and what authorises it, of the server that sent it. Those stay in
    /// `waiting` that cite what is not here.
    async fn gather(
        &self,
        server: &ServerName,
        event: &Verified,
        (prev, auth): (&[OwnedEventId], &[OwnedEventId]),
        waiting: &mut Waiting,
    ) -> Result<(), SupplyError> {
        let fetch = self.inbox.0.federation.fetch();
        let mut latest = if prev.is_empty() { Vec::new() } else { vec![id_of(event)] };
        for _ in 0..MOST_ROUNDS {
            if latest.is_empty() {
                break;
            }
            let between = (latest, self.extremities().await?);
            let (events, is_full) = fetch.missing_events(server, &self.room, between).await?;
            let is_more = self.take(server, (event, events), waiting).await?;
            latest = waiting.values().filter(|event| cites_others(event, waiting)).map(id_of).collect();
            if !is_more || !is_full {
                break;
            }
        }
        if !auth.is_empty() {
            self.authorise(server, event, auth).await?;
        }
        Ok(())
    }

    /// The same of another server, which need not know the event itself: it is asked for those that are cited and not here, and
    /// what was before them.
    async fn gather_before(
        &self,
        server: &ServerName,
        event: &Verified,
        waiting: &mut Waiting,
    ) -> Result<(), SupplyError> {
        for _ in 0..MOST_ROUNDS {
            let cited = waiting.values().chain([event]).flat_map(|event| event.pdu().prev_events().to_vec());
            let cited: BTreeSet<OwnedEventId> = cited.filter(|id| !waiting.contains_key(id)).collect();
            let mut missing = self.without_place(cited.into_iter().collect()).await?;
            if missing.is_empty() {
                break;
            }
            missing.truncate(MOST_MISSING);
            let events = self.fetch().backfill(server, &self.room, missing, MOST_BEFORE).await?;
            if !self.take(server, (event, events), waiting).await? {
                break;
            }
        }
        let lacking = self.inbox.0.graph.unknown(event.pdu().auth_events().to_vec()).await?;
        if !lacking.is_empty() {
            self.authorise(server, event, &lacking).await?;
        }
        Ok(())
    }

    /// Takes what a server gave, as far as what it cites is here; says whether there was something new.
    async fn take(
        &self,
        server: &ServerName,
        (event, events): (&Verified, Vec<Verified>),
        waiting: &mut Waiting,
    ) -> Result<bool, SupplyError> {
        let ids = self.without_place(events.iter().map(id_of).collect()).await?;
        let before = waiting.len();
        let new = events.into_iter().map(|event| (id_of(&event), event));
        waiting.extend(new.filter(|(id, _)| *id != id_of(event) && ids.contains(id)));
        let is_more = waiting.len() > before;
        self.accept(server, waiting).await?;
        Ok(is_more)
    }

    /// Judges what was fetched, as far as what it cites is here.
    async fn accept(&self, server: &ServerName, waiting: &mut Waiting) -> Result<(), SupplyError> {
        let mut authorised = BTreeSet::new();
        loop {
            let ordered = in_graph_order(waiting.values().cloned().collect());
            let verdicts = join_all(ordered.iter().map(|event| self.receive(event.clone().into()))).await;
            let (mut has_moved, mut unauthorised) = (false, Vec::new());
            for (event, verdict) in ordered.into_iter().zip(verdicts) {
                match verdict? {
                    Verdict::Needs(Needs::Missing { auth, .. }) if !auth.is_empty() => unauthorised.push((event, auth)),
                    Verdict::Needs(_) => {}
                    _ => has_moved |= waiting.remove(event.pdu().event_id()).is_some(),
                }
            }
            for (event, auth) in unauthorised {
                if authorised.insert(id_of(&event)) {
                    self.authorise(server, &event, &auth).await?;
                    has_moved = true;
                }
            }
            if !has_moved {
                return Ok(());
            }
        }
    }

    /// Hands an event to the graph; one that needs the policy server's signature has it asked for.
    pub(super) async fn receive(&self, mut receipt: Receipt) -> Result<Verdict, SupplyError> {
        if receipt.backfilled.is_none() {
            receipt.rider = Some(rider(self.no, receipt.event.pdu(), None));
        }
        let verdict = self.inbox.0.graph.receive(self.no, receipt.clone()).await?;
        if verdict != Verdict::Needs(Needs::PolicySignature) {
            return Ok(verdict);
        }
        let receipt = match self.inbox.0.policy.ask(self.no, receipt.event.pdu()).await? {
            Recommendation::Signed(event) => Receipt { event, ..receipt },
            Recommendation::Refused(_) => Receipt { refused_by_policy: true, ..receipt },
        };
        Ok(self.inbox.0.graph.receive(self.no, receipt).await?)
    }

    /// Fetches auth events of an event, and theirs.
    pub(super) async fn authorise(
        &self,
        server: &ServerName,
        event: &Verified,
        missing: &[OwnedEventId],
    ) -> Result<(), SupplyError> {
        let (fetch, graph) = (self.inbox.0.federation.fetch(), &self.inbox.0.graph);
        match fetch.auth_chain(server, &self.room, event.pdu()).await {
            Ok(chain) => keep_outliers(graph, self.no, chain).await?,
            Err(FetchError::Read(error)) => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "there is no auth chain"),
        }
        let missing = graph.unknown(missing.to_vec()).await?;
        if !missing.is_empty() {
            fetch.authorising(server, (graph, self.no, &self.room), &missing).await?;
        }
        Ok(())
    }

    /// Of some ids, those of events that are not here, or whose place in the graph is not known.
    pub(super) async fn without_place(&self, ids: Vec<OwnedEventId>) -> Result<Vec<OwnedEventId>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let read = self.inbox.0.store.read(move |view| {
            let mut lacking = Vec::new();
            for (id, at) in ids.iter().zip(reader.locate_many(view, &ids)?) {
                let meta = match at.filter(|at| at.room == no) {
                    Some(at) => reader.meta(view, no, at.seq)?,
                    None => None,
                };
                if meta.is_none_or(|meta| meta.tie == Tie::default()) {
                    lacking.push(id.clone());
                }
            }
            Ok::<_, ReadError>(lacking)
        });
        read.await
    }

    async fn extremities(&self) -> Result<Vec<OwnedEventId>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let read = self.inbox.0.store.read(move |view| {
            let Some(head) = reader.head(view, no)? else { return Ok(Vec::new()) };
            let wanted: Vec<_> = head.extremities.iter().map(|seq| (no, *seq)).collect();
            let events = reader.events(view, &wanted)?;
            Ok::<_, ReadError>(events.into_iter().flatten().map(|event| event.event_id.clone()).collect())
        });
        read.await
    }
}

pub(super) fn id_of(event: &Verified) -> OwnedEventId {
    event.pdu().event_id().to_owned()
}

/// Whether an event cites previous events that are not among these.
fn cites_others(event: &Verified, waiting: &Waiting) -> bool {
    event.pdu().prev_events().iter().any(|id| !waiting.contains_key(id))
}
