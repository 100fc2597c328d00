//! Several servers that reach each other without sockets, and peers whose answers a test writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use myelin::{
    event::SigningKey,
    federation::{
        Transport,
        discovery::{DiscoveryError, LookupError},
        transport::{Outbound, Reply, TransportError},
    },
    http::{Incoming, Site},
};
use ruma::{
    OwnedServerName, ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, json};

use super::{Answer, Request, TestServer, Weather};

/// The version of the key of every [`TestServer`].
pub(super) const KEY_VERSION: &str = "a_test";

/// What a peer of a test answers.
type Script = Arc<dyn Fn(Outbound) -> BoxFuture<'static, Result<Reply, TransportError>> + Send + Sync>;

/// A network. Cheap to clone. Hosts that nobody made are unknown, but for those in `.silent`, which never answer.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sites: HashMap<OwnedServerName, Site>,
    /// How often a server was switched on or off.
    switched: HashMap<OwnedServerName, u64>,
    scripts: HashMap<OwnedServerName, Script>,
    log: Vec<String>,
    weather: Option<Weather>,
    liars: HashMap<OwnedServerName, Arc<dyn Lies>>,
}

/// What a whole server that lies makes of its requests and answers.
pub trait Lies: Send + Sync {
    /// A request of its own as it leaves; `None`: it does not, though it seems to have arrived.
    fn sends(&self, request: Outbound) -> Option<Outbound>;

    /// An answer of its own as it leaves.
    fn answers(&self, request: &Outbound, reply: Reply) -> Reply;
}

/// The network as one server sees it.
pub struct Link {
    network: Network,
    from: OwnedServerName,
}

impl Network {
    /// A server's site, from now on.
    pub fn attach(&self, name: &ServerName, site: &Site) {
        let mut inner = self.0.lock().unwrap();
        inner.sites.insert(name.to_owned(), site.clone());
        *inner.switched.entry(name.to_owned()).or_default() += 1;
    }

    /// A peer that answers like this.
    pub fn script(
        &self,
        name: &str,
        script: impl Fn(&Outbound) -> Result<Reply, TransportError> + Send + Sync + 'static,
    ) {
        self.answer(name, move |request| std::future::ready(script(&request)));
    }

    /// A peer that takes its time.
    pub fn answer<F>(&self, name: &str, script: impl Fn(Outbound) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Reply, TransportError>> + Send + 'static,
    {
        let script: Script = Arc::new(move |request| script(request).boxed());
        self.0.lock().unwrap().scripts.insert(name.try_into().unwrap(), script);
    }

    /// The network as this server sees it.
    pub fn of(&self, name: &ServerName) -> Link {
        Link { network: self.clone(), from: name.to_owned() }
    }

    /// From now on requests take their time and get lost.
    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().unwrap().weather = Some(weather);
    }

    /// From now on this server lies.
    pub fn set_liar(&self, name: &str, lies: Arc<dyn Lies>) {
        self.0.lock().unwrap().liars.insert(name.try_into().unwrap(), lies);
    }

    fn liar(&self, name: &ServerName) -> Option<Arc<dyn Lies>> {
        self.0.lock().unwrap().liars.get(name).cloned()
    }

    /// Takes a server off the network: it is not reached, and what it was doing for others is answered to nobody.
    pub fn forget(&self, name: &str) {
        let name: OwnedServerName = name.try_into().unwrap();
        let mut inner = self.0.lock().unwrap();
        inner.sites.remove(&name);
        *inner.switched.entry(name).or_default() += 1;
    }

    /// What was sent since the last call: `a.b GET /…`, in order.
    pub fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }
}

/// A JSON answer.
pub fn reply(status: u16, body: &Value) -> Result<Reply, TransportError> {
    let json = HeaderValue::from_static("application/json");
    Ok(Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
        body: body.to_string().into(),
    })
}

impl Transport for Link {
    fn send(&self, request: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let weather = self.network.0.lock().unwrap().weather.clone();
        let request = match self.network.liar(&self.from) {
            None => request,
            Some(liar) => match liar.sends(request) {
                Some(request) => request,
                None => return std::future::ready(reply(200, &json!({"pdus": {}}))).boxed(),
            },
        };
        match weather {
            None => self.network.deliver(request).boxed(),
            Some(weather) => weather.carry(self.network.clone(), self.from.clone(), request).boxed(),
        }
    }
}

impl Network {
    /// Delivers a request at once.
    pub(super) async fn deliver(&self, request: Outbound) -> Result<Reply, TransportError> {
        let destination = request.destination.clone();
        let switched = || self.0.lock().unwrap().switched.get(&destination).copied();
        let life = switched();
        let (site, script) = {
            let mut inner = self.0.lock().unwrap();
            let (site, script) = (inner.sites.get(&destination).cloned(), inner.scripts.get(&destination).cloned());
            inner.log.push(format!("{destination} {} {}", request.method, request.target));
            (site, script)
        };
        match (site, script) {
            (_, Some(script)) => script(request).await,
            (Some(site), None) => {
                let lies = self.liar(&destination).map(|liar| (liar, request.clone()));
                let mut reply = dispatch(&site, request).await;
                if let Some((liar, request)) = lies {
                    reply = liar.answers(&request, reply);
                }
                // It may have been switched off meanwhile.
                if switched() == life {
                    Ok(reply)
                } else {
                    Err(TransportError::Connection("it was switched off".to_owned()))
                }
            }
            (None, None) if destination.host().ends_with(".silent") => std::future::pending().await,
            (None, None) => {
                let host = destination.host().to_owned();
                Err(DiscoveryError::Lookup { host, error: LookupError::NotFound }.into())
            }
        }
    }
}

async fn dispatch(site: &Site, request: Outbound) -> Reply {
    let mut headers = HeaderMap::new();
    let authorization = request.authorization.map(|header| HeaderValue::from_str(&header).unwrap());
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (request.target, None),
    };
    let peer = [192, 0, 2, 1].into();
    let incoming = Incoming { method: request.method, path, query, headers, body: request.body, peer };
    let answer = site.dispatch(incoming).await;
    Reply { status: answer.status, headers: answer.headers, body: answer.body }
}

/// A server that is no server: it has a name and a key, and signs what a test wants it to, by ruma's implementation.
pub struct Peer {
    pub name: OwnedServerName,
    seed: [u8; 32],
    version: String,
}

impl Peer {
    /// A peer with a key `ed25519:VERSION` of this seed.
    pub fn new(name: &str, seed: u8, version: &str) -> Self {
        Self { name: name.try_into().unwrap(), seed: [seed; 32], version: version.to_owned() }
    }

    /// One that signs as this [`TestServer`] does.
    pub fn like(name: &str) -> Self {
        let seed = *blake3::hash(name.as_bytes()).as_bytes();
        Self { name: name.try_into().unwrap(), seed, version: KEY_VERSION.to_owned() }
    }

    /// Its key.
    pub fn key(&self) -> SigningKey {
        SigningKey::from_seed(&self.seed, &self.version, &self.name).unwrap()
    }

    /// A document of its key, signed, that is valid until then; changed by the test before it is signed.
    pub fn document(&self, valid_until: u64, change: impl Fn(&mut Value)) -> Value {
        let public = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(self.key().public_key()).encode();
        let mut document = json!({
            "server_name": self.name,
            "valid_until_ts": valid_until,
            "verify_keys": {self.key().key_id(): {"key": public}},
            "old_verify_keys": {},
        });
        change(&mut document);
        self.sign(document)
    }

    /// Any object, signed.
    pub fn sign(&self, value: Value) -> Value {
        let mut object = myelin::event::json::parse(value.to_string().as_bytes()).unwrap();
        self.key().sign_json(&mut object).unwrap();
        serde_json::to_value(object).unwrap()
    }

    /// Publishes its key in a network.
    pub fn publish(&self, network: &Network, valid_until: u64) {
        let document = self.document(valid_until, |_| ());
        network.script(self.name.as_str(), move |_| reply(200, &document));
    }

    /// The `Authorization` header of a request to a server.
    pub fn header(&self, destination: &str, method: &str, target: &str, body: &str) -> String {
        let request = http::Request::builder().method(method).uri(target).body(body.as_bytes()).unwrap();
        let pair = Ed25519KeyPair::from_der(&pkcs8(&self.seed), self.version.clone()).unwrap();
        let input = XMatrixSigningInput::new(self.name.clone(), destination.try_into().unwrap(), &pair);
        XMatrix::sign_http_request(&request, input).unwrap().to_string()
    }

    /// A signed `GET` to a server.
    pub async fn get(&self, server: &TestServer, target: &str) -> Answer {
        let header = self.header(server.app().server_name.as_str(), "GET", target, "");
        server.request(http::Method::GET, target).header("authorization", &header).send().await
    }
}

/// An Ed25519 seed as a PKCS#8 document (RFC 8410).
fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&head[..], seed].concat()
}

impl Request<'_> {
    /// With one more header of a name that is there already.
    pub fn and_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }
}
