//! Checking signatures and content hashes (server-server API, "Validating hashes and signatures on received events").

use std::collections::BTreeMap;

use base64::Engine as _;
use ruma::{OwnedServerName, ServerName, signatures::PublicKeyMap};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    hash::{LENIENT_BASE64, content_hash},
    member::MemberContent,
    members::{Member, members, value_of},
    pdu::Pdu,
    redact::essential,
    sign::is_signed,
    version::Rules,
};

/// A signature is missing or wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the signatures do not hold: {why}")]
pub struct SignatureError {
    why: String,
    wants_key: bool,
}

impl SignatureError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), wants_key: false }
    }

    /// Whether it is only a key that is not known: it may hold once that can be had.
    pub fn wants_key(&self) -> bool {
        self.wants_key
    }
}

/// An event whose signatures hold: really from the servers that it names. Only such an event is fit for the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pdu: Pdu,
    was_redacted: bool,
}

impl Verified {
    /// Checks signatures and content hash with the keys of the servers that must have signed ([`required_servers`]). An
    /// event whose content hash is wrong goes on in its redacted form.
    ///
    /// `keys` holds only keys that were valid when the event was made (`origin_server_ts`, from version 5 on); others,
    /// a policy server's among them, are not looked at.
    ///
    /// Server-server API, "Checks performed on receipt of a PDU", steps 2 and 3.
    pub fn check(pdu: &Pdu, rules: &Rules, keys: &PublicKeyMap) -> Result<Self, SignatureError> {
        let fail = |error: &dyn std::fmt::Display| SignatureError::new(error.to_string());
        let members = members(pdu.text()).map_err(|error| fail(&error))?;
        let signed = essential(&members, rules).map_err(|error| fail(&error))?;
        let signatures = signatures(&members)?;
        for server in required_servers(pdu, rules)? {
            check_server(server.as_str(), &signatures, keys, signed.as_bytes())?;
        }
        if is_content_hash_right(&members)? {
            return Ok(Self { pdu: pdu.clone(), was_redacted: false });
        }
        Ok(Self { pdu: pdu.redacted(rules).map_err(|error| fail(&error))?, was_redacted: true })
    }

    /// The event.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// Whether the content hash was wrong, so that this is the redacted form.
    pub fn was_redacted(&self) -> bool {
        self.was_redacted
    }
}

/// The servers that must have signed an event: its sender's (but for an invite of a third party, which another server
/// may send), in versions 1 and 2 the one of its id, and from version 8 on the one that lets a user join.
pub fn required_servers(pdu: &Pdu, rules: &Rules) -> Result<Vec<OwnedServerName>, SignatureError> {
    let content = match pdu.kind() {
        "m.room.member" => MemberContent::read(pdu.content()),
        _ => MemberContent::default(),
    };
    let mut servers = Vec::with_capacity(1);
    let is_invite = content.membership().as_deref() == Some("invite");
    if !(is_invite && content.third_party_invite().is_some()) {
        servers.push(pdu.sender().server_name().to_owned());
    }
    if rules.signatures.check_event_id_server {
        let server = pdu.event_id().server_name();
        servers.push(server.ok_or_else(|| SignatureError::new("its id names no server"))?.to_owned());
    }
    if rules.signatures.check_join_authorised_via_users_server
        && let Some(user_id) = content.authorised_via()
    {
        let wrong = || SignatureError::new("`join_authorised_via_users_server` is no user id");
        servers.push(user_id.map_err(|()| wrong())?.server_name().to_owned());
    }
    servers.sort_unstable();
    servers.dedup();
    Ok(servers)
}

/// Whether a server has signed an event by one of these keys.
pub fn is_signed_by(pdu: &Pdu, rules: &Rules, server: &ServerName, keys: &PublicKeyMap) -> bool {
    let Ok(members) = members(pdu.text()) else { return false };
    let (Ok(signed), Ok(signatures)) = (essential(&members, rules), signatures(&members)) else { return false };
    check_server(server.as_str(), &signatures, keys, signed.as_bytes()).is_ok()
}

/// Server name → key id → signature, each still JSON.
type Signatures<'a> = BTreeMap<String, &'a RawValue>;

fn signatures<'a>(members: &[Member<'a>]) -> Result<Signatures<'a>, SignatureError> {
    let text = value_of(members, "signatures").unwrap_or("{}");
    serde_json::from_str(text).map_err(|_| SignatureError::new("`signatures` is no object"))
}

/// At least one signature of a server is by a known key, and all that are hold.
fn check_server(
    server: &str,
    signatures: &Signatures<'_>,
    keys: &PublicKeyMap,
    signed: &[u8],
) -> Result<(), SignatureError> {
    let of_server: Option<BTreeMap<String, &RawValue>> =
        signatures.get(server).and_then(|signatures| serde_json::from_str(signatures.get()).ok());
    let of_server = of_server.ok_or_else(|| SignatureError::new(format!("{server} has not signed")))?;
    let no_key = || SignatureError { why: format!("no key is known by which {server} has signed"), wants_key: true };
    let known = keys.get(server).ok_or_else(no_key)?;
    let mut has_signed = false;
    for (key_id, signature) in of_server {
        let Some(key) = known.get(&key_id).filter(|_| key_id.starts_with("ed25519:")) else { continue };
        let wrong = || SignatureError::new(format!("the signature of {server} by {key_id} is wrong"));
        let signature: String = serde_json::from_str(signature.get()).map_err(|_| wrong())?;
        let signature = LENIENT_BASE64.decode(signature).map_err(|_| wrong())?;
        if !is_signed(signed, &signature, key.as_bytes()) {
            return Err(wrong());
        }
        has_signed = true;
    }
    if has_signed { Ok(()) } else { Err(no_key()) }
}

fn is_content_hash_right(members: &[Member<'_>]) -> Result<bool, SignatureError> {
    #[derive(Deserialize)]
    struct Hashes {
        sha256: String,
    }
    let hashes: Hashes = value_of(members, "hashes")
        .and_then(|hashes| serde_json::from_str(hashes).ok())
        .ok_or_else(|| SignatureError::new("it has no content hash"))?;
    let claimed = LENIENT_BASE64.decode(hashes.sha256).unwrap_or_default();
    Ok(claimed == content_hash(members).as_ref())
}
