//! What a client learns before it logs in: where the server is, what it can do.

use http::Method;
use serde_json::json;

use crate::harness::TestServer;

#[tokio::test(start_paused = true)]
async fn versions_and_capabilities_are_told() {
    let server = TestServer::start();
    let versions = server.get("/versions").send().await.ok();
    let listed = versions["versions"].as_array().unwrap();
    assert_eq!((&listed[0], &listed[18], listed.len()), (&json!("v1.1"), &json!("v1.19"), 19));
    assert_eq!(versions["unstable_features"]["uk.tcpip.msc4133"], true);
    server.get("/v3/capabilities").send().await.refused(401, "M_MISSING_TOKEN");
    let alice = server.register_user("alice").await;
    let told = server.get("/v3/capabilities").by(&alice).send().await.ok();
    let versions = &told["capabilities"]["m.room_versions"];
    assert_eq!((&versions["default"], versions["available"].as_object().unwrap().len()), (&json!("12"), 12));
    assert_eq!(told["capabilities"]["m.3pid_changes"]["enabled"], false);
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_is_found_and_the_rest_is_404() {
    let bare = TestServer::start();
    for name in ["client", "server", "support"] {
        let request = bare.request(Method::GET, format!("/.well-known/matrix/{name}"));
        request.send().await.refused(404, "M_NOT_FOUND");
    }
    let server = TestServer::configured(
        "public_base_url = \"https://matrix.example.org\"\n[well_known]\nserver = \"matrix.example.org:443\"\n\
         [support]\npage = \"https://example.org/help\"\nadmin_email = \"admin@example.org\"\n",
    );
    let client = server.request(Method::GET, "/.well-known/matrix/client").send().await.ok();
    assert_eq!(client, json!({"m.homeserver": {"base_url": "https://matrix.example.org"}}));
    let delegated = server.request(Method::GET, "/.well-known/matrix/server").send().await.ok();
    assert_eq!(delegated, json!({"m.server": "matrix.example.org:443"}));
    let support = server.request(Method::GET, "/.well-known/matrix/support").send().await.ok();
    let contacts = json!([{"role": "m.role.admin", "email_address": "admin@example.org"}]);
    assert_eq!(support, json!({"contacts": contacts, "support_page": "https://example.org/help"}));
}

#[tokio::test(start_paused = true)]
async fn a_browser_gets_a_page_that_loads_and_runs_nothing() {
    let server = TestServer::start();
    let page = server.request(Method::GET, "/").send().await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(text.contains("@name:localhost") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    assert!(!text.contains("{{") && !text.contains("<script"), "{text}");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(server.request(Method::GET, "/health").send().await.ok(), json!({"status": "ok"}));
    server.app().shutdown.trigger();
    // A 503 is what a watcher wants to see here, so this does not go through the harness.
    let incoming = myelin::http::Incoming {
        method: Method::GET,
        path: "/health".to_owned(),
        query: None,
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        peer: [127, 0, 0, 1].into(),
    };
    assert_eq!(server.site().dispatch(incoming).await.status, 503);
}
