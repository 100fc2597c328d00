//! What guests may ask for (client-server API, "Guest access", "Client behaviour"); all else that looks at who asks is
//! refused to them.

use super::Parts;

/// Methods and paths behind `/_matrix/client/v3`, with `*` for an argument.
const ALLOWED: &[(&str, &str)] = &[
    // Reading rooms.
    ("GET", "rooms/*/state"),
    ("GET", "rooms/*/state/*"),
    ("GET", "rooms/*/state/*/"),
    ("GET", "rooms/*/state/*/*"),
    ("GET", "rooms/*/context/*"),
    ("GET", "rooms/*/event/*"),
    ("GET", "rooms/*/messages"),
    ("GET", "rooms/*/members"),
    ("GET", "rooms/*/initialSync"),
    ("GET", "sync"),
    ("GET", "events"),
    ("GET", "media/download/*/*"),
    ("GET", "media/download/*/*/*"),
    ("GET", "media/thumbnail/*/*"),
    // Sending.
    ("POST", "rooms/*/join"),
    ("POST", "join/*"),
    ("POST", "rooms/*/leave"),
    ("PUT", "rooms/*/send/*/*"),
    ("PUT", "rooms/*/state/*"),
    ("PUT", "rooms/*/state/*/"),
    ("PUT", "rooms/*/state/*/*"),
    ("PUT", "sendToDevice/*/*"),
    // Their own account. Logging out is not in the list of the specification, which surely is an oversight.
    ("GET", "devices"),
    ("GET", "devices/*"),
    ("PUT", "devices/*"),
    ("GET", "account/whoami"),
    ("POST", "logout"),
    ("POST", "logout/all"),
    // End-to-end encryption.
    ("POST", "keys/upload"),
    ("POST", "keys/query"),
    ("POST", "keys/claim"),
];

/// Whether a guest may do this.
pub(super) fn may(parts: &Parts, pattern: &str) -> bool {
    let Some((_, rest)) = pattern.strip_prefix("/_matrix/client/").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let method = parts.method.as_str();
    // Of a profile only the display name.
    if rest.starts_with("profile/") {
        return matches!(method, "PUT" | "DELETE") && parts.path.ends_with("/displayname");
    }
    let starred = rest.split('/').map(|segment| if segment.starts_with('{') { "*" } else { segment });
    let starred = starred.collect::<Vec<_>>().join("/");
    let method = if method == "HEAD" { "GET" } else { method };
    ALLOWED.contains(&(method, &starred))
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderMap, Method};

    use super::*;
    use crate::http::Incoming;

    fn guest_may(method: Method, pattern: &str, path: &str) -> bool {
        let incoming = Incoming {
            method,
            path: path.to_owned(),
            query: None,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            peer: [127, 0, 0, 1].into(),
        };
        may(&incoming.into(), pattern)
    }

    #[test]
    fn guests_may_do_what_the_specification_lists() {
        for (method, pattern) in [
            (Method::GET, "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}"),
            (Method::GET, "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/"),
            (Method::PUT, "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}"),
            (Method::HEAD, "/_matrix/client/v3/sync"),
            (Method::POST, "/_matrix/client/v3/logout"),
        ] {
            assert!(guest_may(method, pattern, ""), "{pattern}");
        }
        for (method, pattern) in [
            (Method::POST, "/_matrix/client/v3/createRoom"),
            (Method::POST, "/_matrix/client/v3/rooms/{room_id}/invite"),
            (Method::DELETE, "/_matrix/client/v3/devices/{device_id}"),
            (Method::POST, "/_matrix/client/v3/account/password"),
            (Method::GET, "/_synapse/admin/v1/users/{user_id}/admin"),
        ] {
            assert!(!guest_may(method, pattern, ""), "{pattern}");
        }
        let field = "/_matrix/client/v3/profile/{user_id}/{field}";
        assert!(guest_may(Method::PUT, field, "/_matrix/client/v3/profile/@a:b/displayname"));
        assert!(!guest_may(Method::PUT, field, "/_matrix/client/v3/profile/@a:b/avatar_url"));
    }
}
