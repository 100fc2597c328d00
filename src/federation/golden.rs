//! The stored bytes of what is known about other servers, one row of each keyspace.

use super::keys::*;
use crate::store::golden::Golden;

#[test]
fn stored_bytes_do_not_change() {
    let mut golden = Golden::of("federation");
    let key = KeyRow { public_key: [7; 32], valid_until: 1_800_000_000_000, expired_at: Some(9) };
    golden.row(&SERVER_KEY, ("a.b".to_owned(), "ed25519:a".to_owned()), key);
    let document = DocumentRow { json: "{}".to_owned(), fetched_at: 1_800_000_000_000 };
    golden.row(&KEY_DOCUMENT, ("a.b".to_owned(),), document);
    golden.check(KEYSPACES);
}
