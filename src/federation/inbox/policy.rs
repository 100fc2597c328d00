//! Asking a room's policy server whether it recommends an event (server-server API, "Policy Servers").

use std::time::Duration;

use ruma::{
    OwnedServerName,
    api::federation::policy::sign_event::v1 as sign_event,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::RawValue;

use super::Inbox;
use crate::{
    event::{Pdu, Verified},
    federation::{Bounds, fetch::RoomRules},
    graph::RoomNo,
    store::ReadError,
};

/// A policy server that takes longer does not recommend it.
const BOUNDS: Bounds = Bounds { within: Duration::from_secs(10), most_bytes: 64 << 10 };
/// The id of the key of every policy server.
const KEY_ID: &str = "ed25519:policy_server";

impl Inbox {
    /// The event with the signature of the room's policy server; `None` if that does not recommend it, or does not answer.
    pub(super) async fn signed_by_policy(
        &self,
        no: RoomNo,
        room: &RoomRules,
        event: &Verified,
    ) -> Result<Option<Verified>, ReadError> {
        let Some(server) = self.policy_server(no).await? else { return Ok(None) };
        let text = std::str::from_utf8(event.pdu().json()).unwrap_or_default().to_owned();
        let (Ok(raw), Ok(object)) = (RawValue::from_string(text), event.pdu().to_object()) else { return Ok(None) };
        let asked = self.0.federation.client().request(&server, sign_event::Request::new(raw), BOUNDS).await;
        let signature = match &asked {
            Ok(response) => response.ed25519_signature(&server),
            Err(error) => {
                tracing::info!(event = %event.pdu().event_id(), %error, "a policy server does not sign an event");
                None
            }
        };
        let Some(signature) = signature else { return Ok(None) };
        let Some(signed) = with_signature(object, &server, signature) else { return Ok(None) };
        let Ok(signed) = Pdu::from_object(signed, room.rules) else { return Ok(None) };
        let checked = self.0.federation.keys().verify(vec![signed], room.rules).await?;
        Ok(checked.into_iter().next().and_then(Result::ok))
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
