//! What clients are told of users, aliases and rooms of other servers.

use serde_json::json;

use super::{rooms::encoded, servers::OPEN};
use crate::harness::{Network, Peer, START, TestServer, TestUser, reply};

async fn pair(network: &Network) -> ((TestServer, TestUser), (TestServer, TestUser)) {
    let (a, b) = (TestServer::in_network(network, "a.b", OPEN), TestServer::in_network(network, "c.d", OPEN));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    ((a, alice), (b, bob))
}

#[tokio::test(start_paused = true)]
async fn a_profile_of_another_server_is_shown_as_that_server_gives_it() {
    let network = Network::default();
    let ((a, _alice), (b, bob)) = pair(&network).await;
    for (field, value) in [("displayname", json!("Bob")), ("org.example.field", json!({"x": [1]}))] {
        b.put(&format!("/v3/profile/@bob:c.d/{field}")).by(&bob).json(&json!({ field: value })).send().await.ok();
    }
    let whole = a.get("/v3/profile/@bob:c.d").send().await.ok();
    assert_eq!(whole, json!({"displayname": "Bob", "org.example.field": {"x": [1]}}));
    let field = a.get("/v3/profile/@bob:c.d/org.example.field").send().await.ok();
    assert_eq!(field, json!({"org.example.field": {"x": [1]}}));
    a.get("/v3/profile/@bob:c.d/avatar_url").send().await.refused(404, "M_NOT_FOUND");
    a.get("/v3/profile/@nobody:c.d").send().await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn what_another_server_answers_is_not_our_answer() {
    let network = Network::default();
    let ((a, alice), _) = pair(&network).await;
    for (status, told, code) in [
        (401, 502, "M_UNKNOWN"),
        (403, 403, "M_FORBIDDEN"),
        (404, 404, "M_NOT_FOUND"),
        (429, 502, "M_UNKNOWN"),
        (500, 502, "M_UNKNOWN"),
        (200, 502, "M_UNKNOWN"),
    ] {
        network.script("p.q", move |_| reply(status, &json!(["M_UNKNOWN_TOKEN"])));
        for path in ["/v3/profile/@x:p.q", "/v3/directory/room/%23x:p.q", "/v3/publicRooms?server=p.q"] {
            a.get(path).by(&alice).send_anyhow().await.refused(told, code);
        }
    }
    a.get("/v3/profile/@x:un.known").send_anyhow().await.refused(502, "M_UNKNOWN");
}

/// Threat: another server's 401 would end the user's session if it were passed on.
#[tokio::test(start_paused = true)]
async fn what_another_server_says_of_tokens_is_not_about_our_users() {
    let network = Network::default();
    let ((a, alice), _) = pair(&network).await;
    let peer = Peer::new("p.q", 1, "k");
    let evil = json!({"errcode": "M_UNKNOWN_TOKEN", "error": "log out", "soft_logout": true, "retry_after_ms": 9});
    let keys = peer.document(START + 24 * 60 * 60 * 1_000, |_| ());
    let room = a.post("/v3/createRoom").by(&alice).json(&json!({"preset": "public_chat"})).send().await.ok();
    let room = encoded(room["room_id"].as_str().unwrap());
    for status in [400, 401, 403, 404, 429, 500] {
        let (evil, keys) = (evil.clone(), keys.clone());
        network.script("p.q", move |request| {
            if request.target.starts_with("/_matrix/key/") { reply(200, &keys) } else { reply(status, &evil) }
        });
        for path in [
            "/v3/join/!x:p.q?via=p.q".to_owned(),
            "/v3/join/%23x:p.q".to_owned(),
            "/v3/rooms/!x:p.q/join?via=p.q".to_owned(),
            "/v3/knock/!x:p.q?via=p.q".to_owned(),
            format!("/v3/rooms/{room}/invite"),
        ] {
            let answer = a.post(&path).by(&alice).json(&json!({"user_id": "@x:p.q"})).send_anyhow().await;
            assert!(answer.status >= 400 && answer.status != 401, "{path}: {answer:?}");
            let told = answer.json.to_string();
            assert!(!told.contains("\"M_UNKNOWN_TOKEN\"") && !told.contains("soft_logout"), "{path}: {told}");
            a.get("/v3/account/whoami").by(&alice).send().await.ok();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn aliases_and_the_directory_of_another_server_are_found() {
    let network = Network::default();
    let ((a, alice), (b, bob)) = pair(&network).await;
    let mut rooms = Vec::new();
    for name in ["one", "two"] {
        let room = json!({"preset": "public_chat", "visibility": "public", "room_alias_name": name, "name": name});
        rooms.push(b.post("/v3/createRoom").by(&bob).json(&room).send().await.ok()["room_id"].clone());
    }
    let found = a.get("/v3/directory/room/%23one:c.d").send().await.ok();
    assert_eq!(found, json!({"room_id": rooms[0], "servers": ["c.d"]}));
    a.get("/v3/directory/room/%23three:c.d").send().await.refused(404, "M_NOT_FOUND");

    let page = a.get("/v3/publicRooms?server=c.d&limit=1").send().await.ok();
    assert_eq!((page["chunk"].as_array().unwrap().len(), &page["total_room_count_estimate"]), (1, &json!(2)));
    let next = format!("/v3/publicRooms?server=c.d&since={}", page["next_batch"].as_str().unwrap());
    let rest = a.get(&next).send().await.ok();
    let listed = [&page, &rest].map(|page| page["chunk"][0]["room_id"].clone());
    assert!(rooms.iter().all(|room| listed.contains(room)), "{listed:?}");
    let search = json!({"filter": {"generic_search_term": "TWO"}, "limit": 5});
    let found = a.post("/v3/publicRooms?server=c.d").by(&alice).json(&search).send().await.ok();
    assert_eq!(found["chunk"][0]["name"], "two");
    assert_eq!(found["chunk"].as_array().unwrap().len(), 1);
    let own = a.get("/v3/publicRooms?server=a.b").send().await.ok();
    assert_eq!(own["chunk"], json!([]));
    let elsewhere = json!({"third_party_instance_id": "irc"});
    let found = a.post("/v3/publicRooms?server=c.d").by(&alice).json(&elsewhere).send().await.ok();
    assert_eq!(found["chunk"], json!([]), "no rooms of other networks are there");
}

#[tokio::test(start_paused = true)]
async fn an_openid_token_says_whose_it_is_for_an_hour() {
    let network = Network::default();
    let ((a, alice), _) = pair(&network).await;
    let path = "/v3/user/@alice:a.b/openid/request_token";
    let token = a.post(path).by(&alice).json(&json!({})).send().await.ok();
    assert_eq!(
        (&token["token_type"], &token["matrix_server_name"], &token["expires_in"]),
        (&json!("Bearer"), &json!("a.b"), &json!(3600))
    );
    let access_token = token["access_token"].as_str().unwrap();
    let ask = async |token: &str| {
        let target = format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
        a.request(http::Method::GET, target).send().await
    };
    assert_eq!(ask(access_token).await.ok(), json!({"sub": "@alice:a.b"}));
    ask("myoi_other").await.refused(401, "M_UNKNOWN_TOKEN");
    ask(&alice.token).await.refused(401, "M_UNKNOWN_TOKEN");
    a.get("/v3/account/whoami").token(access_token).send().await.refused(401, "M_UNKNOWN_TOKEN");
    let of_other = "/v3/user/@bob:a.b/openid/request_token";
    a.post(of_other).by(&alice).json(&json!({})).send().await.refused(403, "M_FORBIDDEN");
    tokio::time::advance(std::time::Duration::from_secs(3_601)).await;
    ask(access_token).await.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(a.app().users.sweep().await.unwrap(), 1);
}
