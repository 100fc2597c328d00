//! Keys: our own, published; those of others, fetched, kept, and vouched for.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use myelin::{
    event::{Pdu, version::rules},
    federation::key_ring::Wanted,
};
use ruma::RoomVersionId;
use serde_json::{Value, json};

use crate::harness::{Network, Peer, START, TestServer, reply};

const HOUR: u64 = 60 * 60 * 1_000;
const DAY: u64 = 24 * HOUR;

fn alone(network: &Network) -> TestServer {
    TestServer::in_network(network, "a.b", "[federation]\ntrusted_notaries = []\n")
}

fn wanted(server: &str, key_id: &str, at: Option<u64>) -> Wanted {
    Wanted { server: server.try_into().unwrap(), key_id: key_id.to_owned(), at }
}

/// Whether a key can be had.
async fn has(server: &TestServer, of: &str, key_id: &str, at: Option<u64>) -> bool {
    let set = server.app().federation.keys().look_up(&[wanted(of, key_id, at)]).await.unwrap();
    set.valid_at(at).get(of).is_some_and(|keys| keys.contains_key(key_id))
}

async fn get(server: &TestServer, target: &str) -> Value {
    server.request(Method::GET, target).send().await.ok()
}

/// An event of room version `version`, made at `at` and signed by a peer.
fn event(peer: &Peer, version: &RoomVersionId, at: u64) -> Pdu {
    let mut object = myelin::event::json::parse(
        json!({
            "type": "m.room.message", "room_id": "!r:p.q", "sender": format!("@x:{}", peer.name), "content": {},
            "auth_events": [], "prev_events": [], "depth": 1, "origin_server_ts": at,
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    myelin::event::hash::add_content_hash(&mut object).unwrap();
    peer.key().sign_event(&mut object, rules(version).unwrap()).unwrap();
    Pdu::from_object(object, rules(version).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn our_own_document_is_signed_and_valid_for_more_than_an_hour() {
    let server = alone(&Network::default());
    let document = get(&server, "/_matrix/key/v2/server").await;
    assert_eq!(get(&server, "/_matrix/key/v2/server/ed25519:a_test").await, document, "old servers ask so");
    assert_eq!(document["server_name"], "a.b");
    assert!(document["valid_until_ts"].as_u64().unwrap() >= START + HOUR);
    let key: ruma::serde::Base64 =
        serde_json::from_value(document["verify_keys"]["ed25519:a_test"]["key"].clone()).unwrap();
    let keys = [("a.b".to_owned(), [("ed25519:a_test".to_owned(), key)].into())].into();
    ruma::signatures::verify_json(&keys, &serde_json::from_value(document).unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_askers_make_one_request_and_failures_make_pauses() {
    let network = Network::default();
    let (server, peer) = (alone(&network), Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    let all = join_all((0..50).map(|_| has(&server, "p.q", "ed25519:k", Some(START)))).await;
    assert!(all.into_iter().all(|has| has));
    assert_eq!(network.sent().len(), 1);
    // A key that it does not have is not looked for again and again.
    for _ in 0..10 {
        assert!(!has(&server, "p.q", "ed25519:other", Some(START)).await);
    }
    assert_eq!(network.sent().len(), 0, "it was asked a moment ago");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(!has(&server, "p.q", "ed25519:other", Some(START)).await);
    assert_eq!(network.sent().len(), 1);
    // A server that fails is asked ever more rarely.
    let mut requests = 0;
    for _ in 0..24 * 60 {
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(!has(&server, "dead.example", "ed25519:k", None).await);
        requests += network.sent().len();
    }
    assert!((24..=32).contains(&requests), "{requests} requests in a day");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unknown_servers_are_not_asked_at_once() {
    let network = Network::default();
    let server = alone(&network);
    let asked = (0..10_000).map(|at| {
        let (server, name) = (&server, format!("fake{at}.silent"));
        async move { has(server, &name, "ed25519:k", None).await }
    });
    let started = tokio::time::Instant::now();
    assert!(join_all(asked).await.into_iter().all(|has| !has));
    assert_eq!(network.sent().len(), 512, "more do not wait");
    // Each is waited for for 10 s; 64 at once take 8 times that.
    assert!(started.elapsed() >= Duration::from_secs(80), "{:?}", started.elapsed());
    let peer = Peer::new("p.q", 1, "k");
    peer.publish(&network, START + DAY);
    assert!(has(&server, "p.q", "ed25519:k", None).await, "others are not locked out");
}

#[tokio::test(start_paused = true)]
async fn a_room_may_have_more_servers_than_wait_to_be_asked() {
    let network = Network::default();
    let server = alone(&network);
    let peers: Vec<Peer> = (0..1_000).map(|at| Peer::new(&format!("s{at}.x"), 1, "k")).collect();
    peers.iter().for_each(|peer| peer.publish(&network, START + DAY));
    let of_all: Vec<Wanted> = peers.iter().map(|peer| wanted(peer.name.as_str(), "ed25519:k", None)).collect();
    let set = server.app().federation.keys().look_up(&of_all).await.unwrap();
    assert!(set.valid_at(None).values().all(|keys| keys.contains_key("ed25519:k")));
    assert_eq!((set.valid_at(None).len(), network.sent().len()), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_gone_do_not_hide_the_one_that_has_signed_the_most() {
    let network = Network::default();
    let (server, alive) = (alone(&network), Peer::new("z.x", 1, "k"));
    alive.publish(&network, START + DAY);
    let gone = (0..1_000).map(|at| Peer::new(&format!("s{at}.silent"), 1, "k"));
    let mut events: Vec<Pdu> = gone.map(|peer| event(&peer, &RoomVersionId::V11, START)).collect();
    events.extend([START, START + 1].map(|at| event(&alive, &RoomVersionId::V11, at)));
    let started = tokio::time::Instant::now();
    let verified = server.app().federation.keys().verify(events, rules(&RoomVersionId::V11).unwrap()).await.unwrap();
    assert_eq!(verified.iter().map(Result::is_ok).filter(|holds| *holds).count(), 2);
    assert!(verified.iter().rev().take(2).all(Result::is_ok));
    assert!(started.elapsed() <= Duration::from_secs(121), "two minutes for those that do not answer");
}

#[tokio::test(start_paused = true)]
async fn what_a_lying_server_says_of_its_keys_is_not_believed() {
    let network = Network::default();
    let (server, peer, liar) = (alone(&network), Peer::new("p.q", 1, "k"), Peer::new("li.ar", 2, "k"));
    let document = peer.document(START + DAY, |_| ());
    let mut tampered = document.clone();
    tampered["valid_until_ts"] = json!(START + 2 * DAY);
    let unsigned = {
        let mut unsigned = document.clone();
        unsigned.as_object_mut().unwrap().remove("signatures");
        unsigned
    };
    let by_liar = liar.sign(unsigned.clone());
    let of_other = peer.document(START + DAY, |document| document["server_name"] = json!("other.example"));
    let huge = peer.document(START + DAY, |document| document["x"] = json!("x".repeat(70_000)));
    for answer in [document.clone(), tampered, unsigned, by_liar, of_other, huge, json!([]), json!({})] {
        // To li.ar these are the keys of another server, or of none.
        network.script("li.ar", move |_| reply(200, &answer));
        tokio::time::advance(Duration::from_hours(2)).await;
        assert!(!has(&server, "li.ar", "ed25519:k", None).await);
        assert!(!has(&server, "other.example", "ed25519:k", None).await);
    }
    network.script("p.q", move |_| reply(404, &document));
    assert!(!has(&server, "p.q", "ed25519:k", None).await, "an error is no document");
}

#[tokio::test(start_paused = true)]
async fn events_need_keys_that_were_valid_then_from_version_5_on() {
    let network = Network::default();
    let (server, peer) = (alone(&network), Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + HOUR);
    let holds = async |version: RoomVersionId, at: u64| {
        let (rules, pdu) = (rules(&version).unwrap(), event(&peer, &version, at));
        server.app().federation.keys().verify(vec![pdu], rules).await.unwrap().remove(0).is_ok()
    };
    assert!(holds(RoomVersionId::V12, START + HOUR).await && holds(RoomVersionId::V5, 0).await);
    for version in [RoomVersionId::V5, RoomVersionId::V6, RoomVersionId::V12] {
        assert!(!holds(version, START + HOUR + 1).await);
    }
    assert!(holds(RoomVersionId::V3, START + HOUR + 1).await && holds(RoomVersionId::V4, START + 365 * DAY).await);
    // A new document makes it valid for longer.
    peer.publish(&network, START + 2 * HOUR);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(holds(RoomVersionId::V12, START + HOUR + 1).await);
    // A replaced key is valid for what it signed until then, also when its server is gone.
    let new = Peer::new("p.q", 2, "new");
    let key = peer.document(0, |_| ())["verify_keys"]["ed25519:k"]["key"].clone();
    let document = new.document(START + DAY, |document| {
        document["old_verify_keys"] = json!({"ed25519:k": {"key": key, "expired_ts": START + 500}});
    });
    network.script("p.q", move |_| reply(200, &document));
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(has(&server, "p.q", "ed25519:new", Some(START)).await);
    network.script("p.q", |_| reply(500, &json!({})));
    tokio::time::advance(Duration::from_hours(1_000)).await;
    assert!(holds(RoomVersionId::V12, START + 500).await);
    assert!(!holds(RoomVersionId::V12, START + 501).await);
    assert!(holds(RoomVersionId::V4, START + 501).await);
}

#[tokio::test(start_paused = true)]
async fn a_notary_signs_what_it_was_told_and_keeps_the_last_of_it() {
    let network = Network::default();
    let (server, peer) = (alone(&network), Peer::new("p.q", 1, "k"));
    peer.publish(&network, START + DAY);
    let query = async |server: &TestServer, body: &Value| {
        let request = server.request(Method::POST, "/_matrix/key/v2/query").json(body);
        request.send().await.ok()["server_keys"].as_array().unwrap().clone()
    };
    let one = get(&server, "/_matrix/key/v2/query/p.q").await["server_keys"].as_array().unwrap().clone();
    assert_eq!(one.len(), 1);
    let own = peer.document(START + DAY, |_| ());
    assert_eq!(one[0]["signatures"]["p.q"], own["signatures"]["p.q"]);
    assert!(one[0]["signatures"]["a.b"]["ed25519:a_test"].is_string());
    let both = query(&server, &json!({"server_keys": {"p.q": {"ed25519:k": {}}, "a.b": {}, "no.where": {}}})).await;
    let names: Vec<_> = both.iter().map(|document| document["server_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.b", "p.q"], "nothing of servers that do not answer");
    assert_eq!(query(&server, &json!({"server_keys": {}})).await, [Value::Null; 0]);
    assert_eq!(network.sent(), ["p.q GET /_matrix/key/v2/server", "no.where GET /_matrix/key/v2/server"]);
    // After half of its lifetime it is asked again; when it does not answer, the last answer is what there is.
    let server = server.restart().await;
    tokio::time::advance(Duration::from_hours(13)).await;
    network.script("p.q", |_| reply(500, &json!({})));
    assert_eq!(query(&server, &json!({"server_keys": {"p.q": {}}})).await, one);
    assert_eq!(network.sent(), ["p.q GET /_matrix/key/v2/server"]);
    for (target, code) in [
        ("/_matrix/key/v2/query/not%20a%20name", "M_INVALID_PARAM"),
        ("/_matrix/key/v2/query/p.q?minimum_valid_until_ts=x", "M_INVALID_PARAM"),
    ] {
        server.request(Method::GET, target).send().await.refused(400, code);
    }
    let many: serde_json::Map<String, Value> = (0..501).map(|at| (format!("s{at}.example"), json!({}))).collect();
    let post = |body: Value| server.request(Method::POST, "/_matrix/key/v2/query").json(&body).send();
    post(json!({"server_keys": many})).await.refused(413, "M_TOO_LARGE");
    for body in [json!({}), json!({"server_keys": []}), json!({"server_keys": {"not a name": {}}})] {
        post(body).await.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test(start_paused = true)]
async fn a_notary_is_asked_about_servers_that_do_not_answer() {
    let network = Network::default();
    let server = TestServer::in_network(&network, "a.b", "[federation]\ntrusted_notaries = [\"no.tary\"]\n");
    let (notary, gone, other) =
        (Peer::new("no.tary", 3, "n"), Peer::new("go.ne", 1, "k"), Peer::new("other.one", 2, "k"));
    let document = gone.document(START + DAY, |_| ());
    let countersigned = notary.sign(document.clone());
    // Beside what was asked for: something that it did not sign, and something that nobody asked for.
    let unasked = notary.sign(other.document(START + DAY, |_| ()));
    let published = notary.document(START + DAY, |_| ());
    network.script("no.tary", move |request| match request.method {
        Method::GET => reply(200, &published),
        _ => reply(200, &json!({"server_keys": [{}, document, unasked, countersigned]})),
    });
    assert!(has(&server, "go.ne", "ed25519:k", Some(START)).await);
    assert_eq!(
        network.sent(),
        [
            "go.ne GET /_matrix/key/v2/server",
            "no.tary GET /_matrix/key/v2/server",
            "no.tary POST /_matrix/key/v2/query"
        ]
    );
    network.script("no.tary", |_| reply(500, &json!({})));
    assert!(!has(&server, "other.one", "ed25519:k", None).await, "what nobody asked for is not taken");
    assert!(has(&server, "go.ne", "ed25519:k", Some(START)).await);
}

#[tokio::test(start_paused = true)]
async fn a_notary_exchanges_no_key_and_is_believed_only_by_its_signature() {
    let network = Network::default();
    let server = TestServer::in_network(&network, "a.b", "[federation]\ntrusted_notaries = [\"no.tary\"]\n");
    let (notary, peer) = (Peer::new("no.tary", 3, "n"), Peer::new("p.q", 1, "k"));
    let (forged, not_notary) = (Peer::new("p.q", 9, "k"), Peer::new("no.tary", 4, "n"));
    peer.publish(&network, START + HOUR);
    assert!(has(&server, "p.q", "ed25519:k", Some(START)).await);
    let before =
        server.app().federation.keys().look_up(&[wanted("p.q", "ed25519:k", None)]).await.unwrap().valid_at(None);
    let lie = notary.sign(forged.document(START + 3 * DAY, |_| ()));
    let by_other = not_notary.sign(Peer::new("un.known", 5, "k").document(START + DAY, |_| ()));
    let published = notary.document(START + DAY, |_| ());
    network.script("no.tary", move |request| match request.method {
        Method::GET => reply(200, &published),
        _ => reply(200, &json!({"server_keys": [lie, by_other]})),
    });
    network.script("p.q", |_| reply(500, &json!({})));
    tokio::time::advance(Duration::from_hours(2)).await;
    assert!(!has(&server, "p.q", "ed25519:k", Some(START + 2 * HOUR)).await);
    let after =
        server.app().federation.keys().look_up(&[wanted("p.q", "ed25519:k", None)]).await.unwrap().valid_at(None);
    assert_eq!(before, after);
    assert!(!has(&server, "un.known", "ed25519:k", None).await);
}

#[tokio::test(start_paused = true)]
async fn many_events_are_verified_at_once_and_each_gets_its_own_answer() {
    let network = Network::default();
    let (server, peer, other) = (alone(&network), Peer::new("p.q", 1, "k"), Peer::new("o.q", 2, "k"));
    peer.publish(&network, START + HOUR);
    other.publish(&network, START + HOUR);
    let (version, forger) = (RoomVersionId::V11, Peer::new("p.q", 9, "k"));
    let mut pdus: Vec<_> = (0..20).map(|i| event([&peer, &other][i % 2], &version, START + i as u64)).collect();
    pdus.push(event(&forger, &version, START));
    pdus.push(event(&peer, &version, START + 365 * DAY));
    pdus.push(event(&Peer::new("go.ne", 3, "k"), &version, START));
    let rules = rules(&version).unwrap();
    let verified = server.app().federation.keys().verify(pdus.clone(), rules).await.unwrap();
    let expected: Vec<_> = (0..23).map(|i| i < 20).collect();
    assert_eq!(verified.iter().map(Result::is_ok).collect::<Vec<_>>(), expected);
    assert!(verified.into_iter().flatten().zip(&pdus).all(|(verified, pdu)| verified.pdu() == pdu));
    let asked: Vec<_> = network.sent().into_iter().filter(|sent| !sent.starts_with("go.ne")).collect();
    // Whose keys the most events need comes first.
    assert_eq!(asked, ["p.q GET /_matrix/key/v2/server", "o.q GET /_matrix/key/v2/server"]);
}
