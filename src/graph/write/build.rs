//! Building events of our own on the current state of a room, and letting the auth rules judge them.

use ruma::{
    EventId, RoomVersionId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::RawValue;

use super::{
    Env,
    accept::effect_status,
    draft::{Draft, Placing},
    redaction::Effect,
    room::{Known, Tip, lost},
};
use crate::{
    event::{
        Pdu, Rules, SigningKey, Template,
        auth::{self, AuthError},
        build::{self, Citation},
        json, version,
    },
    graph::{
        Placed, Proposal, SendError,
        rows::StateKey,
        types::{Root, Status},
    },
    store::ReadError,
};

/// Events that one of ours cites as previous at the most. More are joined step by step; none is ever dropped.
const MOST_CITED: usize = 10;

impl Draft<'_, '_> {
    /// Reads what building these proposals will ask for, in as few waves as can be.
    pub(super) fn prepare<'p>(&self, proposals: impl Iterator<Item = &'p Proposal>) -> Result<(), SendError> {
        let mut keys: Vec<StateKey> = ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.policy"]
            .map(|kind| StateKey::new(kind, ""))
            .into();
        for proposal in proposals {
            keys.push(StateKey::new("m.room.member", proposal.sender.as_str()));
            if let Some(state_key) = &proposal.state_key {
                keys.push(StateKey::new(proposal.kind.as_str(), state_key.as_str()));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(self.learn(&keys)?)
    }

    /// Builds, checks and signs an event on the current state, and puts it into the draft.
    pub(super) fn propose(&mut self, proposal: &Proposal) -> Result<Placed, SendError> {
        if self.head.is_blocked {
            return Err(SendError::Blocked);
        }
        if proposal.sender.server_name() != &*self.env.server_name {
            return Err(AuthError("the sender is no user of this server".to_owned()).into());
        }
        if proposal.kind == "m.room.create" && !self.head.root.is_empty() {
            return Err(AuthError("the room has a create event".to_owned()).into());
        }
        self.check_replaced(proposal)?;
        let root_before = self.root_before_next()?;
        let authorising = self.authorising(proposal, root_before)?;
        let pdu = self.build(proposal, &authorising)?;
        self.check_at(&pdu, root_before)?;
        if root_before != self.head.root {
            self.check_at(&pdu, self.head.root)?;
        }
        if self.lacks_policy_signature(&pdu)? {
            return Err(SendError::NeedsPolicySignature(Box::new(pdu)));
        }
        let effect = self.effect_of(&pdu, root_before)?;
        match effect {
            // It is sent, and waits here, if the sender may redact whatever it is: others may have it.
            Some(Effect::TargetUnknown) if self.may_redact_others(&pdu, root_before)? => {}
            Some(Effect::TargetUnknown) => return Err(SendError::UnknownTarget),
            Some(Effect::NotAllowed) => {
                return Err(AuthError("the sender may not redact this event".to_owned()).into());
            }
            Some(Effect::Applies(_)) | None => {}
        }
        let placing = Placing {
            seq: None,
            status: effect_status(effect),
            in_graph: true,
            root_before,
            prev_depth: self.cited().iter().map(|tip| tip.depth).max().unwrap_or_default(),
            auth: authorising.iter().map(|known| known.seq).collect(),
            local_echo: proposal.local_echo.clone(),
            relay: true,
            missing: Vec::new(),
            old: None,
            pdu,
        };
        self.enter(placing, effect, false)
    }

    /// Whether the event that a proposal means to replace is there.
    fn check_replaced(&self, proposal: &Proposal) -> Result<(), SendError> {
        let (Some(wanted), Some(state_key)) = (proposal.replaces, &proposal.state_key) else { return Ok(()) };
        let current = self.current(&proposal.kind, state_key)?;
        if current.is_some_and(|known| known.seq == wanted) { Ok(()) } else { Err(SendError::Rider) }
    }

    /// The events that authorise a proposal, as the state before it has them.
    fn authorising(&self, proposal: &Proposal, root_before: Root) -> Result<Vec<Known>, SendError> {
        let content = raw(&proposal.content)?;
        let (sender, state_key) = (&proposal.sender, proposal.state_key.as_deref());
        let selected = auth::selection(&proposal.kind, sender, state_key, &content, self.rules())?;
        let keys: Vec<_> = selected.iter().map(|(kind, state_key)| StateKey::new(&**kind, &**state_key)).collect();
        self.learn(&keys)?;
        let mut found = Vec::with_capacity(selected.len());
        for (kind, state_key) in selected {
            found.extend(self.at(root_before, &kind, &state_key)?);
        }
        Ok(found)
    }

    /// The extremities that the next event cites: the youngest, if there are too many.
    fn cited(&self) -> &[Tip] {
        self.tips.get(self.tips.len().saturating_sub(MOST_CITED)..).unwrap_or_default()
    }

    /// The state before the next event: the current one, unless there are extremities that it does not cite.
    fn root_before_next(&mut self) -> Result<Root, ReadError> {
        match self.tips.len().saturating_sub(MOST_CITED) {
            0 => Ok(self.head.root),
            left_out => {
                let roots = self.roots_after_tips(left_out)?;
                self.joined(&roots)
            }
        }
    }

    fn build(&self, proposal: &Proposal, authorising: &[Known]) -> Result<Pdu, SendError> {
        Ok(build::build(self.filled(proposal, authorising)?, self.rules(), &self.env.key)?)
    }

    /// All that the event of a proposal says on the current extremities.
    fn filled(&self, proposal: &Proposal, authorising: &[Known]) -> Result<Template, SendError> {
        let cited = self.cited();
        let mut auth_events = Vec::with_capacity(authorising.len());
        for known in authorising {
            auth_events.push(super::room::cite(&known.pdu, self.rules())?);
        }
        let depth = cited.iter().map(|tip| tip.depth).max().unwrap_or_default() + 1;
        Ok(Template {
            room_id: Some(self.head.room_id.clone()),
            event_id: chosen_id(self.env, self.rules()),
            prev_events: cited.iter().map(Tip::citation).collect(),
            auth_events,
            depth,
            ..template(proposal, self.now)
        })
    }

    /// What an event says that is not committed yet: one of ours that another server has to sign first, or one for a user
    /// of another server to make. The auth rules allow it now.
    pub(super) fn template_of(&mut self, proposal: &Proposal, scratch: &SigningKey) -> Result<Template, SendError> {
        if self.head.is_blocked {
            return Err(SendError::Blocked);
        }
        let root_before = self.root_before_next()?;
        let authorising = self.authorising(proposal, root_before)?;
        let template = self.filled(proposal, &authorising)?;
        // Only to be judged: nobody gets what this key has signed.
        let pdu = build::build(template.clone(), self.rules(), scratch)?;
        self.check_at(&pdu, root_before)?;
        if root_before != self.head.root {
            self.check_at(&pdu, self.head.root)?;
        }
        Ok(template)
    }
}

/// What a proposal says of its event, without its place in a room.
fn template(proposal: &Proposal, now: u64) -> Template {
    Template {
        room_id: None,
        event_id: None,
        sender: proposal.sender.clone(),
        kind: proposal.kind.clone(),
        state_key: proposal.state_key.clone(),
        content: proposal.content.clone(),
        redacts: proposal.redacts.clone(),
        origin_server_ts: proposal.origin_server_ts.unwrap_or(now),
        prev_events: Vec::new(),
        auth_events: Vec::<Citation>::new(),
        depth: 1,
    }
}

/// Builds the create event of a new room: nothing comes before it.
pub(super) fn found(
    env: &Env,
    proposal: &Proposal,
    room_version: &RoomVersionId,
    room_id: Option<ruma::OwnedRoomId>,
    rules: &Rules,
) -> Result<Pdu, SendError> {
    let mut template = template(proposal, env.clock.now());
    template.room_id = room_id;
    template.event_id = chosen_id(env, rules);
    let version = CanonicalJsonValue::String(room_version.as_str().to_owned());
    template.content.insert("room_version".to_owned(), version);
    let pdu = build::build(template, rules, &env.key)?;
    auth::check_citations(&pdu, rules, |_| None)?;
    Ok(pdu)
}

/// Puts the create event into the draft of a room that holds nothing.
pub(super) fn place_create(draft: &mut Draft<'_, '_>, proposal: &Proposal, pdu: Pdu) -> Result<Placed, SendError> {
    let placing = Placing {
        pdu,
        seq: None,
        status: Status::Accepted,
        in_graph: true,
        root_before: Root::EMPTY,
        prev_depth: 0,
        auth: Vec::new(),
        local_echo: proposal.local_echo.clone(),
        relay: true,
        missing: Vec::new(),
        old: None,
    };
    draft.enter(placing, None, false)
}

/// The id of an event of versions 1 and 2: anything that is ours alone.
pub(super) fn chosen_id(env: &Env, rules: &Rules) -> Option<ruma::OwnedEventId> {
    if !version::has_event_ids(rules) {
        return None;
    }
    EventId::parse(format!("${}:{}", env.random.alphanumeric(22), env.server_name)).ok()
}

fn raw(content: &CanonicalJsonObject) -> Result<Box<RawValue>, SendError> {
    let text = String::from_utf8(json::to_bytes(content)).map_err(|_| lost("JSON is always UTF-8"))?;
    RawValue::from_string(text).map_err(|_| lost("canonical JSON is always JSON").into())
}
