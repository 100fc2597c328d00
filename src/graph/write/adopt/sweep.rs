//! Throwing away what was staged of a room that was not adopted in the end.

use super::Adopting;
use crate::{
    graph::{
        keys::{
            AUTH, EVENT, EVENT_ID, EVENT_META, HEAD, MEMBER, NODE, ROOM_SERVER, SERVER_ROOM, SLOT, SLOT_NAME, STAGED,
            bounded,
        },
        maintenance::MaintenanceError,
        types::RoomNo,
    },
    store::{Batch, Key, KeyOf, Keyspace, PrefixOf, Store, Value, View},
};

/// Rows that are thrown away in one commit.
const STEP: usize = 1_000;

/// Throws away what is staged and not being worked on: what a server that stopped in the middle has left.
pub(in crate::graph) async fn sweep_staged(store: &Store, adopting: &Adopting) -> Result<(), MaintenanceError> {
    let staged = store.read(|view: &View<'_>| view.scan(&STAGED.span(&()), STEP)).await?;
    for ((room,), _) in staged.rows {
        // Whoever adopts it at the moment sweeps by themselves.
        let Some(_turn) = adopting.enter(room) else { continue };
        sweep(store, room).await?;
    }
    Ok(())
}

/// Throws away what is staged of this room. The caller has its turn.
pub(super) async fn sweep(store: &Store, room: RoomNo) -> Result<(), MaintenanceError> {
    let is_staged = store.read(move |view: &View<'_>| view.has(&STAGED, &(room,))).await?;
    if !is_staged {
        return Ok(());
    }
    clear(store, room, &EVENT, |batch, (room, seq), event| {
        batch.delete(&EVENT_ID, &(&*bounded(event.event_id.as_str()),));
        batch.delete(&EVENT_META, &(*room, *seq));
        batch.delete(&AUTH, &(*room, *seq));
    })
    .await?;
    clear(store, room, &SLOT, |batch, (room, ..), slot| batch.delete(&SLOT_NAME, &(*room, *slot))).await?;
    clear(store, room, &NODE, |_, _, _| {}).await?;
    clear(store, room, &MEMBER, |_, _, _| {}).await?;
    clear(store, room, &ROOM_SERVER, |batch, (room, _, server), _| {
        batch.delete(&SERVER_ROOM, &(server.as_str(), *room));
    })
    .await?;
    let mut batch = Batch::new();
    batch.assert_absent(&HEAD, &(room,));
    batch.delete(&STAGED, &(room,));
    store.commit(batch).await?;
    Ok(())
}

/// Deletes all rows of a room in a keyspace, and with each what `also` says.
async fn clear<K, V>(
    store: &Store,
    room: RoomNo,
    keyspace: &'static Keyspace<K, V>,
    also: impl Fn(&mut Batch, &K, &V),
) -> Result<(), MaintenanceError>
where
    K: Key + KeyOf<K> + Clone + Send + 'static,
    V: Value + Clone + Send + 'static,
    (RoomNo,): PrefixOf<K>,
{
    loop {
        let page = store.read(move |view: &View<'_>| view.scan(&keyspace.span(&(room,)), STEP)).await?;
        let mut batch = Batch::new();
        // Once the room is there nothing of it is left over.
        batch.assert_absent(&HEAD, &(room,));
        for (key, value) in &page.rows {
            batch.delete(keyspace, key);
            also(&mut batch, key, value);
        }
        store.commit_lazy(batch).await?;
        if !page.more {
            return Ok(());
        }
    }
}
