//! The stored bytes of rooms, one row of each keyspace.

use super::keys::*;
use crate::{
    graph::{RoomNo, Seq, Tie},
    store::{Position, golden::Golden},
};

const ROOM: RoomNo = RoomNo(0x0102_0304_0506_0708);
const USER: &str = "@alice:localhost";

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn stored_bytes_do_not_change() {
    let mut golden = Golden::of("rooms");
    let receipt = ReceiptRow {
        event_id: text("$event"),
        seq: Seq(7),
        depth: 9,
        tie: Tie::live(Position(300), 2),
        ts: 1_800_000_000_000,
        position: Position(301),
    };
    golden.row(&RECEIPT, (ROOM, text(USER), 1, text("main")), receipt);
    golden.row(&RECEIPT_LOG, (ROOM, Position(301), text(USER), 1, text("main")), ());
    golden.row(&ALIAS, (text("#lobby:localhost"),), AliasRow { room: ROOM, creator: text(USER) });
    golden.row(&ROOM_ALIAS, (ROOM, text("#lobby:localhost")), ());
    golden.row(&PUBLISHED, (ROOM,), ());
    golden.row(&GUESTS_DUE, (ROOM,), 7);
    golden.check(KEYSPACES);
}
