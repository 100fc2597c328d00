//! Asking a room's policy server whether it recommends an event (server-server API, "Policy Servers").

use std::time::Duration;

use ruma::{
    OwnedServerName,
    api::federation::policy::sign_event::v1 as sign_event,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::RawValue;

use super::{Inbox, supply::Supply};
use crate::{
    event::{Pdu, Verified},
    federation::{Bounds, ClientError, fetch::RoomRules},
    graph::RoomNo,
    store::ReadError,
};

/// A policy server that takes longer does not recommend it.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(10), most_bytes: 64 << 10 };
/// The id of the key of every policy server.
const KEY_ID: &str = "ed25519:policy_server";

/// What a policy server says of an event.
#[derive(Clone, Debug)]
pub enum Recommendation {
    /// It recommends it: the event with its signature.
    Signed(Verified),
    /// It does not, or does not answer: why.
    Refused(String),
}

impl Inbox {
    /// Asks the policy server of a room about an event, which may be ours.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn recommended(&self, no: RoomNo, event: &Pdu) -> Result<Recommendation, ReadError> {
        match Supply::of(self, no).await? {
            Some(supply) => self.signed_by_policy(no, supply.room(), event).await,
            None => Ok(Recommendation::Refused("this server is not in the room".to_owned())),
        }
    }

    pub(super) async fn signed_by_policy(
        &self,
        no: RoomNo,
        room: &RoomRules,
        event: &Pdu,
    ) -> Result<Recommendation, ReadError> {
        let refused = |why: &str| Ok(Recommendation::Refused(why.to_owned()));
        let Some(server) = self.policy_server(no).await? else { return refused("there is no policy server") };
        let text = std::str::from_utf8(event.json()).unwrap_or_default().to_owned();
        let (Ok(raw), Ok(object)) = (RawValue::from_string(text), event.to_object()) else {
            return refused("the event can't be signed");
        };
        let asked = self.0.federation.client().request(&server, sign_event::Request::new(raw), BOUNDS).await;
        let signature = match &asked {
            Ok(response) => response.ed25519_signature(&server),
            Err(ClientError::Refused { message, .. }) => return refused(message),
            Err(error) => {
                tracing::info!(event = %event.event_id(), %error, "a policy server does not answer");
                return refused("the room's policy server does not answer");
            }
        };
        let signed = signature.and_then(|signature| with_signature(object, &server, signature));
        let Some(signed) = signed.and_then(|signed| Pdu::from_object(signed, room.rules).ok()) else {
            return refused("the room's policy server has not signed the event");
        };
        let checked = self.0.federation.keys().verify(vec![signed], room.rules).await?;
        Ok(match checked.into_iter().next() {
            Some(Ok(event)) => Recommendation::Signed(event),
            _ => Recommendation::Refused("the event's signatures do not hold".to_owned()),
        })
    }

    async fn policy_server(&self, no: RoomNo) -> Result<Option<OwnedServerName>, ReadError> {
        let reader = self.0.graph.reader().clone();
        let read = self.0.store.read(move |view| {
            let root = reader.root(view, no)?;
            reader.state_event(view, no, root, "m.room.policy", "")
        });
        let content = read.await?.and_then(|event| serde_json::from_slice::<serde_json::Value>(event.content()).ok());
        let via = content.as_ref().and_then(|content| content.get("via")?.as_str());
        Ok(via.and_then(|via| OwnedServerName::try_from(via).ok()))
    }
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
