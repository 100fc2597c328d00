//! `/query/directory` and `/publicRooms`.

use http::Method;
use serde_json::{Value, json};

use super::{DAY, ROOT, Scene, encoded};
use crate::harness::{Network, Peer, START, TestServer};

#[tokio::test(start_paused = true)]
async fn an_alias_is_looked_up() {
    let scene = Scene::new("shared").await;
    let path = format!("/v3/directory/room/{}", encoded("#hall:a.b"));
    scene.server.put(&path).by(&scene.alice).json(&json!({"room_id": scene.room})).send().await.ok();
    let ask = async |alias: &str| scene.get(&format!("/query/directory?room_alias={}", encoded(alias))).await;
    assert_eq!(ask("#hall:a.b").await.ok(), json!({"room_id": scene.room, "servers": ["a.b"]}));
    scene.member("eve", "join").await;
    assert_eq!(ask("#hall:a.b").await.ok()["servers"], json!(["a.b", "p.q"]));
    scene.member("eve", "leave").await;
    assert_eq!(ask("#hall:a.b").await.ok()["servers"], json!(["a.b"]));
    for unknown in ["#other:a.b", "#hall:p.q"] {
        ask(unknown).await.refused(404, "M_NOT_FOUND");
    }
    assert_eq!(ask("hall").await.status, 400);
}

fn names(answer: &Value) -> Vec<&str> {
    answer["chunk"].as_array().unwrap().iter().map(|room| room["name"].as_str().unwrap()).collect()
}

async fn publish(server: &TestServer) {
    let alice = server.register_user("alice").await;
    for (name, visibility) in [("one", "public"), ("two", "public"), ("hidden", "private")] {
        let body = json!({"name": name, "visibility": visibility, "preset": "public_chat"});
        server.post("/v3/createRoom").by(&alice).json(&body).send().await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_shown() {
    let scene = Scene::new("shared").await;
    let server = &scene.server;
    for (name, visibility) in [("one", "public"), ("two", "public"), ("hidden", "private")] {
        let body = json!({"name": name, "visibility": visibility, "preset": "public_chat"});
        server.post("/v3/createRoom").by(&scene.alice).json(&body).send().await.ok();
    }
    for all in ["/publicRooms", "/publicRooms?limit=0"] {
        let all = scene.get(all).await.ok();
        let mut found = names(&all);
        found.sort_unstable();
        assert_eq!((found, &all["total_room_count_estimate"]), (vec!["one", "two"], &json!(2)));
    }
    let first = scene.get("/publicRooms?limit=1").await.ok();
    let next = first["next_batch"].as_str().unwrap();
    let second = scene.get(&format!("/publicRooms?limit=1&since={next}")).await.ok();
    assert_ne!(names(&first), names(&second));
    assert!(second.get("next_batch").is_none());
    let found = scene.post("/publicRooms", &json!({"filter": {"generic_search_term": "TW"}})).await.ok();
    assert_eq!(names(&found), ["two"]);
    let spaces = scene.post("/publicRooms", &json!({"filter": {"room_types": ["m.space"]}})).await.ok();
    assert!(names(&spaces).is_empty());
    let rooms = scene.post("/publicRooms", &json!({"filter": {"room_types": [null]}})).await.ok();
    assert_eq!(names(&rooms).len(), 2);
    scene.get("/publicRooms?since=x").await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test(start_paused = true)]
async fn the_directory_can_be_hidden_from_others() {
    let network = Network::default();
    let toml = "[registration]\nmode = \"open\"\n[federation]\npublic_rooms = false\n";
    let server = TestServer::in_network(&network, "a.b", toml);
    publish(&server).await;
    let peer = Peer::new("p.q", 1, "k");
    peer.publish(&network, START + DAY);
    let target = format!("{ROOT}/publicRooms");
    peer.get(&server, &target).await.refused(403, "M_FORBIDDEN");
    let header = peer.header("a.b", "POST", &target, "{}");
    let post = server.request(Method::POST, &target).header("authorization", &header).json(&json!({}));
    post.send().await.refused(403, "M_FORBIDDEN");
    let own = server.get("/v3/publicRooms").send().await.ok();
    assert_eq!(names(&own).len(), 2, "clients see it all the same");
}
