//! Fetching the keys of other servers: each server once at a time, few at once, and those that fail ever more rarely.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use quick_cache::sync::Cache as QuickCache;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, OwnedServerSigningKeyId, ServerName, UInt,
    api::federation::discovery::{get_remote_server_keys_batch::v2 as query, get_server_keys::v2 as get_server_keys},
};
use thiserror::Error;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    client::{Bounds, Client, ClientError},
    key_document::{DocumentError, KeyDocument, LARGEST, PublicKey},
    key_ring::Wanted,
    keys::{DocumentRow, KEY_DOCUMENT, KeyRow, SERVER_KEY},
};
use crate::{
    base::{
        clock::{Clock, UnixMillis},
        tasks::Tasks,
    },
    store::{Batch, CommitError, ReadError, Store},
};

/// How long one server may take, and how much it may say.
const ONE: Bounds = Bounds { within: Duration::from_secs(10), most_bytes: LARGEST };
/// The same for a notary, which may have to ask others first.
const NOTARY: Bounds = Bounds { within: Duration::from_secs(20), most_bytes: 4 << 20 };
/// Servers that are asked at once.
const AT_ONCE: usize = 64;
/// Servers that may wait to be asked; more are refused at once.
const MOST_WAITING: usize = 512;
/// The shortest time between two requests to one server; doubled with each failure.
const SHORTEST_PAUSE: Duration = Duration::from_mins(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How long a notary is not asked again about a server of which it had nothing.
const NOTARY_PAUSE: Duration = Duration::from_mins(10);
/// Servers whose last attempt is remembered.
const REMEMBERED: usize = 10_000;
/// Servers of one request to a notary.
const NOTARY_BATCH: usize = 100;

/// Why a server's keys were not fetched.
#[derive(Clone, Debug, Error)]
pub(super) enum FetchError {
    #[error("it was asked a short time ago")]
    TooSoon,
    #[error("too many servers are being asked")]
    Busy,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("its document: {0}")]
    Document(#[from] DocumentError),
    #[error("it gave the keys of another server")]
    OfAnother,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Who says what the keys of a server are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The server itself, over TLS.
    Itself,
    /// A notary that this server trusts.
    Notary,
}

type Fetch = Shared<BoxFuture<'static, Result<(), FetchError>>>;

/// The last attempt with a server.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    failures: u32,
}

impl Attempt {
    fn pause(self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        SHORTEST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }
}

/// Fetches keys and stores them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher(Arc<Inner>);

struct Inner {
    store: Store,
    client: Client,
    clock: Clock,
    tasks: Tasks,
    at_once: Semaphore,
    running: Mutex<HashMap<OwnedServerName, Fetch>>,
    attempts: QuickCache<OwnedServerName, Attempt>,
    /// When a notary was last asked about a server, in vain.
    in_vain: QuickCache<(OwnedServerName, OwnedServerName), Instant>,
}

impl Fetcher {
    pub(super) fn new(store: Store, client: Client, clock: Clock, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            store,
            client,
            clock,
            tasks,
            at_once: Semaphore::new(AT_ONCE),
            running: Mutex::default(),
            attempts: QuickCache::new(REMEMBERED),
            in_vain: QuickCache::new(REMEMBERED),
        }))
    }

    /// Asks a server for its keys. Whoever asks for the same server meanwhile waits for the same answer; it is fetched to
    /// its end also when nobody waits any more.
    pub(super) async fn fetch(&self, server: &ServerName) -> Result<(), FetchError> {
        let fetch = self.join_or_begin(server)?;
        fetch.await
    }

    fn join_or_begin(&self, server: &ServerName) -> Result<Fetch, FetchError> {
        let mut running = self.0.running.lock();
        if let Some(fetch) = running.get(server) {
            return Ok(fetch.clone());
        }
        let now = self.0.clock.instant();
        if self.0.attempts.get(server).is_some_and(|last| now < last.at + last.pause()) {
            return Err(FetchError::TooSoon);
        }
        if running.len() >= MOST_WAITING {
            return Err(FetchError::Busy);
        }
        let fetch = self.clone().run(server.to_owned()).boxed().shared();
        running.insert(server.to_owned(), fetch.clone());
        let driven = fetch.clone();
        self.0.tasks.spawn("fetching keys", async move {
            // Whoever waits is told.
            let _ = driven.await;
        });
        Ok(fetch)
    }

    async fn run(self, server: OwnedServerName) -> Result<(), FetchError> {
        let fetched = self.ask(&server).await;
        let last = self.0.attempts.get(&server).map_or(0, |last| last.failures);
        let failures = if fetched.is_ok() { 0 } else { last.saturating_add(1) };
        self.0.attempts.insert(server.clone(), Attempt { at: self.0.clock.instant(), failures });
        self.0.running.lock().remove(&server);
        if let Err(error) = &fetched {
            tracing::info!(%server, %error, "the keys of a server can't be fetched");
        }
        fetched
    }

    async fn ask(&self, server: &ServerName) -> Result<(), FetchError> {
        // Closed is never called on this semaphore; without a permit there would only be more at once.
        let _permit = self.0.at_once.acquire().await.ok();
        let response = self.0.client.request(server, get_server_keys::Request::new(), ONE).await?;
        let document = KeyDocument::read(response.server_key.json().get().as_bytes())?;
        if document.server_name != *server {
            return Err(FetchError::OfAnother);
        }
        self.keep(&[document], Source::Itself).await
    }

    /// Asks a notary for what is still wanted. What it has not is not asked for again for a while.
    pub(super) async fn ask_notary(
        &self,
        notary: &ServerName,
        keys_of_notary: &BTreeMap<String, PublicKey>,
        wanted: &[Wanted],
    ) -> Result<(), FetchError> {
        let now = self.0.clock.instant();
        let mut by_server: BTreeMap<OwnedServerName, BTreeMap<OwnedServerSigningKeyId, query::QueryCriteria>> =
            BTreeMap::new();
        for Wanted { server, key_id, at } in wanted {
            let asked = self.0.in_vain.get(&(notary.to_owned(), server.clone()));
            let Ok(key_id) = OwnedServerSigningKeyId::try_from(key_id.as_str()) else { continue };
            if asked.is_some_and(|asked| now < asked + NOTARY_PAUSE) {
                continue;
            }
            let mut criteria = query::QueryCriteria::new();
            criteria.minimum_valid_until_ts = at.and_then(|at| UInt::try_from(at).ok()).map(MilliSecondsSinceUnixEpoch);
            by_server.entry(server.clone()).or_default().insert(key_id, criteria);
        }
        let mut rest = by_server.into_iter().peekable();
        while rest.peek().is_some() {
            let batch: BTreeMap<_, _> = rest.by_ref().take(NOTARY_BATCH).collect();
            self.ask_notary_once(notary, keys_of_notary, batch).await?;
        }
        Ok(())
    }

    async fn ask_notary_once(
        &self,
        notary: &ServerName,
        keys_of_notary: &BTreeMap<String, PublicKey>,
        batch: BTreeMap<OwnedServerName, BTreeMap<OwnedServerSigningKeyId, query::QueryCriteria>>,
    ) -> Result<(), FetchError> {
        let asked: Vec<OwnedServerName> = batch.keys().cloned().collect();
        let response = self.0.client.request(notary, query::Request::new(batch), NOTARY).await?;
        let read = response.server_keys.iter().filter_map(|raw| KeyDocument::read(raw.json().get().as_bytes()).ok());
        let believed = |document: &KeyDocument| {
            asked.contains(&document.server_name) && document.is_signed_by(notary, keys_of_notary)
        };
        let documents: Vec<KeyDocument> = read.filter(believed).collect();
        let now = self.0.clock.instant();
        for server in asked.iter().filter(|server| documents.iter().all(|of| of.server_name != **server)) {
            self.0.in_vain.insert((notary.to_owned(), server.clone()), now);
        }
        self.keep(&documents, Source::Notary).await
    }

    /// Stores what documents say, beside what is known already.
    async fn keep(&self, documents: &[KeyDocument], source: Source) -> Result<(), FetchError> {
        let fetched_at = self.0.clock.now();
        let mut rows: BTreeMap<(String, String), KeyRow> = BTreeMap::new();
        for document in documents {
            let server = document.server_name.to_string();
            for (key_id, row) in rows_of(document, fetched_at) {
                let key = (server.clone(), key_id);
                let merged = merge(rows.remove(&key), row, source);
                rows.insert(key, merged);
            }
        }
        let keys: Vec<(String, String)> = rows.keys().cloned().collect();
        let known = self.0.store.read(move |view| view.multi_get(&SERVER_KEY, keys.clone())).await?;
        let mut batch = Batch::new();
        for ((key, row), known) in rows.into_iter().zip(known) {
            batch.put(&SERVER_KEY, &key, &merge(known, row, source));
        }
        for document in documents {
            let row = DocumentRow { json: document.to_text(), fetched_at };
            batch.put(&KEY_DOCUMENT, &(document.server_name.to_string(),), &row);
        }
        // Losing it would only mean to fetch it again.
        self.0.store.commit_lazy(batch).await?;
        Ok(())
    }
}

fn rows_of(document: &KeyDocument, fetched_at: UnixMillis) -> impl Iterator<Item = (String, KeyRow)> {
    let valid_until = document.believed_until(fetched_at);
    let active = document
        .active
        .iter()
        .map(move |(key_id, key)| (key_id.clone(), KeyRow { public_key: *key, valid_until, expired_at: None }));
    let old = document.old.iter().map(|(key_id, (key, expired_at))| {
        let row = KeyRow { public_key: *key, valid_until: *expired_at, expired_at: Some(*expired_at) };
        (key_id.clone(), row)
    });
    // Last, so that what stands in both lists counts as replaced.
    active.chain(old)
}

/// What is known of a key after news of it. Its server has the last word; a notary only adds to it: its document may be
/// older than ours, and a lying one must not exchange a key.
fn merge(known: Option<KeyRow>, news: KeyRow, source: Source) -> KeyRow {
    match known {
        Some(known) if known.public_key != news.public_key => match source {
            Source::Itself => news,
            Source::Notary => known,
        },
        Some(known) => match (known.expired_at, news.expired_at, source) {
            (_, _, Source::Itself) | (None, Some(_), Source::Notary) => news,
            (Some(_), _, Source::Notary) => known,
            (None, None, Source::Notary) => KeyRow { valid_until: known.valid_until.max(news.valid_until), ..known },
        },
        None => news,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notary_only_adds() {
        let row = |key: u8, valid_until, expired_at| KeyRow { public_key: [key; 32], valid_until, expired_at };
        let (known, replaced) = (row(1, 100, None), row(1, 50, Some(50)));
        for (source, news, wanted) in [
            (Source::Itself, row(2, 10, None), row(2, 10, None)),
            (Source::Itself, row(1, 10, None), row(1, 10, None)),
            (Source::Notary, row(2, 900, None), known.clone()),
            (Source::Notary, row(1, 10, None), known.clone()),
            (Source::Notary, row(1, 900, None), row(1, 900, None)),
            (Source::Notary, replaced.clone(), replaced.clone()),
        ] {
            assert_eq!(merge(Some(known.clone()), news.clone(), source), wanted, "{source:?} {news:?}");
        }
        assert_eq!(merge(Some(replaced.clone()), row(1, 900, None), Source::Notary), replaced, "it stays replaced");
    }

    #[test]
    fn failures_make_pauses_longer() {
        let pause = |failures| Attempt { at: Instant::now(), failures }.pause().as_secs();
        assert_eq!([0, 1, 2, 3, 7, 100].map(pause), [60, 60, 120, 240, 3_600, 3_600]);
    }
}
