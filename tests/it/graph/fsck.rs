//! fsck finds what is broken.

use myelin::{
    graph::{
        RoomNo, Seq, Tie,
        keys::{
            AUTH, BY_TIME, EVENT, EVENT_ID, EVENT_META, HEAD, MEMBER, NODE, RELATION, RESOLVED, ROOM_BY_ID, ROOM_LOG,
            ROOM_ROOT, ROOM_SERVER, SERVER_ROOM, SLOT, THREAD, TIMELINE, USER_ROOM,
        },
    },
    store::{Batch, Key, KeyOf, Keyspace, Store, Value, engine::memory::Memory},
};
use ruma::RoomVersionId;
use serde_json::json;

use super::{
    rig::{ALICE, BOB, Rig, content, member, message, user},
    there::{EVE, There, joins},
};

fn problems(store: &Store) -> Vec<String> {
    let mut problems = Vec::new();
    store.read_blocking(|view| myelin::graph::fsck::check(view, &mut |problem| problems.push(problem))).unwrap();
    problems
}

/// Takes the first row of a keyspace away, looks whether that is found, and puts it back.
async fn without<K: Key + KeyOf<K>, V: Value>(store: &Store, keyspace: &Keyspace<K, V>) {
    let (key, value) = store.read_blocking(|view| view.first(&keyspace.span(&()))).unwrap().unwrap();
    let mut batch = Batch::new();
    batch.delete(keyspace, &key);
    store.commit(batch).await.unwrap();
    assert!(!problems(store).is_empty(), "a row of {} is missing", keyspace.info().name);
    let mut batch = Batch::new();
    batch.put(keyspace, &key, &value);
    store.commit(batch).await.unwrap();
    assert_eq!(problems(store), Vec::<String>::new());
}

async fn changed<K: Key + KeyOf<K>, V: Value + Clone>(
    store: &Store,
    keyspace: &Keyspace<K, V>,
    change: impl FnOnce(&mut V),
) {
    let (key, value) = store.read_blocking(|view| view.first(&keyspace.span(&()))).unwrap().unwrap();
    let mut other = value.clone();
    change(&mut other);
    let mut batch = Batch::new();
    batch.put(keyspace, &key, &other);
    store.commit(batch).await.unwrap();
    assert!(!problems(store).is_empty(), "a row of {} is changed", keyspace.info().name);
    let mut batch = Batch::new();
    batch.put(keyspace, &key, &value);
    store.commit(batch).await.unwrap();
    assert_eq!(problems(store), Vec::<String>::new());
}

async fn a_room(rig: &Rig) -> RoomNo {
    let no = rig.create(&RoomVersionId::V11, "public").await;
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    let root = rig.send(no, message(ALICE, "root")).await.unwrap();
    let relates_to = json!({"rel_type": "m.thread", "event_id": root.event_id});
    let content = content(json!({"m.relates_to": relates_to}));
    let reply = myelin::graph::Proposal::message(user(ALICE), "m.room.message", content);
    rig.send(no, reply).await.unwrap();
    no
}

#[tokio::test]
async fn a_missing_row_is_found_in_every_keyspace() {
    let rig = Rig::over(Memory::new());
    a_room(&rig).await;
    let store = &rig.store;
    without(store, &ROOM_BY_ID).await;
    without(store, &HEAD).await;
    without(store, &EVENT_META).await;
    without(store, &EVENT).await;
    without(store, &EVENT_ID).await;
    without(store, &TIMELINE).await;
    without(store, &BY_TIME).await;
    without(store, &ROOM_LOG).await;
    without(store, &MEMBER).await;
    without(store, &USER_ROOM).await;
    without(store, &ROOM_SERVER).await;
    without(store, &SERVER_ROOM).await;
    without(store, &RELATION).await;
    without(store, &THREAD).await;
    without(store, &NODE).await;
    without(store, &SLOT).await;
}

#[tokio::test]
async fn a_fork_that_is_not_resolved_is_found() {
    let rig = Rig::new();
    let no = a_room(&rig).await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let fork = there.tips();
    rig.send(no, member(ALICE, BOB, "ban")).await.unwrap();
    there.accepted(joins("@fred:there").after(&fork)).await;
    let store = &rig.store;
    without(store, &RESOLVED).await;
    changed(store, &RESOLVED, |root| *root = myelin::graph::Root::EMPTY).await;
    changed(store, &AUTH, |auth| auth.0.push(Seq(99))).await;
}

#[tokio::test]
async fn a_row_that_says_something_else_is_found() {
    let rig = Rig::over(Memory::new());
    a_room(&rig).await;
    let store = &rig.store;
    changed(store, &HEAD, |head| head.next_seq = Seq(3)).await;
    changed(store, &HEAD, |head| head.extremities.push(Seq(99))).await;
    changed(store, &HEAD, |head| head.is_left = true).await;
    changed(store, &HEAD, |head| head.max_depth = 1).await;
    changed(store, &EVENT_META, |meta| meta.tie = Tie(7)).await;
    changed(store, &TIMELINE, |seq| *seq = Seq(2)).await;
    changed(store, &MEMBER, |member| member.membership = myelin::graph::Membership::Ban).await;
    changed(store, &ROOM_SERVER, |row| row.joined_users = 1).await;
    changed(store, &USER_ROOM, |row| row.forgotten = true).await;
    let (key, root) = store.read_blocking(|view| view.first(&ROOM_ROOT.span(&()).reversed())).unwrap().unwrap();
    let mut batch = Batch::new();
    batch.delete(&ROOM_ROOT, &key);
    store.commit(batch).await.unwrap();
    assert!(problems(store).iter().any(|problem| problem.contains("not the current one")));
    let mut batch = Batch::new();
    batch.put(&ROOM_ROOT, &key, &root);
    store.commit(batch).await.unwrap();
}
