//! One staged event, as its worker sees it.

use ruma::{OwnedEventId, OwnedServerName};

use crate::{
    base::clock::UnixMillis,
    event::{Pdu, Verified},
    federation::{fetch::RoomRules, keys::StagedRow},
    graph::Needs,
};

/// How often what an event needs is asked for before it is given up.
const MOST_TRIES: u8 = 6;
/// How long the first pause between two tries is, in ms; each is four times as long as the one before, up to an hour.
const FIRST_PAUSE: UnixMillis = 15_000;
const LONGEST_PAUSE: UnixMillis = 60 * 60 * 1_000;

/// How it stands with a staged event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its signatures are to be checked.
    Unchecked,
    /// They are being checked; the keys may have to be fetched.
    Checking,
    /// It can be judged.
    Ready,
    /// It was judged, and needs this.
    Needs(Needs),
    /// What it needs is being fetched.
    Fetching,
    /// It has failed, and is tried again later.
    Later,
}

pub(super) struct Item {
    pub(super) pdu: Pdu,
    /// Once its signatures were checked.
    pub(super) verified: Option<Verified>,
    pub(super) origin: OwnedServerName,
    pub(super) tries: u8,
    pub(super) next_try: UnixMillis,
    pub(super) state: State,
    /// In this try.
    pub(super) was_fetched_for: bool,
    /// The room's policy server does not recommend it.
    pub(super) is_refused: bool,
    /// It may have spoilt others' commits.
    pub(super) goes_alone: bool,
}

impl Item {
    /// A stored row; `None` if it is no event of its room's version (any more).
    pub(super) fn read(row: StagedRow, room: &RoomRules) -> Option<Self> {
        let event_id = OwnedEventId::try_from(row.event_id).ok()?;
        Some(Self {
            pdu: Pdu::from_stored(event_id, row.pdu.into(), room.rules).ok()?,
            verified: None,
            origin: OwnedServerName::try_from(row.origin).ok()?,
            tries: row.tries,
            next_try: row.next_try,
            state: State::Later,
            was_fetched_for: false,
            is_refused: false,
            goes_alone: row.tries > 0,
        })
    }

    /// Notes a try that has failed; says whether there will be another one.
    pub(super) fn fails(&mut self, now: UnixMillis) -> bool {
        let pause = FIRST_PAUSE.saturating_mul(4_u64.saturating_pow(self.tries.into())).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        self.next_try = now.saturating_add(pause);
        self.state = State::Later;
        self.was_fetched_for = false;
        self.tries < MOST_TRIES
    }

    /// It is tried (again).
    pub(super) fn begin(&mut self) {
        self.state = if self.verified.is_some() { State::Ready } else { State::Unchecked };
    }

    /// Whether it will soon be clear what becomes of it.
    pub(super) fn is_coming(&self) -> bool {
        self.state != State::Later
    }
}
