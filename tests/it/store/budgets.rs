//! How many waves of reads the hot endpoints may cost, whatever the size of what they read: an engine across a network
//! would pay a round trip for each. Held here so that a loop of reads does not slip in unseen.

use myelin::store::{Batch, Position, ReadError, Store, engine::memory::Memory};
use serde_json::json;

use super::{EVENTS, NUMBERS};
use crate::{
    harness::{TestServer, TestUser},
    sync::{create_room, join, public_room, say, since, sync},
};

#[tokio::test]
async fn a_wave_is_what_is_asked_at_once() {
    let memory = Memory::new();
    let store = Store::open(memory.clone());
    let mut batch = Batch::new();
    for number in 0..50 {
        batch.put(&NUMBERS, &(number, "n"), &number);
    }
    batch.assert_absent(&NUMBERS, &(1, "n"));
    store.commit(batch).await.unwrap();
    assert_eq!(memory.waves(), 0, "the lane's own questions are no reader's");
    let keys = || (0..50).map(|number| (number, "n"));
    let cost = |read: &dyn Fn(&myelin::store::View<'_>) -> Result<(), ReadError>| {
        let before = memory.waves();
        store.read_blocking(read).unwrap();
        memory.waves() - before
    };
    assert_eq!(cost(&|view| view.get(&NUMBERS, &(1, "n")).map(drop)), 1);
    assert_eq!(cost(&|view| view.has(&NUMBERS, &(1, "n")).map(drop)), 1);
    assert_eq!(cost(&|view| view.multi_get(&NUMBERS, keys()).map(drop)), 1);
    assert_eq!(cost(&|view| view.scan(&EVENTS.span(&()), 10).map(drop)), 1);
    assert_eq!(cost(&|view| view.first(&EVENTS.span(&())).map(drop)), 1);
    assert_eq!(cost(&|view| view.multi_scan(&[EVENTS.span(&()), EVENTS.span(&())], 10).map(drop)), 1);
    assert_eq!(cost(&|view| keys().try_for_each(|key| view.get(&NUMBERS, &key).map(drop))), 50);
    assert_eq!(cost(&|view| view.multi_get(&NUMBERS, [(0, "n"); 0]).map(drop)), 0, "nothing is asked");
    assert_eq!(cost(&|view| view.multi_scan::<(Position,), String>(&[], 10).map(drop)), 0);
}

/// A server with a room of `members` users beside its creator, and `rooms` further rooms of the creator; it talks with other
/// servers, or not.
async fn house(members: usize, rooms: usize, federates: bool) -> (TestServer, TestUser, String) {
    let config = format!("[federation]\nenabled = {federates}\n[registration]\nmode = \"open\"\n");
    let server = TestServer::configured(&config);
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    for number in 0..members {
        let user = server.register_user(&format!("user{number}")).await;
        join(&server, &user, &room).await;
    }
    for _ in 0..rooms {
        create_room(&server, &alice, json!({})).await;
    }
    (server, alice, room)
}

#[tokio::test]
async fn endpoints_keep_to_their_budgets() {
    for (members, rooms) in [(1, 1), (10, 1), (1, 40)] {
        let (server, alice, room) = house(members, rooms, false).await;
        say(&server, &alice, &room, "warm").await;
        let before = server.waves();
        say(&server, &alice, &room, "hello").await;
        let sent = server.waves() - before;
        let before = server.waves();
        let synced = sync(&server, &alice, "").await;
        let initial = server.waves() - before;
        let before = server.waves();
        sync(&server, &alice, "").await;
        let again = server.waves() - before;
        say(&server, &alice, &room, "news").await;
        let before = server.waves();
        since(&server, &alice, &synced).await;
        let incremental = server.waves() - before;
        let before = server.waves();
        since(&server, &alice, &synced).await;
        let shared = server.waves() - before;

        let whole = format!("{members} members and {rooms} more rooms");
        assert!(sent <= 5, "a send with {whole}: {sent} waves");
        assert!(incremental <= 11, "an incremental sync with {whole}: {incremental} waves");
        assert!(shared <= 6, "an incremental sync of what somebody has fetched, with {whole}: {shared} waves");
        let most = 12 + 20 * (rooms as u64 + 1) + members as u64;
        assert!(initial <= most, "an initial sync with {whole}: {initial} waves");
        let most = 12 + 3 * (rooms as u64 + 1);
        assert!(again <= most, "an initial sync of what somebody has fetched, with {whole}: {again} waves");
    }
}

/// Whether other servers must hear of an event is looked up once for a room, not for each event.
#[tokio::test]
async fn events_of_a_room_without_other_servers_cost_no_reads_more() {
    let mut costs = Vec::new();
    for federates in [false, true] {
        let (server, alice, room) = house(10, 1, federates).await;
        say(&server, &alice, &room, "warm").await;
        let is_behind = || federates && server.app().sender.numbers().behind > 0;
        while is_behind() {
            tokio::task::yield_now().await;
        }
        let before = server.waves();
        for number in 0..10 {
            say(&server, &alice, &room, &format!("event {number}")).await;
        }
        while is_behind() {
            tokio::task::yield_now().await;
        }
        costs.push(server.waves() - before);
    }
    assert_eq!(costs[0], costs[1]);
}
