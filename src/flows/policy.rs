//! Sending into rooms with a policy server: it must have signed an event before that goes anywhere (server-server API, "Policy
//! Servers").

use crate::{
    app::App,
    event::auth::AuthError,
    federation::inbox::Recommendation,
    graph::{Placed, Proposal, Receipt, RoomNo, SendError, Verdict},
};

/// [`crate::graph::Graph::send_one`]; where the room has a policy server, that is asked first. While it answers the room goes
/// on: the event is judged again with its signature.
///
/// # Errors
/// Why it was not sent.
pub(super) async fn send_one(app: &App, room: RoomNo, proposal: Proposal) -> Result<Placed, SendError> {
    let (local_echo, rider) = (proposal.local_echo.clone(), proposal.rider.clone());
    let unsigned = match app.graph.send_one(room, proposal).await {
        Err(SendError::NeedsPolicySignature(unsigned)) => unsigned,
        sent => return sent,
    };
    let event = match app.inbox.recommended(room, &unsigned).await? {
        Recommendation::Signed(event) => event,
        Recommendation::Refused(why) => return Err(SendError::NotRecommended(why)),
    };
    match app.graph.receive(room, Receipt { relay: true, local_echo, rider, ..event.into() }).await? {
        Verdict::Accepted(placed) | Verdict::Duplicate(placed) => Ok(placed),
        Verdict::Rejected(error) => Err(error.into()),
        Verdict::SoftFailed(_) => Err(AuthError("the room has changed meanwhile".to_owned()).into()),
        Verdict::Needs(_) => Err(AuthError("the room's policy server has changed meanwhile".to_owned()).into()),
    }
}
