//! Why something was not done in a room.

use thiserror::Error;

use crate::{
    event::{BuildError, FormatError},
    graph::SendError,
    rooms::{access::AccessError, receipts::ReceiptError},
    store::{CommitError, ReadError},
    users::account_data::AccountDataError,
};

/// Why something was not done in a room.
#[derive(Debug, Error)]
pub enum RoomError {
    /// This server does not know the room.
    #[error("this server knows no such room")]
    UnknownRoom,
    /// The user is not in the room.
    #[error("you are not in this room")]
    NotInRoom,
    /// What was asked for is not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// The user is suspended.
    #[error("suspended users may not do this")]
    Suspended,
    /// The room does not let guests in.
    #[error("guests may not do this here")]
    NotForGuests,
    /// An invited user takes no invites.
    #[error("this user does not take invites")]
    InviteBlocked,
    /// There is no such user.
    #[error("there is no such user")]
    UnknownUser,
    /// There is no such event in the room, or the user may not see it.
    #[error("there is no such event in this room")]
    UnknownEvent,
    /// There is no such alias.
    #[error("there is no such alias")]
    UnknownAlias,
    /// The alias names a room already.
    #[error("this alias is taken")]
    AliasTaken,
    /// The alias is for an application service, or is not for this one.
    #[error("this alias is reserved")]
    AliasReserved,
    /// The user reacted to the event like this already.
    #[error("you have reacted like this already")]
    DuplicateAnnotation,
    /// An alias in an event names another room, or none.
    #[error("the alias {0} does not point to this room")]
    BadAlias(String),
    /// Third-party identifiers need an identity server, which this server does not ask.
    #[error("invites by e-mail address or phone number are not offered by this server")]
    NoThirdPartyInvites,
    /// Something in the request is not what it must be.
    #[error("{0}")]
    InvalidParam(String),
    /// The content of an event is not what it must be.
    #[error("{0}")]
    BadContent(String),
    /// The event is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The request can't be done as things stand.
    #[error("{0}")]
    BadState(String),
    /// The room is of a version that this server does not know.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// Another server refuses for a reason that has a code of its own, which clients are told.
    #[error("{message}")]
    RefusedElsewhere {
        /// The code.
        code: &'static str,
        /// What it says.
        message: String,
    },
    /// No other server could be asked, or none has answered as it should.
    #[error("{0}")]
    Unreachable(String),
    /// Too much waits for this room.
    #[error("too much is waiting for this room")]
    Busy,
    /// The graph refused in a way that no request brings about.
    #[error(transparent)]
    Graph(SendError),
    /// A receipt was refused.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Account data was refused.
    #[error(transparent)]
    AccountData(#[from] AccountDataError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<AccessError> for RoomError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NotInRoom => Self::NotInRoom,
            AccessError::NotThen => Self::Forbidden(error.to_string()),
            AccessError::Read(error) => Self::Read(error),
        }
    }
}

impl From<SendError> for RoomError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::UnknownRoom => Self::UnknownRoom,
            SendError::NotAllowed(rule) => Self::Forbidden(rule.to_string()),
            SendError::NotRecommended(why) => Self::Forbidden(why),
            SendError::Blocked => Self::Forbidden(error.to_string()),
            SendError::UnknownTarget => Self::UnknownEvent,
            SendError::Invalid(BuildError::Format(FormatError::TooLarge(why))) => Self::TooLarge(why.to_owned()),
            SendError::Invalid(error) => Self::BadContent(error.to_string()),
            SendError::Busy => Self::Busy,
            SendError::Read(error) => Self::Read(error),
            SendError::Commit(error) => Self::Commit(error),
            other => Self::Graph(other),
        }
    }
}
