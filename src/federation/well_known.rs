//! `https://…/.well-known/matrix/server`: to whom a host delegates (server-server API, "Resolving server names", step 3).

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, WeakShared},
};
use http::StatusCode;
use parking_lot::Mutex;
use quick_cache::sync::Cache as QuickCache;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;
use url::Url;

use crate::base::clock::Clock;

/// The largest answer that is read, in bytes.
pub(super) const LARGEST: usize = 50 << 10;
/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long an answer is kept that says nothing about it.
const USUAL_LIFETIME: Duration = Duration::from_hours(24);
/// The bounds of what an answer may say about it.
const LIFETIMES: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(48));
/// How long a first failure is kept; doubled with each further one, up to an hour.
const FIRST_PAUSE: Duration = Duration::from_mins(5);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Hosts that are remembered.
const REMEMBERED: usize = 10_000;

/// One page of the web: the answer to one request, without following anything.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The `Location` header.
    pub location: Option<String>,
    /// The `Cache-Control` header.
    pub cache_control: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no page.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PageError(pub String);

/// Fetches pages over HTTPS, from addresses that the server connects to.
pub trait Pages: Send + Sync {
    /// Fetches one page, without following redirects; `most_bytes` bounds its body.
    fn get<'a>(&'a self, url: &'a Url, most_bytes: usize) -> BoxFuture<'a, Result<Page, PageError>>;
}

/// What is known of a host.
#[derive(Clone, Debug)]
struct Known {
    delegated: Option<OwnedServerName>,
    /// When it is asked again.
    until: Instant,
    /// Until when its last good answer counts although it fails.
    good_until: Instant,
    failures: u32,
}

type Asking = WeakShared<BoxFuture<'static, Option<OwnedServerName>>>;

/// To whom hosts delegate. Cheap to clone.
#[derive(Clone)]
pub struct WellKnown(Arc<Inner>);

struct Inner {
    pages: Arc<dyn Pages>,
    clock: Clock,
    known: QuickCache<String, Known>,
    asking: Mutex<HashMap<String, Asking>>,
}

impl WellKnown {
    /// Asks by these means.
    pub fn new(pages: Arc<dyn Pages>, clock: Clock) -> Self {
        Self(Arc::new(Inner { pages, clock, known: QuickCache::new(REMEMBERED), asking: Mutex::default() }))
    }

    /// The server name that a host delegates to; `None` if it does not, or does not answer as it should.
    pub(super) async fn delegated(&self, host: &str) -> Option<OwnedServerName> {
        if let Some(known) = self.0.known.get(host).filter(|known| self.0.clock.instant() < known.until) {
            return known.delegated;
        }
        let asking = {
            let mut asking = self.0.asking.lock();
            if let Some(running) = asking.get(host).and_then(WeakShared::upgrade) {
                running
            } else {
                asking.retain(|_, running| running.upgrade().is_some());
                let begun = self.clone().ask(host.to_owned()).boxed().shared();
                asking.extend(begun.downgrade().map(|weak| (host.to_owned(), weak)));
                begun
            }
        };
        asking.await
    }

    async fn ask(self, host: String) -> Option<OwnedServerName> {
        let before = self.0.known.get(&host);
        let asked = tokio::time::timeout(WITHIN, self.fetch(&host)).await;
        let asked = asked.unwrap_or_else(|_| Err(PageError("it took too long".to_owned())));
        let now = self.0.clock.instant();
        let known = match asked {
            Ok((delegated, lifetime)) => {
                let until = now + lifetime;
                Known { delegated: Some(delegated), until, good_until: now + LIFETIMES.1, failures: 0 }
            }
            Err(error) => {
                tracing::debug!(host, %error, "no use of a well-known page");
                let failures = before.as_ref().map_or(0, |known| known.failures).saturating_add(1);
                let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
                let good = before.filter(|known| now < known.good_until);
                let good_until = good.as_ref().map_or(now, |known| known.good_until);
                Known { delegated: good.and_then(|known| known.delegated), until: now + pause, good_until, failures }
            }
        };
        let delegated = known.delegated.clone();
        self.0.known.insert(host, known);
        delegated
    }

    /// The delegated name, and how long it holds.
    async fn fetch(&self, host: &str) -> Result<(OwnedServerName, Duration), PageError> {
        let wrong = |what: &str| PageError(what.to_owned());
        let mut url = Url::parse(&format!("https://{host}/.well-known/matrix/server"))
            .map_err(|_| wrong("no web address has this host"))?;
        for _ in 0..=MOST_REDIRECTS {
            let page = self.0.pages.get(&url, LARGEST).await?;
            if page.status.is_redirection() {
                let location = page.location.ok_or_else(|| wrong("a redirect to nowhere"))?;
                url = url.join(&location).map_err(|_| wrong("a redirect to no web address"))?;
                if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
                    return Err(wrong("a redirect to something else than HTTPS"));
                }
                continue;
            }
            if page.status != StatusCode::OK {
                return Err(PageError(format!("status {}", page.status)));
            }
            let lifetime = lifetime(page.cache_control.as_deref());
            return Ok((read(&page.body).ok_or_else(|| wrong("it names no server"))?, lifetime));
        }
        Err(wrong("too many redirects"))
    }
}

fn read(body: &[u8]) -> Option<OwnedServerName> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "m.server")]
        server: String,
    }
    let body = body.get(..=LARGEST).is_none().then_some(body)?;
    ServerName::parse(serde_json::from_slice::<Body>(body).ok()?.server).ok()
}

/// How long an answer holds, by its `Cache-Control` header.
fn lifetime(cache_control: Option<&str>) -> Duration {
    let (least, most) = LIFETIMES;
    let directives =
        cache_control.unwrap_or_default().split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let mut lifetime = USUAL_LIFETIME;
    for directive in directives {
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return least;
        }
        let seconds = directive.strip_prefix("max-age=").map(|seconds| seconds.trim_matches('"').parse());
        lifetime = seconds.map_or(lifetime, |seconds| Duration::from_secs(seconds.unwrap_or(0)));
    }
    lifetime.clamp(least, most)
}

impl std::fmt::Debug for WellKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WellKnown of {} hosts", self.0.known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_bounded() {
        for (header, seconds) in [
            (None, 86_400),
            (Some(""), 86_400),
            (Some("public"), 86_400),
            (Some("max-age=3600"), 3_600),
            (Some("public, Max-Age=\"3600\", must-revalidate"), 3_600),
            (Some("max-age=1"), 300),
            (Some("max-age=99999999999"), 172_800),
            (Some("max-age=-1"), 300),
            (Some("max-age=999999999999999999999999"), 300),
            (Some("no-store, max-age=3600"), 300),
        ] {
            assert_eq!(lifetime(header).as_secs(), seconds, "{header:?}");
        }
    }

    #[test]
    fn only_server_names_are_read() {
        assert_eq!(read(br#"{"m.server": "a.b:443", "x": 1}"#).unwrap(), "a.b:443");
        for body in ["", "{}", "[]", r#"{"m.server": 1}"#, r#"{"m.server": "https://a.b"}"#, r#"{"m.server": ""}"#] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        let large = format!(r#"{{"m.server": "a.b", "x": "{}"}}"#, "x".repeat(LARGEST));
        assert_eq!(read(large.as_bytes()), None);
    }
}
