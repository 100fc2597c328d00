//! Writing an adopted room ahead, in commits that nobody sees: all but what makes it a room of this server.

use std::collections::BTreeMap;

use ruma::UserId;

use super::judge::Judged;
use crate::{
    event::{Rules, version},
    graph::{
        Head, StateKey,
        event_row::{EventMeta, StoredEvent},
        keys::{AUTH, EVENT, EVENT_ID, EVENT_META, MEMBER, NODE, ROOM_SERVER, SERVER_ROOM, SLOT, SLOT_NAME, bounded},
        rows::{AuthEvents, EventAt, Member, RoomServer},
        state::{self, Hasher},
        types::{Membership, RoomNo, Root, Seq, Slot, Tie},
        write::indexes::membership,
    },
    store::{Batch, CommitError, Position, Store},
};

/// Changes after which a batch is committed: those of about 500 events.
const MOST_CHANGES: usize = 2_000;
/// Bytes of events after which it is.
const MOST_BYTES: usize = 1 << 20;

/// Which rows of the members an adopted room has. Not the first ones, which are read of rooms that have no head yet.
pub(super) const GENERATION: u32 = 1;

/// Rows on their way into the store.
pub(super) struct Stage<'a> {
    store: &'a Store,
    room: RoomNo,
    batch: Batch,
    bytes: usize,
}

impl<'a> Stage<'a> {
    pub(super) fn new(store: &'a Store, room: RoomNo) -> Self {
        Self { store, room, batch: Batch::new(), bytes: 0 }
    }

    async fn put(&mut self, bytes: usize, rows: impl FnOnce(&mut Batch, RoomNo)) -> Result<(), CommitError> {
        rows(&mut self.batch, self.room);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.batch.len() < MOST_CHANGES && self.bytes < MOST_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        self.store.commit_lazy(std::mem::take(&mut self.batch)).await.map(drop)
    }

    /// The events, as outliers.
    pub(super) async fn events(&mut self, events: &[Judged], rules: &Rules) -> Result<(), CommitError> {
        // Only chosen ids can be those of others' events.
        let must_be_new = version::has_event_ids(rules);
        for (event, seq) in events.iter().zip(1..) {
            self.put(event.pdu.json().len(), |batch, room| event_rows(batch, (room, Seq(seq)), event, must_be_new))
                .await?;
        }
        Ok(())
    }

    /// The state; its root, and the number of the next slot.
    pub(super) async fn state(&mut self, state: &BTreeMap<StateKey, Seq>) -> Result<(Root, Slot), CommitError> {
        let mut entries = Vec::with_capacity(state.len());
        for ((key, seq), slot) in state.iter().zip(0..) {
            let slot = Slot(slot);
            entries.push((slot, *seq));
            self.put(0, |batch, room| {
                batch.put(&SLOT, &(room, &*bounded(&key.kind), &*bounded(&key.state_key)), &slot);
                batch.put(&SLOT_NAME, &(room, slot), key);
            })
            .await?;
        }
        let next = Slot(entries.last().map_or(0, |(slot, _)| slot.0.saturating_add(1)));
        let mut nodes = state::Draft::default();
        let root = state::build(&mut nodes, &Hasher::of(self.room), entries);
        for (name, node) in nodes.nodes {
            self.put(1 << 10, |batch, room| batch.put(&NODE, &(room, name), &*node)).await?;
        }
        Ok((root, next))
    }

    /// Members and servers by the state, counted in the head.
    pub(super) async fn members(
        &mut self,
        (state, events): (&BTreeMap<StateKey, Seq>, &[Judged]),
        (head, own): (&mut Head, &str),
    ) -> Result<(), CommitError> {
        let mut servers: BTreeMap<String, u32> = BTreeMap::new();
        for (key, seq) in state.iter().filter(|(key, _)| key.kind == "m.room.member") {
            let index = usize::try_from(seq.0).unwrap_or_default().saturating_sub(1);
            let Some(judged) = events.get(index) else { continue };
            let membership = membership(&judged.pdu);
            match membership {
                Membership::Join => head.joined_members = head.joined_members.saturating_add(1),
                Membership::Invite => head.invited_members = head.invited_members.saturating_add(1),
                _ => {}
            }
            if let (Membership::Join, Ok(user_id)) = (membership, <&UserId>::try_from(key.state_key.as_str())) {
                let joined = servers.entry(user_id.server_name().to_string()).or_default();
                *joined = joined.saturating_add(1);
            }
            // When it became current is not known: before everything that is.
            let row = Member { membership, seq: *seq, position: Position::ZERO };
            self.put(0, |batch, room| batch.put(&MEMBER, &(room, GENERATION, &*bounded(&key.state_key)), &row)).await?;
        }
        head.is_left = !servers.contains_key(own);
        for (server, joined_users) in servers {
            let row = RoomServer { joined_users, joined: Position::ZERO, left: RoomServer::STILL };
            self.put(0, |batch, room| {
                batch.put(&ROOM_SERVER, &(room, GENERATION, &*bounded(&server)), &row);
                batch.put(&SERVER_ROOM, &(&*bounded(&server), room), &());
            })
            .await?;
        }
        Ok(())
    }

    /// Commits what is left. Not yet synced: the commit that makes the room visible syncs all of it.
    pub(super) async fn finish(self) -> Result<(), CommitError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.commit_lazy(self.batch).await.map(drop)
    }
}

fn event_rows(batch: &mut Batch, (room, seq): (RoomNo, Seq), event: &Judged, must_be_new: bool) {
    let id = bounded(event.pdu.event_id().as_str());
    if must_be_new {
        batch.assert_absent(&EVENT_ID, &(&*id,));
    }
    batch.put(&EVENT, &(room, seq), &StoredEvent::of(&event.pdu));
    batch.put(&EVENT_ID, &(&*id,), &EventAt { room, seq });
    batch.put(&AUTH, &(room, seq), &AuthEvents(event.auth.clone()));
    let meta = EventMeta {
        status: event.status,
        root_before: Root::EMPTY,
        depth: event.pdu.depth(),
        tie: Tie::default(),
        redacted_by: None,
        local_echo: None,
        relay: false,
        partial: false,
    };
    batch.put(&EVENT_META, &(room, seq), &meta);
}
