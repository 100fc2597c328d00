//! Checking what other servers say that somebody has signed, many events at once.

use std::{cmp::Reverse, collections::BTreeMap};

use ruma::ServerName;

use super::key_ring::{KeySet, Keys, Wanted, needed_at, wanted_by, wanted_of};
use crate::{
    event::{
        Pdu, Rules, Verified,
        verify::{self, SignatureError},
    },
    store::{EngineError, ReadError},
};

/// Up to so many events are checked where they are: moving them to another thread costs about as much as one of them.
const FEW: usize = 8;

impl Keys {
    /// Looks up the keys that these events of one room need, all at once, and checks signatures and content hashes
    /// (server-server API, "Checks performed on receipt of a PDU", steps 2 and 3). The answers are in the order of the
    /// events.
    ///
    /// # Errors
    /// Only when the store can't be read.
    pub async fn verify(
        &self,
        pdus: Vec<Pdu>,
        rules: &'static Rules,
    ) -> Result<Vec<Result<Verified, SignatureError>>, ReadError> {
        let keys = self.look_up(&self.wanted_by_all(&pdus, rules)).await?;
        if pdus.len() <= FEW {
            return Ok(check_all(&pdus, &keys, rules));
        }
        let checked = tokio::task::spawn_blocking(move || check_all(&pdus, &keys, rules)).await;
        checked.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => ReadError::Engine(EngineError::Io(error.to_string())),
        })
    }

    /// Whether this server has signed an event, be it one of those that must have or not.
    ///
    /// # Errors
    /// Only when the store can't be read.
    pub async fn is_signed_by(&self, pdu: &Pdu, server: &ServerName, rules: &Rules) -> Result<bool, ReadError> {
        let keys = self.look_up(&wanted_of(pdu, server, rules)).await?;
        Ok(verify::is_signed_by(pdu, rules, server, &keys.valid_at(needed_at(pdu, rules))))
    }

    /// Each key once, those first that the most events need: where many servers are gone, the others are not to wait for
    /// them. One that was valid at the latest of several times was valid at all of them; a time at which no key
    /// can be known to be valid is left out, so that an event of that time does not hide what the others need.
    fn wanted_by_all(&self, pdus: &[Pdu], rules: &Rules) -> Vec<Wanted> {
        let latest = self.latest_time();
        let mut wanted = BTreeMap::new();
        // An event that names no servers is refused when it is checked, for the same reason.
        for one in pdus.iter().flat_map(|pdu| wanted_by(pdu, rules).unwrap_or_default()) {
            if one.at.is_none_or(|at| at <= latest) {
                let (at, count) = wanted.entry((one.server, one.key_id)).or_insert((one.at, 0_usize));
                *at = one.at.max(*at);
                *count = count.saturating_add(1);
            }
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|(_, (_, count))| Reverse(*count));
        wanted.into_iter().map(|((server, key_id), (at, _))| Wanted { server, key_id, at }).collect()
    }
}

fn check_all(pdus: &[Pdu], keys: &KeySet, rules: &Rules) -> Vec<Result<Verified, SignatureError>> {
    pdus.iter().map(|pdu| Verified::check(pdu, rules, &keys.for_event(pdu, rules))).collect()
}
