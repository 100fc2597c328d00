//! Outliers: events that are needed to judge others, and whose own place in the graph is not known.

use super::draft::{Draft, Placing};
use crate::{
    event::auth::AuthError,
    graph::{
        Needs, Receipt, SendError, Verdict,
        types::{Root, Status},
    },
};

impl Draft<'_, '_> {
    /// Stores an event as an outlier once all its auth events are here; one that they do not allow as rejected.
    pub(super) fn receive_outlier(&mut self, receipt: &Receipt) -> Result<Verdict, SendError> {
        let pdu = receipt.event.pdu();
        if pdu.room_id() != &*self.head.room_id {
            return Err(SendError::WrongRoom);
        }
        if let Some(at) = self.locate(&[pdu.event_id()])?.pop().flatten() {
            if at.room != self.room.no {
                return Ok(Verdict::Rejected(AuthError("another room has an event of this id".to_owned())));
            }
            return Ok(Verdict::Duplicate(self.placed(at.seq, pdu)));
        }
        let (mut auth, mut lacking) = (Vec::new(), Vec::new());
        for (id, at) in pdu.auth_events().iter().zip(self.locate(pdu.auth_events())?) {
            match at {
                Some(at) if at.room == self.room.no => auth.push((self.known(at.seq)?, self.meta(at.seq)?.status)),
                Some(_) => return Ok(Verdict::Rejected(AuthError("it cites an event of another room".to_owned()))),
                None => lacking.push(id.clone()),
            }
        }
        if !lacking.is_empty() {
            return Ok(Verdict::Needs(Needs::Missing { prev: Vec::new(), auth: lacking }));
        }
        let checked = self.check_by_auth_events(pdu, &auth)?;
        let placing = Placing {
            pdu: pdu.clone(),
            seq: None,
            status: if checked.is_ok() { Status::Outlier } else { Status::Rejected },
            in_graph: false,
            root_before: Root::EMPTY,
            prev_depth: 0,
            auth: auth.iter().map(|(known, _)| known.seq).collect(),
            local_echo: None,
            relay: false,
            missing: Vec::new(),
            old: None,
        };
        let (seq, _) = self.place(placing)?;
        Ok(match checked {
            Ok(()) => Verdict::Accepted(self.placed(seq, pdu)),
            Err(error) => Verdict::Rejected(error),
        })
    }
}
