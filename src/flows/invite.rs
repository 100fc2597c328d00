//! Inviting users of other servers, and being invited by them.

use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{elsewhere, invitee::takes_invites, new_state::NewState, room_error::RoomError};
use crate::{
    app::App,
    event::{Pdu, auth::AuthError},
    federation::joining::{HandshakeError, invite::Asked, resident::ResidentError},
    graph::{Receipt, RoomNo, SendError, Verdict},
    rooms::stripped,
    store::ReadError,
};

/// Whether this event of a new membership invites a user of another server.
pub(super) fn is_for_another_server(app: &App, user_id: &UserId) -> bool {
    user_id.server_name() != app.server_name
}

/// Invites a user of another server: it must sign the invite before it is one.
pub(super) async fn invite(
    app: &App,
    room: RoomNo,
    inviter: OwnedUserId,
    invite: NewState,
) -> Result<OwnedEventId, RoomError> {
    let run = |app| async move { signed_and_sent(&app, room, inviter, invite).await };
    elsewhere::in_a_task(app, "invite elsewhere", run).await
}

async fn signed_and_sent(
    app: &App,
    room: RoomNo,
    inviter: OwnedUserId,
    invite: NewState,
) -> Result<OwnedEventId, RoomError> {
    let invitee = UserId::parse(&invite.state_key).map_err(|_| RoomError::UnknownUser)?;
    let server = invitee.server_name().to_owned();
    let whose = inviter.clone();
    let read = app.rooms.read(move |reader, view| {
        let head = reader.head(view, room)?.ok_or(RoomError::UnknownRoom)?;
        let told = stripped::of_state(reader, view, (room, head.root), Some(&whose))?;
        Ok::<_, RoomError>((head.room_version, told))
    });
    let (version, told) = read.await?;
    let template = app.graph.template(room, invite.proposed_by(&inviter)).await?;
    let event = app.policy.before_sending(room, app.graph.sign(template, &version)?).await?;
    let told: Vec<Box<RawValue>> =
        told.iter().filter_map(|event| serde_json::from_slice(&event.body.pdu).ok()).collect();
    let signed = app.handshakes.invite(&server, &event, &version, told).await;
    let signed = signed.map_err(elsewhere::explain)?;
    let event_id = signed.pdu().event_id().to_owned();
    let receipt = Receipt { relay: true, ..Receipt::from(signed) };
    let forbidden = |why: &str| Err(RoomError::Forbidden(why.to_owned()));
    match app.policy.receive(room, receipt).await? {
        Verdict::Accepted(_) | Verdict::Duplicate(_) => Ok(event_id),
        Verdict::Rejected(AuthError(rule)) => Err(RoomError::Forbidden(rule)),
        Verdict::SoftFailed(_) => forbidden("the room has changed meanwhile, and does not allow it any more"),
        Verdict::Needs(_) => forbidden("the room's policy server has changed meanwhile"),
    }
}

/// Why an invite by another server is not taken.
#[derive(Debug, Error)]
pub enum InvitedError {
    /// It is not what it must be.
    #[error(transparent)]
    Resident(#[from] ResidentError),
    /// The user takes none.
    #[error(transparent)]
    Room(#[from] RoomError),
}

/// Takes an invite of a local user that another server sends; the event, with our signature beside theirs.
///
/// # Errors
/// When it is no such invite, or the user does not take it.
pub async fn invited(app: &App, asked: Asked<'_>) -> Result<Pdu, InvitedError> {
    let invite = app.handshakes.read_invite(asked).await?;
    let invitee = invite.invitee.clone();
    let check = app.rooms.read(move |_, view| takes_invites(view, &invitee));
    check.await.map_err(|error| match error {
        // Whether there is such a user is for this server's own users to ask.
        RoomError::UnknownUser => RoomError::Forbidden("this user cannot be invited".to_owned()),
        error => error,
    })?;
    Ok(app.handshakes.accept_invite(invite).await?)
}

impl From<ReadError> for InvitedError {
    fn from(error: ReadError) -> Self {
        Self::Room(error.into())
    }
}

impl From<SendError> for InvitedError {
    fn from(error: SendError) -> Self {
        Self::Room(error.into())
    }
}

impl From<HandshakeError> for InvitedError {
    fn from(error: HandshakeError) -> Self {
        Self::Room(elsewhere::explain(error))
    }
}
