//! Paths, methods and origins.

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::TestServer;

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| out + &format!("%{byte:02X}"))
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_decoded_once() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let data = |kind: &str| format!("/v3/user/{}/account_data/{kind}", alice.user_id);
    for kind in ["a/b", "a%2Fb", "a+b", "a b", "%", "..", "a?b", "a#b", "\u{e9}\u{1f980}", "\n", "\0"] {
        let content = json!({ "kind": kind });
        server.put(&data(&encoded(kind))).by(&alice).json(&content).send().await.ok();
        assert_eq!(server.get(&data(&encoded(kind))).by(&alice).send().await.ok(), content);
    }
    // As it is, a plus sign is itself, and so is what needs no escape.
    let plus = server.get(&data("a+b")).by(&alice).send().await.ok();
    assert_eq!(plus["kind"], "a+b");
    // The user id may be escaped too.
    let escaped = format!("/v3/user/{}/account_data/a+b", encoded(&alice.user_id));
    assert_eq!(server.get(&escaped).by(&alice).send().await.ok()["kind"], "a+b");
}

#[tokio::test(start_paused = true)]
async fn paths_that_are_not_well_formed_are_refused() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    for bad in ["%zz", "%", "%4", "%FF", "%C3", "%C0%80", "%ED%A0%80", "%+1"] {
        let path = format!("/v3/user/{}/account_data/{bad}", alice.user_id);
        server.get(&path).by(&alice).send().await.refused(400, "M_INVALID_PARAM");
    }
    let long = "a".repeat(20_000);
    for path in [
        "/v3/account//whoami",
        "//v3/account/whoami",
        "/v3/account/whoami/",
        "/v3/account/whoami/more",
        "/v3/account/whoamix",
        "/v3/account/../account/whoami",
        "/v3/account/%77hoami",
        "/v3//user/a/account_data/b",
        "/v3/user//account_data/b",
        "/V3/account/whoami",
        "/v99/account/whoami",
        "",
        "/",
        &format!("/{long}"),
        &format!("/v3/{}", "a/".repeat(5_000)),
    ] {
        server.get(path).by(&alice).send().await.refused(404, "M_UNRECOGNIZED");
    }
    let path = format!("/v3/user/{}/account_data/{long}", alice.user_id);
    let answer = server.put(&path).by(&alice).json(&json!({})).send().await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_endpoints_and_wrong_methods_are_unrecognized() {
    let server = TestServer::start();
    for path in [
        "/_matrix/unknown",
        "/_matrix/client/unknown",
        "/_matrix/client/v3/unknown",
        "/_matrix/federation/v1/unknown",
        "/unknown",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            server.request(method, path).send().await.refused(404, "M_UNRECOGNIZED");
        }
    }
    for (method, path) in
        [(Method::PATCH, "/v3/login"), (Method::DELETE, "/v3/login"), (Method::PUT, "/v3/account/whoami")]
    {
        server.request(method, format!("/_matrix/client{path}")).send().await.refused(405, "M_UNRECOGNIZED");
    }
    let odd = Method::from_bytes(b"BREW").unwrap();
    server.request(odd, "/_matrix/client/versions").send().await.refused(405, "M_UNRECOGNIZED");
    let head = server.request(Method::HEAD, "/_matrix/client/versions").send().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_may_use_the_client_api_and_nothing_else() {
    let server = TestServer::start();
    for (method, path) in [
        (Method::GET, "/_matrix/client/versions"),
        (Method::GET, "/_matrix/client/v3/account/whoami"),
        (Method::GET, "/_matrix/client/unknown"),
        (Method::GET, "/.well-known/matrix/client"),
        (Method::OPTIONS, "/_matrix/client/v3/sync"),
    ] {
        let answer = server.request(method, path).header("origin", "https://elsewhere.example").send().await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, PUT, DELETE, OPTIONS");
        let headers = answer.header("access-control-allow-headers");
        assert!(["X-Requested-With", "Content-Type", "Authorization"].iter().all(|name| headers.contains(name)));
    }
    let closed = [
        "/_synapse/admin/v1/register",
        "/health",
        "/",
        "/metrics",
        "/_matrix/key/v2/server",
        "/_matrix/federation/v1/version",
    ];
    for path in closed {
        for method in [Method::GET, Method::OPTIONS] {
            let answer = server.request(method, path).header("origin", "https://elsewhere.example").send().await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        }
    }
    // A preflight does nothing, whether or not there is such an endpoint.
    let preflight = server.request(Method::OPTIONS, "/_matrix/client/v3/logout").send().await;
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_administrators_is_not_on_the_client_listener_or_is_off() {
    let server = TestServer::start();
    server.request(Method::GET, "/metrics").send().await.refused(404, "M_UNRECOGNIZED");
    server.request(Method::GET, "/_synapse/admin/v1/register").send().await.refused(400, "M_UNKNOWN");
    let alice = server.register_user("alice").await;
    for path in ["/_synapse/admin/v1/users/@alice:localhost", "/_synapse/admin/v2/users"] {
        let answer = server.request(Method::GET, path).by(&alice).send().await;
        assert!(matches!(answer.status, 403 | 404), "{answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a client escapes is what the endpoint gets.
    #[test]
    fn any_text_goes_through_a_path(kind in "\\PC{1,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = TestServer::start();
            let alice = server.register_user("alice").await;
            let path = format!("/v3/user/{}/account_data/{}", alice.user_id, encoded(&kind));
            server.put(&path).by(&alice).json(&json!({ "kind": kind })).send().await.ok();
            let sync: Value = server.get("/v3/sync").by(&alice).send().await.ok();
            let events = sync["account_data"]["events"].as_array().unwrap();
            assert!(events.iter().any(|event| event["type"] == kind.as_str()), "{sync}");
        });
    }
}
