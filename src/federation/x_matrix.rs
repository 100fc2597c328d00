//! The `X-Matrix` authentication scheme: a request, signed by its server (server-server API, "Request Authentication").
//!
//! What is signed is made from the method, the target and the body exactly as they are sent or came; no detour over a
//! typed request could change them.

use std::fmt::Write as _;

use base64::Engine as _;
use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use super::key_document::is_key_id;
use crate::event::{SigningKey, hash::LENIENT_BASE64, json, sign::is_signed};

/// The name of the scheme.
const SCHEME: &str = "X-Matrix";
/// The longest header that is read, in bytes; an honest one has some 300.
const LONGEST: usize = 2_048;

/// A request is not of the form that is signed: its body is no JSON object.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the body is no JSON object")]
pub struct NotAnObject;

/// The header is not well-formed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the X-Matrix header is not well-formed: {0}")]
pub struct Malformed(&'static str);

/// The parts of a request that are signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// Path and query, percent-encoded as they are sent.
    pub target: &'a str,
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// What a server says of itself and its request; nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XMatrix {
    pub(super) origin: OwnedServerName,
    /// Older servers leave it out.
    pub(super) destination: Option<OwnedServerName>,
    pub(super) key_id: String,
    signature: Vec<u8>,
}

impl Signed<'_> {
    /// The header of a request of this key's server to another one.
    pub(super) fn header(&self, key: &SigningKey, destination: &ServerName) -> Result<String, NotAnObject> {
        let origin = key.server_name();
        let signature = key.sign_text(self.text(origin, destination.as_str())?.as_bytes());
        let key_id = key.key_id();
        Ok(format!(r#"{SCHEME} origin="{origin}",destination="{destination}",key="{key_id}",sig="{signature}""#))
    }

    /// Whether this key has signed it.
    pub(super) fn is_signed(&self, by: &XMatrix, own: &ServerName, key: &[u8; 32]) -> Result<bool, NotAnObject> {
        let text = self.text(by.origin.as_str(), own.as_str())?;
        Ok(is_signed(text.as_bytes(), &by.signature, key))
    }

    /// What is signed, in canonical JSON.
    fn text(&self, origin: &str, destination: &str) -> Result<String, NotAnObject> {
        let mut text = String::with_capacity(self.body.len().saturating_add(256));
        text.push('{');
        if !self.body.is_empty() {
            let _ = write!(text, "\"content\":{},", canonical(self.body)?);
        }
        let string = |text: &str| serde_json::Value::from(text);
        let (destination, method) = (string(destination), string(self.method));
        let (origin, uri) = (string(origin), string(self.target));
        let _ = write!(text, "\"destination\":{destination},\"method\":{method},\"origin\":{origin},\"uri\":{uri}}}");
        Ok(text)
    }
}

/// A body in canonical form. Old rooms hold numbers that canonical JSON cannot say; one event of such a room must not make
/// a whole transaction unreadable, so these are written as other servers write them.
fn canonical(body: &[u8]) -> Result<String, NotAnObject> {
    if let Ok(object) = json::parse(body) {
        return Ok(json::to_text(&object));
    }
    json::LaxObject::parse(body).map(|object| json::to_text(&object)).map_err(|_| NotAnObject)
}

impl XMatrix {
    /// Reads an `Authorization` header.
    pub(super) fn parse(header: &str) -> Result<Self, Malformed> {
        if header.len() > LONGEST {
            return Err(Malformed("it is too long"));
        }
        let (scheme, rest) = header.trim().split_once(' ').ok_or(Malformed("it has no parameters"))?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(Malformed("it is of another scheme"));
        }
        let (mut origin, mut destination, mut key, mut signature) = (None, None, None, None);
        let mut rest = Rest(rest);
        while let Some((name, value)) = rest.parameter()? {
            let slot = match name.to_ascii_lowercase().as_str() {
                "origin" => &mut origin,
                "destination" => &mut destination,
                "key" => &mut key,
                "sig" => &mut signature,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Malformed("a parameter stands twice"));
            }
        }
        let server = |name: String| ServerName::parse(name).map_err(|_| Malformed("it names no server"));
        let key_id = key.ok_or(Malformed("`key` is missing"))?;
        if !is_key_id(&key_id) {
            return Err(Malformed("`key` is no id of an Ed25519 key"));
        }
        let signature = signature.ok_or(Malformed("`sig` is missing"))?;
        Ok(Self {
            origin: server(origin.ok_or(Malformed("`origin` is missing"))?)?,
            destination: destination.map(server).transpose()?,
            key_id,
            signature: LENIENT_BASE64.decode(signature).map_err(|_| Malformed("`sig` is no base64"))?,
        })
    }
}

/// What is left of a list of parameters (RFC 9110, section 11.4).
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The next parameter; `None` at the end.
    fn parameter(&mut self) -> Result<Option<(&'a str, String)>, Malformed> {
        const SPACE: [char; 2] = [' ', '\t'];
        // Empty elements of a list count for nothing.
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        if self.0.is_empty() {
            return Ok(None);
        }
        let (name, rest) = self.0.split_once('=').ok_or(Malformed("a parameter has no value"))?;
        let name = name.trim_end_matches(SPACE);
        if name.is_empty() || name.contains([' ', '\t', ',', '"']) {
            return Err(Malformed("a parameter has no name"));
        }
        let rest = rest.trim_start_matches(SPACE);
        let (value, rest) = match rest.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            // Colons and more are taken without quotes: old servers send them so.
            None => {
                let end = rest.find([' ', '\t', ',', '"']).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (value.to_owned(), rest)
            }
        };
        if value.is_empty() {
            return Err(Malformed("a parameter is empty"));
        }
        self.0 = rest.trim_start_matches(SPACE);
        if !self.0.is_empty() && !self.0.starts_with(',') {
            return Err(Malformed("something stands between two parameters"));
        }
        Ok(Some((name, value)))
    }
}

/// What stands up to the closing quote, unescaped, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), Malformed> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(at.saturating_add(1)..).unwrap_or_default())),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            character => value.push(character),
        }
    }
    Err(Malformed("a quote is not closed"))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    const GET: Signed<'_> = Signed { method: "GET", target: "/_matrix/a?b=%20c", body: b"" };

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32], "k", server_name!("or.igin")).unwrap()
    }

    fn is_right(request: Signed<'_>, header: &str, own: &str) -> bool {
        let parsed = XMatrix::parse(header).unwrap();
        request.is_signed(&parsed, <&ServerName>::try_from(own).unwrap(), &key().public_key()).unwrap()
    }

    #[test]
    fn a_signature_covers_every_part_of_a_request() {
        let header = GET.header(&key(), server_name!("de.st:8448")).unwrap();
        assert!(is_right(GET, &header, "de.st:8448"));
        assert!(!is_right(GET, &header, "de.st"), "another destination");
        assert!(!is_right(Signed { method: "PUT", ..GET }, &header, "de.st:8448"));
        assert!(!is_right(Signed { target: "/_matrix/a?b= c", ..GET }, &header, "de.st:8448"));
        assert!(!is_right(Signed { body: b"{}", ..GET }, &header, "de.st:8448"));
        assert!(!is_right(GET, &header.replace("or.igin", "or.igim"), "de.st:8448"));
        let put = Signed { method: "PUT", target: "/x", body: br#"{"b":1,"a":[true,null]}"# };
        let header = put.header(&key(), server_name!("de.st")).unwrap();
        assert!(
            is_right(Signed { body: br#" {"a": [true, null], "b": 1}"#, ..put }, &header, "de.st"),
            "JSON is signed"
        );
        assert!(!is_right(Signed { body: br#"{"a":[true,null],"b":2}"#, ..put }, &header, "de.st"));
    }

    #[test]
    fn what_is_signed_is_canonical() {
        let body = br#"{"z":{"b":"\u00e9","a":1.5},"y":1e3,"x":-0.0,"w":90071992547409930}"#;
        let text = Signed { method: "PUT", target: "/x?\"", body }.text("a", "b").unwrap();
        let wanted = r#"{"content":{"w":90071992547409930,"x":-0.0,"y":1000.0,"z":{"a":1.5,"b":"é"}},"destination":"b","method":"PUT","origin":"a","uri":"/x?\""}"#;
        assert_eq!(text, wanted);
        for body in [&b"[]"[..], b"1", b"{", b"\xff", b" "] {
            assert_eq!(Signed { body, ..GET }.text("a", "b"), Err(NotAnObject));
        }
    }

    #[test]
    fn headers_of_all_peers_are_read() {
        let wanted = XMatrix {
            origin: server_name!("a.b:1").to_owned(),
            destination: Some(server_name!("c.d").to_owned()),
            key_id: "ed25519:k".to_owned(),
            signature: b"test".to_vec(),
        };
        for header in [
            r#"X-Matrix origin="a.b:1",destination="c.d",key="ed25519:k",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b:1",destination="c.d",key="ed25519:k",sig="dGVzdA==""#,
            r#"x-matrix   ORIGIN=a.b:1 , Destination=c.d	,	key=ed25519:k,sig=dGVzdA=="#,
            r#"X-Matrix origin=a.b:1,,destination=c.d,key=ed25519:k,sig=dGVzdA,unknown="x,y=z","#,
            r#"X-Matrix sig="dG\VzdA",key="ed\25519:k",destination = "c.d",origin="a.b:1""#,
        ] {
            assert_eq!(XMatrix::parse(header).as_ref(), Ok(&wanted), "{header}");
        }
        let without = r#"X-Matrix origin="a.b:1",key="ed25519:k",sig="dGVzdA""#;
        assert_eq!(XMatrix::parse(without), Ok(XMatrix { destination: None, ..wanted }));
    }

    #[test]
    fn garbled_headers_are_refused() {
        for header in [
            "",
            "X-Matrix",
            "Bearer token",
            "X-Matrix origin=a.b",
            r#"X-Matrix origin="a.b",key="ed25519:k""#,
            r#"X-Matrix key="ed25519:k",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b",origin="c.d",key="ed25519:k",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b",key="ed25519:k",sig="dGVzdA"#,
            r#"X-Matrix origin="a.b",key="ed25519:k",sig="dGVzdA\"#,
            r#"X-Matrix origin="a.b" key="ed25519:k" sig="dGVzdA""#,
            r#"X-Matrix origin="a b",key="ed25519:k",sig="dGVzdA""#,
            r#"X-Matrix origin="",key="ed25519:k",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b",key="rsa:k",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b",key="ed25519:",sig="dGVzdA""#,
            r#"X-Matrix origin="a.b",key="ed25519:k",sig="!""#,
            r#"X-Matrix origin="a.b",key="ed25519:k",sig"#,
            r#"X-Matrix ="a.b",key="ed25519:k",sig="dGVzdA""#,
        ] {
            assert!(XMatrix::parse(header).is_err(), "{header}");
        }
        let long = format!(r#"X-Matrix origin="a.b",key="ed25519:k",sig="dGVzdA",x="{}""#, "x".repeat(4_096));
        assert!(XMatrix::parse(&long).is_err());
    }
}
