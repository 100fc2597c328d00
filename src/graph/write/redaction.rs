//! Redactions: who may redact what, and what it does (room versions, "Handling redactions").

use bytes::Bytes;
use ruma::EventId;

use super::{
    MOST_EVENTS,
    draft::{Delivered, Draft},
    relations::MissingDraft,
    room::{Known, parsed},
};
use crate::{
    event::{
        Pdu,
        power::{Action, PowerLevels},
    },
    graph::{
        SendError,
        event_row::{EventMeta, StoredEvent},
        types::{Root, Seq, Status},
    },
    store::ReadError,
};

/// Redactions that one commit lets go at the most: they come behind its events, and an index of a commit is below 64.
const MOST_RELEASED: usize = 63 - MOST_EVENTS;

/// A stored event that this draft redacts.
#[derive(Debug)]
pub(super) struct Redacted {
    pub(super) body: StoredEvent,
    pub(super) meta: EventMeta,
    pub(super) original: Bytes,
}

/// A stored redaction that waited for its target, which came with this draft.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) seq: Seq,
    pub(super) body: StoredEvent,
    pub(super) meta: EventMeta,
    pub(super) target: Seq,
    pub(super) max_depth: u64,
    pub(super) root_after: Root,
}

/// What a redaction can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It redacts this event.
    Applies(Seq),
    /// Its target is not here (yet).
    TargetUnknown,
    /// It does not redact anything: its sender may not, or the target is none.
    NotAllowed,
}

impl Draft<'_, '_> {
    /// What a redaction can do, judged by the state before it.
    pub(super) fn effect(&self, redaction: &Pdu, root_before: Root) -> Result<Effect, ReadError> {
        let Some(target) = redaction.redacts() else { return Ok(Effect::NotAllowed) };
        let Some(at) = self.locate(&[target])?.pop().flatten() else { return Ok(Effect::TargetUnknown) };
        if at.room != self.room.no {
            return Ok(Effect::NotAllowed);
        }
        match self.meta(at.seq)?.status {
            Status::Accepted | Status::SoftFailed => {}
            Status::Outlier | Status::Held => return Ok(Effect::TargetUnknown),
            Status::Rejected => return Ok(Effect::NotAllowed),
        }
        let target = self.known(at.seq)?;
        let may = target.pdu.sender().server_name() == redaction.sender().server_name()
            || self.may_redact_others(redaction, root_before)?;
        Ok(if may { Effect::Applies(at.seq) } else { Effect::NotAllowed })
    }

    /// Whether its sender may redact what others have sent.
    pub(super) fn may_redact_others(&self, redaction: &Pdu, root: Root) -> Result<bool, ReadError> {
        let Some(create) = self.at(root, "m.room.create", "")? else { return Ok(false) };
        let levels = self.at(root, "m.room.power_levels", "")?;
        let levels = PowerLevels::new(&create.pdu, levels.as_ref().map(|known| &known.pdu), self.rules());
        Ok(levels.of(redaction.sender()) >= levels.to(Action::Redact))
    }

    /// Takes the content of an event away; one that was redacted before stays as it is.
    pub(super) fn redact(&mut self, target: Seq, by: Seq) -> Result<(), SendError> {
        let rules = self.rules();
        if let Some(at) = self.events.iter().rposition(|event| event.seq == target) {
            let Some(event) = self.events.get_mut(at) else { return Ok(()) };
            if event.redacted_by.is_some() {
                return Ok(());
            }
            let content = event.body.clone();
            event.pdu = event.pdu.redacted(rules)?;
            let redacted = event.pdu.clone();
            event.original = Some(std::mem::replace(&mut event.body, StoredEvent::of(&event.pdu)).pdu);
            event.redacted_by = Some(by);
            self.unrelate(target, content.content(), None)?;
            self.stand_redacted(target, redacted)?;
        } else if !self.redacted.contains_key(&target) {
            let event = self.env.reader.event(self.view, self.room.no, target)?;
            // A body that was purged is gone already.
            let Some(event) = event.filter(|event| event.meta.redacted_by.is_none()) else { return Ok(()) };
            let original = event.body.pdu.clone();
            self.unrelate(target, event.body.content(), Some(event.meta.tie))?;
            let pdu = parsed(event.body, rules)?.redacted(rules)?;
            let meta = EventMeta { redacted_by: Some(by), ..event.meta };
            self.redacted.insert(target, Redacted { body: StoredEvent::of(&pdu), meta, original });
            self.stand_redacted(target, pdu)?;
        }
        if let Some(redaction) = self.events.iter_mut().rev().find(|event| event.seq == by) {
            redaction.redacts = Some(target);
        }
        Ok(())
    }

    /// An event of the current state stands there without its content from now on: what is judged by it is judged alike
    /// whether the lane had it in memory or reads it again.
    fn stand_redacted(&mut self, seq: Seq, pdu: Pdu) -> Result<(), ReadError> {
        let (kind, Some(state_key)) = (pdu.kind().to_owned(), pdu.state_key().map(str::to_owned)) else {
            return Ok(());
        };
        if self.current(&kind, &state_key)?.is_some_and(|known| known.seq == seq) {
            self.changed.put(&kind, &state_key, Some(Known { seq, pdu }));
        }
        Ok(())
    }

    /// Does what waited for an event that has just come: redactions of it, relations to it.
    pub(super) fn settle(&mut self, arrived: Seq, event_id: &EventId) -> Result<(), SendError> {
        for citing in self.waiting_in_draft(event_id) {
            self.settle_drafted(citing, event_id)?;
        }
        for citing in self.waiting(event_id)? {
            let found = MissingDraft { event_id: event_id.to_owned(), citing };
            let Some(event) = self.env.reader.event(self.view, self.room.no, citing)? else {
                self.found.push(found);
                continue;
            };
            if event.meta.status == Status::Held {
                let redaction = parsed(event.body.clone(), self.rules())?;
                match self.effect(&redaction, event.meta.root_before)? {
                    // Of many, the others would not change anything any more.
                    Effect::Applies(_) if self.released.len() >= MOST_RELEASED => continue,
                    Effect::Applies(target) => {
                        let (max_depth, root_after) = (self.head.max_depth, self.head.root);
                        let meta = EventMeta { status: Status::Accepted, ..event.meta };
                        let body = event.body;
                        self.released.push(Released { seq: citing, body, meta, target, max_depth, root_after });
                        self.redact(target, citing)?;
                    }
                    Effect::NotAllowed => {}
                    Effect::TargetUnknown => continue,
                }
            } else if event.meta.status == Status::Accepted && event.meta.redacted_by.is_none() {
                self.relate_late(citing, (arrived, event_id), event.body.content(), event.meta.tie)?;
            }
            self.found.push(found);
        }
        Ok(())
    }

    /// The same for an event of this draft that waits.
    fn settle_drafted(&mut self, citing: Seq, event_id: &EventId) -> Result<(), SendError> {
        let Some(waiting) = self.drafted(citing) else { return Ok(()) };
        let (pdu, root_before, status) = (waiting.pdu.clone(), waiting.root_before, waiting.status);
        if status != Status::Held {
            return Ok(self.relate(citing)?);
        }
        match self.effect(&pdu, root_before)? {
            Effect::Applies(target) => {
                let delivered = Delivered { max_depth: self.head.max_depth, root_after: self.head.root, change: None };
                if let Some(redaction) = self.events.iter_mut().rev().find(|event| event.seq == citing) {
                    redaction.status = Status::Accepted;
                    redaction.delivery = (!redaction.is_old).then_some(delivered);
                }
                self.redact(target, citing)
            }
            Effect::TargetUnknown => {
                self.missing.push(MissingDraft { event_id: event_id.to_owned(), citing });
                Ok(())
            }
            Effect::NotAllowed => Ok(()),
        }
    }
}
