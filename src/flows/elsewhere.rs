//! Asking other servers for what a local user wants of a room: one after the other, until one has done it.

use std::{collections::HashSet, time::Duration};

use ruma::{OwnedServerName, RoomId};
use tokio::sync::oneshot;

use super::room_error::RoomError;
use crate::{
    app::App,
    federation::{ClientError, joining::HandshakeError},
    graph::{AdoptError, SendError},
};

/// Servers that are asked for one thing at the most.
const MOST_SERVERS: usize = 20;
/// After this no further server is asked.
const LONGEST: Duration = Duration::from_mins(3);

/// The servers to be asked, in the order in which they are asked: each once, none with which this server does not talk. Those
/// of `remembered` only where there is no other: a client that names servers means these.
pub(super) fn candidates(
    app: &App,
    room_id: &RoomId,
    known: Vec<OwnedServerName>,
    remembered: Vec<OwnedServerName>,
) -> Vec<OwnedServerName> {
    let is_other = |server: &OwnedServerName| app.federation.servers().allow(server);
    let known = if known.iter().any(is_other) { known } else { known.into_iter().chain(remembered).collect() };
    let mut once = HashSet::new();
    // Up to version 11 the id names the server on which the room was created. That is no route (appendices, "Room IDs"), but
    // where no other is known, a guess is better than none.
    let guess = room_id.server_name().filter(|_| known.is_empty()).map(ToOwned::to_owned);
    let all = known.into_iter().chain(guess);
    let all = all.filter(|server| is_other(server) && once.insert(server.clone()));
    all.take(MOST_SERVERS).collect()
}

/// Asks these servers until one has done it. What is said when none has is what tells the user most.
pub(super) async fn ask<T, F>(
    app: &App,
    servers: Vec<OwnedServerName>,
    one: impl Fn(OwnedServerName) -> F,
) -> Result<T, RoomError>
where
    F: Future<Output = Result<T, HandshakeError>>,
{
    let last = app.clock.instant() + LONGEST;
    let mut failures = Vec::new();
    for server in servers {
        if app.clock.instant() > last {
            break;
        }
        match one(server.clone()).await {
            Ok(done) => return Ok(done),
            Err(error) => match our_own(error) {
                Ok(ours) => return Err(ours),
                Err(theirs) => {
                    tracing::info!(%server, error = %theirs, "another server did not do what a user asked for");
                    failures.push(theirs);
                }
            },
        }
    }
    Err(tell(&failures))
}

/// Runs it in a task of its own: what the other server was told is noted here, also when the client goes away.
pub(super) async fn in_a_task<T, F>(app: &App, name: &'static str, run: impl FnOnce(App) -> F) -> Result<T, RoomError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, RoomError>> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let task = run(app.clone());
    app.tasks.spawn(name, async move {
        let _ = answer.send(task.await);
    });
    answered.await.unwrap_or(Err(RoomError::Graph(SendError::Stopped)))
}

/// A failure of this server, which no other one can help.
fn our_own(error: HandshakeError) -> Result<RoomError, HandshakeError> {
    let ours = |error: &SendError| {
        matches!(error, SendError::Read(_) | SendError::Commit(_) | SendError::Stopped | SendError::Busy)
    };
    match error {
        HandshakeError::Read(error) => Ok(error.into()),
        HandshakeError::Send(error) | HandshakeError::Adopt(AdoptError::Send(error)) if ours(&error) => {
            Ok(error.into())
        }
        error => Err(error),
    }
}

/// A failure with the one server that could be asked.
pub(super) fn explain(error: HandshakeError) -> RoomError {
    our_own(error).unwrap_or_else(|theirs| told(&theirs))
}

/// What of several failures the user is told: a refusal before a failure, and anything before silence.
fn tell(failures: &[HandshakeError]) -> RoomError {
    let told = failures.iter().map(told).min_by_key(rank);
    told.unwrap_or(RoomError::UnknownRoom)
}

fn rank(error: &RoomError) -> u8 {
    match error {
        RoomError::Forbidden(_) => 0,
        RoomError::RefusedElsewhere { .. } => 1,
        RoomError::UnsupportedVersion(_) => 2,
        RoomError::UnknownRoom => 4,
        _ => 3,
    }
}

/// A failure as a user is told of it. Never as the other server says it: its 401 is not about the user's session.
fn told(error: &HandshakeError) -> RoomError {
    let (status, code) = match error {
        HandshakeError::UnknownVersion(_) => return RoomError::UnsupportedVersion(error.to_string()),
        HandshakeError::Client(ClientError::NotAllowed(_)) => return RoomError::Forbidden(error.to_string()),
        HandshakeError::Client(ClientError::Refused { status, code, .. }) => (status.as_u16(), code.as_str()),
        error => return RoomError::Unreachable(error.to_string()),
    };
    let message = error.to_string();
    match (status, code) {
        (_, "M_INCOMPATIBLE_ROOM_VERSION") => RoomError::UnsupportedVersion(message),
        (400, "M_UNABLE_TO_AUTHORISE_JOIN") => {
            RoomError::RefusedElsewhere { code: "M_UNABLE_TO_AUTHORISE_JOIN", message }
        }
        (400, "M_UNABLE_TO_GRANT_JOIN") => RoomError::RefusedElsewhere { code: "M_UNABLE_TO_GRANT_JOIN", message },
        (403, "M_INVITE_BLOCKED") => RoomError::InviteBlocked,
        (403, _) => RoomError::Forbidden(message),
        (404, "M_UNRECOGNIZED") => RoomError::Unreachable(message),
        (404, _) => RoomError::UnknownRoom,
        _ => RoomError::Unreachable(message),
    }
}
