//! The stored bytes of what is known about other servers, one row of each keyspace.

use super::keys::*;
use crate::{
    graph::{RoomNo, Seq},
    store::{Position, golden::Golden},
};

#[test]
fn stored_bytes_do_not_change() {
    let mut golden = Golden::of("federation");
    let key = KeyRow { public_key: [7; 32], valid_until: 1_800_000_000_000, expired_at: Some(9) };
    golden.row(&SERVER_KEY, ("a.b".to_owned(), "ed25519:a".to_owned()), key);
    let document = DocumentRow { json: "{}".to_owned(), fetched_at: 1_800_000_000_000 };
    golden.row(&KEY_DOCUMENT, ("a.b".to_owned(),), document);
    let answer = r#"{"pdus":{}}"#.to_owned();
    golden.row(&FED_TXN, ("a.b".to_owned(), "txn".to_owned()), TxnRow { answer });
    golden.row(&FED_TXN_AT, (1_800_000_000_000, "a.b".to_owned(), "txn".to_owned()), ());
    let staged = StagedRow {
        event_id: "$e".to_owned(),
        pdu: b"{}".to_vec(),
        origin: "a.b".to_owned(),
        tries: 2,
        next_try: 1_800_000_000_000,
    };
    golden.row(&STAGED, (RoomNo(1), Position(2), 3), staged);
    let unanswered = TransactionRow {
        id: "t1".to_owned(),
        made_at: 1_800_000_000_000,
        events: vec![(Position(7), RoomNo(1), Seq(2))],
        receipts: vec![(RoomNo(1), Position(7), Position(8))],
    };
    let failing = DestinationRow {
        failing_since: 1_800_000_000_000,
        tries: 3,
        next_try: 1_800_000_060_000,
        resume: Position(9),
        unanswered: Some(unanswered),
    };
    golden.row(&DESTINATION, ("c.d".to_owned(),), failing);
    golden.row(&OUTSIDE, ("c.d".to_owned(), Position(7), RoomNo(1), Seq(2)), ());
    golden.check(KEYSPACES);
}

/// Rows that were written before the transaction without an answer was part of them.
#[test]
fn a_destination_of_the_first_version_is_read() {
    let bytes = [1, 0x80, 0xa0, 0xf1, 0xc2, 0xb1, 0x34, 3, 0xe0, 0xf4, 0xf4, 0xc2, 0xb1, 0x34, 9];
    let row = crate::store::value::from_bytes::<DestinationRow>(&bytes).unwrap();
    assert_eq!((row.failing_since, row.tries, row.next_try), (1_800_000_000_000, 3, 1_800_000_060_000));
    assert_eq!((row.resume, row.unanswered), (Position(9), None));
}
