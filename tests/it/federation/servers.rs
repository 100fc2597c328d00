//! Two whole servers that talk with each other.

use http::Method;
use myelin::federation::{Bounds, ClientError};
use ruma::{
    api::federation::{
        discovery::get_server_version::v1 as version, query::get_profile_information::v1 as get_profile,
    },
    server_name, user_id,
};
use serde_json::json;

use crate::harness::{Network, TestServer, reply};

pub const OPEN: &str = "[registration]\nmode = \"open\"\n";

#[tokio::test(start_paused = true)]
async fn a_profile_is_asked_for_across() {
    let network = Network::default();
    let (a, b) = (TestServer::in_network(&network, "a.b", OPEN), TestServer::in_network(&network, "c.d", OPEN));
    let bob = b.register_user("bob").await;
    let name = b.put("/v3/profile/@bob:c.d/displayname").by(&bob).json(&json!({"displayname": "Bob \u{1f916}"}));
    name.send().await.ok();
    let request = get_profile::Request::new(user_id!("@bob:c.d").to_owned());
    let ask = async |request| a.app().federation.client().request(server_name!("c.d"), request, Bounds::USUAL).await;
    let profile = ask(request.clone()).await.unwrap();
    assert_eq!(profile.get("displayname"), Some(&json!("Bob \u{1f916}")));
    let fetched = "a.b GET /_matrix/key/v2/server";
    assert_eq!(network.sent(), ["c.d GET /_matrix/federation/v1/query/profile?user_id=%40bob%3Ac.d", fetched]);
    let mut field = request.clone();
    field.field = Some("avatar_url".into());
    assert_eq!(ask(field).await.unwrap().iter().count(), 0, "only the field that was asked for");
    assert_eq!(network.sent().len(), 1, "the key is known now");
    for (stranger, code) in [("@nobody:c.d", "M_NOT_FOUND"), ("@x:e.f", "M_INVALID_PARAM")] {
        let error = ask(get_profile::Request::new(stranger.try_into().unwrap())).await.unwrap_err();
        assert!(matches!(&error, ClientError::Refused { code: refused, .. } if refused == code), "{error}");
    }
    let b = b.restart().await;
    network.sent();
    ask(request).await.unwrap();
    assert_eq!(network.sent().len(), 1, "keys outlive a restart");
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn the_version_is_for_everybody() {
    let network = Network::default();
    let (a, _b) = (TestServer::in_network(&network, "a.b", ""), TestServer::in_network(&network, "c.d", ""));
    let client = a.app().federation.client();
    let answer = client.request(server_name!("c.d"), version::Request::new(), Bounds::USUAL).await.unwrap();
    assert_eq!(answer.server.unwrap().name.as_deref(), Some("Myelin"));
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_answers_is_bounded_and_its_own() {
    let network = Network::default();
    let a = TestServer::in_network(&network, "a.b", "");
    let ask = async |bounds| {
        let client = a.app().federation.client();
        client.request(server_name!("c.d"), version::Request::new(), bounds).await.unwrap_err()
    };
    let text = ask(Bounds::USUAL).await.to_string();
    assert_eq!(text, "c.d: no address of c.d: there is none");
    let error =
        json!({"errcode": "M_UNKNOWN_TOKEN", "error": format!("x\n{}", "y".repeat(5_000)), "soft_logout": true});
    network.script("c.d", move |_| reply(401, &error));
    match ask(Bounds::USUAL).await {
        ClientError::Refused { status, code, message, .. } => {
            assert_eq!((status.as_u16(), code.as_str()), (401, "M_UNKNOWN_TOKEN"));
            assert!(message.len() <= 200 && !message.contains('\n'));
        }
        other => panic!("{other}"),
    }
    network.script("c.d", |_| reply(302, &json!({})));
    assert!(matches!(ask(Bounds::USUAL).await, ClientError::Refused { .. }), "a redirect is no answer");
    network.script("c.d", |_| reply(200, &json!({"server": 1})));
    assert!(matches!(ask(Bounds::USUAL).await, ClientError::Unreadable { .. }));
    network.script("c.d", |_| reply(200, &json!({"x": "x".repeat(2_000)})));
    let small = Bounds { most_bytes: 1_000, ..Bounds::USUAL };
    assert!(ask(small).await.to_string().contains("larger than 1000 bytes"));
}

#[tokio::test(start_paused = true)]
async fn an_administrator_chooses_the_servers() {
    let network = Network::default();
    let configured = |name, toml: &str| TestServer::in_network(&network, name, &format!("[federation]\n{toml}\n"));
    let a = configured("a.b", "denied_servers = [\"*.evil\", \"c.d\"]");
    let c = configured("c.d", "");
    let off = configured("o.ff", "enabled = false");
    let ask = async |from: &TestServer, to: &str| {
        let request = get_profile::Request::new(format!("@x:{to}").try_into().unwrap());
        from.app().federation.client().request(to.try_into().unwrap(), request, Bounds::USUAL).await.unwrap_err()
    };
    assert!(matches!(ask(&a, "c.d").await, ClientError::NotAllowed(_)));
    assert!(matches!(ask(&off, "c.d").await, ClientError::NotAllowed(_)));
    assert!(matches!(ask(&c, "c.d").await, ClientError::NotAllowed(_)), "a server does not talk with itself");
    assert_eq!(network.sent(), [""; 0]);
    let refused = |error: ClientError, wanted: u16, wanted_code: &str| match error {
        ClientError::Refused { status, code, .. } => assert_eq!((status.as_u16(), &*code), (wanted, wanted_code)),
        other => panic!("{other}"),
    };
    refused(ask(&c, "a.b").await, 403, "M_FORBIDDEN");
    refused(ask(&c, "o.ff").await, 404, "M_UNRECOGNIZED");
    off.request(Method::GET, "/_matrix/key/v2/server").send().await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_its_own_serves_only_federation() {
    let network = Network::default();
    let toml = "[listeners]\nfederation = [\"127.0.0.1:0\"]\n[well_known]\nserver = \"m.a.b:443\"";
    let server = TestServer::in_network(&network, "a.b", toml);
    let federation = server.server().federation_site().unwrap();
    let status = async |site: &myelin::http::Site, target: &str| {
        server.request(Method::GET, target).through(site).send().await.status
    };
    for (target, there, here) in [
        ("/_matrix/federation/v1/version", 200, 404),
        ("/_matrix/key/v2/server", 200, 404),
        ("/.well-known/matrix/server", 200, 200),
        ("/_matrix/client/versions", 404, 200),
        ("/_synapse/admin/v1/register", 404, 400),
        ("/", 404, 200),
    ] {
        assert_eq!(status(federation, target).await, there, "{target} for servers");
        assert_eq!(status(server.site(), target).await, here, "{target} for clients");
    }
}
