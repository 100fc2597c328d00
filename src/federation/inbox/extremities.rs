//! Joining forward extremities: events of ours cite ten at the most, and every one more makes each event of the room dearer to
//! judge. Where there are more, a user of ours sends an event that says nothing; none is ever dropped.

use ruma::{OwnedUserId, UserId, canonical_json::CanonicalJsonObject};

use super::Inbox;
use crate::{
    graph::{Membership, Proposal, Reader, RoomNo, SendError},
    store::{ReadError, View},
};

/// Extremities that a room may have.
const MOST: usize = 10;
/// The type of the event that joins them, as other servers call it.
const DUMMY: &str = "org.matrix.dummy_event";
/// Members of the room that are looked through for users of ours.
const MEMBERS: usize = 1_000;
/// Users of ours who are tried: they may lack the power to send anything.
const MOST_USERS: usize = 5;
/// Events that are sent at once.
const MOST_EVENTS: usize = 20;

impl Inbox {
    /// Joins the extremities of a room if there are too many.
    pub(super) async fn join_extremities(&self, room: RoomNo) -> Result<(), ReadError> {
        for _ in 0..MOST_EVENTS {
            let (reader, own) = (self.0.graph.reader().clone(), self.0.graph.server_name().to_owned());
            let users = self.0.store.read(move |view| {
                let is_ours = |user: &UserId| user.server_name() == own;
                senders(&reader, view, room, is_ours)
            });
            let mut is_joined = false;
            for user in users.await? {
                match self.0.policy.send_one(room, Proposal::message(user, DUMMY, CanonicalJsonObject::new())).await {
                    Ok(_) => {
                        is_joined = true;
                        break;
                    }
                    Err(SendError::Read(error)) => return Err(error),
                    Err(error) => tracing::debug!(?room, %error, "extremities are not joined by this user"),
                }
            }
            if !is_joined {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Users of ours who may join the extremities of a room; nobody if there are not too many.
fn senders(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    is_ours: impl Fn(&UserId) -> bool,
) -> Result<Vec<OwnedUserId>, ReadError> {
    let head = reader.head(view, room)?;
    if head.is_none_or(|head| head.extremities.len() <= MOST || head.is_left) {
        return Ok(Vec::new());
    }
    let page = reader.member_page(view, room, &[Membership::Join], None, MEMBERS)?;
    let users = page.members.into_iter().filter_map(|(user, _)| UserId::parse(user).ok());
    Ok(users.filter(|user| is_ours(user)).take(MOST_USERS).collect())
}
