//! Who sends a request: hostile peers that sign what they like.

use http::Method;

use crate::harness::{Answer, Network, Peer, START, TestServer};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40alice%3Aa.b";
const DAY: u64 = 24 * 60 * 60 * 1_000;

async fn server(network: &Network) -> TestServer {
    let server = TestServer::in_network(network, "a.b", "[registration]\nmode = \"open\"\n");
    server.register_user("alice").await;
    server
}

async fn send(server: &TestServer, headers: &[&str]) -> Answer {
    let request = server.request(Method::GET, TARGET);
    headers.iter().fold(request, |request, header| request.and_header("authorization", header)).send().await
}

#[tokio::test(start_paused = true)]
async fn a_signed_request_is_answered() {
    let network = Network::default();
    let (server, peer) = (server(&network).await, Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    peer.get(&server, TARGET).await.ok();
    let header = peer.header("a.b", "GET", TARGET, "");
    let without_destination = header.replace("destination=a.b,", "");
    assert_ne!(header, without_destination);
    send(&server, &[&without_destination]).await.ok();
    let spaced = header.replace(',', " ,\t");
    send(&server, &[&spaced]).await.ok();
    let shouted = header.replace("origin", "Origin").replace("X-Matrix", "x-matrix");
    send(&server, &[&shouted]).await.ok();
    assert_eq!(network.sent(), ["p.q GET /_matrix/key/v2/server"], "one fetch for all of them");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_signed_as_it_should_be_is_refused() {
    let network = Network::default();
    let (server, peer) = (server(&network).await, Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    let header = peer.header("a.b", "GET", TARGET, "");
    let elsewhere = peer.header("c.d", "GET", TARGET, "");
    let other_target = peer.header("a.b", "GET", &TARGET.replace("alice", "bob"), "");
    let decoded = peer.header("a.b", "GET", &TARGET.replace("%40", "@"), "");
    let other_method = peer.header("a.b", "POST", TARGET, "");
    let with_body = peer.header("a.b", "GET", TARGET, "{}");
    let other_key = Peer::new("p.q", 2, "k").header("a.b", "GET", TARGET, "");
    let unknown_key = Peer::new("p.q", 1, "new").header("a.b", "GET", TARGET, "");
    let unknown_server = Peer::new("no.where", 1, "k").header("a.b", "GET", TARGET, "");
    let redirected = elsewhere.replace("c.d", "a.b");
    let long = format!("{header},x=\"{}\"", "x".repeat(10_000));
    for (what, headers) in [
        ("nothing", vec![]),
        ("another scheme", vec!["Bearer token"]),
        ("no parameters", vec!["X-Matrix"]),
        ("another destination", vec![&*elsewhere]),
        ("another destination, claimed to be us", vec![&*redirected]),
        ("another target", vec![&*other_target]),
        ("the decoded target", vec![&*decoded]),
        ("another method", vec![&*other_method]),
        ("another body", vec![&*with_body]),
        ("another key of the same id", vec![&*other_key]),
        ("an unknown key", vec![&*unknown_key]),
        ("an unknown server", vec![&*unknown_server]),
        ("a header for us and one for another", vec![&*header, &*elsewhere]),
        ("two servers, one of them right", vec![&*header, &*unknown_server]),
        ("a good header and a garbled one", vec![&*header, "X-Matrix origin"]),
        ("too many headers", vec![&*header; 5]),
        ("a long header", vec![&*long]),
    ] {
        let answer = send(&server, &headers).await;
        assert_eq!((answer.status, &answer.json["errcode"]), (401, &"M_UNAUTHORIZED".into()), "{what}: {answer:?}");
        assert!(answer.json.get("soft_logout").is_none());
    }
    send(&server, &[&other_key, &header]).await.ok();
    let own = Peer::new("a.b", 1, "k").header("a.b", "GET", TARGET, "");
    send(&server, &[&own]).await.refused(403, "M_FORBIDDEN");
    let not_ascii = server.request(Method::GET, TARGET).header("authorization", "X-Matrix origin=\u{e9}");
    not_ascii.send().await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(start_paused = true)]
async fn a_body_is_signed_as_json() {
    let network = Network::default();
    let (server, peer) = (server(&network).await, Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    let header = peer.header("a.b", "GET", TARGET, r#"{"a":1,"b":[{}]}"#);
    let with = async |body: &'static str| {
        server.request(Method::GET, TARGET).header("authorization", &header).body(body).send().await
    };
    with(r#"{ "b": [ {} ], "a": 1 }"#).await.ok();
    for body in [r#"{"a":1,"b":[{}],"c":0}"#, r#"{"a":2,"b":[{}]}"#, "{}", ""] {
        with(body).await.refused(401, "M_UNAUTHORIZED");
    }
    for body in ["{", "[]", "1"] {
        with(body).await.refused(400, "M_NOT_JSON");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_valid_beyond_its_time() {
    let network = Network::default();
    let (server, peer) = (server(&network).await, Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    peer.get(&server, TARGET).await.ok();
    // It publishes no newer document, and later none at all.
    tokio::time::advance(std::time::Duration::from_millis(DAY + 1)).await;
    peer.get(&server, TARGET).await.refused(401, "M_UNAUTHORIZED");
    // One for a thousand years is believed for seven days.
    peer.publish(&network, START + 365_000 * DAY);
    tokio::time::advance(std::time::Duration::from_mins(2)).await;
    peer.get(&server, TARGET).await.ok();
    network.script("p.q", |_| crate::harness::reply(404, &serde_json::json!({})));
    tokio::time::advance(std::time::Duration::from_hours(6 * 24)).await;
    peer.get(&server, TARGET).await.ok();
    tokio::time::advance(std::time::Duration::from_hours(25)).await;
    peer.get(&server, TARGET).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_replaced_signs_no_request() {
    let network = Network::default();
    let (server, old, new) = (server(&network).await, Peer::new("p.q", 1, "old"), Peer::new("p.q", 2, "new"));
    old.publish(&network, START + DAY);
    old.get(&server, TARGET).await.ok();
    let of_old = old.document(START + DAY, |_| ())["verify_keys"]["ed25519:old"]["key"].clone();
    let document = new.document(START + DAY, |document| {
        document["old_verify_keys"] = serde_json::json!({"ed25519:old": {"key": of_old, "expired_ts": START}});
    });
    network.script("p.q", move |_| crate::harness::reply(200, &document));
    new.get(&server, TARGET).await.refused(401, "M_UNAUTHORIZED");
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    new.get(&server, TARGET).await.ok();
    old.get(&server, TARGET).await.refused(401, "M_UNAUTHORIZED");
}
