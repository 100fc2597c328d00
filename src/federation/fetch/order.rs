//! Events in an order in which each comes behind those that it cites.

use std::collections::{BTreeSet, HashMap};

use ruma::{EventId, OwnedEventId};

use crate::event::{Pdu, Verified};

/// Each event once, behind its auth events as far as they are among them. Events that cite one another in a circle (which
/// only lies can do) are left out.
pub fn in_auth_order(events: Vec<Verified>) -> Vec<Verified> {
    ordered(events, Pdu::auth_events)
}

/// Each event once, behind its previous events as far as they are among them; circles are left out.
pub fn in_graph_order(events: Vec<Verified>) -> Vec<Verified> {
    ordered(events, Pdu::prev_events)
}

fn ordered(events: Vec<Verified>, cited: fn(&Pdu) -> &[OwnedEventId]) -> Vec<Verified> {
    let mut waiting: HashMap<OwnedEventId, Verified> =
        events.into_iter().map(|event| (event.pdu().event_id().to_owned(), event)).collect();
    // How many of those before it are still to come, and who waits for whom.
    let mut lacking: HashMap<OwnedEventId, usize> = HashMap::new();
    let mut followers: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    for (id, event) in &waiting {
        let before: BTreeSet<&OwnedEventId> =
            cited(event.pdu()).iter().filter(|id| waiting.contains_key(*id)).collect();
        lacking.insert(id.clone(), before.len());
        for cited in before {
            followers.entry(cited.clone()).or_default().push(id.clone());
        }
    }
    let place = |event: &Verified| (event.pdu().depth(), event.pdu().event_id().to_owned());
    let mut ready: BTreeSet<(u64, OwnedEventId)> = waiting
        .values()
        .filter(|event| lacking.get::<EventId>(event.pdu().event_id()) == Some(&0))
        .map(place)
        .collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some((_, id)) = ready.pop_first() {
        for follower in followers.remove(&id).unwrap_or_default() {
            let Some(left) = lacking.get_mut(&follower) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.extend(waiting.get(&follower).map(place));
            }
        }
        ordered.extend(waiting.remove(&id));
    }
    ordered
}

/// Of some events the state events that are reached from these by auth events.
pub(super) fn authorising_of(events: Vec<Verified>, from: &[OwnedEventId]) -> Vec<Verified> {
    let mut known: HashMap<OwnedEventId, Verified> =
        events.into_iter().map(|event| (event.pdu().event_id().to_owned(), event)).collect();
    let (mut next, mut reached) = (from.to_vec(), Vec::new());
    while let Some(id) = next.pop() {
        let Some(event) = known.remove(&id).filter(|event| event.pdu().state_key().is_some()) else { continue };
        next.extend_from_slice(event.pdu().auth_events());
        reached.push(event);
    }
    reached
}
