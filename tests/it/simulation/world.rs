//! A schedule: servers, their users, what they do and what happens to them.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Seen, agreement, dump, liar::Liar};
use crate::harness::{Dice, Network, START, TestServer, TestUser, Weather, client_path};

const TOML: &str = "[registration]\nmode = \"open\"\n[federation]\nfirst_retry = \"1s\"\nlongest_retry = \"30s\"\n\
                    trusted_notaries = [\"s0.sim\", \"s1.sim\", \"s2.sim\"]";
/// Rounds in which something is done.
const ROUNDS: usize = 14;
/// In one of so many schedules a server lies.
const LIARS: u64 = 3;
/// How long all reach each other in the end before they are compared: longer than any pause between two tries.
const HEALING: Duration = Duration::from_mins(15);

/// How often it is looked, every ten minutes, whether what waits was given up.
const MOST_SETTLING: usize = 100;

/// A user of a server.
#[derive(Clone)]
pub struct Actor {
    pub server: usize,
    pub user: TestUser,
}

/// A room, and what was acknowledged in it: by which server, which event.
#[derive(Default)]
pub struct SharedRoom {
    pub id: String,
    pub acknowledged: Vec<(usize, String)>,
}

pub struct World {
    dice: Dice,
    network: Network,
    weather: Weather,
    names: Vec<String>,
    pub servers: Vec<TestServer>,
    actors: Vec<Actor>,
    pub room: SharedRoom,
    seen: Seen,
    transactions: u64,
    /// Which of the servers lies.
    liar: Option<(usize, Liar)>,
}

/// What somebody does.
struct Deed {
    actor: Actor,
    method: Method,
    target: String,
    body: Value,
    is_join: bool,
}

impl World {
    /// Plays the schedule of a seed to its end.
    pub async fn play(seed: u64) -> Seen {
        let mut world = Self::begin(seed).await;
        for _ in 0..ROUNDS {
            world.change_weather().await;
            world.do_something().await;
            sleep(world.dice.millis(4_000)).await;
        }
        world.end().await
    }

    async fn begin(seed: u64) -> Self {
        let (dice, network, weather) = (Dice::new(seed), Network::default(), Weather::new(!seed));
        network.set_weather(weather.clone());
        let count = 3 + dice.below(3);
        let names: Vec<String> = (0..count).map(|number| format!("s{number}.sim")).collect();
        let skewed = |dice: &Dice| START + dice.u64() % 600_000;
        let server = |name: &String| TestServer::in_weather(&network, name, TOML, (skewed(&dice), dice.u64()));
        let servers: Vec<TestServer> = names.iter().map(server).collect();
        let mut actors = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            for number in 0..1 + dice.below(2) {
                actors.push(Actor { server: index, user: server.register_user(&format!("u{number}")).await });
            }
        }
        let (room, seen) = (SharedRoom::default(), Seen::default());
        let chance = Dice::new(seed.rotate_left(32));
        let at = 1 + chance.below(count - 1);
        let liar = (seed % LIARS == LIARS - 1).then(|| (at, Liar::new(&names[at], chance.u64())));
        if let Some((at, liar)) = &liar {
            network.set_liar(&names[*at], Arc::new(liar.clone()));
        }
        let mut world = Self { dice, network, weather, names, servers, actors, room, seen, transactions: 0, liar };
        world.create_room().await;
        world.weather.set_fair(false);
        world
    }

    async fn create_room(&mut self) {
        let creator = self.actors[0].clone();
        let version = 1 + self.dice.below(12);
        let body = json!({"preset": "public_chat", "room_version": version.to_string()});
        let request = self.servers[0].post("/v3/createRoom").by(&creator.user).json(&body);
        self.room.id = request.send().await.ok()["room_id"].as_str().unwrap().to_owned();
        if let Some((_, liar)) = &self.liar {
            liar.begin(&version.to_string());
        }
        let actors = self.actors.clone();
        for actor in actors.into_iter().skip(1) {
            if self.dice.percent(85) {
                let deed = self.join(actor);
                self.carry_out(vec![deed]).await;
            }
        }
    }

    /// Servers lose each other, find each other again, or have a power cut.
    async fn change_weather(&mut self) {
        match self.dice.below(10) {
            0 | 1 => self.weather.heal(),
            2..=4 => {
                let (one, other) = (self.dice.below(self.names.len()), self.dice.below(self.names.len()));
                if one != other {
                    self.weather.cut(&self.names[one], &self.names[other]);
                    self.seen.cuts += 1;
                }
            }
            5 => {
                // One alone.
                let one = self.dice.below(self.names.len());
                for other in (0..self.names.len()).filter(|other| *other != one) {
                    self.weather.cut(&self.names[one], &self.names[other]);
                }
                self.seen.cuts += 1;
            }
            6 | 7 => self.power_cut().await,
            _ => {}
        }
    }

    async fn power_cut(&mut self) {
        let at = self.dice.below(self.servers.len());
        let server = self.servers.remove(at);
        self.network.forget(&self.names[at]);
        sleep(self.dice.millis(3_000)).await;
        self.servers.insert(at, server.power_cut());
        self.seen.crashes += 1;
    }

    async fn do_something(&mut self) {
        let deeds = (0..1 + self.dice.below(5)).map(|_| self.deed()).collect();
        self.carry_out(deeds).await;
    }

    /// Does these at the same time.
    async fn carry_out(&mut self, deeds: Vec<Deed>) {
        let doing = deeds.iter().map(|deed| {
            let server = &self.servers[deed.actor.server];
            let request =
                server.request(deed.method.clone(), client_path(&deed.target)).by(&deed.actor.user).json(&deed.body);
            // Joins and invites, and taking leave of an invite, ask others, who may be beyond reach.
            let asks_others = deed.method == Method::POST;
            async move { if asks_others { request.send_anyhow().await } else { request.send().await } }
        });
        let answers = join_all(doing).await;
        for (deed, answer) in deeds.iter().zip(answers) {
            assert_ne!(answer.status, 500, "{} {answer:?}", deed.target);
            if answer.status != 200 {
                self.seen.refused += 1;
                continue;
            }
            self.seen.joins += u64::from(deed.is_join);
            if let Some(id) = answer.json["event_id"].as_str() {
                self.seen.events += 1;
                self.room.acknowledged.push((deed.actor.server, id.to_owned()));
            }
        }
    }

    fn join(&mut self, actor: Actor) -> Deed {
        let mut via: Vec<&String> = self.names.iter().collect();
        via.rotate_left(self.dice.below(self.names.len()));
        let via: Vec<String> = via.into_iter().map(|name| format!("via={name}&server_name={name}")).collect();
        let target = format!("/v3/join/{}?{}", self.room.id, via.join("&"));
        Deed { actor, method: Method::POST, target, body: json!({}), is_join: true }
    }

    fn deed(&mut self) -> Deed {
        let actor = self.dice.pick(&self.actors).unwrap().clone();
        let other = self.dice.pick(&self.actors).unwrap().user.user_id.clone();
        self.transactions += 1;
        let (transaction, room) = (self.transactions, self.room.id.clone());
        let post = |what: &str, body: Value| (Method::POST, format!("/v3/rooms/{room}/{what}"), body);
        let put = |what: String, body: Value| (Method::PUT, format!("/v3/rooms/{room}/{what}"), body);
        let state = |kind: &str, key: &str, body: Value| put(format!("state/{kind}/{key}"), body);
        let (method, target, body) = match self.dice.below(100) {
            0..=44 => {
                let body = json!({"msgtype": "m.text", "body": format!("message {transaction}")});
                put(format!("send/m.room.message/{transaction}"), body)
            }
            45..=56 => return self.join(actor),
            57..=60 => post("leave", json!({})),
            61..=66 => post("invite", json!({"user_id": other})),
            67..=70 => post("kick", json!({"user_id": other})),
            71..=73 => post("ban", json!({"user_id": other})),
            74..=76 => post("unban", json!({"user_id": other})),
            77..=82 => match self.dice.pick(&self.room.acknowledged) {
                Some((_, event)) => put(format!("redact/{event}/{transaction}"), json!({})),
                None => state("m.room.name", "", json!({"name": "empty"})),
            },
            83..=88 => state("m.room.name", "", json!({"name": format!("name {transaction}")})),
            89..=93 => {
                let key = self.dice.below(3).to_string();
                state("m.sim", &key, json!({"value": transaction}))
            }
            94..=96 => {
                let rule = if self.dice.percent(60) { "public" } else { "invite" };
                state("m.room.join_rules", "", json!({"join_rule": rule}))
            }
            _ => self.power_levels(&other, state),
        };
        Deed { actor, method, target, body, is_join: false }
    }

    /// Somebody gets power, which only the creator can give at first.
    fn power_levels(
        &self,
        other: &str,
        state: impl Fn(&str, &str, Value) -> (Method, String, Value),
    ) -> (Method, String, Value) {
        let creator = &self.actors[0].user.user_id;
        let mut users = json!({other: if self.dice.percent(70) { 50 } else { 0 }});
        let body = json!({"state_default": 0, "events": {"m.room.power_levels": 50, "m.room.join_rules": 50}});
        let mut body = body;
        if !agreement::creator_is_above(&self.servers[0], &self.room.id) {
            users[creator] = json!(100);
        } else if other == creator {
            users = json!({});
        }
        body["users"] = users;
        state("m.room.power_levels", "", body)
    }

    /// All is well again; whoever is in the room says something; all agree.
    async fn end(mut self) -> Seen {
        self.weather.heal();
        self.weather.set_fair(true);
        if let Some((_, liar)) = &self.liar {
            liar.send_no_more_lies();
        }
        sleep(HEALING).await;
        let everybody: Vec<usize> = (0..self.servers.len()).collect();
        self.say_goodbye(&everybody).await;
        if let Some((at, _)) = self.liar {
            // What a liar gives late, and to one of them, the others hear of when that one speaks again.
            self.settle(at).await;
            let honest: Vec<usize> = everybody.into_iter().filter(|index| *index != at).collect();
            self.say_goodbye(&honest).await;
        }
        sleep(Duration::from_mins(2)).await;
        let liar = self.liar.as_ref().map(|(at, liar)| {
            self.seen.liars += 1;
            self.seen.lies += liar.told();
            *at
        });
        if let Err(why) = agreement::check(&self.servers, (&self.room, liar), &mut self.seen) {
            eprintln!("{why}");
            if std::env::var("MYELIN_SEED").is_ok() {
                dump::dump(&self.servers, &self.room.id);
            }
            self.seen.disagreeing += 1;
        }
        self.seen
    }

    /// Users of these servers say something, one server after the other.
    async fn say_goodbye(&mut self, of: &[usize]) {
        let count = of.len();
        // Twice, and back: what one says last is heard of by all when the first speaks again.
        for index in (0..2 * count).chain((0..count - 1).rev()).map(|at| of[at % count]) {
            let ours: Vec<Actor> = self.actors.iter().filter(|actor| actor.server == index).cloned().collect();
            for actor in ours {
                self.transactions += 1;
                let target = format!("/v3/rooms/{}/send/m.room.message/last-{}", self.room.id, self.transactions);
                let body = json!({"msgtype": "m.text", "body": "goodbye"});
                let deed = Deed { actor, method: Method::PUT, target, body, is_join: false };
                self.carry_out(vec![deed]).await;
            }
            sleep(Duration::from_secs(20)).await;
        }
    }

    /// Until of what a liar sent nothing waits any more: it was given up, or what it needs has come.
    async fn settle(&self, liar: usize) {
        for _ in 0..MOST_SETTLING {
            let mut honest = self.servers.iter().enumerate().filter(|(index, _)| *index != liar);
            if honest.all(|(_, server)| server.app().inbox.staged().0 == 0) {
                return;
            }
            sleep(Duration::from_mins(10)).await;
        }
        panic!("something waits for ever");
    }
}
