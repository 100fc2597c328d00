//! Numbers, tokens and filters out of bounds; how often one may ask; what the log does not say.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{TestServer, password};

#[tokio::test(start_paused = true)]
async fn numbers_out_of_bounds_are_refused_or_clamped() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = server.post("/v3/createRoom").by(&alice).json(&json!({})).send().await.ok();
    let room_id = room["room_id"].as_str().unwrap();
    let huge = format!("1{}", "0".repeat(30));
    for number in ["-1", "0", "1", "99999999999", &huge, "abc", "1.5", "", "1e3", "%00"] {
        for target in [
            format!("/v3/rooms/{room_id}/messages?dir=b&limit={number}"),
            format!("/v3/rooms/{room_id}/relations/$a?limit={number}"),
            format!("/v3/sync?timeout={number}"),
            format!("/v3/sync?filter={{\"room\":{{\"timeline\":{{\"limit\":{number}}}}}}}"),
        ] {
            let answer = server.get(&target).by(&alice).send().await;
            assert!(matches!(answer.status, 200 | 400 | 404), "{target}: {answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_of_pages_and_syncs_are_refused() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = server.post("/v3/createRoom").by(&alice).json(&json!({})).send().await.ok();
    let room_id = room["room_id"].as_str().unwrap();
    let sync = server.get("/v3/sync").by(&alice).send().await.ok();
    let genuine = sync["next_batch"].as_str().unwrap();
    let (head, tail) = genuine.split_at(genuine.len() / 2);
    let flipped = format!("{head}{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..]);
    let huge = "9".repeat(400);
    let forged = ["0", "1", "-1", "s1_2_3", "abc", "%00", "%F0%9F%A6%80", huge.as_str(), flipped.as_str(), head];
    for token in forged {
        server.get(&format!("/v3/sync?since={token}")).by(&alice).send().await.refused(400, "M_INVALID_PARAM");
        let target = format!("/v3/rooms/{room_id}/messages?dir=b&from={token}");
        let answer = server.get(&target).by(&alice).send().await;
        assert_eq!(answer.status, 400, "{token}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn filters_are_bounded() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let upload = async |filter: serde_json::Value| {
        server.post(&format!("/v3/user/{}/filter", alice.user_id)).by(&alice).json(&filter).send().await
    };
    let rooms: Vec<_> = (0..100_000).map(|number| format!("!{number}:localhost")).collect();
    assert!(matches!(upload(json!({"room": {"rooms": rooms}})).await.status, 400 | 413));
    assert_eq!(upload(json!({"room": {"rooms": [7]}})).await.status, 400);
    assert_eq!(upload(json!({"room": {"timeline": {"limit": -1}}})).await.status, 400);
    upload(json!({"room": {"timeline": {"limit": 1_000_000_000}}})).await.ok();
    let answer = server.get("/v3/sync?filter=99999999999999999999").by(&alice).send().await;
    assert!(matches!(answer.status, 400 | 404), "{answer:?}");
    let answer = server.get("/v3/sync?filter={").by(&alice).send().await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let limits = "[registration]\nmode = \"open\"\n[rate_limits]\nlight_per_second = 0.5\nlight_burst = 3\n";
    let server = TestServer::configured(limits);
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let ask = async |user| server.get("/v3/devices").by(user).send().await;
    for _ in 0..3 {
        ask(&alice).await.ok();
    }
    let refused = ask(&alice).await;
    refused.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!((&refused.json["retry_after_ms"], refused.header("retry-after")), (&json!(2_000), "2"));
    assert_eq!(refused.header("access-control-allow-origin"), "*");
    ask(&bob).await.ok();
    server.get("/v3/sync").by(&alice).send().await.ok();
    tokio::time::advance(Duration::from_secs(2)).await;
    ask(&alice).await.ok();
    ask(&alice).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test(start_paused = true)]
async fn guessing_passwords_is_slow_from_one_address_and_for_one_account() {
    let server = TestServer::configured(
        "[registration]\nmode = \"open\"\n[rate_limits]\nlogin_per_second = 0.1\nlogin_burst = 5\n",
    );
    server.register_user("alice").await;
    let login = async |name: &str, password: &str, address: [u16; 8]| {
        let body = json!({
            "type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password,
        });
        server.post("/v3/login").json(&body).from(address).send().await
    };
    // One subscriber has all addresses of a /64.
    for host in 0..5 {
        login(&format!("nobody{host}"), "wrong", [0x2001, 0xdb8, 0, 1, 0, 0, 0, host])
            .await
            .refused(403, "M_FORBIDDEN");
    }
    login("nobody", "wrong", [0x2001, 0xdb8, 0, 1, 0, 0, 0, 99]).await.refused(429, "M_LIMIT_EXCEEDED");
    login("alice", &password("alice"), [0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]).await.ok();
    // From many addresses against one account.
    let mut refused = 0;
    for network in 100..200 {
        let answer = login("alice", "wrong", [0x2001, 0xdb8, 0, network, 0, 0, 0, 1]).await;
        refused += u32::from(answer.status == 429);
    }
    assert!(refused > 50, "{refused}");
}

/// A log that the test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_and_the_answers_tell_no_secrets() {
    let log = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let mut answers = Vec::new();
    for target in ["/v3/account/whoami", "/v3/sync", "/v3/unknown", "/v3/devices/nothing", "/v3/rooms/!a:b/messages"] {
        answers.push(server.get(&format!("{target}?access_token={}", alice.token)).send().await);
        answers.push(server.get(target).by(&alice).send().await);
    }
    answers.push(
        server.request(Method::POST, "/_matrix/client/v3/login").body(format!("{{{}", password("alice"))).send().await,
    );
    let wrong = json!({"type": "m.login.password", "identifier": 7, "password": password("alice")});
    answers.push(server.post("/v3/login").json(&wrong).send().await);
    answers.push(server.post("/v3/logout").by(&alice).body(alice.token.clone()).send().await);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("/_matrix/client/v3/account/whoami") && text.contains(&alice.user_id), "the log is written");
    for secret in [alice.token.as_str(), &password("alice")] {
        assert!(!text.contains(secret), "{text}");
        for answer in &answers {
            assert!(!String::from_utf8_lossy(&answer.body).contains(secret), "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whole_syncs_cost_as_much_as_they_read_and_wrong_tokens_cost_their_address() {
    let limits = "heavy_per_second = 0.1\nheavy_burst = 4\nsync_per_second = 1\nsync_burst = 6\n";
    let limits = format!("{limits}light_per_second = 0.1\nlight_burst = 5\n");
    let server = TestServer::configured(&format!("[registration]\nmode = \"open\"\n[rate_limits]\n{limits}"));
    let alice = server.register_user("alice").await;
    let sync = async |query: &str| server.get(&format!("/v3/sync{query}")).by(&alice).send().await;
    let next = sync("").await.ok()["next_batch"].as_str().unwrap().to_owned();
    for query in ["?since=", "?full_state=true", &*format!("?full_state=true&since={next}")] {
        sync(query).await.ok();
    }
    sync("?timeout=0").await.refused(429, "M_LIMIT_EXCEEDED");
    // Those that go on have a budget of their own, however short they wait.
    for _ in 0..6 {
        sync(&format!("?timeout=0&since={next}")).await.ok();
    }
    sync(&format!("?timeout=1&since={next}")).await.refused(429, "M_LIMIT_EXCEEDED");

    let guess =
        async |token: &str, address: [u16; 8]| server.get("/v3/account/whoami").token(token).from(address).send().await;
    for host in 0..5 {
        guess(&format!("wrong{host}"), [0x2001, 0xdb8, 0, 1, 0, 0, 0, host]).await.refused(401, "M_UNKNOWN_TOKEN");
    }
    guess("wrong", [0x2001, 0xdb8, 0, 1, 0, 0, 0, 99]).await.refused(429, "M_LIMIT_EXCEEDED");
    guess("wrong", [0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]).await.refused(401, "M_UNKNOWN_TOKEN");
    server.get("/v3/account/whoami").by(&alice).from([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1]).send().await.ok();
}
