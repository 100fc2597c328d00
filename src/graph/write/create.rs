//! New rooms: all events of a createRoom are one commit.

use std::sync::Arc;

use ruma::{RoomId, RoomVersionId};

use super::{
    Env, MOST_EVENTS,
    build::{found, place_create},
    commit,
    draft::Draft,
    room::Room,
};
use crate::{
    event::version,
    graph::{
        CreateError, Created, Head, Placed, Proposal, RoomNo, SendError,
        keys::{ROOM_BY_ID, bounded},
    },
    store::{Batch, CommitError, ReadError, Store, View},
};

/// Tries before a conflict is answered: of a random number, or with what rides along.
const TRIES: usize = 4;
/// Ms by which a create event is dated back so that it is not the same as another.
const SPREAD: u64 = 10_000;

/// Creates a room of these events, the first of which is `m.room.create`.
pub(in crate::graph) async fn create(
    env: &Arc<Env>,
    store: &Store,
    room_version: RoomVersionId,
    proposals: Vec<Proposal>,
) -> Result<Created, CreateError> {
    let whole = |error: SendError| CreateError { index: 0, error };
    let mut proposals = Arc::new(proposals);
    let mut tries = 0;
    loop {
        tries += 1;
        let (shared, version, events) = (Arc::clone(env), room_version.clone(), Arc::clone(&proposals));
        let drafted = store.read(move |view| draft_room(&shared, view, &version, &events)).await;
        let (created, batch) = drafted.map_err(|error| whole(error.into()))??;
        match store.commit(batch).await {
            Ok(_) => return Ok(created),
            Err(CommitError::Conflict) if tries < TRIES => {
                // From version 12 on the id is the create event's hash: two alike, of one user in one millisecond, are one.
                if let Some(create) = Arc::make_mut(&mut proposals).first_mut() {
                    create.origin_server_ts = Some(env.clock.now().saturating_sub(env.random.u64() % SPREAD));
                }
            }
            Err(error) => return Err(whole(error.into())),
        }
    }
}

type Drafted = Result<(Created, Batch), CreateError>;

fn draft_room(
    env: &Env,
    view: &View<'_>,
    room_version: &RoomVersionId,
    proposals: &[Proposal],
) -> Result<Drafted, ReadError> {
    match try_draft_room(env, view, room_version, proposals) {
        Err(CreateError { error: SendError::Read(error), .. }) => Err(error),
        other => Ok(other),
    }
}

fn try_draft_room(env: &Env, view: &View<'_>, room_version: &RoomVersionId, proposals: &[Proposal]) -> Drafted {
    let at = |index: usize| move |error: SendError| CreateError { index, error };
    let Some((first, others)) = proposals.split_first() else { return Err(at(0)(SendError::Count)) };
    if proposals.len() > MOST_EVENTS || first.kind != "m.room.create" {
        return Err(at(0)(SendError::Count));
    }
    let rules = version::rules(room_version).ok_or_else(|| at(0)(SendError::UnknownVersion(room_version.clone())))?;
    let room_id = if version::room_id_is_create_id(rules) {
        None
    } else {
        // INVARIANT: letters and digits before a valid server name are a room id.
        RoomId::parse(format!("!{}:{}", env.random.alphanumeric(18), env.server_name)).ok()
    };
    let create = found(env, first, room_version, room_id, rules).map_err(at(0))?;
    let room_id = create.room_id().to_owned();
    let no = RoomNo(env.random.u64());
    let room = Room::empty(no, Head::new(&room_id, room_version)).map_err(at(0))?;
    let mut draft = Draft::new(env, view, &room);
    let mut events: Vec<Placed> = vec![place_create(&mut draft, first, create).map_err(at(0))?];
    for (index, proposal) in others.iter().enumerate() {
        events.push(draft.propose(proposal).map_err(at(index + 1))?);
    }
    let (batch, _) = commit::rows(&mut draft);
    let mut batch = batch.unwrap_or_default();
    batch.assert_absent(&ROOM_BY_ID, &(&*bounded(room_id.as_str()),));
    batch.put(&ROOM_BY_ID, &(&*bounded(room_id.as_str()),), &no);
    for (index, (proposal, placed)) in proposals.iter().zip(&events).enumerate() {
        let Some(rider) = &proposal.rider else { continue };
        let before = batch.asserted();
        rider(placed, &mut batch);
        if !view.holds(&batch.claims_after(before)).map_err(|error| at(index)(error.into()))? {
            return Err(at(index)(SendError::Rider));
        }
    }
    Ok((Created { room: no, room_id, events }, batch))
}
