//! The lane: what waits goes together, who fails is answered alone, and nothing is done twice.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use futures_util::future::join_all;
use myelin::{
    graph::{Membership, Placed, Proposal, RoomNo, SendError, log},
    store::{
        Batch, CommitError, Engine, EngineError, Family, Keyspace, Position, ReadTier,
        engine::{Durability, Operation, Snapshot, memory::Memory},
    },
};
use parking_lot::{Condvar, Mutex};
use ruma::RoomVersionId;

use super::rig::{ALICE, BOB, Rig, member, message, user};

/// A keyspace as a caller's transaction ids would be.
const TXN: Keyspace<(String,), String> = Keyspace::new(Family::Hot, 0x7F, "test_txn", "transaction → event id");

fn with_txn(proposal: Proposal, txn: &str) -> Proposal {
    let txn = txn.to_owned();
    proposal.with_rider(move |placed: &Placed, batch: &mut Batch| {
        batch.assert_absent(&TXN, &(&*txn,));
        batch.put(&TXN, &(&*txn,), &placed.event_id.to_string());
    })
}

async fn is_pending(mut future: Pin<&mut impl Future>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn what_waits_shares_a_commit() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let before = rig.commits();
    let sends = (0..120).map(|number| rig.send(no, message(ALICE, &number.to_string())));
    let placed = join_all(sends).await;
    assert!(placed.iter().all(Result::is_ok));
    assert_eq!(rig.commits() - before, 3, "120 events, at most 50 a commit");
    assert_eq!(rig.arrived(no).len(), 125);
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    assert_eq!(head.extremities.len(), 1);
    assert_eq!(rig.graph.lane_depth(), (0, 0), "an idle lane is gone");
}

#[tokio::test]
async fn one_that_fails_spoils_nothing_for_its_neighbours() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let before = rig.commits();
    let both = vec![message(ALICE, "first of two"), message(BOB, "second of two")];
    let (one, two, three) =
        tokio::join!(rig.send(no, message(ALICE, "1")), rig.graph.send(no, both), rig.send(no, message(ALICE, "2")));
    assert!(one.is_ok() && three.is_ok());
    assert!(matches!(two, Err(SendError::NotAllowed(_))));
    assert_eq!(rig.commits() - before, 1);
    assert_eq!(rig.arrived(no).len(), 7);
}

#[tokio::test]
async fn a_send_builds_on_the_one_before_it() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let before = rig.commits();
    let (refused, joined, said, left, gone) = tokio::join!(
        rig.send(no, message(BOB, "too early")),
        rig.send(no, member(BOB, BOB, "join")),
        rig.send(no, message(BOB, "hello")),
        rig.send(no, member(BOB, BOB, "leave")),
        rig.send(no, message(BOB, "too late")),
    );
    assert!(joined.is_ok() && said.is_ok() && left.is_ok());
    assert!(refused.is_err() && gone.is_err());
    assert_eq!(rig.commits() - before, 1);
    let row = rig.read(|view| rig.graph.reader().user_room(view, &user(BOB), no)).unwrap();
    assert!(row.was_joined && row.left_root == Some(rig.root(no)));
}

#[tokio::test]
async fn a_transaction_id_is_used_once_however_many_try() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let sends = (0..10).map(|_| rig.send(no, with_txn(message(ALICE, "once"), "t1")));
    let others = (0..10).map(|number| rig.send(no, with_txn(message(ALICE, "other"), &format!("o{number}"))));
    let (sent, others) = tokio::join!(join_all(sends), join_all(others));
    assert_eq!(sent.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(sent.iter().all(|answer| answer.is_ok() || matches!(answer, Err(SendError::Rider))));
    assert!(others.iter().all(Result::is_ok));
    let again = rig.send(no, with_txn(message(ALICE, "once"), "t1")).await;
    assert!(matches!(again, Err(SendError::Rider)));
    assert_eq!(rig.arrived(no).len(), 5 + 1 + 10);
    let bound = rig.read(|view| view.get(&TXN, &("t1",))).unwrap();
    let placed = sent.into_iter().find_map(Result::ok).unwrap();
    assert_eq!(bound, placed.event_id.to_string());
}

#[tokio::test]
async fn a_conflict_is_read_again_and_built_again() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    rig.send(no, message(ALICE, "the lane is warm")).await.unwrap();
    // Another process: a second graph over the same store, whose lane knows nothing of the first's.
    let other = rig.beside();
    for number in 0..5 {
        rig.send(no, message(ALICE, &format!("here {number}"))).await.unwrap();
        other.send(no, message(ALICE, &format!("there {number}"))).await.unwrap();
    }
    let (here, there) = tokio::join!(
        join_all((0..60).map(|number| rig.send(no, message(ALICE, &format!("here again {number}"))))),
        join_all((0..60).map(|number| other.send(no, message(ALICE, &format!("there again {number}"))))),
    );
    assert!(here.iter().chain(&there).all(Result::is_ok));
    assert_eq!(rig.arrived(no).len(), 5 + 1 + 10 + 120);
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    assert_eq!((head.extremities.len(), head.next_seq.0), (1, 137));
}

#[tokio::test]
async fn a_caller_who_goes_away_tears_nothing() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    {
        let mut send = std::pin::pin!(rig.send(no, message(ALICE, "said and gone")));
        assert!(is_pending(send.as_mut()).await);
    }
    rig.send(no, message(ALICE, "and on")).await.unwrap();
    let bodies: Vec<_> = rig.arrived(no).into_iter().skip(5).map(|event| event.body.kind).collect();
    assert_eq!(bodies.len(), 2);
}

#[tokio::test]
async fn a_rider_that_breaks_later_is_found_out() {
    let rig = Arc::new(Rig::new());
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let mut batch = Batch::new();
    batch.put(&TXN, &("taken",), &"by somebody else".to_owned());
    log::record(&mut batch, log::Entry::user(log::Stream::Token, &user(ALICE)));
    let (_, committed) = tokio::join!(rig.send(no, with_txn(message(ALICE, "late"), "taken")), rig.store.commit(batch));
    committed.unwrap();
    let again = rig.send(no, with_txn(message(ALICE, "late"), "taken")).await;
    assert!(matches!(again, Err(SendError::Rider)));
}

#[tokio::test]
async fn a_commit_that_is_too_large_goes_in_parts() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let long = "x".repeat(60_000);
    let sends = (0..50).map(|_| rig.send(no, message(ALICE, &long)));
    let sent = join_all(sends).await;
    assert!(sent.iter().all(Result::is_ok), "{:?}", sent.iter().find(|answer| answer.is_err()));
    assert!(!matches!(
        rig.send(RoomNo(1), message(ALICE, "x")).await,
        Err(SendError::Commit(CommitError::TooLarge(_)))
    ));
}

#[tokio::test]
async fn a_change_of_what_is_no_more_is_not_sent_even_when_both_are_gathered() {
    let rig = Rig::new();
    let room = rig.create(&RoomVersionId::V11, "public").await;
    let joined = rig.send(room, member(BOB, BOB, "join")).await.unwrap();
    // Both wait for the room together: the leave is in the draft when the other is built.
    let leave = rig.send(room, member(BOB, BOB, "leave"));
    let rename = rig.send(room, member(BOB, BOB, "join").replacing(joined.seq));
    let (left, renamed) = tokio::join!(leave, rename);
    left.unwrap();
    assert_eq!(renamed, Err(SendError::Rider));
    assert_eq!(rig.membership(room, BOB), Some(Membership::Leave));
    let again = rig.send(room, member(BOB, BOB, "join")).await.unwrap();
    rig.send(room, member(BOB, BOB, "join").replacing(again.seq)).await.unwrap();
}

/// An engine whose writes wait until the test lets them through.
#[derive(Clone, Default)]
struct Gated {
    memory: Memory,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Gated {
    fn set(&self, open: bool) {
        *self.gate.0.lock() = open;
        self.gate.1.notify_all();
    }
}

impl Engine for Gated {
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        self.memory.snapshot(tier, read);
    }

    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        let mut open = self.gate.0.lock();
        while !*open {
            self.gate.1.wait(&mut open);
        }
        self.memory.write(operations, durability, last)
    }

    fn acknowledged(&self) -> Position {
        self.memory.acknowledged()
    }
}

#[tokio::test]
async fn while_a_commit_is_being_synced_the_next_one_gathers() {
    let engine = Gated::default();
    engine.set(true);
    let rig = Rig::threaded(engine.clone());
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let before = rig.commits();
    engine.set(false);
    let first = rig.send(no, message(ALICE, "first"));
    let others = join_all((0..30).map(|number| rig.send(no, message(ALICE, &number.to_string()))));
    let (mut first, mut others) = (std::pin::pin!(first), std::pin::pin!(others));
    assert!(is_pending(first.as_mut()).await);
    // The lane runs, and waits for the disk with the first event.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(is_pending(others.as_mut()).await);
    engine.set(true);
    first.await.unwrap();
    assert!(others.await.iter().all(Result::is_ok));
    assert_eq!(rig.commits() - before, 2, "thirty events shared the second commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_and_rooms_at_once() {
    let rig = Arc::new(Rig::threaded(Memory::new()));
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(rig.create(&RoomVersionId::V11, "public").await);
    }
    let tasks = (0..8).map(|task: usize| {
        let (rig, rooms) = (Arc::clone(&rig), rooms.clone());
        tokio::task::spawn(async move {
            for number in 0..25 {
                let no = rooms[(task + number) % rooms.len()];
                rig.send(no, message(ALICE, &format!("{task} {number}"))).await.unwrap();
            }
        })
    });
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    let heads = rig.read(|view| rig.graph.reader().heads(view, &rooms));
    let sum: usize = rooms.iter().map(|no| rig.arrived(*no).len()).sum();
    assert_eq!(sum, 3 * 5 + 200);
    assert!(heads.into_iter().flatten().all(|head| head.extremities.len() == 1));
}
