//! DNS: the machine's own nameservers, asked directly and remembered for as long as their answers say.

use std::{net::IpAddr, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use hickory_resolver::{
    TokioResolver,
    net::NetError,
    proto::rr::{Name, RData},
};

use super::discovery::{Lookup, LookupError, Service};

/// Answers that are remembered.
const REMEMBERED: u64 = 16_384;
/// The longest that an answer is remembered, whatever it says.
const LONGEST: Duration = Duration::from_hours(24);
/// The longest that it is remembered that there is none.
const LONGEST_NEGATIVE: Duration = Duration::from_hours(1);
/// The shortest that either is remembered.
const SHORTEST: Duration = Duration::from_secs(30);

/// The machine's own nameservers, or why they are not known.
pub struct Dns(Result<TokioResolver, String>);

impl Dns {
    /// By the configuration of the machine. Must be called inside a runtime.
    ///
    /// A machine without nameservers can still serve clients and talk with servers that are named by addresses, so that
    /// is only noted, and every lookup fails.
    pub fn of_machine() -> Self {
        let resolver = Self::resolver().map_err(|error| error.to_string());
        if let Err(error) = &resolver {
            tracing::warn!(error, "the nameservers of this machine (/etc/resolv.conf) can't be used");
        }
        Self(resolver)
    }

    fn resolver() -> Result<TokioResolver, NetError> {
        let mut builder = TokioResolver::builder_tokio()?;
        let options = builder.options_mut();
        options.cache_size = REMEMBERED;
        (options.positive_min_ttl, options.positive_max_ttl) = (Some(SHORTEST), Some(LONGEST));
        (options.negative_min_ttl, options.negative_max_ttl) = (Some(SHORTEST), Some(LONGEST_NEGATIVE));
        builder.build()
    }

    fn get(&self) -> Result<&TokioResolver, LookupError> {
        self.0.as_ref().map_err(|error| LookupError::Failed(error.clone()))
    }
}

impl Lookup for Dns {
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, LookupError>> {
        async move { Ok(self.get()?.lookup_ip(absolute(host)?).await.map_err(failed)?.iter().collect()) }.boxed()
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, LookupError>> {
        async move {
            let found = self.get()?.srv_lookup(absolute(name)?).await.map_err(failed)?;
            let service = |data: &RData| match data {
                RData::SRV(record) => Some(Service {
                    priority: record.priority,
                    weight: record.weight,
                    port: record.port,
                    host: record.target.to_ascii().trim_end_matches('.').to_lowercase(),
                }),
                _ => None,
            };
            Ok(found.answers().iter().filter_map(|record| service(&record.data)).collect())
        }
        .boxed()
    }
}

/// A name that no search domain of the machine is added to.
fn absolute(host: &str) -> Result<Name, LookupError> {
    let mut name = Name::from_ascii(host).map_err(|_| LookupError::NotFound)?;
    name.set_fqdn(true);
    Ok(name)
}

fn failed(error: NetError) -> LookupError {
    if error.is_nx_domain() || error.is_no_records_found() {
        LookupError::NotFound
    } else {
        LookupError::Failed(error.to_string())
    }
}
