//! A room's policy server: it must have signed an event before that goes anywhere (server-server API, "Policy Servers").

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::{
    OwnedServerName,
    api::federation::policy::sign_event::v1 as sign_event,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::{Value as Json, value::RawValue};
use tokio::time::Instant;

use super::{Bounds, ClientError, Federation};
use crate::{
    base::clock::Clock,
    event::{Pdu, Rules, Verified, auth::AuthError, version},
    graph::{Graph, Needs, Placed, Proposal, Reader, Receipt, RoomNo, SendError, Verdict},
    store::{ReadError, Store, View},
};

/// A policy server that takes longer does not recommend it.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(10), most_bytes: 64 << 10 };
/// The id of the key of every policy server.
const KEY_ID: &str = "ed25519:policy_server";
/// How long one that did not answer is not asked again.
const SILENCE: Duration = Duration::from_mins(1);
/// How many are remembered not to have answered.
const MOST_SILENT: usize = 1_000;

/// What a policy server says of an event.
#[derive(Clone, Debug)]
pub enum Recommendation {
    /// It recommends it: the event with its signature.
    Signed(Verified),
    /// It does not, or does not answer: why.
    Refused(String),
}

/// The policy servers of this server's rooms. Cheap to clone.
#[derive(Clone)]
pub struct PolicyServers(Arc<Inner>);

struct Inner {
    federation: Federation,
    graph: Graph,
    store: Store,
    clock: Clock,
    /// Until when those that did not answer are not asked.
    silent: Mutex<BTreeMap<OwnedServerName, Instant>>,
}

/// The policy server that a room uses.
struct InUse {
    server: OwnedServerName,
    /// The rules of the room's version.
    rules: &'static Rules,
}

impl PolicyServers {
    /// Those of the rooms of `graph`.
    pub fn new((store, graph): (&Store, &Graph), federation: &Federation, clock: &Clock) -> Self {
        let (federation, graph) = (federation.clone(), graph.clone());
        let silent = Mutex::default();
        Self(Arc::new(Inner { federation, graph, store: store.clone(), clock: clock.clone(), silent }))
    }

    /// [`Graph::send_one`]; where the room has a policy server, that is asked first. While it answers the room goes on: the
    /// event is judged again with its signature.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn send_one(&self, room: RoomNo, proposal: Proposal) -> Result<Placed, SendError> {
        let (local_echo, rider) = (proposal.local_echo.clone(), proposal.rider.clone());
        let unsigned = match self.0.graph.send_one(room, proposal).await {
            Err(SendError::NeedsPolicySignature(unsigned)) => unsigned,
            sent => return sent,
        };
        let event = recommended(self.ask(room, &unsigned).await?)?;
        match self.0.graph.receive(room, Receipt { relay: true, local_echo, rider, ..event.into() }).await? {
            Verdict::Accepted(placed) | Verdict::Duplicate(placed) => Ok(placed),
            Verdict::Rejected(error) => Err(error.into()),
            Verdict::SoftFailed(_) => Err(AuthError("the room has changed meanwhile".to_owned()).into()),
            Verdict::Needs(_) => Err(AuthError("the room's policy server has changed meanwhile".to_owned()).into()),
        }
    }

    /// [`Graph::receive`] for an event that goes to others from here, and so to nobody if it is not recommended.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn receive(&self, room: RoomNo, receipt: Receipt) -> Result<Verdict, SendError> {
        let verdict = self.0.graph.receive(room, receipt.clone()).await?;
        if verdict != Verdict::Needs(Needs::PolicySignature) {
            return Ok(verdict);
        }
        let event = recommended(self.ask(room, receipt.event.pdu()).await?)?;
        self.0.graph.receive(room, Receipt { event, ..receipt }).await
    }

    /// An event of ours that goes to another server before it is in the room, with the signature that it must have there.
    ///
    /// # Errors
    /// When it is not recommended, or the store can't be read.
    pub async fn before_sending(&self, room: RoomNo, event: Pdu) -> Result<Pdu, SendError> {
        if self.in_use(room).await?.is_none() {
            return Ok(event);
        }
        Ok(recommended(self.ask(room, &event).await?)?.pdu().clone())
    }

    /// Asks the policy server of a room about an event, which may be ours.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn ask(&self, room: RoomNo, event: &Pdu) -> Result<Recommendation, ReadError> {
        let refused = |why: &str| Ok(Recommendation::Refused(why.to_owned()));
        let Some(InUse { server, rules }) = self.in_use(room).await? else {
            return refused("there is no policy server");
        };
        let text = std::str::from_utf8(event.json()).unwrap_or_default().to_owned();
        let (Ok(raw), Ok(object)) = (RawValue::from_string(text), event.to_object()) else {
            return refused("the event can't be signed");
        };
        if self.is_silent(&server) {
            return refused("the room's policy server does not answer");
        }
        let asked = self.0.federation.client().request(&server, sign_event::Request::new(raw), BOUNDS).await;
        let signature = match &asked {
            Ok(response) => response.ed25519_signature(&server),
            Err(ClientError::Refused { status, message, .. }) if !status.is_server_error() => return refused(message),
            Err(error) => {
                tracing::info!(event = %event.event_id(), %error, "a policy server does not answer");
                self.note_silence(server);
                return refused("the room's policy server does not answer");
            }
        };
        let signed = signature.and_then(|signature| with_signature(object, &server, signature));
        let Some(signed) = signed.and_then(|signed| Pdu::from_object(signed, rules).ok()) else {
            return refused("the room's policy server has not signed the event");
        };
        let checked = self.0.federation.keys().verify(vec![signed], rules).await?;
        Ok(match checked.into_iter().next() {
            Some(Ok(event)) => Recommendation::Signed(event),
            _ => Recommendation::Refused("the event's signatures do not hold".to_owned()),
        })
    }

    async fn in_use(&self, room: RoomNo) -> Result<Option<InUse>, ReadError> {
        let reader = self.0.graph.reader().clone();
        self.0.store.read(move |view| in_use(&reader, view, room)).await
    }

    fn is_silent(&self, server: &OwnedServerName) -> bool {
        self.0.silent.lock().get(server).is_some_and(|until| self.0.clock.instant() < *until)
    }

    fn note_silence(&self, server: OwnedServerName) {
        let now = self.0.clock.instant();
        let mut silent = self.0.silent.lock();
        silent.retain(|_, until| now < *until);
        // With so many at once it is the network that is silent, and asking costs little.
        if silent.len() < MOST_SILENT {
            silent.insert(server, now + SILENCE);
        }
    }
}

fn recommended(recommendation: Recommendation) -> Result<Verified, SendError> {
    match recommendation {
        Recommendation::Signed(event) => Ok(event),
        Recommendation::Refused(why) => Err(SendError::NotRecommended(why)),
    }
}

/// The policy server that a room uses: it must be named with its key, and be in the room.
fn in_use(reader: &Reader, view: &View<'_>, room: RoomNo) -> Result<Option<InUse>, ReadError> {
    let Some(head) = reader.head(view, room)?.filter(|head| !head.is_left) else { return Ok(None) };
    let policy = reader.state_event(view, room, head.root, "m.room.policy", "")?;
    let content = policy.and_then(|event| serde_json::from_slice::<Json>(event.content()).ok());
    let named = |content: Json| {
        content.get("public_keys")?.get("ed25519")?.as_str()?;
        OwnedServerName::try_from(content.get("via")?.as_str()?).ok()
    };
    let Some((server, rules)) = content.and_then(named).zip(version::rules(&head.room_version)) else {
        return Ok(None);
    };
    let servers = reader.servers(view, room)?;
    let is_there = servers.iter().any(|(name, row)| name == server.as_str() && row.joined_users > 0);
    Ok(is_there.then_some(InUse { server, rules }))
}

/// Adds a signature to those that an event has.
fn with_signature(
    mut event: CanonicalJsonObject,
    server: &OwnedServerName,
    signature: &str,
) -> Option<CanonicalJsonObject> {
    let CanonicalJsonValue::Object(servers) = event.get_mut("signatures")? else { return None };
    let of_server = servers.entry(server.to_string()).or_insert_with(|| CanonicalJsonValue::Object(Default::default()));
    let CanonicalJsonValue::Object(of_server) = of_server else { return None };
    of_server.insert(KEY_ID.to_owned(), CanonicalJsonValue::String(signature.to_owned()));
    Some(event)
}

impl fmt::Debug for PolicyServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyServers({} silent)", self.0.silent.lock().len())
    }
}
