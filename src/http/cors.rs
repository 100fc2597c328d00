//! Cross-origin requests (client-server API, "Web Browser Clients").

use ::http::{HeaderMap, HeaderName, HeaderValue, header};

const ALLOWED: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "X-Requested-With, Content-Type, Authorization, Date"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// What is for other servers alone.
const SERVERS: [&str; 2] = ["/_matrix/federation/", "/_matrix/key/"];

/// Whether pages of other origins may call this path: clients' endpoints, and nothing of an administrator's or of other
/// servers.
pub fn is_open(path: &str) -> bool {
    path.starts_with("/_matrix/") && !SERVERS.iter().any(|prefix| path.starts_with(prefix))
        || path.starts_with("/.well-known/matrix/")
}

/// Lets pages of other origins read the response.
pub fn allow(headers: &mut HeaderMap) {
    for (name, value) in ALLOWED {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
