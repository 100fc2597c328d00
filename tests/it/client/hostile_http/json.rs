//! Bodies that are not the JSON that is wanted.

use http::Method;
use serde_json::{Value, json};

use crate::{
    client::api::confusions,
    harness::{Answer, TestServer, TestUser, client_path},
};

/// Every `PUT` and `POST` of the client API, with arguments that a client could send. What does not read its body is left out.
fn writing_endpoints(server: &TestServer, user: &TestUser, room_id: &str) -> Vec<(Method, String)> {
    let bodiless = ["/logout", "/logout/all"];
    let patterns = server.site().routes().patterns().filter(|(method, pattern)| {
        (**method == Method::PUT || **method == Method::POST)
            && pattern.starts_with("/_matrix/client/v3/")
            && !bodiless.iter().any(|end| pattern.ends_with(end))
    });
    let filled = patterns.map(|(method, pattern)| {
        let segments = pattern.split('/').map(|segment| match segment {
            "{user_id}" => user.user_id.as_str(),
            "{room_id}" | "{room_id_or_alias}" => room_id,
            "{event_id}" => "$event",
            "{event_type}" | "{type}" => "org.example.type",
            "{receipt_type}" => "m.read",
            "{kind}" => "override",
            segment if segment.starts_with('{') => "argument",
            segment => segment,
        });
        (method.clone(), segments.collect::<Vec<_>>().join("/"))
    });
    filled.collect()
}

async fn room(server: &TestServer, user: &TestUser) -> String {
    let room = server.post("/v3/createRoom").by(user).json(&json!({})).send().await.ok();
    room["room_id"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_object_is_refused_everywhere() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room_id = room(&server, &alice).await;
    let utf16 = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let bodies: [(&str, Vec<u8>, &str); 14] = [
        ("cut off", b"{\"a\":".to_vec(), "M_NOT_JSON"),
        ("words", b"hello".to_vec(), "M_NOT_JSON"),
        ("something behind it", b"{} {}".to_vec(), "M_NOT_JSON"),
        ("single quotes", b"{'a':1}".to_vec(), "M_NOT_JSON"),
        ("an array", b"[]".to_vec(), "M_BAD_JSON"),
        ("a string", b"\"{}\"".to_vec(), "M_BAD_JSON"),
        ("null", b"null".to_vec(), "M_BAD_JSON"),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), "M_NOT_JSON"),
        ("UTF-16", utf16, "M_NOT_JSON"),
        ("bad UTF-8", b"{\"a\":\"\xff\"}".to_vec(), "M_NOT_JSON"),
        ("half a character", b"{\"a\":\"\\ud800\"}".to_vec(), "M_NOT_JSON"),
        ("half a character in a key", b"{\"\\udc00\":1}".to_vec(), "M_NOT_JSON"),
        ("depth", deep(200), "M_BAD_JSON"),
        ("great depth", deep(100_000), "M_BAD_JSON"),
    ];
    let endpoints = writing_endpoints(&server, &alice, &room_id);
    assert!(endpoints.len() > 30, "{}", endpoints.len());
    let mut wrong = Vec::new();
    for (method, path) in endpoints {
        for (name, body, code) in &bodies {
            let answer = server.request(method.clone(), &path).by(&alice).body(body.clone()).send().await;
            // Some look at their path first, which names nothing that there is.
            let known = answer.status == 400 && answer.json["errcode"] == *code;
            if !known && !matches!(answer.status, 403 | 404) {
                wrong.push(format!("{method} {path}: {name}: {} {:?}", answer.status, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `whole` with one of its values replaced, for each value in it, at any depth.
fn mutations(whole: &Value, with: &Value) -> Vec<Value> {
    let inside = |key: &dyn Fn(&mut Value) -> Option<&mut Value>, value: &Value| {
        let mut all = mutations(value, with);
        all.push(with.clone());
        all.into_iter()
            .map(|new| {
                let mut mutated = whole.clone();
                *key(&mut mutated).unwrap() = new;
                mutated
            })
            .collect::<Vec<_>>()
    };
    match whole {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| inside(&|whole: &mut Value| whole.get_mut(name), value)).collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(at, value)| inside(&|whole: &mut Value| whole.get_mut(at), value))
            .collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_of_any_type_in_any_field_makes_no_5xx() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room_id = room(&server, &alice).await;
    let in_room = |end: &str| format!("/v3/rooms/{room_id}{end}");
    let of_user = |end: &str| format!("/v3/user/{}{end}", alice.user_id);
    let cases = [
        (
            Method::POST,
            "/v3/createRoom".to_owned(),
            json!({
                "preset": "private_chat", "visibility": "private", "name": "a", "topic": "b", "invite": ["@bob:localhost"],
                "room_version": "11", "is_direct": true, "creation_content": {"m.federate": true},
                "initial_state": [{"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "can_join"}}],
                "power_level_content_override": {"users_default": 0, "users": {(alice.user_id.as_str()): 100}},
            }),
        ),
        (Method::POST, in_room("/invite"), json!({"user_id": "@bob:localhost", "reason": "a"})),
        (Method::POST, in_room("/kick"), json!({"user_id": "@bob:localhost", "reason": "a"})),
        (Method::POST, in_room("/ban"), json!({"user_id": "@bob:localhost", "reason": "a"})),
        (Method::POST, in_room("/unban"), json!({"user_id": "@bob:localhost"})),
        (Method::POST, in_room("/join"), json!({"reason": "a"})),
        (Method::POST, format!("/v3/join/{room_id}"), json!({"reason": "a"})),
        (
            Method::PUT,
            in_room("/send/m.room.message/1"),
            json!({
                "msgtype": "m.text", "body": "a", "m.relates_to": {"rel_type": "m.thread", "event_id": "$a", "m.in_reply_to": {"event_id": "$a"}},
                "m.mentions": {"user_ids": ["@bob:localhost"], "room": true},
            }),
        ),
        (Method::PUT, in_room("/send/m.room.redaction/2"), json!({"redacts": "$a", "reason": "a"})),
        (Method::PUT, in_room("/redact/$a/3"), json!({"reason": "a"})),
        (
            Method::PUT,
            in_room("/state/m.room.member/@bob:localhost"),
            json!({"membership": "invite", "displayname": "a"}),
        ),
        (
            Method::PUT,
            in_room("/state/m.room.power_levels"),
            json!({
                "users": {(alice.user_id.as_str()): 100}, "users_default": 0, "events": {"m.room.name": 50}, "events_default": 0,
                "state_default": 50, "ban": 50, "kick": 50, "redact": 50, "invite": 0, "notifications": {"room": 50},
            }),
        ),
        (
            Method::PUT,
            in_room("/state/m.room.join_rules/"),
            json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!a:b"}]}),
        ),
        (Method::PUT, in_room("/state/m.room.history_visibility/"), json!({"history_visibility": "shared"})),
        (Method::POST, in_room("/read_markers"), json!({"m.fully_read": "$a", "m.read": "$a", "m.read.private": "$a"})),
        (Method::POST, in_room("/receipt/m.read/$a"), json!({"thread_id": "main"})),
        (Method::PUT, in_room(&format!("/typing/{}", alice.user_id)), json!({"typing": true, "timeout": 1000})),
        (
            Method::POST,
            of_user("/filter"),
            json!({
                "event_fields": ["content"], "event_format": "client", "presence": {"limit": 1, "types": ["m.presence"]},
                "account_data": {"not_types": ["a"]},
                "room": {
                    "rooms": ["!a:b"], "not_rooms": ["!c:d"], "include_leave": true, "ephemeral": {"senders": ["@a:b"]},
                    "state": {"lazy_load_members": true, "include_redundant_members": false},
                    "timeline": {"limit": 10, "contains_url": true, "types": ["m.*"], "unread_thread_notifications": true},
                },
            }),
        ),
        (Method::PUT, of_user("/account_data/m.direct"), json!({"@bob:localhost": ["!a:b"]})),
        (Method::PUT, of_user(&format!("/rooms/{room_id}/tags/m.favourite")), json!({"order": 0.5})),
        (
            Method::PUT,
            "/v3/pushrules/global/override/mine".to_owned(),
            json!({
                "actions": ["notify", {"set_tweak": "sound", "value": "default"}],
                "conditions": [{"kind": "event_match", "key": "content.body", "pattern": "a*"}],
            }),
        ),
        (Method::PUT, format!("/v3/profile/{}/displayname", alice.user_id), json!({"displayname": "Alice"})),
        (Method::PUT, "/v3/devices/FIRST".to_owned(), json!({"display_name": "a"})),
    ];
    for (method, target, whole) in cases {
        for with in confusions() {
            for body in mutations(&whole, &with) {
                let request = server.request(method.clone(), client_path(&target)).by(&alice);
                // `send` fails on a 5xx.
                let Answer { status, json, .. } = request.json(&body).send().await;
                assert!(status == 200 || json["errcode"].is_string(), "{method} {target} {body}: {status} {json}");
            }
        }
        // Whatever was done, the server is in order and the user can go on.
        server.get("/v3/account/whoami").by(&alice).send().await.ok();
    }
    server.get("/v3/sync").by(&alice).send().await.ok();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_is_told_so() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room_id = room(&server, &alice).await;
    let send = async |txn_id: &str, body: String| {
        let path = format!("/v3/rooms/{room_id}/send/m.room.message/{txn_id}");
        server.put(&path).by(&alice).json(&json!({"msgtype": "m.text", "body": body})).send().await
    };
    send("1", "a".repeat(60_000)).await.ok();
    send("2", "a".repeat(65_536)).await.refused(413, "M_TOO_LARGE");
    // In bytes, not in characters.
    send("3", "\u{1f980}".repeat(17_000)).await.refused(413, "M_TOO_LARGE");
    send("4", "a".repeat(20_000_000)).await.refused(413, "M_TOO_LARGE");
    for (length, fits) in [(255, true), (256, false)] {
        let kind = format!("{}{}", "\u{e9}".repeat(127), "e".repeat(length - 254));
        let path = format!("/v3/rooms/{room_id}/send/{}/{length}", kind.replace('\u{e9}', "%C3%A9"));
        let answer = server.put(&path).by(&alice).json(&json!({})).send().await;
        assert_eq!(answer.status == 200, fits, "{length} bytes: {:?}", answer.body);
    }
}
