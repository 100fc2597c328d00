//! User-interactive authentication on the wire: `auth` in, 401 out.

use ruma::{
    OwnedUserId, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde_json::value::RawValue;

use crate::{
    app::App,
    http::{Caller, Parts, Refusal},
    users::{
        Users,
        uia::{Attempt, Challenge, Failure, Flow, Operation, Passed, Progress, Proof, Stage},
    },
};

/// The flow of everything that users do to their own account.
pub(super) const PASSWORD: &[Flow] = &[&[Stage::Password]];

/// What a request asks for, for its session to be bound to.
pub(super) fn operation(caller: &Caller, parts: &Parts) -> Operation {
    Operation::new(Some(&caller.user_id), parts.method.as_str(), &parts.path, &parts.body).asked_from(parts.peer)
}

/// Takes the client through the flows of an operation, or answers what is missing.
pub(super) async fn authenticate(
    app: &App,
    operation: &Operation,
    flows: &'static [Flow],
    auth: Option<AuthData>,
) -> Result<Passed, Refusal> {
    let attempt = auth.map(|auth| attempt(&app.users, auth));
    match app.users.interact(operation, flows, attempt).await? {
        Progress::Passed(passed) => Ok(passed),
        Progress::Challenge(challenge) => Err(Refusal::uia(info(challenge))),
    }
}

fn attempt(users: &Users, auth: AuthData) -> Attempt {
    let session = auth.session().map(ToOwned::to_owned);
    let proof = match auth {
        AuthData::Password(data) => match local_user(users, &data.identifier) {
            Some(user_id) => Proof::Password(Some(user_id), data.password),
            None => Proof::Unsupported,
        },
        AuthData::Dummy(_) => Proof::Dummy,
        AuthData::RegistrationToken(data) => Proof::RegistrationToken(data.token),
        AuthData::FallbackAcknowledgement(_) => Proof::None,
        _ => Proof::Unsupported,
    };
    Attempt { session, proof }
}

/// The user of this server that an identifier names.
pub(super) fn local_user(users: &Users, identifier: &UserIdentifier) -> Option<OwnedUserId> {
    match identifier {
        UserIdentifier::Matrix(matrix) => local_user_named(users, &matrix.user),
        _ => None,
    }
}

/// The user of this server with this user id, or with this local part, in whatever case it was typed.
pub(super) fn local_user_named(users: &Users, name: &str) -> Option<OwnedUserId> {
    let typed = if name.starts_with('@') {
        UserId::parse(name)
    } else {
        UserId::parse(format!("@{name}:{}", users.server_name()))
    };
    let typed = typed.ok().filter(|user_id| users.is_local(user_id))?;
    // No two users differ only in case: that is made so at registration.
    UserId::parse(format!("@{}:{}", typed.localpart().to_ascii_lowercase(), users.server_name())).ok()
}

fn info(challenge: Challenge) -> UiaaInfo {
    let stages = |stages: &[Stage]| stages.iter().map(|stage| AuthType::from(stage.name())).collect();
    let mut info = UiaaInfo::new(challenge.flows.iter().map(|flow| AuthFlow::new(stages(flow))).collect());
    info.completed = stages(&challenge.completed);
    info.session = Some(challenge.session);
    info.params = RawValue::from_string("{}".to_owned()).ok();
    info.auth_error = challenge.failure.map(|failure| {
        let kind = match failure {
            Failure::Password | Failure::NotNext => ErrorKind::Forbidden,
            Failure::RegistrationToken => ErrorKind::Unauthorized,
            Failure::UnknownSession => ErrorKind::Unknown,
        };
        Box::new(StandardErrorBody::new(kind, failure.to_string()))
    });
    info
}
