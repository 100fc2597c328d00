//! What relates to an event.

use serde_json::{Value, json};

use super::{
    api::Api,
    rooms::{bodies, path, segment, txn},
};

struct Room {
    api: Api,
    alice: String,
    bob: String,
    id: String,
}

async fn room() -> Room {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let id = api.public_room(&alice).await;
    api.join(&bob, &id).await;
    Room { api, alice, bob, id }
}

impl Room {
    async fn relate(&self, token: &str, target: &str, rel_type: &str, body: &str) -> String {
        let mut content = json!({"msgtype": "m.text", "body": body,
            "m.relates_to": {"rel_type": rel_type, "event_id": target}});
        if rel_type == "m.replace" {
            content["m.new_content"] = json!({"msgtype": "m.text", "body": body});
        }
        self.api.send_event(token, &self.id, "m.room.message", content).await
    }

    async fn react(&self, token: &str, target: &str, key: &str) -> super::api::Answer {
        let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": key}});
        self.api.put(&path(&self.id, &format!("send/m.reaction/{}", txn())), token, content).await
    }

    async fn bundled(&self, event_id: &str) -> Value {
        self.api.event(&self.alice, &self.id, event_id).await["unsigned"]["m.relations"].clone()
    }

    async fn relations(&self, rest: &str) -> super::api::Answer {
        let target = format!("/v1/rooms/{}/relations/{rest}", segment(&self.id));
        self.api.get(&target, &self.alice).await
    }

    async fn redact(&self, token: &str, event_id: &str) {
        let target = path(&self.id, &format!("redact/{}/{}", segment(event_id), txn()));
        self.api.put(&target, token, json!({})).await.ok();
    }
}

fn chunk(answer: &Value) -> Vec<Value> {
    answer["chunk"].as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn the_newest_valid_edit_comes_with_an_event() {
    let room = room().await;
    let message = room.api.say(&room.alice, &room.id, "tpyo").await;
    assert_eq!(room.bundled(&message).await, Value::Null);
    room.relate(&room.bob, &message, "m.replace", "by somebody else").await;
    assert_eq!(room.bundled(&message).await, Value::Null);
    let first = room.relate(&room.alice, &message, "m.replace", "typo").await;
    tokio::time::advance(std::time::Duration::from_millis(5)).await;
    let second = room.relate(&room.alice, &message, "m.replace", "typo!").await;
    let other_type = json!({"m.relates_to": {"rel_type": "m.replace", "event_id": message}, "m.new_content": {}});
    room.api.send_event(&room.alice, &room.id, "org.other", other_type).await;
    let no_content = json!({"m.relates_to": {"rel_type": "m.replace", "event_id": message}});
    room.api.send_event(&room.alice, &room.id, "m.room.message", no_content).await;
    let edit = &room.bundled(&message).await["m.replace"];
    assert_eq!((&edit["event_id"], &edit["content"]["m.new_content"]["body"]), (&json!(second), &json!("typo!")));
    assert_eq!(room.api.event(&room.alice, &room.id, &message).await["content"]["body"], "tpyo", "as it was sent");
    let of_edit = room.relate(&room.alice, &second, "m.replace", "an edit of an edit").await;
    assert_eq!(room.bundled(&second).await, Value::Null);
    assert_ne!(of_edit, second);
    room.redact(&room.alice, &second).await;
    assert_eq!(room.bundled(&message).await["m.replace"]["event_id"], first);
    room.redact(&room.alice, &message).await;
    assert_eq!(room.bundled(&message).await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_thread_is_summed_up_with_its_root() {
    let room = room().await;
    let root = room.api.say(&room.alice, &room.id, "root").await;
    room.relate(&room.bob, &root, "m.thread", "1").await;
    let last = room.relate(&room.bob, &root, "m.thread", "2").await;
    let thread = room.bundled(&root).await["m.thread"].clone();
    assert_eq!((&thread["count"], &thread["latest_event"]["event_id"]), (&json!(2), &json!(last)));
    assert_eq!(thread["current_user_participated"], true);
    let of_bob = room.api.say(&room.bob, &room.id, "other root").await;
    let reply = room.relate(&room.bob, &of_bob, "m.thread", "3").await;
    assert_eq!(room.bundled(&of_bob).await["m.thread"]["current_user_participated"], false);
    room.relate(&room.bob, &reply, "m.replace", "3!").await;
    let latest = room.bundled(&of_bob).await["m.thread"]["latest_event"].clone();
    assert_eq!(latest["unsigned"]["m.relations"]["m.replace"]["content"]["body"], "3!");
    room.redact(&room.bob, &last).await;
    let thread = room.bundled(&root).await["m.thread"].clone();
    assert_eq!((&thread["count"], &thread["latest_event"]["content"]["body"]), (&json!(1), &json!("1")));

    let threads = format!("/v1/rooms/{}/threads", segment(&room.id));
    let all = room.api.get(&threads, &room.alice).await.ok();
    assert_eq!(bodies(&chunk(&all)), ["other root", "root"]);
    let own = room.api.get(&format!("{threads}?include=participated"), &room.alice).await.ok();
    assert_eq!(bodies(&chunk(&own)), ["root"]);
    let page = room.api.get(&format!("{threads}?limit=1"), &room.alice).await.ok();
    let next = page["next_batch"].as_str().unwrap();
    let page = room.api.get(&format!("{threads}?limit=1&from={next}"), &room.alice).await.ok();
    assert_eq!((bodies(&chunk(&page)), page.get("next_batch")), (vec!["root"], None));
    for (query, status) in [("include=x", 400), ("from=x", 400), ("limit=-1", 400), ("limit=0", 200)] {
        assert_eq!(room.api.get(&format!("{threads}?{query}"), &room.alice).await.status, status);
    }
    let carol = room.api.register("carol").await;
    room.api.get(&threads, &carol).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn references_are_listed_with_an_event() {
    let room = room().await;
    let message = room.api.say(&room.alice, &room.id, "poll").await;
    let first = room.relate(&room.bob, &message, "m.reference", "1").await;
    let second = room.relate(&room.bob, &message, "m.reference", "2").await;
    let reference = room.bundled(&message).await["m.reference"].clone();
    assert_eq!(reference, json!({"chunk": [{"event_id": first}, {"event_id": second}]}));
}

#[tokio::test(start_paused = true)]
async fn nobody_reacts_twice_alike() {
    let room = room().await;
    let message = room.api.say(&room.alice, &room.id, "x").await;
    let reaction = super::rooms::event_id(&room.react(&room.bob, &message, "+").await.ok());
    room.react(&room.bob, &message, "+").await.refused(400, "M_DUPLICATE_ANNOTATION");
    room.react(&room.bob, &message, "-").await.ok();
    room.react(&room.alice, &message, "+").await.ok();
    room.redact(&room.bob, &reaction).await;
    room.react(&room.bob, &message, "+").await.ok();
}

#[tokio::test(start_paused = true)]
async fn relations_are_paged_through() {
    let room = room().await;
    let message = room.api.say(&room.alice, &room.id, "x").await;
    let event = segment(&message);
    for number in 0..12 {
        room.relate(&room.bob, &message, "m.thread", &number.to_string()).await;
        room.react(&room.bob, &message, &number.to_string()).await.ok();
    }
    for (filter, expected) in [("", 24), ("/m.thread", 12), ("/m.annotation/m.reaction", 12), ("/m.thread/m.x", 0)] {
        for direction in ["", "&dir=b", "&dir=f"] {
            let (mut from, mut all) = (String::new(), Vec::new());
            loop {
                let page = room.relations(&format!("{event}{filter}?limit=5{direction}{from}")).await.ok();
                assert!(chunk(&page).len() <= 5);
                all.extend(chunk(&page));
                match page["next_batch"].as_str() {
                    Some(next) => from = format!("&from={next}"),
                    None => break,
                }
            }
            let ids: std::collections::HashSet<_> = all.iter().map(|event| event["event_id"].to_string()).collect();
            assert_eq!((all.len(), ids.len()), (expected, expected), "{filter} {direction}");
            let texts = bodies(&all);
            let sorted = if direction == "&dir=f" { texts.first() == Some(&"0") } else { texts.last() == Some(&"0") };
            assert!(sorted || texts.is_empty(), "{filter} {direction}: {texts:?}");
        }
    }
    let page = room.relations(&format!("{event}?limit=3")).await.ok();
    let from = page["next_batch"].as_str().unwrap();
    let rest = room.relations(&format!("{event}?limit=100&to={from}")).await.ok();
    assert_eq!(chunk(&rest).len(), 2, "what lies before the place, which is its third event");
}

#[tokio::test(start_paused = true)]
async fn relations_are_paged_through_from_and_to_where_a_sync_ended() {
    let room = room().await;
    let message = room.api.say(&room.alice, &room.id, "x").await;
    for number in 0..3 {
        room.relate(&room.bob, &message, "m.thread", &number.to_string()).await;
    }
    let synced = room.api.get("/v3/sync", &room.alice).await.ok();
    let token = synced["next_batch"].as_str().unwrap();
    for number in 3..6 {
        room.relate(&room.bob, &message, "m.thread", &number.to_string()).await;
    }
    for (query, expected) in [
        (format!("dir=f&from={token}"), ["3", "4", "5"]),
        (format!("dir=b&from={token}"), ["2", "1", "0"]),
        (format!("dir=f&to={token}"), ["0", "1", "2"]),
        (format!("dir=b&to={token}"), ["5", "4", "3"]),
    ] {
        let page = room.relations(&format!("{}?limit=10&{query}", segment(&message))).await.ok();
        assert_eq!(bodies(&chunk(&page)), expected, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn relations_of_relations_are_found_on_request() {
    let room = room().await;
    let root = room.api.say(&room.alice, &room.id, "root").await;
    let reply = room.relate(&room.bob, &root, "m.thread", "reply").await;
    room.react(&room.alice, &reply, "+").await.ok();
    let edit = room.relate(&room.bob, &reply, "m.replace", "edit").await;
    let root = segment(&root);
    assert_eq!(chunk(&room.relations(&root).await.ok()).len(), 1);
    let all = room.relations(&format!("{root}?recurse=true&dir=f")).await.ok();
    assert_eq!((chunk(&all).len(), &all["recursion_depth"]), (3, &json!(3)));
    let edits = room.relations(&format!("{root}/m.replace?org.matrix.msc3981.recurse=true")).await.ok();
    assert_eq!(chunk(&edits)[0]["event_id"], edit);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_refused() {
    let room = room().await;
    let message = segment(&room.api.say(&room.alice, &room.id, "x").await);
    for (query, status) in [
        ("", 200),
        ("?limit=0", 200),
        ("?limit=-1", 400),
        ("?limit=1000000000000000000000000", 200),
        ("?limit=x", 400),
        ("?dir=x", 400),
        ("?from=x", 400),
        ("?to=x", 400),
        ("?recurse=x", 400),
    ] {
        assert_eq!(room.relations(&format!("{message}{query}")).await.status, status, "{query}");
    }
    room.relations("$none").await.refused(404, "M_NOT_FOUND");
    room.relations("none").await.refused(400, "M_INVALID_PARAM");
    let hidden = room.api.create_room(&room.bob, json!({})).await;
    let secret = segment(&room.api.say(&room.bob, &hidden, "x").await);
    let target = format!("/v1/rooms/{}/relations/{secret}", segment(&hidden));
    room.api.get(&target, &room.alice).await.refused(404, "M_NOT_FOUND");
    room.relations(&secret).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn of_two_same_reactions_at_once_one_is_sent() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.public_room(&alice).await;
    let target = api.say(&alice, &room, "x").await;
    let content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": "+"}});
    for round in 0..2 {
        let paths = ["a", "b"].map(|txn| path(&room, &format!("send/m.reaction/{txn}{round}")));
        let (one, other) =
            tokio::join!(api.put(&paths[0], &alice, content.clone()), api.put(&paths[1], &alice, content.clone()));
        let (sent, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        refused.refused(400, "M_DUPLICATE_ANNOTATION");
        // Once it is redacted the same may be sent again.
        let redact = path(&room, &format!("redact/{}/r{round}", segment(sent.ok()["event_id"].as_str().unwrap())));
        api.put(&redact, &alice, json!({})).await.ok();
    }
}
