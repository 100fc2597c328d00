//! What only a socket can send: bytes that are no request, requests that hide others, and hardly any bytes at all.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::join_all};
use myelin::server::{self, Listening};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::TestServer;

/// A server on a port of its own.
struct Bound {
    server: TestServer,
    listening: Option<Listening>,
    address: SocketAddr,
}

impl Bound {
    /// A server that has little patience, so that its end is soon seen.
    fn start() -> Self {
        Self::patient(Duration::from_millis(200))
    }

    /// A server that waits so long for headers, and as long for a body.
    fn patient(patience: Duration) -> Self {
        let config = "[registration]\nmode = \"open\"\n[listeners]\nclient = [\"127.0.0.1:0\"]\n";
        let server = TestServer::adjusted(config, |config| {
            (config.limits.header_timeout, config.limits.body_timeout) = (patience, patience);
        });
        let listening = server::listen(server.server()).unwrap();
        let address = listening.addresses()[0].trim_start_matches("http://").parse().unwrap();
        Self { server, listening: Some(listening), address }
    }

    /// Sends bytes and reads until the server closes the connection, or is silent for a while.
    async fn exchange(&self, bytes: &[u8]) -> Exchange {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may have enough before it has everything.
        let _ = stream.write_all(bytes).await;
        read(&mut stream, Duration::from_secs(5)).await
    }

    async fn stop(mut self) {
        server::stop(self.server.server(), self.listening.take().unwrap()).await;
    }
}

/// What came back.
#[derive(Debug)]
struct Exchange {
    text: String,
    closed: bool,
}

impl Exchange {
    fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.1 ").skip(1);
        lines.map(|line| line[..3].parse().unwrap()).collect()
    }

    fn json(&self) -> Value {
        self.text.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default()
    }
}

async fn read(stream: &mut TcpStream, patience: Duration) -> Exchange {
    let (mut bytes, mut closed, mut buffer) = (Vec::new(), false, [0; 4096]);
    while let Ok(read) = tokio::time::timeout(patience, stream.read(&mut buffer)).await {
        match read {
            Ok(0) | Err(_) => {
                closed = true;
                break;
            }
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Exchange { text: String::from_utf8_lossy(&bytes).into_owned(), closed }
}

/// Reads until this was read.
async fn read_until(stream: &mut TcpStream, last: &str) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(last) || count == 0 {
            return text.into_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_could_hide_others_are_refused_and_the_connection_ends() {
    let bound = Bound::start();
    let post = "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: localhost\r\n";
    let hidden = "GET /_matrix/client/versions HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("length and encoding", format!("{post}Content-Length: 5\r\n{chunked}0\r\n\r\n{hidden}")),
        (
            "encoding and length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        ("two lengths", format!("{post}Content-Length: 2\r\nContent-Length: 90\r\n\r\n{{}}{hidden}")),
        ("a list of lengths", format!("{post}Content-Length: 2, 90\r\n\r\n{{}}{hidden}")),
        ("a length with a plus sign", format!("{post}Content-Length: +2\r\n\r\n{{}}{hidden}")),
        ("a negative length", format!("{post}Content-Length: -2\r\n\r\n{{}}{hidden}")),
        ("a hexadecimal length", format!("{post}Content-Length: 0x2\r\n\r\n{{}}{hidden}")),
        ("a huge length", format!("{post}Content-Length: 99999999999999999999999\r\n\r\n{{}}{hidden}")),
        ("an unknown encoding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("an encoding behind chunks", format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}")),
        ("two encodings", format!("{post}Transfer-Encoding: identity\r\n{chunked}0\r\n\r\n{hidden}")),
        ("a space before the colon", format!("{post}Content-Length : 2\r\n\r\n{{}}{hidden}")),
        ("a folded header", format!("{post}X-A: b\r\n Content-Length: 2\r\n\r\n{{}}{hidden}")),
        ("a NUL in a header", format!("{post}X-A: b\0c\r\nContent-Length: 2\r\n\r\n{{}}{hidden}")),
        ("a bare carriage return", format!("{post}X-A: b\rContent-Length: 2\r\n\r\n{{}}{hidden}")),
        ("a chunk of a bad size", format!("{post}{chunked}zz\r\n{{}}\r\n0\r\n\r\n{hidden}")),
        ("a chunk of a huge size", format!("{post}{chunked}FFFFFFFFFFFFFFFFFF\r\n{{}}\r\n0\r\n\r\n{hidden}")),
        ("a negative chunk", format!("{post}{chunked}-2\r\n{{}}\r\n0\r\n\r\n{hidden}")),
        ("a huge header", format!("{post}X-A: {}\r\n\r\n{hidden}", "a".repeat(1 << 20))),
        ("many headers", format!("{post}{}\r\n{hidden}", "X-A: b\r\n".repeat(10_000))),
        ("a future version", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned()),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("no HTTP at all", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}hello\r\n\r\n".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, bytes) in cases {
        let exchange = bound.exchange(bytes.as_bytes()).await;
        let statuses = exchange.statuses();
        let refused = statuses.iter().all(|status| (400..500).contains(status) || *status == 501 || *status == 505);
        if !refused || statuses.len() > 1 || !exchange.closed {
            wrong.push(format!("{name}: {statuses:?}, closed: {}", exchange.closed));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let next = bound.exchange(hidden.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(next.statuses(), [200], "the server is alive");
    bound.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let bound = Bound::patient(Duration::from_secs(1));
    let put = "PUT /_matrix/client/v3/rooms/!a:b/send/m.room.message/1 HTTP/1.1\r\nHost: localhost\r\n";
    let announced = bound.exchange(format!("{put}Content-Length: 20000000\r\n\r\n{{").as_bytes()).await;
    assert_eq!((announced.statuses(), &announced.json()["errcode"]), (vec![413], &Value::from("M_TOO_LARGE")));
    assert!(announced.text.to_ascii_lowercase().contains("access-control-allow-origin: *"));
    let chunk = format!("100000\r\n{}\r\n", "a".repeat(0x10_0000));
    let streamed =
        bound.exchange(format!("{put}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(8)).as_bytes()).await;
    assert!(matches!(*streamed.statuses(), [] | [413]), "{streamed:?}");
    assert!(announced.closed, "nothing can follow what was not read: {announced:?}");
    assert!(streamed.closed, "nothing can follow what was not read: {streamed:?}");
    // Extensions of chunks count for nothing; they are skipped, and end with the time for a body.
    let post = "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;";
    let extended = bound.exchange(format!("{post}{}", "a".repeat(8 << 20)).as_bytes()).await;
    assert_eq!((extended.statuses(), extended.closed), (vec![408], true), "{extended:?}");
    bound.stop().await;
}

/// Connections that begin in one of three ways, and do not go on.
async fn slow(bound: &Bound, count: usize) -> Vec<TcpStream> {
    let mut slow = Vec::new();
    let half = "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: localhost\r\n";
    for number in 0..count {
        let mut stream = TcpStream::connect(bound.address).await.unwrap();
        let begin = match number % 3 {
            0 => String::new(),
            1 => half.to_owned(),
            _ => format!("{half}Content-Length: 100\r\n\r\n{{"),
        };
        stream.write_all(begin.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    slow
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_who_sends_slowly() {
    let bound = Bound::patient(Duration::from_mins(1));
    let mut slow = slow(&bound, 200).await;
    let versions = b"GET /_matrix/client/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(bound.exchange(versions).await.statuses(), [200]);
    for stream in &mut slow {
        assert!(stream.read(&mut [0]).now_or_never().is_none(), "the server is still patient with the others");
    }
    drop(slow);
    bound.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_is_cut_off() {
    let bound = Bound::start();
    let cut_off = slow(&bound, 200).await.into_iter().map(async |mut stream| {
        let (mut text, mut closed) = (String::new(), false);
        // A byte now and then does not help: sooner than a whole request there is the end.
        for _ in 0..90 {
            let _ = stream.write_all(b"a").await;
            let exchange = read(&mut stream, Duration::from_millis(100)).await;
            text.push_str(&exchange.text);
            closed = exchange.closed;
            if closed {
                break;
            }
        }
        Exchange { text, closed }
    });
    let ends = join_all(cut_off).await;
    let is_cut = |end: &Exchange| end.closed && end.statuses().iter().all(|status| matches!(status, 400 | 408));
    let open: Vec<_> = ends.iter().filter(|end| !is_cut(end)).collect();
    assert!(open.is_empty(), "{} of 200: {:?}", open.len(), open.first());
    bound.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_who_waits_and_does_not_wait_for_idle_connections() {
    let bound = Bound::start();
    let (alice, bob) = (bound.server.register_user("alice").await, bound.server.register_user("bob").await);
    let sync = bound.server.get("/v3/sync").by(&alice).send().await.ok();
    let mut idle = TcpStream::connect(bound.address).await.unwrap();
    idle.write_all(b"GET /_matrix/client/versions HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answered = read_until(&mut idle, "unstable_features").await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    let mut waiting = TcpStream::connect(bound.address).await.unwrap();
    let request = format!(
        "GET /_matrix/client/v3/sync?timeout=30000&since={} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        sync["next_batch"].as_str().unwrap(),
        bob.token
    );
    waiting.write_all(request.as_bytes()).await.unwrap();
    // Alice is online since her sync; so is Bob once his is being answered.
    while bound.server.app().sync.online() < 2 {
        tokio::task::yield_now().await;
    }
    let stopped = Instant::now();
    let address = bound.address;
    bound.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    let answer = read(&mut waiting, Duration::from_secs(1)).await;
    assert_eq!((answer.statuses(), answer.closed), (vec![200], true), "{answer:?}");
    assert!(answer.json()["next_batch"].is_string());
    assert!(read(&mut idle, Duration::from_secs(1)).await.closed);
    assert!(TcpStream::connect(address).await.is_err());
}
