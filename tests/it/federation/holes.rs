//! Whole servers that lack what others cite, while not all of them reach each other.

use std::time::Duration;

use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::rooms::{create, encoded, room, say, set, state};
use crate::harness::{Network, START, TestServer, TestUser, Weather};

/// Servers with a user each, on a network without losses in which some may be kept apart; all are in a room of the first one.
struct Servers {
    network: Network,
    weather: Weather,
    all: Vec<(TestServer, TestUser)>,
    room: OwnedRoomId,
}

const NAMES: [&str; 4] = ["a.b", "c.d", "e.f", "g.h"];

impl Servers {
    async fn new(count: usize, joined: usize) -> Self {
        let (network, weather) = (Network::default(), Weather::new(7));
        network.set_weather(weather.clone());
        let mut all = Vec::new();
        for (seed, name) in NAMES.iter().take(count).enumerate() {
            let toml = "[registration]\nmode = \"open\"\n[federation]\nfirst_retry = \"1s\"\nlongest_retry = \"10s\"";
            let server = TestServer::in_weather(&network, name, toml, (START, u64::try_from(seed).unwrap()));
            let user = server.register_user("user").await;
            all.push((server, user));
        }
        let room = create(&all[0].0, &all[0].1, json!({"preset": "public_chat"})).await;
        let servers = Self { network, weather, all, room };
        for at in 1..joined {
            servers.joins(at).await;
        }
        sleep(Duration::from_secs(5)).await;
        servers
    }

    async fn joins(&self, at: usize) {
        let (server, user) = &self.all[at];
        // The answer takes its time.
        let target = format!("/v3/join/{}?via=a.b", encoded(self.room.as_str()));
        let answer = server.post(&target).by(user).json(&json!({})).send_anyhow().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn post(&self, at: usize, what: &str, body: &Value) {
        let (server, user) = &self.all[at];
        let target = format!("/v3/rooms/{}/{what}", encoded(self.room.as_str()));
        server.post(&target).by(user).json(body).send().await.ok();
    }

    async fn says(&self, at: usize, text: &str) -> OwnedEventId {
        say(&self.all[at].0, &self.all[at].1, &self.room, text).await
    }

    async fn is_seen(&self, at: usize, event: &OwnedEventId) -> bool {
        let (server, user) = &self.all[at];
        let path = format!("/v3/rooms/{}/event/{}", encoded(self.room.as_str()), encoded(event.as_str()));
        server.get(&path).by(user).send().await.status == 200
    }

    fn state(&self, at: usize) -> std::collections::BTreeMap<(String, String), OwnedEventId> {
        state(&self.all[at].0, &self.room)
    }

    /// The third server leaves, the first two lose each other, the first one renames the room, the third one joins it again by
    /// the first and says something, which the second hears. What that cites the third has never seen but as a part of the state.
    async fn third_is_back_from_where_second_cannot_look(&self) -> OwnedEventId {
        self.post(2, "leave", &json!({})).await;
        sleep(Duration::from_secs(5)).await;
        self.weather.cut(NAMES[0], NAMES[1]);
        set(&self.all[0].0, &self.all[0].1, &self.room, ("m.room.name", ""), json!({"name": "new"})).await;
        sleep(Duration::from_secs(5)).await;
        self.joins(2).await;
        self.says(2, "back").await
    }
}

/// Who has joined again can't say what came before that; others of the room can, and are asked at once.
#[tokio::test(start_paused = true)]
async fn what_the_sender_of_an_event_lacks_others_are_asked_for_at_once() {
    let servers = Servers::new(4, 4).await;
    let said = servers.third_is_back_from_where_second_cannot_look().await;
    sleep(Duration::from_secs(10)).await;
    assert!(servers.is_seen(1, &said).await, "the first server is still out of reach");
    assert_eq!(servers.state(1), servers.state(0));
}

/// A state that only the sender of an event vouches for is not taken while others don't know better or can't be asked; and never
/// one with holes in it, which nothing would fill.
#[tokio::test(start_paused = true)]
async fn what_nobody_else_knows_waits_until_they_do() {
    let servers = Servers::new(3, 3).await;
    let said = servers.third_is_back_from_where_second_cannot_look().await;
    sleep(Duration::from_mins(2)).await;
    assert!(!servers.is_seen(1, &said).await);
    servers.weather.heal();
    sleep(Duration::from_mins(10)).await;
    assert!(servers.is_seen(1, &said).await);
    let state = servers.state(1);
    assert!(state.contains_key(&("m.room.name".to_owned(), String::new())));
    assert_eq!(state, servers.state(0));
}

/// What branched off just before our own join is judged by the state that we joined with: nobody's word is needed for it.
#[tokio::test(start_paused = true)]
async fn what_was_said_while_we_joined_needs_no_state() {
    let servers = Servers::new(3, 2).await;
    servers.weather.cut(NAMES[0], NAMES[1]);
    let aside = servers.says(1, "aside").await;
    servers.joins(2).await;
    servers.weather.heal();
    sleep(Duration::from_mins(3)).await;
    servers.network.sent();
    let next = servers.says(1, "next").await;
    sleep(Duration::from_secs(30)).await;
    assert!(servers.is_seen(2, &aside).await && servers.is_seen(2, &next).await);
    let asked = servers.network.sent().into_iter().filter(|line| line.contains("/state")).collect::<Vec<_>>();
    assert_eq!(asked, Vec::<String>::new());
    assert_eq!(servers.state(2), servers.state(0));
}

/// Whoever is put out while not being told what was said before hears of both.
#[tokio::test(start_paused = true)]
async fn who_is_put_out_learns_why() {
    let servers = Servers::new(3, 3).await;
    servers.weather.cut(NAMES[0], NAMES[1]);
    servers.weather.cut(NAMES[2], NAMES[1]);
    let missed = servers.says(0, "missed").await;
    let body: Value = json!({"user_id": servers.all[1].1.user_id});
    servers.post(0, "kick", &body).await;
    sleep(Duration::from_secs(60)).await;
    servers.says(0, "after").await;
    servers.weather.heal();
    sleep(Duration::from_mins(3)).await;
    assert!(room(&servers.all[1].0, &servers.room).unwrap().1.is_left);
    assert!(servers.is_seen(1, &missed).await);
}
