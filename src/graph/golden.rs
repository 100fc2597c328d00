//! The stored bytes of rooms, one row of each keyspace.

use bytes::Bytes;
use ruma::{EventId, RoomId, RoomVersionId, UserId, user_id};

use super::{
    event_row::{EventMeta, LocalEcho, StoredEvent},
    head::Head,
    keys::*,
    log::{Entry, Stream},
    rows::{
        AuthEvents, Cursor, EventAt, Gap, Logged, Member, NextIndexes, Original, OutsideAt, OutsideRow, PartialJoin,
        RoomServer, StagedRoom, StateKey, UserRoom,
    },
    state::Node,
    types::{Membership, RoomNo, Root, Seq, Slot, Status, Tie},
};
use crate::store::{Position, golden::Golden};

const ROOM: RoomNo = RoomNo(0x0102_0304_0506_0708);
const USER: &str = "@alice:localhost";

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn stored_bytes_do_not_change() {
    let mut golden = Golden::of("graph");
    rows_of_rooms(&mut golden);
    rows_of_events(&mut golden);
    rows_of_orders(&mut golden);
    rows_of_states(&mut golden);
    rows_of_members(&mut golden);
    golden.check(KEYSPACES);
}

fn rows_of_rooms(golden: &mut Golden) {
    golden.row(&ROOM_BY_ID, (text("!room:localhost"),), ROOM);
    let mut head = Head::new(&RoomId::parse("!room:localhost").unwrap(), &RoomVersionId::V12);
    head.version = 3;
    (head.next_seq, head.next_slot) = (Seq(9), Slot(6));
    head.extremities = vec![Seq(7), Seq(8)];
    head.root = Root([5; 16]);
    head.max_depth = 8;
    (head.last_position, head.last_relayed_position) = (Position(300), Position(299));
    (head.index_generation, head.indexes_since) = (2, Position(298));
    (head.joined_members, head.invited_members) = (4, 1);
    (head.is_partial, head.is_left, head.is_blocked, head.is_unsettled) = (true, false, true, true);
    golden.row(&HEAD, (ROOM,), head);
    golden.row(&GAP, (ROOM, 4, Seq(5)), Gap { missing: vec![text("$lost")], last_try: 1_800_000_000_000 });
    let (servers, via) = (vec![text("there")], vec![text("here"), text("there")]);
    golden.row(&PARTIAL, (ROOM,), PartialJoin { join: Seq(3), servers, via });
    golden.row(&PARTIAL_EVENT, (ROOM, Seq(4)), ());
    golden.row(&CURSOR, (text("push"), 0), Cursor { position: Position(300), epoch: 1 });
    golden.row(&LOG_MARK, (20_000,), 300);
    golden.row(&STAGED, (ROOM,), StagedRoom { room_id: text("!room:localhost"), since: 1_800_000_000_000 });
    golden.row(&NEXT_INDEXES, (ROOM,), NextIndexes { from: 1, to: 2, users_due: true });
}

fn rows_of_events(golden: &mut Golden) {
    let pdu = Bytes::from_static(br#"{"content":{"membership":"join"},"type":"m.room.member"}"#);
    let event = StoredEvent {
        event_id: EventId::parse("$event").unwrap(),
        kind: text("m.room.member"),
        state_key: Some(text(USER)),
        sender: UserId::parse(USER).unwrap(),
        origin_server_ts: 1_800_000_000_000,
        redacts: Some(EventId::parse("$other").unwrap()),
        content: (11, 32),
        pdu: pdu.clone(),
    };
    golden.row(&EVENT, (ROOM, Seq(7)), event);
    let echo = LocalEcho { device_id: text("PHONE"), transaction_id: text("t1") };
    let meta = EventMeta {
        status: Status::SoftFailed,
        root_before: Root([4; 16]),
        depth: 7,
        tie: Tie::backfilled(Position(300), 2),
        redacted_by: Some(Seq(8)),
        local_echo: Some(echo),
        relay: true,
        partial: true,
    };
    golden.row(&EVENT_META, (ROOM, Seq(7)), meta);
    golden.row(&ORIGINAL, (ROOM, Seq(7)), Original { expires: 1_800_000_000_000, pdu: pdu.to_vec() });
    golden.row(&EVENT_ID, (text("$event"),), EventAt { room: ROOM, seq: Seq(7) });
    golden.row(&MISSING, (ROOM, text("$lost"), Seq(7)), ());
    golden.row(&AUTH, (ROOM, Seq(7)), AuthEvents(vec![Seq(1), Seq(300)]));
}

fn rows_of_orders(golden: &mut Golden) {
    let tie = Tie::live(Position(300), 2);
    golden.row(&TIMELINE, (ROOM, 7, tie), Seq(7));
    golden.row(&ROOM_LOG, (ROOM, Position(300), 2), Logged { seq: Seq(7), max_depth: 8 });
    golden.row(&LOG, (Position(300), 4), Entry::user(Stream::Membership, user_id!("@alice:localhost")).of(7));
    golden.row(&RELATION, (ROOM, Seq(6), relation_hash("m.thread"), tie), Seq(7));
    golden.row(&THREAD, (ROOM, tie, Seq(6)), ());
    golden.row(&BY_TIME, (ROOM, 1_800_000_000_000, Seq(7)), ());
}

fn rows_of_states(golden: &mut Golden) {
    let children = vec![Root([1; 16]), Root::EMPTY, Root([2; 16])];
    golden.row(&NODE, (ROOM, Root([3; 16])), Node::Branch { level: 1, children });
    golden.row(&SLOT, (ROOM, text("m.room.member"), text(USER)), Slot(5));
    golden.row(&SLOT_NAME, (ROOM, Slot(5)), StateKey::new("m.room.member", USER));
    golden.row(&ROOM_ROOT, (ROOM, Position(300)), Root([5; 16]));
    golden.row(&RESOLVED, (ROOM, [6; 16]), Root([5; 16]));
}

fn rows_of_members(golden: &mut Golden) {
    let member = Member { membership: Membership::Knock, seq: Seq(7), position: Position(300) };
    golden.row(&MEMBER, (ROOM, 2, text(USER)), member);
    let row = UserRoom {
        membership: Membership::Ban,
        seq: Some(Seq(7)),
        position: Position(300),
        left_root: Some(Root([4; 16])),
        left_at: Some(Position(299)),
        was_joined: true,
        forgotten: false,
        outside: Some(text("there")),
        joined_at: Some(Position(298)),
    };
    golden.row(&USER_ROOM, (text(USER), ROOM), row);
    let row = OutsideRow { membership: Membership::Invite, position: Position(300), told: b"{}".to_vec() };
    golden.row(&OUTSIDE, (ROOM, text(USER), text("there")), row);
    let at = OutsideAt { server: text("there"), is_over: true };
    golden.row(&OUTSIDE_OF_USER, (text(USER), Position(300), ROOM), at);
    let server = RoomServer { joined_users: 2, joined: Position(300), left: RoomServer::STILL };
    golden.row(&ROOM_SERVER, (ROOM, 2, text("there")), server);
    golden.row(&SERVER_ROOM, (text("there"), ROOM), ());
}

/// Rows that were written before the position of the join was part of them.
#[test]
fn a_users_room_of_the_first_version_is_read() {
    let mut bytes = vec![1, 2, 1, 7, 0xAC, 2, 0, 0, 1, 0, 0];
    let read = |bytes: &[u8]| crate::store::value::from_bytes::<UserRoom>(bytes).unwrap();
    let joined = read(&bytes);
    assert_eq!((joined.membership, joined.position, joined.was_joined), (Membership::Join, Position(300), true));
    assert_eq!(joined.joined_at, Some(Position(300)));
    bytes[1] = 4;
    assert_eq!((read(&bytes).membership, read(&bytes).joined_at), (Membership::Ban, None));
}

/// Rows that were written when what came from outside of the room was part of them.
#[test]
fn a_users_room_of_the_second_version_is_read() {
    let row: UserRoom =
        crate::store::value::from_bytes(&[2, 2, 1, 7, 0xAC, 2, 0, 0, 1, 0, 1, 2, 0x7B, 0x7D, 1, 5]).unwrap();
    assert_eq!((row.membership, row.position, row.outside), (Membership::Join, Position(300), None));
    assert_eq!(row.joined_at, Some(Position(5)));
}

/// A leaf is the other form of a node, whose keyspace has one golden row only.
#[test]
fn a_leaf_is_stored_as_it_always_was() {
    let bytes = crate::store::value::to_bytes(&Node::Leaf(vec![1, 0, 0x0102_0304]));
    assert_eq!(bytes, [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1]);
}

/// Names of nodes are stored, so how they are made never changes.
#[test]
fn a_state_has_the_name_that_it_always_had() {
    let name = super::state::Hasher::of(ROOM).name(&Node::Leaf(vec![1]));
    let hex: String = name.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "a684b1431140c71298623e04eaa3e6f9");
}
