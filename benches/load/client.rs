//! A small HTTP client with one connection per user, so that the driver costs little beside the server that it measures.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Failure;

/// The server that is driven: a loopback address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    authority: String,
}

impl Target {
    /// Reads `http://HOST:PORT`, and refuses whatever is not this machine's loopback.
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let uri: http::Uri = url.parse()?;
        if uri.scheme_str() != Some("http") {
            return Err("only http:// is driven".into());
        }
        let host = uri.host().ok_or("the URL names no host")?;
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => host.trim_matches(['[', ']']).parse().map_err(|_| "only loopback addresses are driven")?,
        };
        if !ip.is_loopback() {
            return Err("only loopback addresses are driven".into());
        }
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { address: SocketAddr::new(ip, port), authority: format!("{host}:{port}") })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // The end of a connection shows in the request that needed it.
            let _ = connection.await;
        });
        Ok(Connection { target: self.clone(), sender, token: None })
    }
}

/// One keep-alive connection, and the access token that it sends.
pub(crate) struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
}

impl Connection {
    /// Sends this token from now on.
    pub(crate) fn authenticate(&mut self, token: &str) {
        self.token = Some(format!("Bearer {token}"));
    }

    /// Another connection of the same user.
    pub(crate) async fn another(&self) -> Result<Self, Failure> {
        let mut other = self.target.connect().await?;
        other.token.clone_from(&self.token);
        Ok(other)
    }

    /// Asks, and returns the status and the body whole.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        if self.sender.ready().await.is_err() {
            // The server closed an idle connection.
            self.sender = self.another().await?.sender;
        }
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.target.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let reply = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }

    /// Asks, and fails unless the answer is 200.
    pub(crate) async fn expect(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (status, reply) = self.ask(method.clone(), path, body).await?;
        if status == StatusCode::OK {
            return Ok(reply);
        }
        let told = String::from_utf8_lossy(reply.get(..reply.len().min(300)).unwrap_or_default()).into_owned();
        Err(format!("{method} {path}: {status}: {told}").into())
    }

    /// GET of JSON.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.expect(Method::GET, path, Bytes::new()).await?)?)
    }

    /// POST of JSON, answered by JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = serde_json::to_vec(body)?.into();
        Ok(serde_json::from_slice(&self.expect(Method::POST, path, body).await?)?)
    }

    /// PUT of JSON, answered by JSON.
    pub(crate) async fn put(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = serde_json::to_vec(body)?.into();
        Ok(serde_json::from_slice(&self.expect(Method::PUT, path, body).await?)?)
    }
}

/// A string field of a reply.
pub(crate) fn text(reply: &Value, field: &str) -> Result<String, Failure> {
    let found = reply.get(field).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("a reply without {field}"))?.to_owned())
}

/// A string as one segment of a path.
pub(crate) fn segment(raw: &str) -> String {
    raw.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
