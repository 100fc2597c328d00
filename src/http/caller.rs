//! Who asks: made out before a handler runs. Which kind of caller a handler gets follows from the authentication scheme of
//! its endpoint, as a type; a handler cannot forget to ask.

use std::{future::Future, sync::Arc};

use ::http::header;
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::{
        auth_scheme::{AccessToken, AccessTokenOptional, AuthScheme, NoAccessToken, NoAuthentication},
        federation::authentication::ServerSignatures,
    },
};

use super::{Parts, RateClass, appservice, error::Refusal, guests};
use crate::{
    app::App,
    appservice::Registration,
    base::clock::UnixMillis,
    federation::{self, Origin, Signed},
    users::{AuthError, Standing, TokenHash},
};

/// A user with a valid access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the token belongs to.
    pub device_id: Option<OwnedDeviceId>,
    /// When that device was made.
    pub device_created_at: UnixMillis,
    /// What kind of user.
    pub kind: CallerKind,
    /// The token, as the store knows it; that of an application service is not there.
    pub token: Option<TokenHash>,
    /// An administrator of this server.
    pub is_admin: bool,
    /// Whether the account may do all that its user may.
    pub standing: Standing,
}

/// What kind of user asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// One with an account.
    User,
    /// A guest.
    Guest,
    /// One that an application service is.
    Appservice(Arc<Registration>),
}

impl Caller {
    /// The application service that asks as this user.
    pub fn appservice(&self) -> Option<&Arc<Registration>> {
        match &self.kind {
            CallerKind::Appservice(appservice) => Some(appservice),
            CallerKind::User | CallerKind::Guest => None,
        }
    }

    /// Whether they may ask as often as they like: an application service as its sender, and as any of its users if its
    /// registration says so.
    pub(super) fn is_unlimited(&self) -> bool {
        self.appservice().is_some_and(|one| !one.rate_limited || self.user_id == one.sender)
    }

    /// Whether this kind of user, and an account in this standing, may ask for this at all. Guests may only what is listed
    /// for them; a locked account may only end its sessions; a suspended one takes no part, but may leave.
    pub(super) fn may(&self, class: RateClass, (parts, pattern): (&Parts, &str)) -> Result<(), Refusal> {
        match self.standing {
            Standing::Locked if !ends_sessions(pattern) => return Err(Refusal::user_locked()),
            Standing::Suspended if class == RateClass::Send && !is_open_to_suspended(pattern) => {
                return Err(Refusal::user_suspended());
            }
            Standing::Good | Standing::Locked | Standing::Suspended => {}
        }
        if self.kind == CallerKind::Guest && !guests::may(parts, pattern) {
            return Err(Refusal::guest_forbidden());
        }
        Ok(())
    }
}

/// What stands in the pattern of an endpoint behind `/_matrix/client/` and the version. The pattern, because it is ours:
/// in a path the last segments may be anything that a client has chosen.
fn endpoint(pattern: &str) -> Option<&str> {
    pattern.strip_prefix("/_matrix/client/")?.split_once('/').map(|(_, endpoint)| endpoint)
}

/// Client-server API, "Account locking": these two work all the same.
fn ends_sessions(pattern: &str) -> bool {
    matches!(endpoint(pattern), Some("logout" | "logout/all"))
}

/// Client-server API, "Account suspension": of what others see, suspended users may leave rooms, reject invites and redact
/// their own events (whose they are is seen later).
fn is_open_to_suspended(pattern: &str) -> bool {
    let mut segments = endpoint(pattern).into_iter().flat_map(|endpoint| endpoint.split('/'));
    segments.next() == Some("rooms") && matches!(segments.nth(1), Some("leave" | "redact"))
}

/// What an authentication scheme makes of a request.
pub trait Scheme: AuthScheme {
    /// What the handler gets.
    type Who: Send + 'static;
    /// Makes it out.
    fn identify(app: &App, parts: &Parts) -> impl Future<Output = Result<Self::Who, Refusal>> + Send;
    /// The user behind it, if there is one.
    fn caller(who: &Self::Who) -> Option<&Caller>;
    /// Whose budget a request is taken from; `None` for that of its address.
    fn budget(who: &Self::Who) -> Option<&str> {
        Self::caller(who).map(|caller| caller.user_id.as_str())
    }
}

impl Scheme for AccessToken {
    type Who = Caller;
    async fn identify(app: &App, parts: &Parts) -> Result<Caller, Refusal> {
        identify(app, parts).await?.ok_or_else(Refusal::missing_token)
    }
    fn caller(who: &Caller) -> Option<&Caller> {
        Some(who)
    }
}

impl Scheme for AccessTokenOptional {
    type Who = Option<Caller>;
    async fn identify(app: &App, parts: &Parts) -> Result<Option<Caller>, Refusal> {
        identify(app, parts).await
    }
    fn caller(who: &Option<Caller>) -> Option<&Caller> {
        who.as_ref()
    }
}

impl Scheme for NoAuthentication {
    type Who = ();
    async fn identify(_: &App, _: &Parts) -> Result<(), Refusal> {
        Ok(())
    }
    fn caller((): &()) -> Option<&Caller> {
        None
    }
}

impl Scheme for NoAccessToken {
    type Who = ();
    async fn identify(_: &App, _: &Parts) -> Result<(), Refusal> {
        Ok(())
    }
    fn caller((): &()) -> Option<&Caller> {
        None
    }
}

impl Scheme for ServerSignatures {
    type Who = Origin;
    async fn identify(app: &App, parts: &Parts) -> Result<Origin, Refusal> {
        use federation::AuthError as Error;
        let headers = parts.headers.get_all(header::AUTHORIZATION).into_iter().map(|header| header.to_str());
        let headers: Vec<&str> =
            headers.collect::<Result<_, _>>().map_err(|_| Refusal::unauthorized("not in ASCII"))?;
        let target = match &parts.query {
            Some(query) => format!("{}?{query}", parts.path),
            None => parts.path.clone(),
        };
        // A `HEAD` is signed as one, although it is answered like a `GET`.
        let request = Signed { method: parts.method.as_str(), target: &target, body: &parts.body };
        let origin = app.federation.authenticate(&headers, request).await.map_err(|error| match error {
            Error::NotAllowed(_) => Refusal::forbidden(error.to_string()),
            Error::Body(_) => Refusal::not_json(error.to_string()),
            Error::Read(error) => Refusal::internal(&error),
            _ => Refusal::unauthorized(error.to_string()),
        })?;
        tracing::Span::current().record("user", origin.as_str());
        Ok(origin)
    }
    fn caller(_: &Origin) -> Option<&Caller> {
        None
    }
    fn budget(origin: &Origin) -> Option<&str> {
        Some(origin.as_str())
    }
}

async fn identify(app: &App, parts: &Parts) -> Result<Option<Caller>, Refusal> {
    let Some(token) = access_token(parts)? else { return Ok(None) };
    if let Some(registration) = app.appservices.by_token(&token) {
        return appservice::identify(app, parts, registration).await.map(Some);
    }
    let session = app.users.authenticate(&token).await.map_err(|error| match error {
        AuthError::UnknownToken { soft_logout } => Refusal::unknown_token(soft_logout),
        AuthError::Read(error) => Refusal::internal(&error),
        AuthError::Commit(error) => Refusal::unavailable(&error),
    })?;
    app.users.saw(&session, parts.peer);
    tracing::Span::current().record("user", session.user_id.as_str());
    Ok(Some(Caller {
        user_id: session.user_id.clone(),
        device_id: Some(session.device_id.clone()),
        device_created_at: session.device_created_at,
        kind: if session.is_guest { CallerKind::Guest } else { CallerKind::User },
        token: Some(session.token),
        is_admin: session.is_admin,
        standing: session.standing,
    }))
}

/// The token of the `Authorization` header, or of the query, where older clients put it. An empty one is none.
pub(super) fn access_token(parts: &Parts) -> Result<Option<String>, Refusal> {
    let token = match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().map_err(|_| Refusal::missing_token())?;
            let (scheme, token) = value.split_once(' ').ok_or_else(Refusal::missing_token)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Refusal::missing_token());
            }
            Some(token.trim().to_owned())
        }
        None => parts.query_value("access_token"),
    };
    Ok(token.filter(|token| !token.is_empty()))
}
