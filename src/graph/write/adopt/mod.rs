//! Adopting a room that a user of ours joined through another server.
//!
//! What the other server says is judged in memory ([`judge`]), written ahead where nobody looks ([`stage`]), and made
//! visible by one commit ([`publish`]): a server that stops in between knows nothing of the room, and throws away at its
//! next start what was written ([`sweep`]). A room that this server was in before has a place already: there the events
//! go through the room's lane, and the join takes the place of what the room was left with.

mod judge;
mod publish;
mod stage;
mod sweep;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use ruma::{OwnedEventId, RoomId};

pub(in crate::graph) use self::sweep::sweep_staged;
use self::{judge::Judged, publish::Staged, stage::Stage};
use super::{Env, Lanes};
use crate::{
    event::{Rules, Verified, version},
    graph::{
        AdoptError, Adoption, Head, MaintenanceError, Placed, Reader, Receipt, SendError, Verdict,
        cache::Cache,
        keys::{HEAD, ROOM_BY_ID, STAGED, bounded},
        rows::StagedRoom,
        types::{RoomNo, Seq, Slot},
    },
    store::{Batch, CommitError, ReadError, Store, View},
};

/// Bytes of what is read of a staged room.
const CACHE: u64 = 16 << 20;
/// Ids that are looked for at once.
const WAVE: usize = 5_000;
/// Outliers that are handed to the lane at once.
const AT_ONCE: usize = 500;
/// Tries before a conflict about a room's number is answered.
const TRIES: usize = 4;

/// The rooms that are being adopted. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::graph) struct Adopting(Arc<Mutex<BTreeSet<RoomNo>>>);

/// The turn of whoever adopts a room, until it is dropped.
pub(in crate::graph) struct Turn {
    of: Adopting,
    room: RoomNo,
}

impl Adopting {
    /// `None` while somebody else adopts it.
    fn enter(&self, room: RoomNo) -> Option<Turn> {
        self.0.lock().insert(room).then(|| Turn { of: self.clone(), room })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.0.lock().remove(&self.room);
    }
}

/// Adopts a room, or joins one again that was left.
pub(in crate::graph) async fn adopt(
    (env, store, lanes): (&Arc<Env>, &Store, &Lanes),
    adopting: &Adopting,
    adoption: Adoption,
) -> Result<Placed, AdoptError> {
    let rules = version::rules(&adoption.room_version)
        .ok_or_else(|| SendError::UnknownVersion(adoption.room_version.clone()))?;
    let no = number(env, store, adoption.join.pdu().room_id()).await?;
    let _turn = adopting.enter(no).ok_or(AdoptError::InProgress)?;
    if store.read(move |view: &View<'_>| view.has(&HEAD, &(no,))).await? {
        return join_again(lanes, no, adoption, rules).await;
    }
    sweep::sweep(store, no).await.map_err(failed)?;
    let taken = taken(env, store, no, &adoption).await?;
    let (judged, adoption) = judged(adoption, rules, taken).await?;
    let adopted = stage_and_publish((env, store), no, judged, &adoption, rules).await;
    // What this leaves the next start finds.
    let left = match &adopted {
        Ok(_) => lanes.settle_room(no).await.map_err(AdoptError::from),
        Err(_) => sweep::sweep(store, no).await.map_err(failed),
    };
    if let Err(error) = left {
        tracing::warn!(room = ?no, %error, "a join through another server is not brought to its end yet");
    }
    adopted
}

/// The number of the room; it gets one at the first contact.
async fn number(env: &Env, store: &Store, room_id: &RoomId) -> Result<RoomNo, AdoptError> {
    for _ in 0..TRIES {
        let (key, fresh) = (bounded(room_id.as_str()).into_owned(), RoomNo(env.random.u64()));
        let wanted = key.clone();
        if let Some(no) = store.read(move |view: &View<'_>| view.get(&ROOM_BY_ID, &(&*wanted,))).await? {
            return Ok(no);
        }
        let mut batch = Batch::new();
        batch.assert_absent(&ROOM_BY_ID, &(&*key,));
        batch.assert_absent(&HEAD, &(fresh,));
        batch.put(&ROOM_BY_ID, &(&*key,), &fresh);
        match store.commit(batch).await {
            Ok(_) => return Ok(fresh),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommitError::Conflict.into())
}

/// Which of the events other rooms have already.
async fn taken(
    env: &Arc<Env>,
    store: &Store,
    no: RoomNo,
    adoption: &Adoption,
) -> Result<HashSet<OwnedEventId>, ReadError> {
    let mut taken = HashSet::new();
    for wave in adoption.events.chunks(WAVE) {
        let ids: Vec<OwnedEventId> = wave.iter().map(|event| event.pdu().event_id().to_owned()).collect();
        let (reader, wanted) = (env.reader.clone(), ids.clone());
        let found = store.read(move |view: &View<'_>| reader.locate_many(view, &wanted)).await?;
        let elsewhere = ids.into_iter().zip(found).filter(|(_, at)| at.is_some_and(|at| at.room != no));
        taken.extend(elsewhere.map(|(id, _)| id));
    }
    Ok(taken)
}

/// Judges off the async threads: the auth rules for some ten thousand events take their time.
async fn judged(
    adoption: Adoption,
    rules: &'static Rules,
    taken: HashSet<OwnedEventId>,
) -> Result<(judge::Room, Adoption), AdoptError> {
    let judged = tokio::task::spawn_blocking(move || {
        let judged = judge::judge(&adoption, rules, &taken)?;
        Ok((judged, adoption))
    });
    match judged.await {
        Ok(judged) => judged,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(SendError::Stopped.into()),
        },
    }
}

async fn stage_and_publish(
    (env, store): (&Arc<Env>, &Store),
    no: RoomNo,
    room: judge::Room,
    adoption: &Adoption,
    rules: &'static Rules,
) -> Result<Placed, AdoptError> {
    let join = adoption.join.pdu().clone();
    let row = StagedRoom { room_id: join.room_id().to_string(), since: env.clock.now() };
    let mut batch = Batch::new();
    batch.assert_absent(&HEAD, &(no,));
    batch.put(&STAGED, &(no,), &row);
    // Synced before anything else is written, so that nothing is left over that no start finds.
    store.commit(batch).await?;

    let mut head = Head::new(join.room_id(), &adoption.room_version);
    head.index_generation = stage::GENERATION;
    head.next_seq = Seq(u32::try_from(room.events.len().saturating_add(1)).unwrap_or(u32::MAX));
    let mut stage = Stage::new(store, no);
    stage.events(&room.events, rules).await?;
    let (root, next_slot): (_, Slot) = stage.state(&room.state).await?;
    (head.root, head.next_slot) = (root, next_slot);
    stage.members((&room.state, &room.events), (&mut head, env.server_name.as_str())).await?;
    stage.finish().await?;

    let depth_of = |seq: &Seq| of(&room.events, *seq).map_or(0, |judged| judged.pdu.depth());
    let depth_before = room.state.values().map(depth_of).max().unwrap_or_default();
    let members = room.state.iter().filter(|(key, _)| key.kind == "m.room.member");
    let members = members.filter_map(|(key, seq)| Some((key.state_key.as_str(), of(&room.events, *seq)?, *seq)));
    let local = publish::local_users(members, env, join.state_key().unwrap_or_default());
    let depth_before = depth_before.min(join.depth().saturating_sub(1));
    let staged = Staged { room: no, row, head, join, join_auth: room.join_auth, depth_before, local };
    let env = aside(env);
    let drafted = store.read(move |view: &View<'_>| publish::draft(&env, view, &staged)).await?;
    let (placed, batch) = drafted?;
    store.commit(batch).await?;
    Ok(placed)
}

fn of(events: &[Judged], seq: Seq) -> Option<&Judged> {
    events.get(usize::try_from(seq.0).ok()?.checked_sub(1)?)
}

/// The same with a cache of its own.
fn aside(env: &Env) -> Env {
    Env {
        server_name: env.server_name.clone(),
        key: Arc::clone(&env.key),
        reader: Reader::new(Arc::new(Cache::with_capacity(CACHE))),
        clock: env.clock.clone(),
        random: env.random.clone(),
        keep_redacted: env.keep_redacted,
    }
}

/// Joins a room that this server knows. The events become outliers of it; the join goes where its previous events are, or
/// behind a gap.
async fn join_again(
    lanes: &Lanes,
    no: RoomNo,
    adoption: Adoption,
    rules: &'static Rules,
) -> Result<Placed, AdoptError> {
    let (judged, adoption) = judged(adoption, rules, HashSet::new()).await?;
    let state: BTreeSet<OwnedEventId> = judged
        .state
        .values()
        .filter_map(|seq| of(&judged.events, *seq))
        .map(|one| one.pdu.event_id().to_owned())
        .collect();
    let known: std::collections::HashMap<&ruma::EventId, &Verified> =
        adoption.events.iter().map(|event| (event.pdu().event_id(), event)).collect();
    // In the order in which they were judged: each behind those that authorise it.
    let ordered: Vec<&Verified> =
        judged.events.iter().filter_map(|one| known.get(one.pdu.event_id()).copied()).collect();
    for some in ordered.chunks(AT_ONCE) {
        let handed = some.iter().map(|event| lanes.receive(no, Receipt::from((*event).clone()), true));
        for verdict in join_all(handed).await {
            if let Verdict::Needs(needs) = verdict? {
                tracing::debug!(room = ?no, ?needs, "an event of a room that is joined again was left out");
            }
        }
    }
    let mut receipt = Receipt::from(adoption.join);
    receipt.state_before = Some(state.into_iter().collect());
    receipt.begins_anew = true;
    match lanes.receive(no, receipt, false).await? {
        Verdict::Accepted(placed) | Verdict::Duplicate(placed) => Ok(placed),
        Verdict::Rejected(error) => Err(AdoptError::NotAllowed(error)),
        Verdict::SoftFailed(_) => {
            Err(AdoptError::NotAllowed(crate::event::auth::AuthError("the current state forbids it".to_owned())))
        }
        Verdict::Needs(_) => Err(AdoptError::NoState),
    }
}

fn failed(error: MaintenanceError) -> AdoptError {
    match error {
        MaintenanceError::Read(error) => error.into(),
        MaintenanceError::Commit(error) => error.into(),
        MaintenanceError::Room(error) => error.into(),
    }
}
