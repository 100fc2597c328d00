//! One transaction: its body, and what its answer means (server-server API, "Transactions").

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use ruma::{RoomId, ServerName, UserId};
use serde::{Deserialize, de::IgnoredAny};

use super::queue::MOST_EVENTS;
use crate::{
    base::{clock::UnixMillis, json_writer::Object},
    federation::client::ClientError,
    rooms::receipts::{Receipt, Thread},
};

/// Where a transaction goes. Its id is unique between the two servers; letters and digits.
pub(super) fn target(transaction_id: &str) -> String {
    format!("/_matrix/federation/v1/send/{transaction_id}")
}

/// The body of a transaction.
pub(super) fn body(origin: &ServerName, now: UnixMillis, events: &[Bytes], ephemeral: &[Vec<u8>]) -> Vec<u8> {
    let size: usize = events.iter().map(Bytes::len).chain(ephemeral.iter().map(Vec::len)).sum();
    let mut out = Vec::with_capacity(size.saturating_add(512));
    let mut object = Object::begin(&mut out);
    object.value("origin", origin.as_str());
    object.value("origin_server_ts", &now);
    object.array("pdus", |pdus| events.iter().for_each(|event| pdus.raw(event)));
    if !ephemeral.is_empty() {
        object.array("edus", |edus| ephemeral.iter().for_each(|edu| edus.raw(edu)));
    }
    object.end();
    out
}

/// An `m.typing` message.
pub(super) fn typing(room_id: &RoomId, user_id: &UserId, types: bool) -> Vec<u8> {
    message("m.typing", |content| {
        content.value("room_id", room_id.as_str());
        content.value("typing", &types);
        content.value("user_id", user_id.as_str());
    })
}

/// `m.receipt` messages for these receipts of rooms, as few as hold them: in each, a user has one receipt of a room.
pub(super) fn receipts(rooms: &[(&RoomId, Vec<Receipt>)]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<(&RoomId, Vec<&Receipt>)>> = Vec::new();
    for (room_id, receipts) in rooms {
        for receipt in receipts {
            let is_free = |message: &Vec<(&RoomId, Vec<&Receipt>)>| {
                let room = message.iter().find(|(other, _)| other == room_id);
                room.is_none_or(|(_, others)| others.iter().all(|other| other.user_id != receipt.user_id))
            };
            let at = match messages.iter().position(is_free) {
                Some(at) => at,
                None => {
                    messages.push(Vec::new());
                    messages.len() - 1
                }
            };
            let Some(message) = messages.get_mut(at) else { continue };
            match message.iter_mut().find(|(other, _)| other == room_id) {
                Some((_, others)) => others.push(receipt),
                None => message.push((room_id, vec![receipt])),
            }
        }
    }
    messages.iter().map(|message| receipt_message(message)).collect()
}

fn receipt_message(rooms: &[(&RoomId, Vec<&Receipt>)]) -> Vec<u8> {
    message("m.receipt", |content| {
        for (room_id, receipts) in rooms {
            content.object(room_id.as_str(), |room| {
                room.object("m.read", |users| {
                    for receipt in receipts {
                        users.object(receipt.user_id.as_str(), |user| {
                            user.object("data", |data| {
                                data.value("ts", &receipt.ts);
                                if receipt.thread != Thread::Unthreaded {
                                    data.value("thread_id", receipt.thread.key());
                                }
                            });
                            user.value("event_ids", &[receipt.event_id.as_str()]);
                        });
                    }
                });
            });
        }
    })
}

fn message(kind: &str, content: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    crate::base::json_writer::object(|edu| {
        edu.object("content", content);
        edu.value("edu_type", kind);
    })
}

/// What an answer means for what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has arrived.
    Arrived,
    /// The other server will never take it like this: fewer events may do, or this one is left out.
    Unwanted,
    /// It lives and is asked too much: the same again after this time, if it says one.
    Later(Option<Duration>),
    /// It does not answer, or something else does.
    Failed,
}

/// What an answer means.
pub(super) fn outcome(answer: &Result<Bytes, ClientError>) -> Outcome {
    match answer {
        // Something that is no server of Matrix answers 200 as well.
        Ok(body) if is_object(body) => Outcome::Arrived,
        Err(ClientError::Request(_)) => Outcome::Unwanted,
        Err(ClientError::Refused { status, code, retry_after, .. }) => match *status {
            // Whoever says this, less may do.
            StatusCode::PAYLOAD_TOO_LARGE => Outcome::Unwanted,
            // Without a code of Matrix nobody has read it who could judge it.
            StatusCode::BAD_REQUEST if !code.is_empty() => Outcome::Unwanted,
            StatusCode::TOO_MANY_REQUESTS => Outcome::Later(*retry_after),
            _ => Outcome::Failed,
        },
        Ok(_) | Err(_) => Outcome::Failed,
    }
}

/// Whether an answer is an object, as far as it was read: a long one is cut.
fn is_object(body: &[u8]) -> bool {
    let begins = body.trim_ascii_start().starts_with(b"{");
    begins && serde_json::from_slice::<IgnoredAny>(body).map_or_else(|error| error.is_eof(), |_| true)
}

/// The events that the other server could not take, and why, as it says.
pub(super) fn refused(body: &[u8]) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Answer {
        pdus: BTreeMap<String, Refused>,
    }
    #[derive(Deserialize)]
    struct Refused {
        #[serde(default)]
        error: String,
    }
    let pdus = serde_json::from_slice::<Answer>(body).map(|answer| answer.pdus).unwrap_or_default();
    let refused = pdus.into_iter().filter(|(_, refused)| !refused.error.is_empty());
    let named = refused.map(|(id, refused)| (super::shortened(&id), super::shortened(&refused.error)));
    named.take(MOST_EVENTS).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, room_id, server_name, user_id};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        graph::{Place, Seq, Tie},
        rooms::receipts::ReceiptType,
        store::Position,
    };

    fn receipt(user_id: &UserId, thread: Thread) -> Receipt {
        Receipt {
            user_id: user_id.to_owned(),
            kind: ReceiptType::Read,
            thread,
            event_id: event_id!("$e").to_owned(),
            seq: Seq(1),
            place: Place { depth: 1, tie: Tie(1) },
            ts: 7,
            position: Position(1),
        }
    }

    #[test]
    fn bodies_are_what_the_specification_says() {
        let edus = [typing(room_id!("!r:a"), user_id!("@u:a"), true)];
        let body = body(server_name!("a"), 5, &[Bytes::from_static(b"{\"x\":1}")], &edus);
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"origin": "a", "origin_server_ts": 5, "pdus": [{"x": 1}], "edus": [
                {"edu_type": "m.typing", "content": {"room_id": "!r:a", "user_id": "@u:a", "typing": true}},
            ]})
        );
    }

    #[test]
    fn two_threads_of_a_user_are_two_messages() {
        let (alice, bob) = (user_id!("@alice:a"), user_id!("@bob:a"));
        let (one, two) = (room_id!("!one:a"), room_id!("!two:a"));
        let messages = receipts(&[
            (
                one,
                vec![
                    receipt(alice, Thread::Main),
                    receipt(bob, Thread::Unthreaded),
                    receipt(alice, Thread::Unthreaded),
                ],
            ),
            (two, vec![receipt(alice, Thread::Unthreaded)]),
        ]);
        let messages: Vec<Value> = messages.iter().map(|message| serde_json::from_slice(message).unwrap()).collect();
        let plain = json!({"data": {"ts": 7}, "event_ids": ["$e"]});
        let main = json!({"data": {"ts": 7, "thread_id": "main"}, "event_ids": ["$e"]});
        assert_eq!(
            messages,
            [
                json!({"edu_type": "m.receipt", "content": {
                    "!one:a": {"m.read": {"@alice:a": main, "@bob:a": plain}}, "!two:a": {"m.read": {"@alice:a": plain}},
                }}),
                json!({"edu_type": "m.receipt", "content": {"!one:a": {"m.read": {"@alice:a": plain}}}}),
            ]
        );
    }

    #[test]
    fn only_an_object_is_an_answer() {
        let answered = |body: &str| outcome(&Ok(Bytes::copy_from_slice(body.as_bytes())));
        assert_eq!(answered("{\"pdus\":{}}"), Outcome::Arrived);
        assert_eq!(answered("{}"), Outcome::Arrived);
        assert_eq!(answered("<html>"), Outcome::Failed);
        assert_eq!(answered("[]"), Outcome::Failed);
        assert_eq!(answered(""), Outcome::Failed);
        assert_eq!(answered(" {\"pdus\":{\"$a\":{\"err"), Outcome::Arrived, "it was cut");
        assert_eq!(answered("{} <html>"), Outcome::Failed);
        let refused = |status: u16, code: &str| {
            outcome(&Err(ClientError::Refused {
                server: server_name!("b").to_owned(),
                status: StatusCode::from_u16(status).unwrap(),
                code: code.to_owned(),
                message: String::new(),
                retry_after: None,
            }))
        };
        for status in [401, 403, 404, 410, 421, 422, 500, 502, 302] {
            assert_eq!(refused(status, "M_UNKNOWN"), Outcome::Failed, "{status}");
        }
        assert_eq!(refused(400, "M_BAD_JSON"), Outcome::Unwanted);
        assert_eq!(refused(400, ""), Outcome::Failed, "something between the servers");
        assert_eq!(refused(413, ""), Outcome::Unwanted);
        assert_eq!(refused(429, "M_LIMIT_EXCEEDED"), Outcome::Later(None));
    }

    #[test]
    fn what_was_refused_is_named() {
        let body = br#"{"pdus":{"$a":{},"$b":{"error":"no"},"$c":{"error":""}}}"#;
        assert_eq!(refused(body), [("$b".to_owned(), "no".to_owned())]);
    }
}
