//! Judging events that are signed already (server-server API, "Checks performed on receipt of a PDU"): all checks that need
//! no other server.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{EventId, OwnedEventId, events::room::policy::RoomPolicyEventContent, signatures};

use super::{
    draft::{Draft, Placing},
    redaction::Effect,
    relations::MissingDraft,
    room::Known,
};
use crate::{
    event::{
        Pdu,
        auth::{self, AuthError},
        pdu::room_id_of_create,
        version,
    },
    graph::{
        Needs, Placed, Receipt, SendError, Verdict,
        event_row::EventMeta,
        rows::{EventAt, StateKey},
        state,
        types::{Root, Seq, Status},
    },
    store::ReadError,
};

/// Events of a claimed state that are read at once.
const WAVE: usize = 1_000;

/// What an event cites, found.
struct Cited {
    /// Its previous events.
    prev: Vec<(Seq, EventMeta)>,
    /// Those that are not here, if the state before it was handed in, or is known all the same.
    missing: Vec<OwnedEventId>,
    /// The states after those of them of which that is known all the same.
    roots: BTreeSet<Root>,
    /// For the others the state stands that was handed in.
    needs_claim: bool,
    /// Its auth events.
    auth: Vec<(Known, Status)>,
}

/// An event that is here already.
#[derive(Clone, Copy)]
struct Before {
    seq: Seq,
    /// What comes before it is known, so that it was judged whole.
    has_place: bool,
}

/// The status of an event that passed all checks: a redaction that does nothing (yet) is not shown to clients.
pub(super) fn effect_status(effect: Option<Effect>) -> Status {
    match effect {
        Some(Effect::TargetUnknown | Effect::NotAllowed) => Status::Held,
        Some(Effect::Applies(_)) | None => Status::Accepted,
    }
}

/// A check that ends the judgement.
enum Stop {
    Verdict(Verdict),
    Error(SendError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Error(error.into())
    }
}

impl From<SendError> for Stop {
    fn from(error: SendError) -> Self {
        Self::Error(error)
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

impl Draft<'_, '_> {
    /// Judges an event, and puts it into the draft unless it needs something first.
    pub(super) fn receive(&mut self, receipt: &Receipt) -> Result<Verdict, SendError> {
        match self.judge(receipt) {
            Ok(verdict) | Err(Stop::Verdict(verdict)) => Ok(verdict),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn judge(&mut self, receipt: &Receipt) -> Result<Verdict, Stop> {
        let pdu = receipt.event.pdu();
        if pdu.room_id() != &*self.head.room_id {
            return Err(SendError::WrongRoom.into());
        }
        let known = self.known_already(pdu)?;
        let cited = self.cited_by(pdu, receipt.state_before.is_some())?;
        let old = match receipt.backfilled {
            Some(below) => Some(self.depth_of_citing(pdu.event_id())?.min(below)),
            None => None,
        };
        let prev_depth = cited.prev.iter().map(|(_, meta)| meta.depth).max().unwrap_or_default();
        let placing = |status, root_before| Placing {
            pdu: pdu.clone(),
            seq: known.map(|known| known.seq),
            status,
            in_graph: true,
            root_before,
            prev_depth,
            auth: cited.auth.iter().map(|(known, _)| known.seq).collect(),
            local_echo: receipt.local_echo.clone(),
            relay: receipt.relay,
            missing: cited.missing.clone(),
            old,
        };
        // A rejected event may be cited as previous, so the state before it counts, too.
        let mut roots = cited.roots.clone();
        let claimed = receipt.state_before.as_ref().filter(|_| cited.needs_claim);
        if let Some(state) = claimed {
            // What another server says stands in for what is missing, never for what is here.
            roots.insert(self.claimed_state(state)?);
        }
        let root_before = self.root_before(&cited.prev, roots)?;
        if let Err(error) = self.check_by_auth_events(pdu, &cited.auth)? {
            return self.reject(known, placing(Status::Rejected, root_before), error);
        }
        match self.check_at(pdu, root_before) {
            Ok(()) => {}
            // By the word of another server an event may be taken, but not put away: others may know better.
            Err(SendError::NotAllowed(error)) if claimed.is_some() => return Err(Verdict::Rejected(error).into()),
            Err(SendError::NotAllowed(error)) => {
                return self.reject(known, placing(Status::Rejected, root_before), error);
            }
            Err(error) => return Err(error.into()),
        }
        if old.is_some() {
            self.arrive(pdu.event_id())?;
            let effect = self.effect_of(pdu, root_before)?;
            let placed = self.enter_old(placing(effect_status(effect), root_before), effect)?;
            self.settle(placed.seq, pdu.event_id())?;
            return Ok(Verdict::Accepted(placed));
        }
        let begins_anew = receipt.begins_anew && self.head.is_left;
        let current = if begins_anew { root_before } else { self.head.root };
        let soft_fails = match self.check_at(pdu, current) {
            Ok(()) => false,
            Err(SendError::NotAllowed(_)) => true,
            Err(error) => return Err(error.into()),
        };
        // What the room was left with says nothing of a join that begins it anew: the server that took the join has asked.
        let is_asked = !soft_fails && !receipt.refused_by_policy && !begins_anew;
        if is_asked && self.lacks_policy_signature(pdu)? {
            return Err(Verdict::Needs(Needs::PolicySignature).into());
        }
        if soft_fails || receipt.refused_by_policy {
            self.arrive(pdu.event_id())?;
            let (seq, _) = self.place(placing(Status::SoftFailed, root_before))?;
            self.settle(seq, pdu.event_id())?;
            return Ok(Verdict::SoftFailed(self.placed(seq, pdu)));
        }
        let is_cited = self.arrive(pdu.event_id())?;
        let effect = self.effect_of(pdu, root_before)?;
        if begins_anew {
            // What the room was left with says nothing of it now.
            self.tips.clear();
        }
        let placed = self.enter(placing(effect_status(effect), root_before), effect, is_cited)?;
        self.settle(placed.seq, pdu.event_id())?;
        Ok(Verdict::Accepted(placed))
    }

    /// What is here of an event that may be judged (again): one without a place, or one that was rejected, as what it was
    /// rejected by may have become clear since. Any other is a duplicate.
    fn known_already(&self, pdu: &Pdu) -> Result<Option<Before>, Stop> {
        match self.locate(&[pdu.event_id()])?.pop().flatten() {
            None => Ok(None),
            Some(at) if at.room != self.room.no => {
                // Only in versions 1 and 2 can an id be chosen. The first event of an id is the one.
                Err(Verdict::Rejected(AuthError("another room has an event of this id".to_owned())).into())
            }
            Some(at) => {
                let meta = self.meta(at.seq)?;
                match meta.status {
                    Status::Outlier | Status::Rejected => {
                        // Of an id that was chosen, what came first is the event.
                        if self.known(at.seq)?.pdu.reference_hash(self.rules()).ok()
                            != pdu.reference_hash(self.rules()).ok()
                        {
                            let why = "there is another event of this id".to_owned();
                            return Err(Verdict::Rejected(AuthError(why)).into());
                        }
                        Ok(Some(Before { seq: at.seq, has_place: self.has_place(at.seq, &meta) }))
                    }
                    _ => Err(Verdict::Duplicate(self.placed(at.seq, pdu)).into()),
                }
            }
        }
    }

    /// Finds what an event cites.
    fn cited_by(&self, pdu: &Pdu, has_state: bool) -> Result<Cited, Stop> {
        let (prev_at, auth_at) = (self.locate(pdu.prev_events())?, self.locate(pdu.auth_events())?);
        let (mut prev, mut lacking_prev) = (Vec::new(), Vec::new());
        for (id, at) in pdu.prev_events().iter().zip(prev_at) {
            let Some(seq) = self.of_this_room(at)? else {
                lacking_prev.push(id.clone());
                continue;
            };
            let meta = self.meta(seq)?;
            // The state at an outlier is not known.
            if self.has_place(seq, &meta) {
                prev.push((seq, meta));
            } else {
                lacking_prev.push(id.clone());
            }
        }
        let (mut auth, mut lacking_auth) = (Vec::new(), Vec::new());
        for (id, at) in pdu.auth_events().iter().zip(auth_at) {
            match self.of_this_room(at)? {
                Some(seq) => auth.push((self.known(seq)?, self.meta(seq)?.status)),
                None => lacking_auth.push(id.clone()),
            }
        }
        let (mut roots, mut missing) = (BTreeSet::new(), Vec::new());
        let mut unknown = Vec::new();
        for id in lacking_prev {
            match self.root_after_absent(&id)? {
                Some(root) => {
                    roots.insert(root);
                    missing.push(id);
                }
                None => unknown.push(id),
            }
        }
        let needs_claim = has_state && !unknown.is_empty();
        let mut lacking_prev = unknown;
        if has_state {
            missing.append(&mut lacking_prev);
        }
        if lacking_prev.is_empty() && lacking_auth.is_empty() {
            Ok(Cited { prev, missing, roots, needs_claim, auth })
        } else {
            Err(Verdict::Needs(Needs::Missing { prev: lacking_prev, auth: lacking_auth }).into())
        }
    }

    /// A state from the ids of its events. Events that were rejected are in no state.
    fn claimed_state(&mut self, ids: &[OwnedEventId]) -> Result<Root, Stop> {
        let (mut seqs, mut lacking) = (Vec::with_capacity(ids.len()), Vec::new());
        for (id, at) in ids.iter().zip(self.locate(ids)?) {
            match self.of_this_room(at)? {
                Some(seq) => seqs.push(seq),
                None => lacking.push(id.clone()),
            }
        }
        if !lacking.is_empty() {
            return Err(Verdict::Needs(Needs::Missing { prev: Vec::new(), auth: lacking }).into());
        }
        let mut entries = BTreeMap::new();
        for seqs in seqs.chunks(WAVE) {
            let (mut keys, mut held) = (Vec::with_capacity(seqs.len()), Vec::with_capacity(seqs.len()));
            for (known, status) in self.known_many(seqs)? {
                if status != Status::Rejected {
                    let state_key = known.pdu.state_key().ok_or(SendError::NoState)?;
                    keys.push(StateKey::new(known.pdu.kind(), state_key));
                    held.push(known.seq);
                }
            }
            for (slot, seq) in self.slots_or_new(keys)?.into_iter().zip(held) {
                if entries.insert(slot, seq).is_some() {
                    return Err(SendError::NoState.into());
                }
            }
        }
        Ok(state::build(&mut self.nodes, &self.room.hasher, entries))
    }

    fn of_this_room(&self, at: Option<EventAt>) -> Result<Option<Seq>, Stop> {
        match at {
            Some(at) if at.room != self.room.no => {
                Err(Verdict::Rejected(AuthError("it cites an event of another room".to_owned())).into())
            }
            at => Ok(at.map(|at| at.seq)),
        }
    }

    /// Check 4: the auth rules by what it says authorises it.
    pub(super) fn check_by_auth_events(
        &self,
        pdu: &Pdu,
        auth: &[(Known, Status)],
    ) -> Result<Result<(), AuthError>, ReadError> {
        let mut authorising: Vec<Pdu> = auth
            .iter()
            .map(|(known, status)| {
                let pdu = known.pdu.clone();
                if *status == Status::Rejected { pdu.rejected() } else { pdu }
            })
            .collect();
        // From version 12 on the create event is never cited: the room's id names it.
        let mut implied = None;
        if version::room_id_is_create_id(self.rules())
            && let Some(create) = self.current("m.room.create", "")?
        {
            implied = Some(create.pdu.event_id().to_owned());
            authorising.push(create.pdu);
        }
        let find = |id: &EventId| authorising.iter().find(|pdu| pdu.event_id() == id).cloned();
        if pdu.is_state("m.room.create", "") {
            // But for its own one, when that gets its place in history.
            let own = self.current("m.room.create", "")?.is_some_and(|create| create.pdu.event_id() == pdu.event_id());
            return Ok(if own { Ok(()) } else { Err(AuthError("the room has a create event".to_owned())) });
        }
        if implied.is_some_and(|id| room_id_of_create(&id).ok().as_deref() != Some(pdu.room_id())) {
            return Ok(Err(AuthError("the create event is of another room".to_owned())));
        }
        if let Err(error) = auth::check_citations(pdu, self.rules(), find) {
            return Ok(Err(error));
        }
        let state = |kind: &str, state_key: &str| authorising.iter().find(|pdu| pdu.is_state(kind, state_key)).cloned();
        Ok(auth::check(pdu, self.rules(), state))
    }

    /// The state before an event: what the states after its previous events, and those that stand for what is missing, make
    /// together.
    fn root_before(&mut self, prev: &[(Seq, EventMeta)], mut roots: BTreeSet<Root>) -> Result<Root, ReadError> {
        for (seq, meta) in prev {
            roots.insert(self.root_after(*seq, meta)?);
        }
        self.joined(&roots)
    }

    fn reject(&mut self, before: Option<Before>, placing: Placing, error: AuthError) -> Result<Verdict, Stop> {
        if let Some(before) = before.filter(|before| before.has_place) {
            return Ok(Verdict::Duplicate(self.placed(before.seq, &placing.pdu)));
        }
        self.arrive(placing.pdu.event_id())?;
        self.place(placing)?;
        Ok(Verdict::Rejected(error))
    }

    /// Whether the room uses a policy server that has not signed this event (server-server API, "Policy Servers").
    pub(super) fn lacks_policy_signature(&self, pdu: &Pdu) -> Result<bool, SendError> {
        let Some(policy) = self.current("m.room.policy", "")? else { return Ok(false) };
        // Of odd content there is no policy server.
        let Ok(content) = serde_json::from_str::<RoomPolicyEventContent>(policy.pdu.content().get()) else {
            return Ok(false);
        };
        let has_key: Option<BTreeMap<String, serde_json::Value>> = policy.pdu.content_field("public_keys");
        if !has_key.is_some_and(|keys| keys.get("ed25519").is_some_and(serde_json::Value::is_string))
            || !self.has_server(content.via.as_str())?
        {
            return Ok(false);
        }
        let object = pdu.to_object()?;
        Ok(signatures::verify_policy_server_signature(&content, &object, self.rules()).is_err())
    }

    /// What an event redacts, if it is a redaction.
    pub(super) fn effect_of(&self, pdu: &Pdu, root_before: Root) -> Result<Option<Effect>, ReadError> {
        if pdu.kind() != "m.room.redaction" {
            return Ok(None);
        }
        self.effect(pdu, root_before).map(Some)
    }

    /// Puts an event that passed all checks into the graph: it becomes an extremity, the current state follows, clients get
    /// it. One that is cited by others that came before it is no extremity.
    pub(super) fn enter(
        &mut self,
        placing: Placing,
        effect: Option<Effect>,
        is_cited: bool,
    ) -> Result<Placed, SendError> {
        let (pdu, status) = (placing.pdu.clone(), placing.status);
        let (seq, root_after) = self.place(placing)?;
        self.extend(seq, (!is_cited).then_some(root_after))?;
        let current = self.after_tips()?;
        let changes = self.advance(current)?;
        if status == Status::Accepted {
            self.deliver(seq, changes)?;
        }
        self.take_effect(effect, &pdu, seq)?;
        Ok(self.placed(seq, &pdu))
    }

    /// Puts an event of further back into its place. Nobody is told of it, and what holds now stays.
    fn enter_old(&mut self, placing: Placing, effect: Option<Effect>) -> Result<Placed, SendError> {
        let (pdu, status) = (placing.pdu.clone(), placing.status);
        let (seq, _) = self.place(placing)?;
        if status == Status::Accepted {
            self.relate(seq)?;
        }
        self.take_effect(effect, &pdu, seq)?;
        Ok(self.placed(seq, &pdu))
    }

    /// A redaction redacts its target, or waits for it.
    fn take_effect(&mut self, effect: Option<Effect>, pdu: &Pdu, seq: Seq) -> Result<(), SendError> {
        match (effect, pdu.redacts()) {
            (Some(Effect::Applies(target)), _) => self.redact(target, seq)?,
            (Some(Effect::TargetUnknown), Some(target)) => {
                self.missing.push(MissingDraft { event_id: target.to_owned(), citing: seq });
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn placed(&self, seq: Seq, pdu: &Pdu) -> Placed {
        Placed { room: self.room.no, seq, event_id: pdu.event_id().to_owned() }
    }
}
