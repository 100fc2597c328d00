//! A server on sockets of its own: TLS, metrics, and what a bug in a handler does.

use std::{fs, path::Path};

use http::{HeaderMap, Method};
use myelin::{
    app::App,
    http::{Incoming, Json, RateClass, RateLimits, RawRequest, Refusal, Routes, Site},
    server,
};
use reqwest::{Certificate, Client};

use crate::harness::TestServer;

/// Writes a new certificate for 127.0.0.1 and its key, and returns the certificate.
fn write_certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

fn client_that_trusts(pem: &str) -> Client {
    // The second call in a process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = Certificate::from_pem(pem.as_bytes()).unwrap();
    Client::builder().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_the_listeners_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let pem = write_certificate(folder.path());
    let path = folder.path().display();
    let server = TestServer::configured(&format!(
        "[listeners]\nclient = [\"127.0.0.1:0\"]\n[tls]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n"
    ));
    let listening = server::listen(server.server()).unwrap();
    let url = format!("{}/_matrix/client/versions", listening.addresses()[0]);
    assert!(url.starts_with("https://"), "{url}");
    let answer = client_that_trusts(&pem).get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("v1.19"));
    let other = write_certificate(folder.path());
    assert!(client_that_trusts(&other).get(&url).send().await.is_err(), "it goes on with the certificate it has read");
    server::stop(server.server(), listening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_may_come_without_tls_while_other_servers_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let pem = write_certificate(folder.path());
    let path = folder.path().display();
    // Bound and let go, so that the port is probably free.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::configured(&format!(
        "[listeners]\nclient = [\"127.0.0.1:0\"]\nfederation = [\"{address}\"]\n\
         [tls]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\nclient = false\n"
    ));
    let listening = server::listen(server.server()).unwrap();
    let url = format!("{}/_matrix/client/versions", listening.addresses()[0]);
    assert!(url.starts_with("http://"), "{url}");
    let client = client_that_trusts(&pem);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let path = "_matrix/federation/v1/version";
    assert_eq!(client.get(format!("https://{address}/{path}")).send().await.unwrap().status(), 200);
    assert!(client.get(format!("http://{address}/{path}")).send().await.is_err_and(|error| !error.is_connect()));
    server::stop(server.server(), listening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_fit_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let config = format!(
        "[listeners]\nclient = [\"127.0.0.1:0\"]\n[tls]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n"
    );
    let server = TestServer::configured(&config);
    let listen = || server::listen(server.server()).err().unwrap().to_string();
    assert!(listen().contains("cert.pem"), "{}", listen());
    write_certificate(folder.path());
    let key = fs::read(folder.path().join("key.pem")).unwrap();
    write_certificate(folder.path());
    fs::write(folder.path().join("key.pem"), key).unwrap();
    assert!(listen().contains("certificate"), "{}", listen());
    fs::write(folder.path().join("cert.pem"), "no PEM").unwrap();
    listen();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let server = TestServer::configured(&format!("[listeners]\nclient = [\"{address}\"]\n"));
    let error = server::listen(server.server()).err().unwrap().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_a_listener_of_their_own() {
    // Bound and let go, so that the port is probably free.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::configured(&format!("[listeners]\nclient = [\"127.0.0.1:0\"]\nmetrics = \"{address}\"\n"));
    let listening = server::listen(server.server()).unwrap();
    let client = client_that_trusts(&write_certificate(tempfile::tempdir().unwrap().path()));
    let clients = listening.addresses()[0].clone();
    client.get(format!("{clients}/_matrix/client/versions")).send().await.unwrap();
    let answer = client.get(format!("http://{address}/metrics")).send().await.unwrap();
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("myelin_http_request_seconds_count{endpoint=\"/_matrix/client/versions\",status=\"2xx\"} 1"),
        "{text}"
    );
    assert!(text.contains("myelin_room_lanes 0"), "{text}");
    assert_eq!(client.get(format!("http://{address}/_matrix/client/versions")).send().await.unwrap().status(), 404);
    assert_eq!(client.get(format!("{clients}/metrics")).send().await.unwrap().status(), 404);
    server::stop(server.server(), listening).await;
}

async fn panics(_: App, _: RawRequest) -> Result<Json, Refusal> {
    panic!("on purpose")
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_ends_its_request_and_no_other() {
    let server = TestServer::start();
    let mut routes = Routes::default();
    routes.raw(Method::GET, "/panics", RateClass::Light, panics);
    let site = Site::new(server.app().clone(), routes, RateLimits::default());
    let incoming = Incoming {
        method: Method::GET,
        path: "/panics".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        peer: [127, 0, 0, 1].into(),
    };
    for times in 1..=2 {
        let answer = site.dispatch(incoming.clone()).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), &body["errcode"]), (500, &"M_UNKNOWN".into()));
        assert!(!body.to_string().contains("on purpose"), "what went wrong is not told");
        assert!(server.app().metrics.render().contains(&format!("myelin_panics_total{{where=\"http\"}} {times}")));
    }
}
