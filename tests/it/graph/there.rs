//! Another server: it sees a room as it is stored here, and signs events with a key of its own.

use std::collections::BTreeMap;

use myelin::{
    event::{Pdu, Template, Verified, auth, build, version},
    graph::{Placed, Receipt, RoomNo, StateKey, Status, Verdict},
};
use ruma::{OwnedEventId, canonical_json::CanonicalJsonObject, serde::Base64, signatures::PublicKeyMap};
use serde_json::{Value, json};

use super::rig::{Rig, content, key_of, user};

pub const EVE: &str = "@eve:there";

/// The other server: it sees the room as it is stored here, and signs with a key of its own.
pub struct There<'a> {
    pub rig: &'a Rig,
    pub no: RoomNo,
}

pub struct Draft {
    pub sender: &'static str,
    pub kind: &'static str,
    pub state_key: Option<&'static str>,
    pub content: CanonicalJsonObject,
    pub redacts: Option<OwnedEventId>,
    pub prev: Option<Vec<OwnedEventId>>,
    pub auth: Option<Vec<OwnedEventId>>,
    pub depth: u64,
    /// The id, in the versions in which it is chosen.
    pub id: Option<&'static str>,
}

pub fn draft(sender: &'static str, kind: &'static str, state_key: Option<&'static str>, value: Value) -> Draft {
    Draft {
        sender,
        kind,
        state_key,
        content: content(value),
        redacts: None,
        prev: None,
        auth: None,
        depth: 100,
        id: None,
    }
}

pub fn says(body: &str) -> Draft {
    draft(EVE, "m.room.message", None, json!({"body": body, "msgtype": "m.text"}))
}

pub fn joins(who: &'static str) -> Draft {
    draft(who, "m.room.member", Some(who), json!({"membership": "join"}))
}

impl Draft {
    pub fn named(self, id: &'static str) -> Self {
        Self { id: Some(id), ..self }
    }
    pub fn sent_by(self, sender: &'static str) -> Self {
        Self { sender, ..self }
    }
    pub fn after(mut self, prev: &[OwnedEventId]) -> Self {
        self.prev = Some(prev.to_vec());
        self
    }
    pub fn by(mut self, auth: &[OwnedEventId]) -> Self {
        self.auth = Some(auth.to_vec());
        self
    }
}

pub fn keys() -> PublicKeyMap {
    let one = |server: &str, seed| {
        let key = key_of(server, seed);
        let public = Base64::new(key.public_key().to_vec());
        (server.to_owned(), BTreeMap::from([(key.key_id().to_owned(), public)]))
    };
    BTreeMap::from([one("there", 2), one("here", 1), one("policy", 3)])
}

impl There<'_> {
    /// What the selection of auth events finds in the current state.
    pub fn selected(&self, draft: &Draft) -> Vec<OwnedEventId> {
        let rules = self.rules();
        let raw = serde_json::value::to_raw_value(&draft.content).unwrap();
        let selected = auth::selection(draft.kind, &user(draft.sender), draft.state_key, &raw, rules).unwrap();
        let root = self.rig.root(self.no);
        let keys: Vec<_> = selected.into_iter().map(|(kind, state_key)| StateKey::new(kind, state_key)).collect();
        let reader = self.rig.graph.reader();
        let events = self.rig.read(|view| reader.state_events(view, self.no, root, &keys));
        events.into_iter().flatten().map(|event| event.event_id.clone()).collect()
    }

    pub fn rules(&self) -> &'static myelin::event::Rules {
        let head = self.rig.read(|view| self.rig.graph.reader().head(view, self.no)).unwrap();
        version::rules(&head.room_version).unwrap()
    }

    pub fn tips(&self) -> Vec<OwnedEventId> {
        let reader = self.rig.graph.reader();
        self.rig.read(|view| {
            let head = reader.head(view, self.no)?.unwrap();
            let wanted: Vec<_> = head.extremities.iter().map(|seq| (self.no, *seq)).collect();
            Ok(reader.events(view, &wanted)?.into_iter().flatten().map(|event| event.event_id.clone()).collect())
        })
    }

    pub fn make(&self, draft: Draft) -> Pdu {
        let rules = self.rules();
        let auth = draft.auth.clone().unwrap_or_else(|| self.selected(&draft));
        let head = self.rig.read(|view| self.rig.graph.reader().head(view, self.no)).unwrap();
        let event_id = version::has_event_ids(rules).then(|| match draft.id {
            Some(id) => OwnedEventId::try_from(id).unwrap(),
            None => OwnedEventId::try_from(format!("${}:there", name(&draft))).unwrap(),
        });
        let template = Template {
            room_id: Some(head.room_id),
            event_id,
            sender: user(draft.sender),
            kind: draft.kind.to_owned(),
            state_key: draft.state_key.map(str::to_owned),
            content: draft.content,
            redacts: draft.redacts,
            origin_server_ts: 5,
            prev_events: draft.prev.unwrap_or_else(|| self.tips()).into_iter().map(Into::into).collect(),
            auth_events: auth.into_iter().map(Into::into).collect(),
            depth: draft.depth,
        };
        build::build(template, rules, &key_of("there", 2)).unwrap()
    }

    pub fn signed(&self, draft: Draft) -> Receipt {
        Verified::check(&self.make(draft), self.rules(), &keys()).unwrap().into()
    }

    pub async fn sends(&self, draft: Draft) -> Verdict {
        let receipt = self.signed(draft);
        self.rig.graph.receive(self.no, receipt).await.unwrap()
    }

    pub async fn accepted(&self, draft: Draft) -> Placed {
        match self.sends(draft).await {
            Verdict::Accepted(placed) => placed,
            verdict => panic!("{verdict:?}"),
        }
    }

    pub fn status(&self, event_id: &OwnedEventId) -> Option<Status> {
        self.rig
            .read(|view| self.rig.graph.reader().event_by_id(view, event_id).map(Some))
            .flatten()
            .map(|event| event.meta.status)
    }
}

/// A name for an event of versions 1 and 2, where it is chosen.
fn name(draft: &Draft) -> String {
    let said = format!("{} {} {:?} {:?} {:?}", draft.sender, draft.kind, draft.state_key, draft.content, draft.prev);
    blake3::hash(said.as_bytes()).to_hex()[..12].to_owned()
}
