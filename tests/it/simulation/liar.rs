//! A server that lies: a whole server, but for what leaves it. It keeps events back, sends others than it says, forges some that
//! are signed as they must be, and answers with what was not asked for. Its users, and what they are sent, are real.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::StatusCode;
use myelin::{
    event::{Pdu, Rules, hash, json, version},
    federation::transport::{Outbound, Reply},
};
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::{Value, json};

use crate::harness::{Dice, Lies, Peer, START};

/// A lying server. Cheap to clone.
#[derive(Clone)]
pub struct Liar(Arc<Mutex<Inner>>);

struct Inner {
    dice: Dice,
    peer: Peer,
    rules: Option<&'static Rules>,
    /// Whether what it sends is false. What it answers always may be.
    sends_lies: bool,
    /// Events that only it knows, until somebody asks.
    forged: BTreeMap<OwnedEventId, Value>,
    /// Events that it has seen cited, as they are cited.
    cited: Vec<Value>,
    /// Lies so far.
    told: u64,
}

impl Liar {
    pub fn new(name: &str, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            dice: Dice::new(seed),
            peer: Peer::like(name),
            rules: None,
            sends_lies: false,
            forged: BTreeMap::new(),
            cited: Vec::new(),
            told: 0,
        })))
    }

    /// It begins to lie in a room of this version.
    pub fn begin(&self, room_version: &str) {
        let mut inner = self.0.lock().unwrap();
        inner.rules = Some(version::rules(&RoomVersionId::try_from(room_version).unwrap()).unwrap());
        inner.sends_lies = true;
    }

    /// What it sends is true from now on; what it answers may not be.
    pub fn send_no_more_lies(&self) {
        self.0.lock().unwrap().sends_lies = false;
    }

    /// How often it has lied.
    pub fn told(&self) -> u64 {
        self.0.lock().unwrap().told
    }
}

impl Lies for Liar {
    fn sends(&self, request: Outbound) -> Option<Outbound> {
        let mut inner = self.0.lock().unwrap();
        if !inner.sends_lies || !request.target.starts_with("/_matrix/federation/v1/send/") {
            return Some(request);
        }
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        let pdus = body["pdus"].as_array().cloned().unwrap_or_default();
        if pdus.is_empty() {
            return Some(request);
        }
        if inner.dice.percent(15) {
            inner.told += 1;
            return None;
        }
        body["pdus"] = pdus.into_iter().flat_map(|pdu| inner.instead_of(pdu)).collect();
        let destination = request.destination.as_str();
        let text = body.to_string();
        let header = inner.peer.header(destination, "PUT", &request.target, &text);
        Some(Outbound { authorization: Some(header), body: text.into(), ..request })
    }

    fn answers(&self, request: &Outbound, reply: Reply) -> Reply {
        let mut inner = self.0.lock().unwrap();
        if inner.rules.is_none() || inner.dice.percent(30) {
            return reply;
        }
        let endpoint = request.target.split('/').nth(4).unwrap_or_default().to_owned();
        let before = reply.body.clone();
        let answered = inner.answer(&endpoint, request, reply);
        inner.told += u64::from(answered.body != before);
        answered
    }
}

impl Inner {
    /// What is sent in the place of an event.
    fn instead_of(&mut self, pdu: Value) -> Vec<Value> {
        self.cited.extend(pdu["prev_events"].as_array().cloned().unwrap_or_default());
        let own = format!(":{}", self.peer.name);
        if !pdu["sender"].as_str().is_some_and(|sender| sender.ends_with(&own)) {
            return vec![pdu];
        }
        let is_message = pdu["type"] == "m.room.message";
        self.told += 1;
        let extra = match self.dice.below(100) {
            0..=9 => return Vec::new(),
            10..=24 if is_message => {
                return self.forge(&pdu, |forged| say(forged, "something else")).into_iter().collect();
            }
            25..=32 if is_message => {
                // The hash is no longer that of what it says.
                let mut damaged = pdu.clone();
                damaged["content"]["body"] = json!("damaged");
                return vec![damaged];
            }
            33..=44 => {
                self.forge(&pdu, |forged| state(forged, "m.room.name", json!({"name": "a lie"}))).into_iter().collect()
            }
            45..=52 => {
                let old = self.dice.pick(&self.cited).cloned().unwrap();
                let made = self.forge(&pdu, |forged| {
                    state(forged, "m.sim", json!({"value": "of long ago"}));
                    forged["prev_events"] = json!([old]);
                    forged["origin_server_ts"] = json!(START - 1_000_000);
                    forged["depth"] = json!(3);
                });
                made.into_iter().collect()
            }
            53..=66 => self.by_what_was_rejected(&pdu),
            67..=78 => self.behind_what_is_kept_back(&pdu),
            _ => {
                self.told -= 1;
                Vec::new()
            }
        };
        extra.into_iter().chain([pdu]).collect()
    }

    /// Power that nobody gave, and something that is authorised by it; some get only the latter.
    fn by_what_was_rejected(&mut self, pdu: &Value) -> Vec<Value> {
        let sender = pdu["sender"].clone();
        let power = self.forge(pdu, |forged| {
            let users = json!({sender.as_str().unwrap(): 100});
            state(forged, "m.room.power_levels", json!({"users": users}));
        });
        let Some(power) = power else { return Vec::new() };
        let cited = self.citation(&power);
        let citing = self.forge(pdu, |forged| {
            say(forged, "by my own power");
            forged["auth_events"].as_array_mut().unwrap().push(cited);
        });
        let power = Some(power).filter(|_| self.dice.percent(50));
        power.into_iter().chain(citing).collect()
    }

    /// An event that cites another one, which only some are ever told.
    fn behind_what_is_kept_back(&mut self, pdu: &Value) -> Vec<Value> {
        let kept = self.forge(pdu, |forged| state(forged, "m.sim", json!({"value": "kept back"})));
        let Some(kept) = kept else { return Vec::new() };
        let cited = self.citation(&kept);
        let citing = self.forge(pdu, |forged| {
            say(forged, "behind what is kept back");
            forged["prev_events"] = json!([cited]);
            forged["depth"] = json!(forged["depth"].as_u64().unwrap() + 1);
        });
        let kept = Some(kept).filter(|_| self.dice.percent(30));
        kept.into_iter().chain(citing).collect()
    }

    /// An event like this one, changed, and signed as it must be.
    fn forge(&mut self, like: &Value, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let rules = self.rules?;
        let mut forged = like.clone();
        for field in ["hashes", "signatures", "unsigned"] {
            forged.as_object_mut()?.remove(field);
        }
        if forged.get("event_id").is_some() {
            forged["event_id"] = json!(format!("$lie{}:{}", self.dice.u64(), self.peer.name));
        }
        change(&mut forged);
        let mut object = json::parse(forged.to_string().as_bytes()).ok()?;
        hash::add_content_hash(&mut object).ok()?;
        let mut signed = ruma::canonical_json::redact(object.clone(), &rules.redaction, None).ok()?;
        self.peer.key().sign_json(&mut signed).ok()?;
        object.insert("signatures".to_owned(), signed.get("signatures")?.clone());
        let pdu = Pdu::from_object(object, rules).ok()?;
        let value: Value = serde_json::from_slice(pdu.json()).ok()?;
        self.forged.insert(pdu.event_id().to_owned(), value.clone());
        Some(value)
    }

    /// An event that was forged, as others cite it.
    fn citation(&self, event: &Value) -> Value {
        let pdu = Pdu::parse(event.to_string().as_bytes(), self.rules.unwrap()).unwrap();
        match event.get("event_id") {
            Some(id) => json!([id, {"sha256": pdu.reference_hash(self.rules.unwrap()).unwrap()}]),
            None => json!(pdu.event_id()),
        }
    }

    fn answer(&mut self, endpoint: &str, request: &Outbound, reply: Reply) -> Reply {
        let asked_for = |id: &OwnedEventId| {
            let target = request.target.replace("%24", "$").replace("%3A", ":");
            target.contains(id.as_str()) || String::from_utf8_lossy(&request.body).contains(id.as_str())
        };
        let forged: Option<(OwnedEventId, Value)> =
            self.forged.iter().find(|(id, _)| asked_for(id)).map(|(id, event)| (id.clone(), event.clone()));
        let chance = self.dice.below(100);
        let any = self.dice.pick(&self.forged.values().cloned().collect::<Vec<_>>()).cloned();
        match (endpoint, forged) {
            // Who joins by it believes it what the room is.
            ("make_join" | "make_knock", _) => nothing(),
            ("event", Some((_, event))) => answer(&json!({"origin": "x", "origin_server_ts": 0, "pdus": [event]})),
            ("event", None) if chance < 30 => nothing(),
            ("event", None) if chance < 45 => {
                answer(&json!({"origin": "x", "origin_server_ts": 0, "pdus": [any.unwrap_or(json!({}))]}))
            }
            ("get_missing_events", Some((_, event))) => {
                let prev = event["prev_events"].to_string();
                let known = self.forged.iter().filter(|(id, _)| prev.contains(id.as_str()) && chance < 50);
                answer(&json!({"events": known.map(|(_, event)| event).collect::<Vec<_>>()}))
            }
            ("event_auth", Some((_, event))) => {
                let auth = event["auth_events"].to_string();
                let known = self.forged.iter().filter(|(id, _)| auth.contains(id.as_str()));
                answer(&json!({"auth_chain": known.map(|(_, event)| event).collect::<Vec<_>>()}))
            }
            ("state_ids", Some((_, event))) => {
                let auth = event["auth_events"].as_array().cloned().unwrap_or_default();
                let auth: Vec<Value> =
                    auth.into_iter().map(|id| if id.is_array() { id[0].clone() } else { id }).collect();
                let state = auth.iter().cloned().chain(any.and_then(|any| self.id_of(&any)));
                answer(&json!({"pdu_ids": state.collect::<Vec<_>>(), "auth_chain_ids": auth}))
            }
            ("get_missing_events", None) if chance < 50 => self.changed(reply, "events", any),
            ("backfill", _) if chance < 50 => self.changed(reply, "pdus", any),
            ("event_auth", None) if chance < 50 => self.changed(reply, "auth_chain", any),
            ("state", _) if chance < 50 => self.changed(reply, "pdus", any),
            ("state_ids", None) if chance < 50 => {
                let id = any.and_then(|any| self.id_of(&any));
                self.changed(reply, "pdu_ids", id)
            }
            ("get_missing_events" | "backfill" | "event_auth" | "state" | "state_ids", _) if chance < 65 => nothing(),
            _ => reply,
        }
    }

    fn id_of(&self, event: &Value) -> Option<Value> {
        Some(json!(Pdu::parse(event.to_string().as_bytes(), self.rules?).ok()?.event_id()))
    }

    /// A list of an answer without some of it, and with something else.
    fn changed(&mut self, reply: Reply, list: &str, more: Option<Value>) -> Reply {
        let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
        let Some(items) = body[list].as_array().cloned() else { return reply };
        let kept: Vec<Value> = items.into_iter().filter(|_| self.dice.percent(70)).collect();
        let more = more.filter(|_| self.dice.percent(50));
        body[list] = kept.into_iter().chain(more).collect();
        Reply { body: Bytes::from(body.to_string()), ..reply }
    }
}

fn say(event: &mut Value, text: &str) {
    event.as_object_mut().unwrap().remove("state_key");
    event["type"] = json!("m.room.message");
    event["content"] = json!({"msgtype": "m.text", "body": text});
}

fn state(event: &mut Value, kind: &str, content: Value) {
    event["type"] = json!(kind);
    event["state_key"] = json!("");
    event["content"] = content;
}

fn answer(body: &Value) -> Reply {
    crate::harness::reply(200, body).unwrap()
}

fn nothing() -> Reply {
    let reply = crate::harness::reply(404, &json!({"errcode": "M_NOT_FOUND", "error": "no"})).unwrap();
    Reply { status: StatusCode::NOT_FOUND, ..reply }
}
