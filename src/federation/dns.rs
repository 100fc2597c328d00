//! DNS: the machine's own nameservers, asked directly and remembered for as long as their answers say.

use std::{net::IpAddr, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    net::{NetError, runtime::TokioRuntimeProvider},
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
        let resolver = TokioResolver::builder_tokio().and_then(build).map_err(|error| error.to_string());
        if let Err(error) = &resolver {
            tracing::warn!(error, "the nameservers of this machine (/etc/resolv.conf) can't be used");
        }
        Self(resolver)
    }

    fn get(&self) -> Result<&TokioResolver, LookupError> {
        self.0.as_ref().map_err(|error| LookupError::Failed(error.clone()))
    }
}

fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.cache_size = REMEMBERED;
    (options.positive_min_ttl, options.positive_max_ttl) = (Some(SHORTEST), Some(LONGEST));
    (options.negative_min_ttl, options.negative_max_ttl) = (Some(SHORTEST), Some(LONGEST_NEGATIVE));
    builder.build()
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use hickory_resolver::{
        Resolver,
        config::{NameServerConfig, ResolverConfig},
        proto::{
            op::{Message, ResponseCode},
            rr::{
                Record, RecordType,
                rdata::{A, AAAA, SRV},
            },
        },
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// What our nameserver knows.
    fn records(name: &str, kind: RecordType) -> Vec<RData> {
        match (name, kind) {
            ("host.example.", RecordType::A) => vec![RData::A(A::new(1, 0, 0, 1))],
            ("host.example.", RecordType::AAAA) => vec![RData::AAAA(AAAA::new(0x2600, 0, 0, 0, 0, 0, 0, 1))],
            ("_matrix-fed._tcp.host.example.", RecordType::SRV) => {
                let target = |name: &str| Name::from_ascii(name).unwrap();
                vec![
                    RData::SRV(SRV::new(10, 5, 443, target("Target.example."))),
                    RData::SRV(SRV::new(20, 0, 0, target("."))),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// A nameserver on this machine: lookups in it, and how many questions it was asked.
    async fn nameserver() -> (Dns, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "a nameserver that ends with the test")]
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut message = Message::from_vec(&buffer[..length]).unwrap().into_response();
                let query = message.queries[0].clone();
                let name = query.name().to_ascii().to_lowercase();
                let found = records(&name, query.query_type());
                if found.is_empty() && !name.ends_with("host.example.") {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                message.add_answers(found.into_iter().map(|data| Record::from_rdata(query.name().clone(), 60, data)));
                socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
        server.connections[0].port = port;
        let config = ResolverConfig::from_name_servers(vec![server]);
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        (Dns(build(builder).map_err(|error| error.to_string())), asked)
    }

    #[tokio::test]
    async fn a_nameserver_is_asked_once_for_what_it_has() {
        let (dns, asked) = nameserver().await;
        for _ in 0..2 {
            let mut found = dns.addresses("host.example").await.unwrap();
            found.sort();
            assert_eq!(found, ["1.0.0.1", "2600::1"].map(|address| address.parse::<IpAddr>().unwrap()));
            let services = dns.services("_matrix-fed._tcp.host.example").await.unwrap();
            let service =
                |priority, weight, port, host: &str| Service { priority, weight, port, host: host.to_owned() };
            assert_eq!(services, [service(10, 5, 443, "target.example"), service(20, 0, 0, "")]);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_it_has_not_is_not_there() {
        let (dns, _) = nameserver().await;
        assert_eq!(dns.addresses("no.example").await, Err(LookupError::NotFound), "no such name");
        assert_eq!(dns.services("_matrix._tcp.no.example").await, Err(LookupError::NotFound));
        assert_eq!(dns.services("_matrix._tcp.host.example").await, Err(LookupError::NotFound), "no such record");
        assert_eq!(dns.addresses("not a name..").await, Err(LookupError::NotFound));
        let none = Dns(Err("no nameserver".to_owned()));
        assert!(matches!(none.addresses("host.example").await, Err(LookupError::Failed(_))));
    }
}
