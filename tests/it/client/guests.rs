//! What guests may ask for: nothing but what the specification lists for them, whatever else there is.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;

use crate::harness::{TestServer, token};

/// Client-server API, "Guest access", "Client behaviour"; and logging out, which it forgets. Without version; of what
/// this server has.
const OPEN: [&str; 21] = [
    "GET account/whoami",
    "GET devices",
    "GET devices/{device_id}",
    "GET rooms/{room_id}/context/{event_id}",
    "GET rooms/{room_id}/event/{event_id}",
    "GET rooms/{room_id}/initialSync",
    "GET rooms/{room_id}/members",
    "GET rooms/{room_id}/messages",
    "GET rooms/{room_id}/state",
    "GET rooms/{room_id}/state/{type}",
    "GET rooms/{room_id}/state/{type}/",
    "GET rooms/{room_id}/state/{type}/{key}",
    "GET sync",
    "POST join/{room_id_or_alias}",
    "POST rooms/{room_id}/join",
    "POST rooms/{room_id}/leave",
    "PUT devices/{device_id}",
    "PUT rooms/{room_id}/send/{type}/{txn_id}",
    "PUT rooms/{room_id}/state/{type}",
    "PUT rooms/{room_id}/state/{type}/",
    "PUT rooms/{room_id}/state/{type}/{key}",
];

#[tokio::test(start_paused = true)]
async fn guests_may_what_is_listed_and_nothing_else() {
    let server = TestServer::configured("[registration]\nmode = \"open\"\nguests = true\n");
    let answer = server.post("/v3/register?kind=guest").json(&json!({})).send().await.ok();
    let guest = token(&answer);
    let patterns: Vec<(Method, String)> =
        server.site().routes().patterns().map(|(method, pattern)| (method.clone(), pattern.to_owned())).collect();
    assert!(patterns.len() > 100);
    let (mut open, mut refusals) = (BTreeSet::new(), 0);
    for (method, pattern) in patterns {
        // Ends the session: asked for at the end.
        if pattern.contains("/logout") {
            continue;
        }
        let path: Vec<&str> =
            pattern.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment }).collect();
        let path = path.join("/");
        let request = || server.request(method.clone(), path.clone()).json(&json!({}));
        let answer = request().token(&guest).send().await;
        if answer.json["errcode"] == "M_GUEST_ACCESS_FORBIDDEN" {
            answer.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
            refusals += 1;
        } else if request().send().await.json["errcode"] == "M_MISSING_TOKEN" {
            let rest = pattern.trim_start_matches("/_matrix/client/").split_once('/').map_or("", |(_, rest)| rest);
            open.insert(format!("{method} {rest}"));
        }
    }
    assert!(refusals > 50, "{refusals}");
    assert_eq!(open, OPEN.map(str::to_owned).into());
    server.get("/versions").token(&guest).send().await.ok();
    let refused = ["account/password", "account/deactivate", "createRoom", "rooms/x/invite"];
    for path in refused.map(|path| format!("/v3/{path}")) {
        server.post(&path).token(&guest).json(&json!({})).send().await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    let profile = format!("/v3/profile/{}", answer["user_id"].as_str().unwrap());
    let name = server.put(&format!("{profile}/displayname")).token(&guest).json(&json!({"displayname": "Guest"}));
    name.send().await.ok();
    let avatar = server.put(&format!("{profile}/avatar_url")).token(&guest).json(&json!({"avatar_url": "mxc://a/b"}));
    avatar.send().await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.post("/v3/logout").token(&guest).json(&json!({})).send().await.ok();
}
