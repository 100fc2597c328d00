//! What a client is told: the one table from the errors of the modules to status and code, grouped by module.

use ::http::StatusCode;

use crate::{
    federation::{ClientError, inbox::TransactionError, joining::resident::ResidentError},
    flows::{
        account::AccountError,
        create_room::{CreateRoomError, PlanError},
        invite::InvitedError,
        login::LoginError,
        logout::LogoutError,
        refresh::RefreshError,
        register::RegisterError,
        room_error::RoomError,
        set_profile::SetProfileError,
    },
    graph::SendError,
    http::Refusal,
    push::RulesError,
    rooms::{access::AccessError, for_servers::ServerAccessError, receipts::ReceiptError},
    store::{CommitError, EngineError, ReadError},
    sync::SyncError,
    users::{
        AttemptError, PasswordError, account_data::AccountDataError, devices::DeviceError, filters::FilterError,
        openid::OpenIdError, profile::ProfileError, registration::UsernameError, tags::TagError, uia::UiaError,
    },
};

fn bad_request(code: &'static str, error: &impl ToString) -> Refusal {
    Refusal::custom(StatusCode::BAD_REQUEST, code, error.to_string())
}

fn forbidden(code: &'static str, error: &impl ToString) -> Refusal {
    Refusal::custom(StatusCode::FORBIDDEN, code, error.to_string())
}

// store

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::internal(&error)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match &error {
            CommitError::Engine(EngineError::ReadOnly(_)) => Self::unavailable(&error),
            // Others changed the same all the time: a matter of load, which passes.
            CommitError::Conflict => Self::limit_exceeded(std::time::Duration::from_secs(1)),
            _ => Self::internal(&error),
        }
    }
}

// federation

impl From<ClientError> for Refusal {
    /// What another server refuses says something about what was asked for, never about our user: its 401 is none of ours.
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::NotAllowed(_) => Self::forbidden(message),
            ClientError::Refused { status: StatusCode::NOT_FOUND, .. } => Self::not_found(message),
            ClientError::Refused { status: StatusCode::FORBIDDEN, .. } => Self::forbidden(message),
            ClientError::Request(_) => Self::invalid_param(message),
            ClientError::Transport { .. } | ClientError::Refused { .. } | ClientError::Unreadable { .. } => {
                Self::custom(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message)
            }
        }
    }
}

impl From<TransactionError> for Refusal {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Malformed(_) => Self::bad_json(error.to_string()),
            TransactionError::WrongOrigin | TransactionError::TooMany => Self::invalid_param(error.to_string()),
            TransactionError::Busy => Self::limit_exceeded(std::time::Duration::from_secs(5)),
            TransactionError::Joining | TransactionError::Stopped => Self::unavailable(&error),
            TransactionError::Read(error) => error.into(),
            TransactionError::Commit(error) => error.into(),
        }
    }
}

// users

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::limit_exceeded(std::time::Duration::from_secs(1)),
            PasswordError::TooShort(_) => bad_request("M_WEAK_PASSWORD", &error),
            PasswordError::TooLong => bad_request("M_INVALID_PARAM", &error),
            PasswordError::Failed(_) => Self::internal(&error),
        }
    }
}

impl From<AttemptError> for Refusal {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::TooMany(wait) => Self::limit_exceeded(wait),
            AttemptError::Password(error) => error.into(),
            AttemptError::Read(error) => error.into(),
        }
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::NotFound => Self::not_found(error.to_string()),
            DeviceError::BadId | DeviceError::BadDisplayName => Self::invalid_param(error.to_string()),
            DeviceError::TooMany => forbidden("M_FORBIDDEN", &error),
            DeviceError::Read(error) => error.into(),
            DeviceError::Commit(error) => error.into(),
        }
    }
}

impl From<UsernameError> for Refusal {
    fn from(error: UsernameError) -> Self {
        bad_request("M_INVALID_USERNAME", &error)
    }
}

impl From<UiaError> for Refusal {
    fn from(error: UiaError) -> Self {
        match error {
            UiaError::OtherOperation => forbidden("M_FORBIDDEN", &error),
            UiaError::Attempt(error) => error.into(),
            UiaError::Read(error) => error.into(),
            UiaError::Commit(error) => error.into(),
        }
    }
}

impl From<OpenIdError> for Refusal {
    fn from(error: OpenIdError) -> Self {
        match error {
            OpenIdError::Read(error) => error.into(),
            OpenIdError::Commit(error) => error.into(),
        }
    }
}

impl From<ProfileError> for Refusal {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::KeyTooLarge => bad_request("M_KEY_TOO_LARGE", &error),
            ProfileError::TooLarge => bad_request("M_PROFILE_TOO_LARGE", &error),
            ProfileError::BadKey(_) | ProfileError::BadValue(_) => Self::invalid_param(error.to_string()),
            ProfileError::Read(error) => error.into(),
            ProfileError::Commit(error) => error.into(),
        }
    }
}

impl From<AccountDataError> for Refusal {
    fn from(error: AccountDataError) -> Self {
        match error {
            AccountDataError::BadType | AccountDataError::BadRoom => Self::invalid_param(error.to_string()),
            AccountDataError::ServerControlled => {
                Self::custom(StatusCode::METHOD_NOT_ALLOWED, "M_BAD_JSON", error.to_string())
            }
            AccountDataError::NotAnObject => Self::bad_json(error.to_string()),
            AccountDataError::TooLarge | AccountDataError::TooMuch => Self::too_large(error.to_string()),
            AccountDataError::Read(error) => error.into(),
            AccountDataError::Commit(error) => error.into(),
        }
    }
}

impl From<TagError> for Refusal {
    fn from(error: TagError) -> Self {
        match error {
            TagError::BadName => Self::invalid_param(error.to_string()),
            TagError::TooMany => Self::too_large(error.to_string()),
            TagError::Store(error) => error.into(),
            TagError::Read(error) => error.into(),
            TagError::Commit(error) => error.into(),
        }
    }
}

impl From<FilterError> for Refusal {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Bad(_) => Self::bad_json(error.to_string()),
            FilterError::TooLarge | FilterError::TooMany => Self::too_large(error.to_string()),
            FilterError::Read(error) => error.into(),
            FilterError::Commit(error) => error.into(),
        }
    }
}

// push

impl From<RulesError> for Refusal {
    fn from(error: RulesError) -> Self {
        match error {
            RulesError::NotFound => Self::not_found(error.to_string()),
            RulesError::BadNeighbour(_) => bad_request("M_UNKNOWN", &error),
            RulesError::BadId(_) | RulesError::BadRule(_) | RulesError::ServerDefault => {
                Self::invalid_param(error.to_string())
            }
            RulesError::TooMany => Self::too_large(error.to_string()),
            RulesError::Store(error) => error.into(),
            RulesError::Read(error) => error.into(),
            RulesError::Commit(error) => error.into(),
        }
    }
}

// flows

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Forbidden | LoginError::BadToken => forbidden("M_FORBIDDEN", &error),
            LoginError::Deactivated => forbidden("M_USER_DEACTIVATED", &error),
            LoginError::Locked => Self::user_locked(),
            LoginError::Device(error) => error.into(),
            LoginError::Attempt(error) => error.into(),
            LoginError::Read(error) => error.into(),
            LoginError::Commit(error) => error.into(),
        }
    }
}

impl From<RefreshError> for Refusal {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Unknown => Self::unknown_token(false),
            RefreshError::Locked => Self::user_locked(),
            RefreshError::Read(error) => error.into(),
            RefreshError::Commit(error) => error.into(),
        }
    }
}

impl From<LogoutError> for Refusal {
    fn from(error: LogoutError) -> Self {
        match error {
            LogoutError::Read(error) => error.into(),
            LogoutError::Commit(error) => error.into(),
        }
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::UserInUse => bad_request("M_USER_IN_USE", &error),
            RegisterError::Username(error) => error.into(),
            RegisterError::BadToken => forbidden("M_FORBIDDEN", &error),
            RegisterError::BadNonce => bad_request("M_UNKNOWN", &error),
            RegisterError::Device(error) => error.into(),
            RegisterError::Password(error) => error.into(),
            RegisterError::Profile(error) => error.into(),
            RegisterError::Rules(error) => error.into(),
            RegisterError::Read(error) => error.into(),
            RegisterError::Commit(error) => error.into(),
        }
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NotFound => Self::not_found(error.to_string()),
            AccountError::Password(error) => error.into(),
            AccountError::Read(error) => error.into(),
            AccountError::Commit(error) => error.into(),
        }
    }
}

impl From<SetProfileError> for Refusal {
    fn from(error: SetProfileError) -> Self {
        match error {
            SetProfileError::Profile(error) => error.into(),
            SetProfileError::Read(error) => error.into(),
            SetProfileError::Commit(error) => error.into(),
        }
    }
}

// rooms

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NotInRoom | AccessError::NotThen => Self::forbidden(error.to_string()),
            AccessError::Read(error) => error.into(),
        }
    }
}

impl From<ServerAccessError> for Refusal {
    fn from(error: ServerAccessError) -> Self {
        match error {
            ServerAccessError::NotInRoom | ServerAccessError::Denied => Self::forbidden(error.to_string()),
            ServerAccessError::UnknownEvent => Self::not_found(error.to_string()),
            ServerAccessError::TooLarge => Self::too_large(error.to_string()),
            ServerAccessError::Busy => Self::limit_exceeded(std::time::Duration::from_secs(5)),
            ServerAccessError::Read(error) => error.into(),
        }
    }
}

impl From<ResidentError> for Refusal {
    fn from(error: ResidentError) -> Self {
        match error {
            ResidentError::UnknownRoom => Self::not_found(error.to_string()),
            ResidentError::Forbidden(_) => Self::forbidden(error.to_string()),
            ResidentError::IncompatibleVersion(ref version) => {
                bad_request("M_INCOMPATIBLE_ROOM_VERSION", &error).with("room_version", version.as_str())
            }
            ResidentError::UnableToAuthorise => bad_request("M_UNABLE_TO_AUTHORISE_JOIN", &error),
            ResidentError::UnableToGrant => bad_request("M_UNABLE_TO_GRANT_JOIN", &error),
            ResidentError::TooOften(wait) => Self::limit_exceeded(wait),
            ResidentError::Invalid(_) => Self::invalid_param(error.to_string()),
            ResidentError::Answer(error) => error.into(),
            ResidentError::Send(SendError::Busy) => Self::limit_exceeded(std::time::Duration::from_secs(1)),
            ResidentError::Send(SendError::Commit(error)) => error.into(),
            ResidentError::Send(error) => Self::internal(&error),
            ResidentError::Read(error) => error.into(),
        }
    }
}

impl From<InvitedError> for Refusal {
    fn from(error: InvitedError) -> Self {
        match error {
            InvitedError::Resident(error) => error.into(),
            InvitedError::Room(error) => error.into(),
        }
    }
}

impl From<ReceiptError> for Refusal {
    fn from(error: ReceiptError) -> Self {
        match error {
            ReceiptError::OtherThread => Self::invalid_param(error.to_string()),
            ReceiptError::Read(error) => error.into(),
            ReceiptError::Commit(error) => error.into(),
        }
    }
}

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::UnknownRoom | RoomError::UnknownUser | RoomError::UnknownEvent | RoomError::UnknownAlias => {
                Self::not_found(error.to_string())
            }
            RoomError::NotInRoom | RoomError::Forbidden(_) => Self::forbidden(error.to_string()),
            RoomError::Suspended => Self::user_suspended(),
            RoomError::NotForGuests => Self::guest_forbidden(),
            RoomError::InviteBlocked => forbidden("M_INVITE_BLOCKED", &error),
            RoomError::NoThirdPartyInvites => forbidden("M_THREEPID_DENIED", &error),
            RoomError::AliasReserved => bad_request("M_EXCLUSIVE", &error),
            RoomError::AliasTaken => Self::custom(StatusCode::CONFLICT, "M_UNKNOWN", error.to_string()),
            RoomError::DuplicateAnnotation => bad_request("M_DUPLICATE_ANNOTATION", &error),
            RoomError::BadAlias(_) => bad_request("M_BAD_ALIAS", &error),
            RoomError::InvalidParam(_) => Self::invalid_param(error.to_string()),
            RoomError::BadContent(_) => Self::bad_json(error.to_string()),
            RoomError::TooLarge(_) => Self::too_large(error.to_string()),
            RoomError::BadState(_) => Self::unknown(error.to_string()),
            RoomError::UnsupportedVersion(_) => bad_request("M_UNSUPPORTED_ROOM_VERSION", &error),
            RoomError::RefusedElsewhere { code, .. } => bad_request(code, &error),
            RoomError::Unreachable(_) => Self::custom(StatusCode::BAD_GATEWAY, "M_UNKNOWN", error.to_string()),
            RoomError::Busy => Self::limit_exceeded(std::time::Duration::from_secs(1)),
            RoomError::Graph(error) => Self::internal(&error),
            RoomError::Receipt(error) => error.into(),
            RoomError::AccountData(error) => error.into(),
            RoomError::Read(error) => error.into(),
            RoomError::Commit(error) => error.into(),
        }
    }
}

impl From<CreateRoomError> for Refusal {
    fn from(error: CreateRoomError) -> Self {
        match error {
            CreateRoomError::Plan(PlanError::UnsupportedVersion(_)) => {
                bad_request("M_UNSUPPORTED_ROOM_VERSION", &error)
            }
            CreateRoomError::Plan(_) | CreateRoomError::BadAlias => Self::invalid_param(error.to_string()),
            CreateRoomError::AliasTaken => bad_request("M_ROOM_IN_USE", &error),
            CreateRoomError::InvalidState(_) => bad_request("M_INVALID_ROOM_STATE", &error),
            CreateRoomError::NotAllInvited(_) => {
                Self::custom(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", error.to_string())
            }
            CreateRoomError::Room(error) => error.into(),
        }
    }
}

// sync

impl From<SyncError> for Refusal {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::BadToken => Self::invalid_param(error.to_string()),
            SyncError::Ended { soft_logout } => Self::unknown_token(soft_logout),
            SyncError::Locked => Self::user_locked(),
            SyncError::Read(error) => error.into(),
            SyncError::Commit(error) => error.into(),
        }
    }
}
