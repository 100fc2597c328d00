//! Push rules over HTTP.

use serde_json::{Value, json};

use super::api::{Api, confusions};

const RULES: &str = "/v3/pushrules/global";

#[tokio::test(start_paused = true)]
async fn the_default_rules_are_there_and_can_be_switched() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let all = api.get("/v3/pushrules/", &alice).await.ok();
    let global = api.get(&format!("{RULES}/"), &alice).await.ok();
    assert_eq!(all["global"], global);
    assert_eq!(global["override"][0]["rule_id"], ".m.rule.master");
    let master = format!("{RULES}/override/.m.rule.master");
    assert_eq!(api.get(&format!("{master}/enabled"), &alice).await.ok(), json!({"enabled": false}));
    api.put(&format!("{master}/enabled"), &alice, json!({"enabled": true})).await.ok();
    let message = format!("{RULES}/underride/.m.rule.message");
    let actions = json!({"actions": [{"set_tweak": "highlight"}, "dont_notify"]});
    api.put(&format!("{message}/actions"), &alice, actions.clone()).await.ok();
    let api = api.restart();
    assert_eq!(api.get(&master, &alice).await.ok()["enabled"], true);
    assert_eq!(api.get(&format!("{message}/actions"), &alice).await.ok(), actions);
    api.delete(&master, &alice, json!({})).await.refused(400, "M_INVALID_PARAM");
    api.put(&master, &alice, json!({"actions": []})).await.refused(400, "M_INVALID_PARAM");
    // What clients see in account data is the same.
    let data = api.get("/v3/user/@alice:localhost/account_data/m.push_rules", &alice).await.ok();
    assert_eq!(data, api.get("/v3/pushrules/", &alice).await.ok());
}

#[tokio::test(start_paused = true)]
async fn rules_come_are_placed_and_go() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let put = async |path: &str, body: Value| api.put(&format!("{RULES}/{path}"), &alice, body).await;
    let actions = json!({"actions": ["notify"]});
    put("room/!a:b", actions.clone()).await.ok();
    put("sender/@a:b", actions.clone()).await.ok();
    put("content/cake", json!({"actions": [], "pattern": "cake"})).await.ok();
    put("override/one", actions.clone()).await.ok();
    put("override/two", json!({"actions": [], "conditions": [{"kind": "org.example", "x": 1}]})).await.ok();
    put("override/three?after=two", actions.clone()).await.ok();
    put("override/two?before=one&after=three", actions.clone()).await.ok();
    let ids = async || {
        let global = api.get(&format!("{RULES}/"), &alice).await.ok();
        let rules = global["override"].as_array().unwrap().clone();
        rules.iter().map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).take(4).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [".m.rule.master", "three", "two", "one"]);
    // Placing an existing rule behind the last one.
    put("override/three?after=one", actions.clone()).await.ok();
    assert_eq!(ids().await, [".m.rule.master", "two", "one", "three"]);
    put("override/x?after=nothing", actions.clone()).await.refused(400, "M_UNKNOWN");
    put("override/x?before=.m.rule.master", actions.clone()).await.refused(400, "M_UNKNOWN");
    let path = format!("{RULES}/override/two");
    api.delete(&path, &alice, json!({})).await.ok();
    api.delete(&path, &alice, json!({})).await.refused(404, "M_NOT_FOUND");
    api.get(&path, &alice).await.refused(404, "M_NOT_FOUND");
    let enabled = api.put(&format!("{path}/enabled"), &alice, json!({"enabled": true})).await;
    enabled.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_rule_is_refused() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let put = async |path: &str, body: Value| api.put(&format!("{RULES}/{path}"), &alice, body).await;
    let actions = json!({"actions": []});
    for path in ["nokind/x", "room/noroom", "sender/nobody", "override/.mine", "override/a%2Fb", "override/a%5Cb"] {
        put(path, actions.clone()).await.refused(400, "M_INVALID_PARAM");
    }
    put(&format!("override/{}", "x".repeat(301)), actions.clone()).await.refused(400, "M_INVALID_PARAM");
    put("content/x", actions).await.refused(400, "M_INVALID_PARAM");
    put("override/x", json!({})).await.refused(400, "M_MISSING_PARAM");
    for value in confusions() {
        for field in ["actions", "conditions", "pattern"] {
            let mut body = json!({"actions": [], "pattern": "x"});
            body[field] = value.clone();
            for kind in ["override", "content"] {
                let answer = put(&format!("{kind}/x"), body.clone()).await;
                assert!(answer.status == 200 || answer.status == 400, "{field} {value}: {}", answer.json);
            }
        }
        let switch = put("override/.m.rule.master/enabled", json!({ "enabled": value })).await;
        assert_eq!(switch.status, if value.is_boolean() { 200 } else { 400 }, "{value}");
        let change = put("override/.m.rule.master/actions", json!({ "actions": value })).await;
        assert_eq!(change.status, if value.is_array() { 200 } else { 400 }, "{value}");
    }
}
