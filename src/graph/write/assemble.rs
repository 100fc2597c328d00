//! One commit from what waits: events are put into a draft one upon another; who fails is answered alone.

use super::{
    Env, MOST_EVENTS, commit,
    draft::Draft,
    room::{Room, StatePart, Tip},
    wide::{self, Ahead},
};
use crate::{
    graph::{Head, Placed, Proposal, Receipt, Rider, SendError, Verdict},
    store::{Batch, Claims, ReadError, View},
};

/// What waits for a room's lane: all of it is done, or nothing.
#[derive(Debug)]
pub(super) enum Unit {
    /// Events to build, one upon another.
    Send(Vec<Proposal>),
    /// An event to judge.
    Receive(Receipt),
    /// An event to keep without a place in the graph.
    Outlier(Receipt),
    /// Nothing but what is left to do of an earlier commit.
    Settle,
}

/// What became of a unit.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Sent(Vec<Placed>),
    Judged(Verdict),
}

pub(super) type Answer = Result<Outcome, SendError>;

/// A commit, ready to be made.
pub(super) struct Assembled {
    /// `None`: nothing is to be written.
    pub(super) batch: Option<Batch>,
    /// What is to be written before it.
    pub(super) ahead: Option<Ahead>,
    /// The room once it is committed, but for the position.
    pub(super) head: Head,
    pub(super) tips: Vec<Tip>,
    pub(super) state: StatePart,
    pub(super) stamps: commit::Stamps,
    /// Of the first units, in their order; the others wait for the next commit.
    pub(super) answers: Vec<Answer>,
}

/// Bytes of events after which no more are taken into a commit; half of what a commit may hold, as rows come beside them.
const MOST_BYTES: usize = 2 << 20;

impl Unit {
    fn events(&self) -> usize {
        match self {
            Self::Send(proposals) => proposals.len(),
            Self::Receive(_) | Self::Outlier(_) => 1,
            Self::Settle => 0,
        }
    }

    fn proposals(&self) -> &[Proposal] {
        match self {
            Self::Send(proposals) => proposals,
            Self::Receive(_) | Self::Outlier(_) | Self::Settle => &[],
        }
    }

    fn put(&self, draft: &mut Draft<'_, '_>) -> Answer {
        match self {
            Self::Send(proposals) => {
                if proposals.is_empty() || proposals.len() > MOST_EVENTS {
                    return Err(SendError::Count);
                }
                let placed: Result<_, _> = proposals.iter().map(|proposal| draft.propose(proposal)).collect();
                placed.map(Outcome::Sent)
            }
            Self::Receive(receipt) => draft.receive(receipt).map(Outcome::Judged),
            Self::Outlier(receipt) => draft.receive_outlier(receipt).map(Outcome::Judged),
            Self::Settle => Ok(Outcome::Sent(Vec::new())),
        }
    }

    /// What rides with this outcome.
    fn riders<'a>(&'a self, outcome: &'a Outcome) -> Vec<(&'a Rider, Placed)> {
        match (self, outcome) {
            (Self::Send(proposals), Outcome::Sent(placed)) => {
                let riders = proposals.iter().zip(placed);
                riders.filter_map(|(proposal, placed)| Some((proposal.rider.as_ref()?, placed.clone()))).collect()
            }
            (Self::Receive(receipt) | Self::Outlier(receipt), Outcome::Judged(verdict)) => match verdict {
                Verdict::Accepted(placed) | Verdict::SoftFailed(placed) | Verdict::Duplicate(placed) => {
                    receipt.rider.iter().map(|rider| (rider, placed.clone())).collect()
                }
                Verdict::Rejected(_) | Verdict::Needs(_) => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// Builds and judges as many units as fit into one commit. Failures of the store end it; all others are answers.
pub(super) fn assemble(env: &Env, view: &View<'_>, room: &Room, units: &[&Unit]) -> Result<Assembled, ReadError> {
    // Of units that failed after they had changed a draft, or whose riders conflict: what they are answered.
    let mut failed: Vec<Option<SendError>> = units.iter().map(|_| None).collect();
    'again: loop {
        let mut draft = Draft::new(env, view, room);
        let taken = fitting(units);
        prepare(&draft, units.get(..taken).unwrap_or_default())?;
        let mut answers: Vec<Answer> = Vec::with_capacity(taken);
        for (unit, failed) in units.iter().take(taken).zip(&mut failed) {
            if let Some(error) = failed {
                answers.push(Err(error.clone()));
                continue;
            }
            let before = draft.events.len();
            match unit.put(&mut draft) {
                Err(SendError::Read(error)) => return Err(error),
                Err(error) if draft.events.len() > before => {
                    *failed = Some(error);
                    continue 'again;
                }
                answer => answers.push(answer),
            }
            if draft.events.iter().map(|event| event.body.pdu.len()).sum::<usize>() > MOST_BYTES || draft.is_sweeping {
                break;
            }
        }
        let ahead = wide::take(&mut draft);
        let (batch, stamps) = commit::rows(&mut draft);
        let mut batch = batch.unwrap_or_default();
        if let Some(broken) = ride(view, units, &answers, &mut batch)? {
            if let Some(failed) = failed.get_mut(broken) {
                *failed = Some(SendError::Rider);
            }
            continue 'again;
        }
        let (head, tips, state) = draft.into_state();
        let batch = (!batch.is_empty()).then_some(batch);
        return Ok(Assembled { batch, ahead, head, tips, state, stamps, answers });
    }
}

/// How many of the first units hold no more events than a commit may.
fn fitting(units: &[&Unit]) -> usize {
    let mut events = 0;
    let fits = |unit: &&&Unit| {
        events += unit.events();
        events <= MOST_EVENTS
    };
    units.iter().take_while(fits).count().max(1)
}

fn prepare(draft: &Draft<'_, '_>, units: &[&Unit]) -> Result<(), ReadError> {
    let proposals = units.iter().flat_map(|unit| unit.proposals());
    match draft.prepare(proposals) {
        Err(SendError::Read(error)) => Err(error),
        // What else can go wrong goes wrong again, and is answered, with the unit that it concerns.
        _ => Ok(()),
    }
}

/// Lets the riders add their rows; says which unit's riders assert what does not hold.
fn ride(view: &View<'_>, units: &[&Unit], answers: &[Answer], batch: &mut Batch) -> Result<Option<usize>, ReadError> {
    let mut claimed: Vec<(usize, Claims)> = Vec::new();
    for (index, (unit, answer)) in units.iter().zip(answers).enumerate() {
        let Ok(outcome) = answer else { continue };
        for (rider, placed) in unit.riders(outcome) {
            let before = batch.asserted();
            rider(&placed, batch);
            let claims = batch.claims_after(before);
            if claims.is_empty() {
                continue;
            }
            // Of two that assert the same row, the first goes; the other is to read again.
            let taken = claimed.iter().any(|(of, earlier)| *of != index && claims.overlap(earlier));
            if taken || !view.holds(&claims)? {
                return Ok(Some(index));
            }
            claimed.push((index, claims));
        }
    }
    Ok(None)
}
