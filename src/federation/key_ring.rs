//! The keys of all servers: whose signature is checked with which key, and until when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use ruma::{
    OwnedServerName, ServerName,
    canonical_json::CanonicalJsonObject,
    serde::Base64,
    signatures::{PublicKeyMap, PublicKeySet},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    identity::Identity,
    key_document::{self, KeyDocument, LONGEST_LIFETIME, PublicKey, is_key_id},
    key_fetch::Fetcher,
    keys::{DocumentRow, KEY_DOCUMENT, KeyRow, SERVER_KEY},
};
use crate::{
    base::clock::{Clock, UnixMillis},
    event::{
        Pdu, Rules,
        hash::HashError,
        verify::{SignatureError, required_servers},
    },
    store::{ReadError, Store},
};

/// Servers that one look-up has asked at once: others wait for keys, too.
const SERVERS_AT_ONCE: usize = 128;
/// How long servers are asked for their own keys in one look-up, and then each notary for the rest.
const LONGEST_ASKED: Duration = Duration::from_mins(2);
/// The most signatures of one server that are looked at in an event.
const MOST_SIGNATURES: usize = 16;

/// A key that is needed to check a signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Of this server.
    pub server: OwnedServerName,
    /// `ed25519:…`.
    pub key_id: String,
    /// It must be valid at this time. `None`: at any time, as in room versions 1 to 4.
    pub at: Option<UnixMillis>,
}

/// Keys that were looked up together.
#[derive(Clone, Debug, Default)]
pub struct KeySet(BTreeMap<OwnedServerName, BTreeMap<String, KeyRow>>);

/// The keys of all servers, as far as they are known or can be had. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    identity: Identity,
    own_name: OwnedServerName,
    /// Servers that are believed what they say of others' keys, when those do not answer themselves.
    notaries: Vec<OwnedServerName>,
    store: Store,
    clock: Clock,
    fetcher: Fetcher,
}

impl KeyRow {
    /// Whether a signature made at this time may be by this key.
    fn is_valid_at(&self, at: Option<UnixMillis>) -> bool {
        at.is_none_or(|at| at <= self.expired_at.unwrap_or(self.valid_until))
    }
}

impl KeySet {
    /// The keys that were valid at this time (`None`: all).
    pub fn valid_at(&self, at: Option<UnixMillis>) -> PublicKeyMap {
        self.0.iter().map(|(server, keys)| (server.to_string(), valid(keys, at))).collect()
    }

    /// The keys with which an event of a room of these rules is checked: of the servers that must have signed it.
    pub(super) fn for_event(&self, pdu: &Pdu, rules: &Rules) -> PublicKeyMap {
        let (servers, at) = (required_servers(pdu, rules).unwrap_or_default(), needed_at(pdu, rules));
        let known = servers.iter().filter_map(|server| self.0.get_key_value(server));
        known.map(|(server, keys)| (server.to_string(), valid(keys, at))).collect()
    }

    /// A key of a server with which it may sign requests at this time: valid, and not replaced.
    pub(super) fn for_request(&self, server: &ServerName, key_id: &str, now: UnixMillis) -> Option<&PublicKey> {
        let row = self.0.get(server)?.get(key_id)?;
        (row.expired_at.is_none() && row.is_valid_at(Some(now))).then_some(&row.public_key)
    }

    fn has(&self, wanted: &Wanted) -> bool {
        let row = self.0.get(&wanted.server).and_then(|keys| keys.get(&wanted.key_id));
        row.is_some_and(|row| row.is_valid_at(wanted.at))
    }
}

fn valid(keys: &BTreeMap<String, KeyRow>, at: Option<UnixMillis>) -> PublicKeySet {
    let valid = keys.iter().filter(|(_, row)| row.is_valid_at(at));
    valid.map(|(key_id, row)| (key_id.clone(), Base64::new(row.public_key.to_vec()))).collect()
}

pub(super) fn needed_at(pdu: &Pdu, rules: &Rules) -> Option<UnixMillis> {
    rules.enforce_key_validity.then(|| pdu.origin_server_ts())
}

/// The keys that an event's signatures need: of each server that must have signed, those that it says to have signed with.
pub(super) fn wanted_by(pdu: &Pdu, rules: &Rules) -> Result<Vec<Wanted>, SignatureError> {
    let servers = required_servers(pdu, rules)?;
    Ok(servers.iter().flat_map(|server| wanted_of(pdu, server, rules)).collect())
}

/// The keys with which an event says that this server has signed it.
pub(super) fn wanted_of(pdu: &Pdu, server: &ServerName, rules: &Rules) -> Vec<Wanted> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Signatures {
        signatures: BTreeMap<String, BTreeMap<String, IgnoredAny>>,
    }
    // What is odd is as if it were not there: the check of the signatures says what is missing.
    let Signatures { mut signatures } = serde_json::from_slice(pdu.json()).unwrap_or_default();
    let at = needed_at(pdu, rules);
    let key_ids = signatures.remove(server.as_str()).unwrap_or_default().into_keys();
    let key_ids = key_ids.filter(|id| is_key_id(id)).take(MOST_SIGNATURES);
    let wanted = key_ids.map(|key_id| Wanted { server: server.to_owned(), key_id, at });
    wanted.collect()
}

impl Keys {
    pub(super) fn new(
        (identity, own_name): (Identity, OwnedServerName),
        notaries: Vec<OwnedServerName>,
        (store, clock): (Store, Clock),
        fetcher: Fetcher,
    ) -> Self {
        Self(Arc::new(Inner { identity, own_name, notaries, store, clock, fetcher }))
    }

    /// Looks keys up: first in the store, then by asking their servers, many at once and in the order in which they are wanted,
    /// then by asking the notaries; two minutes for each of these. What can't be had by then is not in the set.
    ///
    /// # Errors
    /// Only when the store can't be read.
    pub async fn look_up(&self, wanted: &[Wanted]) -> Result<KeySet, ReadError> {
        let set = self.stored(wanted).await?;
        let missing = self.worth_fetching(&set, wanted);
        if missing.is_empty() {
            return Ok(set);
        }
        let mut seen = BTreeSet::new();
        let servers: Vec<&OwnedServerName> =
            missing.iter().map(|wanted| &wanted.server).filter(|server| seen.insert(*server)).collect();
        let asked =
            stream::iter(servers).for_each_concurrent(SERVERS_AT_ONCE, |server| self.0.fetcher.fetch(server).map(drop));
        // Who has not answered by then is a matter for the notaries. What is on its way is kept when it comes.
        let _ = tokio::time::timeout(LONGEST_ASKED, asked).await;
        let mut set = self.stored(wanted).await?;
        for notary in &self.0.notaries {
            let missing = self.worth_fetching(&set, wanted);
            if missing.is_empty() {
                break;
            }
            if tokio::time::timeout(LONGEST_ASKED, self.ask_notary(notary, &missing)).await.is_err() {
                tracing::info!(%notary, missing = missing.len(), "a notary takes too long over that many keys");
            }
            set = self.stored(wanted).await?;
        }
        Ok(set)
    }

    /// What the store knows of these keys; our own are always known.
    async fn stored(&self, wanted: &[Wanted]) -> Result<KeySet, ReadError> {
        let (own, others): (Vec<&Wanted>, Vec<&Wanted>) =
            wanted.iter().partition(|wanted| wanted.server == self.0.own_name);
        let keys: Vec<_> = others.iter().map(|wanted| (wanted.server.to_string(), wanted.key_id.clone())).collect();
        let rows = self.0.store.read(move |view| view.multi_get(&SERVER_KEY, keys.clone())).await?;
        let mut set = KeySet::default();
        for (Wanted { server, key_id, .. }, row) in others.into_iter().zip(rows) {
            let keys = set.0.entry(server.clone()).or_default();
            keys.extend(row.map(|row| (key_id.clone(), row)));
        }
        if !own.is_empty() {
            set.0.insert(self.0.own_name.clone(), self.own_keys());
        }
        Ok(set)
    }

    fn own_keys(&self) -> BTreeMap<String, KeyRow> {
        let Identity { active, old } = &self.0.identity;
        let row = |public_key, expired_at: Option<UnixMillis>| KeyRow {
            public_key,
            valid_until: expired_at.unwrap_or(UnixMillis::MAX),
            expired_at,
        };
        let old = old.iter().map(|old| (old.key_id.clone(), row(old.public_key, Some(old.expired_at))));
        old.chain([(active.key_id().to_owned(), row(active.public_key(), None))]).collect()
    }

    /// The latest time for which any document is believed.
    pub(super) fn latest_time(&self) -> UnixMillis {
        self.0.clock.now().saturating_add(LONGEST_LIFETIME)
    }

    /// What is missing in a set and may be had by asking. A key for a time beyond that can't.
    fn worth_fetching(&self, set: &KeySet, wanted: &[Wanted]) -> Vec<Wanted> {
        let latest = self.latest_time();
        let can_be_had = |wanted: &&Wanted| {
            let replaced = set.0.get(&wanted.server).and_then(|keys| keys.get(&wanted.key_id));
            let is_replaced = replaced.is_some_and(|row| row.expired_at.is_some());
            wanted.server != self.0.own_name && !is_replaced && wanted.at.is_none_or(|at| at <= latest)
        };
        wanted.iter().filter(|wanted| !set.has(wanted)).filter(can_be_had).cloned().collect()
    }

    async fn ask_notary(&self, notary: &ServerName, missing: &[Wanted]) {
        let asked = async {
            let keys = self.active_of(notary).await?;
            self.0.fetcher.ask_notary(notary, &keys, missing).await
        };
        if let Err(error) = asked.await {
            tracing::info!(%notary, %error, "a notary can't be asked for keys");
        }
    }

    /// The active keys of a notary, fetched if need be.
    async fn active_of(
        &self,
        notary: &ServerName,
    ) -> Result<BTreeMap<String, PublicKey>, super::key_fetch::FetchError> {
        let now = self.0.clock.now();
        let valid = |document: Option<(DocumentRow, KeyDocument)>| {
            let valid = document.filter(|(row, document)| document.believed_until(row.fetched_at) >= now);
            valid.map(|(_, document)| document.active)
        };
        if let Some(active) = valid(self.document(notary).await?) {
            return Ok(active);
        }
        self.0.fetcher.fetch(notary).await?;
        Ok(valid(self.document(notary).await?).unwrap_or_default())
    }

    async fn document(&self, server: &ServerName) -> Result<Option<(DocumentRow, KeyDocument)>, ReadError> {
        let key = (server.to_string(),);
        let row = self.0.store.read(move |view| view.get(&KEY_DOCUMENT, &key)).await?;
        Ok(row.and_then(|row| KeyDocument::read(row.json.as_bytes()).ok().map(|document| (row, document))))
    }

    /// This server's own document, signed anew (`GET /_matrix/key/v2/server`).
    pub fn own_document(&self) -> Result<CanonicalJsonObject, HashError> {
        key_document::own(&self.0.identity, self.0.clock.now())
    }

    /// The document of a server with our signature, for whoever trusts this server as a notary; `None` if there is none.
    /// `key_ids` (`None` as time: now) are what is asked for; the last document is better than none.
    ///
    /// # Errors
    /// Only when the store can't be read.
    pub async fn notarised(
        &self,
        server: &ServerName,
        key_ids: &BTreeMap<String, Option<UnixMillis>>,
        valid_until: Option<UnixMillis>,
    ) -> Result<Option<CanonicalJsonObject>, ReadError> {
        if server == self.0.own_name {
            return Ok(self.own_document().ok());
        }
        let now = self.0.clock.now();
        let answers = |(row, document): &(DocumentRow, KeyDocument)| {
            let until = document.believed_until(row.fetched_at);
            // Server-server API, `GET /_matrix/key/v2/server`: a notary keeps an answer for half of its lifetime.
            let stale_at = row.fetched_at.saturating_add(until.saturating_sub(row.fetched_at) / 2);
            let fits = |(key_id, at): (&String, &Option<UnixMillis>)| {
                document.old.contains_key(key_id) || (document.has(key_id) && at.unwrap_or(now) <= until)
            };
            now <= stale_at && valid_until.unwrap_or(now) <= until && key_ids.iter().all(fits)
        };
        let mut document = self.document(server).await?;
        if !document.as_ref().is_some_and(answers) && self.0.fetcher.fetch(server).await.is_ok() {
            document = self.document(server).await?;
        }
        Ok(document.and_then(|(_, document)| document.countersigned(&self.0.identity).ok()))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys of all servers, for {}", self.0.own_name)
    }
}
