//! The auth graph: by which events others are authorised.

use std::collections::HashSet;

use super::Reader;
use crate::{
    graph::{
        keys::AUTH,
        types::{RoomNo, Seq},
    },
    store::{ReadError, View},
};

/// State events whose auth events are asked for at once.
const WAVE: usize = 1_000;

impl Reader {
    /// The auth chain of some state events: what authorises them, what authorises that, and so on; each once, the oldest
    /// first. One of `of` is in it only if it authorises another one.
    ///
    /// Visits no event twice, and never more than the room has state events.
    pub fn auth_chain(&self, view: &View<'_>, room: RoomNo, of: &[Seq]) -> Result<Vec<Seq>, ReadError> {
        let mut chain: HashSet<Seq> = HashSet::new();
        let mut asked: HashSet<Seq> = of.iter().copied().collect();
        let mut front: Vec<Seq> = asked.iter().copied().collect();
        while !front.is_empty() {
            let mut next = Vec::new();
            for wave in front.chunks(WAVE) {
                let rows = view.multi_get(&AUTH, wave.iter().map(|seq| (room, *seq)))?;
                for cited in rows.into_iter().flatten().flat_map(|row| row.0) {
                    chain.insert(cited);
                    if asked.insert(cited) {
                        next.push(cited);
                    }
                }
            }
            front = next;
        }
        let mut chain: Vec<Seq> = chain.into_iter().collect();
        chain.sort_unstable();
        Ok(chain)
    }
}
