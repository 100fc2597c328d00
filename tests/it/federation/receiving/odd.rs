//! Events that are odd and yet events, and floods: what must be taken is taken, and nobody is the worse for it.

use myelin::event::{Pdu, Template, build, json};
use serde_json::{Value, json};

use super::{DAY, Stage, as_json, rest, transaction};
use crate::{federation::reads::encoded, harness::START};

impl Stage {
    /// An event of Bob at this time, behind what is newest.
    fn at(&self, origin_server_ts: u64) -> Pdu {
        let said = self.says(&format!("at {origin_server_ts}"), None);
        let template = Template {
            room_id: Some(self.scene.room.clone()),
            event_id: None,
            sender: said.sender().to_owned(),
            kind: said.kind().to_owned(),
            state_key: None,
            content: json::parse(said.content().get().as_bytes()).unwrap(),
            redacts: None,
            origin_server_ts,
            prev_events: said.prev_events().iter().cloned().map(Into::into).collect(),
            auth_events: said.auth_events().iter().cloned().map(Into::into).collect(),
            depth: said.depth(),
        };
        build::build(template, self.scene.rules(), &self.scene.peer.key()).unwrap()
    }

    /// The event as Alice's client gets it.
    async fn seen(&self, event: &Pdu) -> Value {
        let (room, event_id) = (encoded(self.scene.room.as_str()), encoded(event.event_id().as_str()));
        let path = format!("/v3/rooms/{room}/event/{event_id}");
        self.scene.server.get(&path).by(&self.scene.alice).send().await.ok()
    }

    async fn alice_gets(&self, path: &str) -> Value {
        let path = path.replace("ROOM", &encoded(self.scene.room.as_str()));
        self.scene.server.get(&path).by(&self.scene.alice).send().await.ok()
    }
}

/// Threat: a key that stands twice. Everybody takes the last one, and what is passed on has it once.
#[tokio::test(start_paused = true)]
async fn of_a_key_that_stands_twice_the_last_one_counts() {
    let stage = Stage::new().await;
    let event = stage.says("the last", None);
    let body = transaction(&[as_json(&event)], &[]);
    let target = "/_matrix/federation/v1/send/1";
    let header = stage.header(target, &body);
    let twice = body.to_string().replace(r#""body":"the last""#, r#""body":"the first","body":"the last""#);
    assert_ne!(twice, body.to_string());
    let request = stage.scene.server.request(http::Method::PUT, target).header("authorization", &header);
    request.body(twice).send().await.ok();
    rest().await;
    assert_eq!(stage.seen(&event).await["content"]["body"], "the last");
    let target = format!("/_matrix/federation/v1/event/{}", encoded(event.event_id().as_str()));
    let given = stage.scene.peer.get(&stage.scene.server, &target).await;
    assert!(!String::from_utf8_lossy(&given.body).contains("the first"), "{given:?}");
    let given = Pdu::parse(given.json["pdus"][0].to_string().as_bytes(), stage.scene.rules()).unwrap();
    assert_eq!(given.event_id(), event.event_id());
}

/// "Checks performed on receipt of a PDU", step 3: of an event whose content is not what its hash says the rest is taken.
#[tokio::test(start_paused = true)]
async fn an_event_with_another_content_than_was_hashed_is_taken_redacted() {
    let stage = Stage::new().await;
    let event = stage.says("honest", None);
    let mut changed = as_json(&event);
    changed["content"]["body"] = json!("changed on the way");
    stage.put("1", &transaction(&[changed], &[])).await.ok();
    rest().await;
    assert_eq!(stage.seen(&event).await["content"], json!({}));
}

/// Times are what a server says; nothing is sorted, deleted or overflows by them.
#[tokio::test(start_paused = true)]
async fn any_time_that_can_be_said_is_taken() {
    let stage = Stage::new().await;
    let events: Vec<Pdu> = [0, 1, START - 1, START + 6 * DAY].map(|time| stage.at(time)).into();
    // Nobody's key is known to be valid then.
    let beyond = stage.at((1 << 53) - 1);
    let bodies: Vec<Value> = events.iter().chain([&beyond]).map(as_json).collect();
    stage.put("1", &transaction(&bodies, &[])).await.ok();
    rest().await;
    for event in &events {
        assert!(stage.is_seen(event).await, "{}", event.origin_server_ts());
    }
    assert!(!stage.is_seen(&beyond).await);
    assert!(stage.alice_gets("/v3/sync").await["rooms"]["join"].is_object());
    assert!(stage.alice_gets("/v3/rooms/ROOM/messages?dir=b&limit=100").await["chunk"].is_array());
    for time in [0, START, (1 << 53) - 1] {
        for dir in ["f", "b"] {
            let path = format!("/v1/rooms/ROOM/timestamp_to_event?ts={time}&dir={dir}");
            let path = path.replace("ROOM", &encoded(stage.scene.room.as_str()));
            let answer = stage.scene.server.get(&path).by(&stage.scene.alice).send().await;
            assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        }
    }
}

/// Threat: state whose content has other types than it ought to. It is state all the same; who reads it passes over it.
#[tokio::test(start_paused = true)]
async fn state_of_odd_types_from_elsewhere_breaks_no_reader() {
    let stage = Stage::new().await;
    let levels = json!({"users": {"@bob:p.q": 100}});
    stage.scene.sets("m.room.power_levels", "", levels).await;
    let odd = [Value::Null, json!(true), json!(7), json!("x"), json!([{}, []]), json!({"a": [1]})];
    let fields = [
        ("m.room.name", "name"),
        ("m.room.topic", "topic"),
        ("m.room.topic", "m.topic"),
        ("m.room.avatar", "url"),
        ("m.room.canonical_alias", "alias"),
        ("m.room.canonical_alias", "alt_aliases"),
        ("m.room.encryption", "algorithm"),
        ("m.room.tombstone", "replacement_room"),
        ("m.room.pinned_events", "pinned"),
        ("m.room.guest_access", "guest_access"),
        ("m.space.child", "via"),
        ("m.room.history_visibility", "history_visibility"),
    ];
    for (round, value) in odd.iter().enumerate() {
        let mut sent: Vec<Pdu> = Vec::new();
        let member = json!({"membership": "join", "displayname": value, "avatar_url": value, "is_direct": value});
        let all = fields.map(|(kind, field)| (kind, "", json!({ field: value })));
        for (kind, key, content) in all.into_iter().chain([("m.room.member", "@bob:p.q", member)]) {
            let prev: Vec<&Pdu> = sent.last().into_iter().collect();
            let prev = (!prev.is_empty()).then_some(&*prev);
            let event = stage.event(kind, Some(key), content, prev);
            sent.push(event);
        }
        stage.send(&format!("odd{round}"), &sent.iter().collect::<Vec<_>>()).await;
        for event in &sent {
            assert!(stage.is_seen(event).await, "{} {value}", event.kind());
        }
        for path in [
            "/v3/sync",
            "/v3/rooms/ROOM/state",
            "/v3/rooms/ROOM/members",
            "/v3/rooms/ROOM/joined_members",
            "/v3/rooms/ROOM/messages?dir=b&limit=30",
            "/v3/publicRooms",
        ] {
            assert!(stage.alice_gets(path).await.is_object() || path.ends_with("state"), "{path}");
        }
        let said = stage.scene.says(&format!("after {round}")).await;
        assert!(stage.synced().await.contains(&said));
    }
}

/// Threat: events that redact what they may not, each other, or themselves.
#[tokio::test(start_paused = true)]
async fn redactions_of_what_nobody_may_redact_change_nothing() {
    let stage = Stage::new().await;
    let alices = stage.scene.says("mine").await;
    let create = stage.scene.read(|reader, view, no, head| {
        Ok(reader.state_event(view, no, head.root, "m.room.create", "")?.unwrap().event_id.clone())
    });
    let elsewhere = stage.scene.server.post("/v3/createRoom").by(&stage.scene.alice).json(&json!({})).send().await.ok();
    let elsewhere = elsewhere["room_id"].as_str().unwrap().to_owned();
    let path = format!("/v3/rooms/{elsewhere}/send/m.room.message/1");
    let theirs =
        stage.scene.server.put(&path).by(&stage.scene.alice).json(&json!({"body": "private"})).send().await.ok();
    let unknown = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let targets = [json!(alices), json!(create), theirs["event_id"].clone(), json!(unknown), json!(5), Value::Null];
    let redactions: Vec<Pdu> =
        targets.iter().map(|target| stage.event("m.room.redaction", None, json!({"redacts": target}), None)).collect();
    stage.send("1", &redactions.iter().collect::<Vec<_>>()).await;
    // One that redacts another one, which says nothing more then.
    let first = stage.event("m.room.redaction", None, json!({"redacts": unknown, "reason": "x"}), None);
    let second = stage.event("m.room.redaction", None, json!({"redacts": first.event_id()}), Some(&[&first]));
    stage.send("2", &[&first, &second]).await;
    let path = format!("/v3/rooms/ROOM/event/{}", encoded(alices.as_str()));
    assert_eq!(stage.alice_gets(&path).await["content"]["body"], "mine");
    let path = format!("/v3/rooms/{elsewhere}/event/{}", encoded(theirs["event_id"].as_str().unwrap()));
    assert_eq!(stage.alice_gets(&path).await["content"]["body"], "private");
    let created = stage.alice_gets(&format!("/v3/rooms/ROOM/event/{}", encoded(create.as_str()))).await;
    assert!(created["content"].get("room_version").is_some() && created["unsigned"].get("redacted_because").is_none());
    let said = stage.scene.says("on we go").await;
    assert!(stage.synced().await.contains(&said));
}

/// Threat: as many EDUs as a transaction holds, again and again, of users that there are not.
#[tokio::test(start_paused = true)]
async fn a_flood_of_edus_changes_nothing_for_others() {
    let stage = Stage::new().await;
    let event = stage.scene.says("read me").await;
    for round in 0..50 {
        let edus: Vec<Value> = (0..100)
            .map(|number| {
                let user = format!("@u{}:p.q", round * 100 + number);
                match number % 4 {
                    0 => json!({"edu_type": "m.typing", "content": {"room_id": stage.scene.room, "user_id": user, "typing": true}}),
                    1 => {
                        let receipt = json!({user: {"event_ids": [event], "data": {"ts": 5, "thread_id": format!("$t{number}")}}});
                        json!({"edu_type": "m.receipt", "content": {stage.scene.room.as_str(): {"m.read": receipt}}})
                    }
                    2 => json!({"edu_type": "m.presence", "content": {"push": vec![json!({"user_id": user, "presence": "online"}); 50]}}),
                    _ => json!({"edu_type": format!("x.{round}.{number}"), "content": {"a": "x".repeat(500)}}),
                }
            })
            .collect();
        stage.put(&format!("flood{round}"), &transaction(&[], &edus)).await.ok();
    }
    let synced = stage.alice_gets("/v3/sync").await;
    let ephemeral = synced["rooms"]["join"][stage.scene.room.as_str()]["ephemeral"]["events"].to_string();
    assert!(!ephemeral.contains(":p.q"), "{ephemeral}");
    // Nor does a receipt go back.
    let later = stage.scene.says("and me").await;
    for (txn_id, id) in [("r1", &later), ("r2", &event)] {
        let receipt = json!({"@bob:p.q": {"event_ids": [id], "data": {"ts": 5}}});
        let edu = json!({"edu_type": "m.receipt", "content": {stage.scene.room.as_str(): {"m.read": receipt}}});
        stage.put(txn_id, &transaction(&[], &[edu])).await.ok();
    }
    rest().await;
    let synced = stage.alice_gets("/v3/sync").await;
    let ephemeral = synced["rooms"]["join"][stage.scene.room.as_str()]["ephemeral"]["events"].to_string();
    assert!(ephemeral.contains(later.as_str()) && !ephemeral.contains(event.as_str()), "{ephemeral}");
}
