//! Rooms of every version: created, talked in, joined, left, and what the auth rules forbid.

use myelin::graph::{CreateError, Membership, Place, SendError, Status, log::Stream};
use ruma::{RoomVersionId, server_name};
use serde_json::json;

use super::rig::{ALICE, BOB, CAROL, Rig, member, message, room, state, user, versions};

#[tokio::test]
async fn a_room_is_one_commit_in_every_version() {
    for version in versions() {
        let rig = Rig::new();
        let no = rig.create(&version, "public").await;
        assert_eq!(rig.commits(), 1, "{version}");
        let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
        assert_eq!(head.room_version, version);
        assert_eq!(head.extremities.len(), 1);
        assert!(!head.is_left);
        assert_eq!(rig.membership(no, ALICE), Some(Membership::Join));
        let arrived = rig.arrived(no);
        assert_eq!(arrived.len(), 5);
        assert!(arrived.iter().all(|event| event.meta.status == Status::Accepted && event.meta.relay));
        let depths: Vec<u64> = arrived.iter().map(|event| event.meta.depth).collect();
        assert_eq!(depths, [1, 2, 3, 4, 5]);
        let create = rig.state_content(no, "m.room.create", "").unwrap();
        assert_eq!(create["room_version"], version.as_str());
        assert_eq!(rig.graph.room_no(&head.room_id).await.unwrap(), Some(no));
        if version == RoomVersionId::V12 {
            assert_eq!(head.room_id.as_str()[1..], arrived[0].event_id.as_str()[1..]);
        }
    }
}

#[tokio::test]
async fn people_join_talk_and_leave_in_every_version() {
    for version in versions() {
        let rig = Rig::new();
        let no = rig.create(&version, "invite").await;
        let refused = rig.send(no, member(BOB, BOB, "join")).await;
        assert!(matches!(refused, Err(SendError::NotAllowed(_))), "{version}: {refused:?}");
        rig.send(no, member(ALICE, BOB, "invite")).await.unwrap();
        assert_eq!(rig.membership(no, BOB), Some(Membership::Invite));
        rig.send(no, member(BOB, BOB, "join")).await.unwrap();
        let sent = rig.send(no, message(BOB, "hello")).await.unwrap();
        let event = rig.event(&sent.event_id);
        assert_eq!((event.room, event.seq, event.kind.as_str()), (no, sent.seq, "m.room.message"));
        rig.send(no, member(ALICE, BOB, "leave")).await.unwrap();
        assert_eq!(rig.membership(no, BOB), Some(Membership::Leave));
        let refused = rig.send(no, message(BOB, "still here?")).await;
        assert!(matches!(refused, Err(SendError::NotAllowed(_))), "{version}: {refused:?}");
        rig.send(no, member(ALICE, BOB, "ban")).await.unwrap();
        let refused = rig.send(no, member(ALICE, BOB, "invite")).await;
        assert!(matches!(refused, Err(SendError::NotAllowed(_))), "{version}: {refused:?}");
        rig.send(no, member(ALICE, BOB, "leave")).await.unwrap();
        let refused = rig.send(no, member(BOB, CAROL, "ban")).await;
        assert!(matches!(refused, Err(SendError::NotAllowed(_))), "{version}: {refused:?}");
    }
}

#[tokio::test]
async fn a_room_that_breaks_a_rule_is_not_made_at_all() {
    let rig = Rig::new();
    let mut events = room(ALICE, "public", &RoomVersionId::V10);
    events.push(state(BOB, "m.room.name", "", json!({"name": "mine"})));
    let refused = rig.try_create(&RoomVersionId::V10, events).await;
    assert!(matches!(refused, Err(CreateError { index: 5, error: SendError::NotAllowed(_) })), "{refused:?}");
    assert_eq!(rig.commits(), 0);

    let late = vec![member(ALICE, ALICE, "join"), state(ALICE, "m.room.create", "", json!({}))];
    assert!(rig.try_create(&RoomVersionId::V11, late).await.is_err());
    let unknown = RoomVersionId::try_from("org.example").unwrap();
    let refused = rig.try_create(&unknown, room(ALICE, "public", &RoomVersionId::V11)).await;
    assert!(matches!(refused, Err(CreateError { error: SendError::UnknownVersion(_), .. })));
    let elsewhere = rig.try_create(&RoomVersionId::V11, room("@eve:there", "public", &RoomVersionId::V11)).await;
    assert!(elsewhere.is_err(), "a user of another server cannot make a room here");
}

#[tokio::test]
async fn the_indexes_follow_the_state() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    let reader = rig.graph.reader().clone();
    let servers = rig.read(|view| reader.servers(view, no));
    assert_eq!(servers.len(), 1);
    assert_eq!((servers[0].0.as_str(), servers[0].1.joined_users), ("here", 2));
    let before = rig.root(no);
    rig.send(no, member(BOB, BOB, "leave")).await.unwrap();
    let row = rig.read(|view| reader.user_room(view, &user(BOB), no)).unwrap();
    assert_eq!(row.membership, Membership::Leave);
    assert_eq!(row.left_root, Some(rig.root(no)));
    let changes = rig.read(|view| reader.changes(view, no, before, rig.root(no)));
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].key.state_key, BOB);
    assert_eq!(rig.read(|view| reader.root_at(view, no, view.horizon())), rig.root(no));

    rig.send(no, member(ALICE, ALICE, "leave")).await.unwrap();
    let head = rig.read(|view| reader.head(view, no)).unwrap();
    assert!(head.is_left);
    let rooms = rig.read(|view| reader.server_rooms(view, server_name!("here"), (None, 10))).rows;
    let servers = rig.read(|view| reader.servers(view, no));
    assert_eq!(rooms, [(no, servers[0].1)], "a room that was left stays listed");
    assert_eq!((servers[0].1.joined_users, servers[0].1.left), (0, head.last_position));
}

#[tokio::test]
async fn everybody_is_told_of_what_was_committed() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V12, "public").await;
    rig.touches.lock().clear();
    let placed = rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    let touches = rig.touches.lock().clone();
    let streams: Vec<Stream> = touches.iter().map(|touch| touch.entry.stream).collect();
    assert_eq!(streams, [Stream::Room, Stream::Membership]);
    let delivery = touches[0].delivery.as_ref().unwrap();
    assert_eq!((delivery.seq, delivery.room), (placed.seq, no));
    assert_eq!(delivery.meta.position(), touches[0].position);
    assert_eq!(delivery.root_after, rig.root(no));
    assert_eq!(delivery.change.as_ref().unwrap().key.state_key, BOB);
    let stored = rig.event(&placed.event_id);
    assert_eq!(stored.meta, delivery.meta);
    assert_eq!(rig.graph.ring().since(myelin::store::Position::ZERO).unwrap().len(), 8);
}

#[tokio::test]
async fn both_orders_agree_in_a_room_without_forks() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V10, "public").await;
    for number in 0..20 {
        rig.send(no, message(ALICE, &number.to_string())).await.unwrap();
    }
    let reader = rig.graph.reader().clone();
    let page = rig.read(|view| reader.timeline(view, no, None, myelin::graph::Direction::Backward, 10));
    assert!(page.more);
    let next: Place = page.rows.last().unwrap().0;
    let rest = rig.read(|view| reader.timeline(view, no, Some(next), myelin::graph::Direction::Backward, 100));
    let seqs: Vec<u32> = page.rows.iter().chain(&rest.rows).map(|(_, seq)| seq.0).collect();
    assert_eq!(seqs, (1..=25).rev().collect::<Vec<_>>());
    assert_eq!(rig.arrived(no).len(), 25);
}

#[tokio::test]
async fn what_is_too_large_or_odd_is_refused_and_changes_nothing() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    let long = "x".repeat(70_000);
    for proposal in [
        message(ALICE, &long),
        state(ALICE, &"t".repeat(256), "", json!({})),
        state(ALICE, "m.room.member", BOB, json!({"membership": "dancing"})),
        state(ALICE, "m.room.member", "no user", json!({"membership": "invite"})),
        state(ALICE, "m.room.create", "", json!({})),
        message("@eve:there", "spoofed"),
    ] {
        let refused = rig.send(no, proposal.clone()).await;
        assert!(refused.is_err(), "{proposal:?}: {refused:?}");
    }
    assert_eq!(rig.read(|view| rig.graph.reader().head(view, no)).unwrap(), head);
    assert!(matches!(rig.graph.send(no, Vec::new()).await, Err(SendError::Count)));
    let many = (0..51).map(|number| message(ALICE, &number.to_string())).collect();
    assert!(matches!(rig.graph.send(no, many).await, Err(SendError::Count)));
    let nowhere = rig.send(myelin::graph::RoomNo(7), message(ALICE, "hello")).await;
    assert!(matches!(nowhere, Err(SendError::UnknownRoom)));
}

#[tokio::test]
async fn several_events_go_together_or_not_at_all() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let commits = rig.commits();
    let placed = rig.graph.send(no, vec![message(ALICE, "1"), message(ALICE, "2")]).await.unwrap();
    assert_eq!(placed.len(), 2);
    assert_eq!(rig.commits(), commits + 1);
    let count = rig.arrived(no).len();
    let refused = rig.graph.send(no, vec![message(ALICE, "3"), message(BOB, "not here")]).await;
    assert!(matches!(refused, Err(SendError::NotAllowed(_))));
    assert_eq!(rig.arrived(no).len(), count);
}

#[tokio::test]
async fn a_room_that_was_left_can_be_forgotten_and_comes_back() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    assert!(!forget(&rig, no, BOB).await, "a room that one is in cannot be forgotten");
    rig.send(no, member(BOB, BOB, "leave")).await.unwrap();
    assert!(forget(&rig, no, BOB).await);
    assert!(forget(&rig, no, BOB).await, "again changes nothing");
    let row = |rig: &Rig| rig.read(|view| rig.graph.reader().user_room(view, &user(BOB), no)).unwrap();
    assert!(row(&rig).forgotten);
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    assert!(!row(&rig).forgotten);
}

async fn forget(rig: &Rig, no: myelin::graph::RoomNo, id: &str) -> bool {
    let mut batch = myelin::store::Batch::new();
    let may = rig.read(|view| myelin::graph::forget(view, no, &user(id), &mut batch));
    rig.store.commit(batch).await.unwrap();
    may
}
