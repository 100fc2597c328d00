//! Resident servers that lie: what they say is checked, and a room that cannot be leaves nothing behind.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use myelin::{
    event::{Pdu, Rules, Template, auth, build, json, version},
    federation::transport::Outbound,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json};

use super::rooms::{join, room, server};
use crate::harness::{Network, Peer, START, reply};

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// A room of a peer: its state, in the order in which it came.
#[derive(Clone)]
struct Room {
    peer: Arc<Peer>,
    version: &'static str,
    rules: &'static Rules,
    id: OwnedRoomId,
    state: Vec<Pdu>,
}

impl Room {
    fn new(peer: &Arc<Peer>) -> Self {
        Self::of_version(peer, "10")
    }

    fn of_version(peer: &Arc<Peer>, version: &'static str) -> Self {
        let rules = version::rules(&version.try_into().unwrap()).unwrap();
        let id = RoomId::parse("!lies:p.q").unwrap();
        let mut room = Self { peer: Arc::clone(peer), version, rules, id, state: Vec::new() };
        room.add("m.room.create", "", json!({"creator": "@liar:p.q", "room_version": version}));
        room.add("m.room.member", "@liar:p.q", json!({"membership": "join"}));
        room.add("m.room.power_levels", "", json!({"users": {"@liar:p.q": 100}}));
        room.add("m.room.join_rules", "", json!({"join_rule": "public"}));
        room.add("m.room.name", "", json!({"name": "Honest"}));
        room
    }

    fn cited(&self, kind: &str, sender: &str, key: &str, content: &Value) -> Vec<OwnedEventId> {
        let raw = serde_json::value::to_raw_value(content).unwrap();
        let sender = UserId::parse(sender).unwrap();
        let selected = auth::selection(kind, &sender, Some(key), &raw, self.rules).unwrap();
        let find = |(kind, key): &(String, String)| self.state.iter().rev().find(|pdu| pdu.is_state(kind, key));
        selected.iter().filter_map(find).map(|pdu| pdu.event_id().to_owned()).collect()
    }

    fn add(&mut self, kind: &str, key: &str, content: Value) {
        let pdu = self.made(kind, key, content);
        self.state.push(pdu);
    }

    /// An id of which versions 1 and 2 let the server choose.
    fn chosen(&self, number: usize) -> OwnedEventId {
        format!("$chosen{number}:p.q").try_into().unwrap()
    }

    fn made(&self, kind: &str, key: &str, content: Value) -> Pdu {
        self.citing(kind, key, content, None)
    }

    /// The same, with one more event that authorises it.
    fn citing(&self, kind: &str, key: &str, content: Value, more: Option<OwnedEventId>) -> Pdu {
        let last = self.state.last().map(|pdu| pdu.event_id().to_owned().into());
        let template = Template {
            room_id: Some(self.id.clone()),
            event_id: version::has_event_ids(self.rules).then(|| self.chosen(self.state.len())),
            sender: UserId::parse("@liar:p.q").unwrap(),
            kind: kind.to_owned(),
            state_key: Some(key.to_owned()),
            auth_events: self.cited(kind, "@liar:p.q", key, &content).into_iter().chain(more).map(Into::into).collect(),
            content: json::parse(content.to_string().as_bytes()).unwrap(),
            redacts: None,
            origin_server_ts: START,
            prev_events: last.into_iter().collect(),
            depth: u64::try_from(self.state.len()).unwrap() + 1,
        };
        build::build(template, self.rules, &self.peer.key()).unwrap()
    }

    fn template(&self, user: &str) -> Value {
        let content = json!({"membership": "join"});
        let named = |id: OwnedEventId| match version::has_event_ids(self.rules) {
            true => json!([id, {"sha256": "AAAA"}]),
            false => json!(id),
        };
        let cited: Vec<Value> = self.cited("m.room.member", user, user, &content).into_iter().map(named).collect();
        let (prev, depth) = (named(self.state.last().unwrap().event_id().to_owned()), self.state.len() + 1);
        json!({"room_version": self.version, "event": {
            "type": "m.room.member", "sender": user, "state_key": user, "room_id": self.id, "content": content,
            "auth_events": cited, "prev_events": [prev], "depth": depth,
        }})
    }

    fn answer(&self) -> Value {
        let state: Vec<Value> = self.state.iter().map(as_json).collect();
        json!({"state": state, "auth_chain": state, "members_omitted": false, "servers_in_room": ["p.q"]})
    }
}

fn as_json(pdu: &Pdu) -> Value {
    serde_json::from_slice(pdu.json()).unwrap()
}

type Lie = Box<dyn Fn(&Room, &mut Value) + Send>;

/// What the peer says is changed by these, of a template and of the answer to a join.
#[derive(Clone, Default)]
struct Lies(Arc<Mutex<(Option<Lie>, Option<Lie>)>>);

fn run(network: &Network, room: &Room, lies: &Lies, sent: &Arc<Mutex<Vec<Value>>>) {
    let document = room.peer.document(START + DAY, |_| ());
    let (room, lies, sent) = (room.clone(), lies.clone(), Arc::clone(sent));
    network.script("p.q", move |request: &Outbound| {
        let lies = lies.0.lock().unwrap();
        let (mut body, lie) = if request.target.contains("/make_join/") {
            (room.template("@bob:c.d"), &lies.0)
        } else if request.target.contains("/send_join/") {
            sent.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
            (room.answer(), &lies.1)
        } else {
            return reply(200, &document);
        };
        if let Some(lie) = lie {
            lie(&room, &mut body);
        }
        reply(200, &body)
    });
}

/// The state without the events that `wanted` does not want.
fn retain(body: &mut Value, wanted: impl Fn(&Value) -> bool) {
    for list in ["state", "auth_chain"] {
        body[list].as_array_mut().unwrap().retain(&wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_not_joined() {
    let network = Network::default();
    let b = server(&network, "c.d");
    let bob = b.register_user("bob").await;
    let honest = Room::new(&Arc::new(Peer::new("p.q", 1, "k")));
    let (lies, sent) = (Lies::default(), Arc::new(Mutex::new(Vec::new())));
    run(&network, &honest, &lies, &sent);

    let in_event =
        |field: &'static str, value: Value| -> Lie { Box::new(move |_, body| body["event"][field] = value.clone()) };
    let templates: Vec<Lie> = vec![
        in_event("type", json!("m.room.message")),
        in_event("room_id", json!("!other:p.q")),
        in_event("sender", json!("@liar:p.q")),
        in_event("state_key", json!("@alice:c.d")),
        in_event("content", json!({"membership": "ban"})),
        in_event("content", json!({"membership": "join", "join_authorised_via_users_server": "@x:elsewhere"})),
        in_event("depth", json!(-1)),
        in_event("depth", json!(1_u64 << 60)),
        in_event("prev_events", json!(vec!["$x"; 21])),
        in_event("auth_events", json!([["$x", {}]])),
        Box::new(|_, body| body["room_version"] = json!("99")),
        Box::new(|_, body| *body = json!([])),
    ];
    let count = templates.len();
    for (index, lie) in templates.into_iter().enumerate() {
        lies.0.lock().unwrap().0 = Some(lie);
        let answer = b.post("/v3/join/!lies:p.q?via=p.q").by(&bob).json(&json!({})).send_anyhow().await;
        assert!(answer.status >= 400 && answer.status != 401, "template {index}: {answer:?}");
        assert!(sent.lock().unwrap().is_empty(), "template {index}: nothing was signed for it");
    }
    assert_eq!(count, 12);
    lies.0.lock().unwrap().0 = None;

    let other_create = |room: &Room| as_json(&room.made("m.room.create", "", json!({"creator": "@liar:p.q"})));
    let answers: Vec<Lie> = vec![
        Box::new(|_, body| retain(body, |event| event["type"] != "m.room.create")),
        Box::new(|_, body| {
            retain(body, |event| event["type"] != "m.room.create");
            body["auth_chain"] = json!([]);
        }),
        Box::new(|_, body| retain(body, |event| event["type"] != "m.room.join_rules")),
        Box::new(move |room, body| body["state"].as_array_mut().unwrap().push(other_create(room))),
        Box::new(|room, body| {
            let second = room.made("m.room.name", "", json!({"name": "Second"}));
            body["state"].as_array_mut().unwrap().push(as_json(&second));
        }),
        Box::new(|_, body| {
            // Wherever it stands: of two copies of an event one is enough.
            body["state"][0]["content"]["room_version"] = json!("9");
            body["auth_chain"][0]["content"]["room_version"] = json!("9");
        }),
        Box::new(|_, body| body["members_omitted"] = json!(true)),
        Box::new(|_, body| body["state"] = json!({})),
        Box::new(|_, body| {
            for event in body["state"].as_array_mut().unwrap() {
                event["signatures"] = json!({});
            }
            body["auth_chain"] = json!([]);
        }),
    ];
    for (index, lie) in answers.into_iter().enumerate() {
        lies.0.lock().unwrap().1 = Some(lie);
        let answer = b.post("/v3/join/!lies:p.q?via=p.q").by(&bob).json(&json!({})).send_anyhow().await;
        assert_eq!(answer.status, 502, "answer {index}: {answer:?}");
        assert!(room(&b, &honest.id).is_none(), "answer {index}");
    }
    let signed = std::mem::take(&mut *sent.lock().unwrap());
    assert!(signed.iter().all(|event| event["sender"] == "@bob:c.d" && event["type"] == "m.room.member"));

    // What can't be judged, or is not the room's, costs only itself.
    lies.0.lock().unwrap().1 = Some(Box::new(|_, body| {
        let events = body["state"].as_array_mut().unwrap();
        let mut stranger = events[4].clone();
        stranger["room_id"] = json!("!other:p.q");
        let name = events.iter_mut().find(|event| event["type"] == "m.room.name").unwrap();
        name["signatures"] = json!({"p.q": {"ed25519:k": "AAAA"}});
        events.push(stranger);
        events.push(json!({"type": 5}));
        body["auth_chain"].as_array_mut().unwrap().retain(|event| event["type"] != "m.room.name");
    }));
    join(&b, &bob, "!lies:p.q", &["p.q"]).await.ok();
    assert_eq!(super::rooms::state(&b, &honest.id).len(), 5, "all but the name, and bob");
}

/// A message of the liar behind this event.
fn message(room: &Room, text: &str, prev: &OwnedEventId) -> Pdu {
    let content = json!({"msgtype": "m.text", "body": text});
    let template = Template {
        room_id: Some(room.id.clone()),
        event_id: None,
        sender: UserId::parse("@liar:p.q").unwrap(),
        kind: "m.room.message".to_owned(),
        state_key: None,
        auth_events: room.cited("m.room.message", "@liar:p.q", "", &content).into_iter().map(Into::into).collect(),
        content: json::parse(content.to_string().as_bytes()).unwrap(),
        redacts: None,
        origin_server_ts: START,
        prev_events: vec![prev.clone().into()],
        depth: u64::try_from(room.state.len()).unwrap() + 2,
    };
    build::build(template, room.rules, &room.peer.key()).unwrap()
}

/// A peer that takes so long over each of the two questions of a join. What it was sent is noted.
fn run_slowly(network: &Network, room: &Room, (make, send): (Duration, Duration), sent: &Arc<Mutex<Vec<Value>>>) {
    let document = room.peer.document(START + DAY, |_| ());
    let (room, sent) = (room.clone(), Arc::clone(sent));
    network.answer("p.q", move |request: Outbound| {
        let (answer, takes) = if let Some((_, user)) = request.target.split_once("/make_join/") {
            let user = user.split(['/', '?']).nth(1).unwrap().replace("%40", "@").replace("%3A", ":");
            (room.template(&user), make)
        } else if request.target.contains("/send_join/") {
            sent.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
            (room.answer(), send)
        } else {
            (document.clone(), Duration::ZERO)
        };
        async move {
            tokio::time::sleep(takes).await;
            reply(200, &answer)
        }
    });
}

/// Whoever has let a user in sends what happens from then on, and only once: also before the room is here.
#[tokio::test(start_paused = true)]
async fn what_happens_while_a_room_is_being_joined_is_not_lost() {
    let network = Network::default();
    let b = server(&network, "c.d");
    let bob = b.register_user("bob").await;
    let honest = Room::new(&Arc::new(Peer::new("p.q", 1, "k")));
    let sent = Arc::new(Mutex::new(Vec::new()));
    run_slowly(&network, &honest, (Duration::ZERO, Duration::from_secs(8)), &sent);
    let put = async |txn_id: &str, pdu: &Pdu| {
        let body = json!({"origin": "p.q", "origin_server_ts": START, "pdus": [as_json(pdu)]});
        let target = format!("/_matrix/federation/v1/send/{txn_id}");
        let header = honest.peer.header("c.d", "PUT", &target, &body.to_string());
        let request = b.request(http::Method::PUT, target).header("authorization", &header);
        request.json(&body).send_anyhow().await
    };
    let welcome = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let taken = sent.lock().unwrap()[0].clone();
        let taken = Pdu::parse(taken.to_string().as_bytes(), honest.rules).unwrap();
        let welcome = message(&honest, "welcome", &taken.event_id().to_owned());
        let answer = put("1", &welcome).await.ok();
        assert_eq!(answer["pdus"][welcome.event_id().as_str()], json!({}), "{answer}");
        welcome
    };
    let (joined, welcome) = tokio::join!(join(&b, &bob, "!lies:p.q", &["p.q"]), welcome);
    joined.ok();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let synced = super::rooms::sync(&b, &bob).await;
    let events = synced["rooms"]["join"]["!lies:p.q"]["timeline"]["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["event_id"] == json!(welcome.event_id())), "{events:?}");

    // A join that takes too long: the transaction is to come again. Nothing of it is answered.
    let carol = b.register_user("carol").await;
    let other = Room { id: RoomId::parse("!slow:p.q").unwrap(), ..Room::new(&honest.peer) };
    let early = message(&other, "early", &welcome.event_id().to_owned());
    run_slowly(&network, &other, (Duration::ZERO, Duration::from_secs(60)), &sent);
    let early = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        put("2", &early).await.refused(503, "M_UNKNOWN");
    };
    let (_, ()) = tokio::join!(b.post("/v3/join/!slow:p.q?via=p.q").by(&carol).json(&json!({})).send_anyhow(), early);
}

/// Somebody whose servers take their time keeps nobody else out of a room.
#[tokio::test(start_paused = true)]
async fn attempts_that_take_long_keep_nobody_else_waiting() {
    let network = Network::default();
    let b = server(&network, "c.d");
    let (bob, mallory) = (b.register_user("bob").await, b.register_user("mallory").await);
    let honest = Room::new(&Arc::new(Peer::new("p.q", 1, "k")));
    let sent = Arc::new(Mutex::new(Vec::new()));
    run_slowly(&network, &honest, (Duration::ZERO, Duration::ZERO), &sent);
    network.answer("slow.host", |_| std::future::pending());
    let attempt = || b.post("/v3/join/!lies:p.q?via=slow.host").by(&mallory).json(&json!({})).send_anyhow();
    let attempts = futures_util::future::join_all((0..10).map(|_| attempt()));
    let begun = tokio::time::Instant::now();
    let bobs = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        join(&b, &bob, "!lies:p.q", &["p.q"]).await.ok();
        assert!(begun.elapsed() < Duration::from_secs(2));
    };
    let (answers, ()) = tokio::join!(attempts, bobs);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 6, "only some may wait");
    // Those who waited find the room here, which is public.
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
}

/// Threat: events that authorise each other, or themselves: possible where ids are chosen. They come up nowhere.
#[tokio::test(start_paused = true)]
async fn events_that_authorise_one_another_are_left_out() {
    let network = Network::default();
    let b = server(&network, "c.d");
    let bob = b.register_user("bob").await;
    let mut circle = Room::of_version(&Arc::new(Peer::new("p.q", 1, "k")), "1");
    let honest = circle.state.len();
    let first = circle.state.len();
    for number in 0..3 {
        // The first two cite each other, and the last one itself.
        let cited = circle.chosen(first + if number == 2 { 2 } else { (number + 1) % 2 });
        let event = circle.citing("m.room.topic", &number.to_string(), json!({"topic": number}), Some(cited));
        circle.state.push(event);
    }
    let (lies, sent) = (Lies::default(), Arc::new(Mutex::new(Vec::new())));
    run(&network, &circle, &lies, &sent);
    join(&b, &bob, "!lies:p.q", &["p.q"]).await.ok();
    let state = super::rooms::state(&b, &circle.id);
    assert_eq!(state.len(), honest + 1, "{state:?}");
    assert!(state.keys().all(|(kind, _)| kind != "m.room.topic"));
    assert_eq!(sent.lock().unwrap().len(), 1);
}

/// A restricted room: who lets the user in must have signed the join.
#[tokio::test(start_paused = true)]
async fn a_restricted_join_needs_the_signature_of_who_lets_the_user_in() {
    let network = Network::default();
    let b = server(&network, "c.d");
    let bob = b.register_user("bob").await;
    let mut room = Room::new(&Arc::new(Peer::new("p.q", 1, "k")));
    let allow = json!([{"type": "m.room_membership", "room_id": "!club:p.q"}]);
    room.add("m.room.join_rules", "", json!({"join_rule": "restricted", "allow": allow}));
    let (joined, peer, rules) = (room.clone(), Arc::clone(&room.peer), room.rules);
    for signs in [false, true] {
        let document = room.peer.document(START + DAY, |_| ());
        let (room, peer) = (joined.clone(), Arc::clone(&peer));
        network.script("p.q", move |request: &Outbound| {
            if request.target.contains("/make_join/") {
                let mut template = room.template("@bob:c.d");
                let content = json!({"membership": "join", "join_authorised_via_users_server": "@liar:p.q"});
                template["event"]["auth_events"] = json!(room.cited("m.room.member", "@bob:c.d", "@bob:c.d", &content));
                template["event"]["content"] = content;
                return reply(200, &template);
            }
            if !request.target.contains("/send_join/") {
                return reply(200, &document);
            }
            let mut answer = room.answer();
            let latest = room.state.iter().rev().find(|pdu| pdu.is_state("m.room.join_rules", "")).unwrap();
            for list in ["state", "auth_chain"] {
                let is_old = |event: &Value| event["type"] == "m.room.join_rules" && *event != as_json(latest);
                answer[list].as_array_mut().unwrap().retain(|event| !is_old(event));
            }
            let mut event = json::parse(&request.body).unwrap();
            if signs {
                peer.key().sign_event(&mut event, rules).unwrap();
            }
            answer["event"] = serde_json::to_value(event).unwrap();
            reply(200, &answer)
        });
        let answer = b.post("/v3/join/!lies:p.q?via=p.q").by(&bob).json(&json!({})).send_anyhow().await;
        assert_eq!(answer.status, if signs { 200 } else { 502 }, "{answer:?}");
    }
}
