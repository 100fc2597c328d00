//! Requests of application services: whose token it is, and as whom they ask (application service API, "Identity assertion").

use std::sync::Arc;

use ::http::StatusCode;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use super::{
    Parts,
    caller::{Caller, CallerKind, access_token},
    error::Refusal,
};
use crate::{
    app::App,
    appservice::Registration,
    base::clock::UnixMillis,
    flows::appservice as flow,
    store::{ReadError, View},
    users::{Account, Standing, accounts, devices},
};

/// The application service that asks, for endpoints at which it is nobody else.
///
/// # Errors
/// When the request has no token, or that of nobody.
pub fn appservice(app: &App, parts: &Parts) -> Result<Arc<Registration>, Refusal> {
    let token = access_token(parts)?.ok_or_else(Refusal::missing_token)?;
    app.appservices.by_token(&token).ok_or_else(|| Refusal::unknown_token(false))
}

/// Whether an application service asks.
pub(super) fn asks(app: &App, parts: &Parts) -> bool {
    matches!(access_token(parts), Ok(Some(token)) if app.appservices.by_token(&token).is_some())
}

/// The user that it asks as.
pub(super) async fn identify(app: &App, parts: &Parts, appservice: Arc<Registration>) -> Result<Caller, Refusal> {
    let user_id = match parts.query_value("user_id").filter(|user_id| !user_id.is_empty()) {
        None => appservice.sender.clone(),
        Some(user_id) => UserId::parse(user_id).map_err(|_| Refusal::invalid_param("`user_id` is no user id"))?,
    };
    if !appservice.has_user(&user_id) {
        return Err(Refusal::forbidden("this user is not in the namespaces of the application service"));
    }
    let device_id = ["device_id", "org.matrix.msc3202.device_id"].into_iter().find_map(|name| parts.query_value(name));
    let device_id: Option<OwnedDeviceId> = device_id.filter(|device_id| !device_id.is_empty()).map(Into::into);
    let (account, created_at) = look_up(app, &user_id, device_id.as_ref()).await?;
    let account = match account {
        Some(account) => account,
        None if user_id == appservice.sender => {
            flow::sender(app, &user_id).await.map_err(|error| Refusal::unavailable(&error))?
        }
        None => return Err(Refusal::forbidden("the application service has not registered this user")),
    };
    if account.deactivated {
        let text = "this account has been deactivated";
        return Err(Refusal::custom(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", text));
    }
    if device_id.is_some() && created_at.is_none() {
        return Err(Refusal::custom(StatusCode::BAD_REQUEST, "M_UNKNOWN_DEVICE", "the user has no such device"));
    }
    tracing::Span::current().record("user", user_id.as_str());
    Ok(Caller {
        user_id,
        device_id,
        device_created_at: created_at.unwrap_or_default(),
        kind: CallerKind::Appservice(appservice),
        token: None,
        is_admin: account.admin,
        standing: Standing::of(&account),
    })
}

/// The account, and when the device was made.
async fn look_up(
    app: &App,
    user_id: &OwnedUserId,
    device_id: Option<&OwnedDeviceId>,
) -> Result<(Option<Account>, Option<UnixMillis>), Refusal> {
    let (user_id, device_id) = (user_id.clone(), device_id.cloned());
    let find = move |view: &View<'_>| {
        let device = device_id.as_ref().map(|device_id| devices::get(view, &user_id, device_id)).transpose()?.flatten();
        Ok((accounts::get(view, &user_id)?, device.map(|device| device.created_at)))
    };
    app.users.read(find).await.map_err(|error: ReadError| Refusal::internal(&error))
}
