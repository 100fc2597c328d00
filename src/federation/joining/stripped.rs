//! What another server tells of a room to somebody who is not in it: `invite_room_state` and `knock_room_state`.

use std::collections::BTreeMap;

use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    event::{Pdu, Rules, version},
    rooms::stripped::STRIPPED,
};

/// Entries that are looked at.
pub(super) const MOST: usize = 100;
/// The most bytes of one of them, as clients get it.
const LARGEST: usize = 8 << 10;

#[derive(Deserialize, Serialize)]
struct Stripped {
    content: BTreeMap<String, serde_json::Value>,
    /// Of a create event, if it came whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin_server_ts: Option<u64>,
    sender: String,
    state_key: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The entries as clients get them: those that can be read, are of a type that is told, and each once; the create event
/// first, so that it is the last to be left out. Members are told of only if somebody is invited by them, or is them.
///
/// Whole events must be of the room. Older servers send them stripped already, so that this can't be told.
pub(super) fn for_clients(
    told: &[Box<RawValue>],
    (room_id, rules): (&RoomId, &Rules),
    members: &[&UserId],
) -> Vec<Box<RawValue>> {
    let mut once = BTreeMap::new();
    for entry in told.iter().take(MOST) {
        let Ok(mut stripped) = serde_json::from_str::<Stripped>(entry.get()) else { continue };
        stripped.origin_server_ts = stripped.origin_server_ts.filter(|_| stripped.kind == "m.room.create");
        let of_room = stripped.state_key.is_empty() && STRIPPED.contains(&stripped.kind.as_str());
        let of_member =
            stripped.kind == "m.room.member" && members.iter().any(|member| member.as_str() == stripped.state_key);
        let is_elsewhere = is_whole(entry) && of(entry, rules).is_none_or(|pdu| pdu.room_id() != room_id);
        if UserId::parse(&stripped.sender).is_err() || !(of_room || of_member) || is_elsewhere {
            continue;
        }
        let Ok(written) = to_raw_value(&stripped) else { continue };
        if written.get().len() <= LARGEST {
            let rank = STRIPPED.iter().position(|kind| *kind == stripped.kind).unwrap_or(STRIPPED.len());
            once.entry((rank, stripped.kind, stripped.state_key)).or_insert(written);
        }
    }
    once.into_values().collect()
}

/// Whether the create event is among them, whole, and the room's own: from version 12 on the room id is its hash, so that
/// nobody can lie about it.
pub(super) fn has_create(told: &[Box<RawValue>], room_id: &RoomId, rules: &Rules) -> bool {
    let is_create = |pdu: &Pdu| pdu.is_state("m.room.create", "") && pdu.room_id() == room_id;
    !version::room_id_is_create_id(rules)
        || told.iter().take(MOST).any(|entry| of(entry, rules).is_some_and(|pdu| is_create(&pdu)))
}

/// Whether an invite is refused if not every entry is a signed event of the room. Of older rooms what is odd is left out.
pub(super) fn must_be_whole(rules: &Rules) -> bool {
    version::room_id_is_create_id(rules)
}

fn of(entry: &RawValue, rules: &Rules) -> Option<Pdu> {
    Pdu::parse(entry.get().as_bytes(), rules).ok()
}

fn is_whole(entry: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(rename = "signatures")]
        _signatures: serde::de::IgnoredAny,
        #[serde(rename = "auth_events")]
        _auth_events: serde::de::IgnoredAny,
    }
    serde_json::from_str::<Whole>(entry.get()).is_ok()
}
