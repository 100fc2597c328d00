//! `/account`: who the caller is, their password, and the end of their account.

use ruma::api::client::account::{ThirdPartyIdRemovalStatus, change_password, deactivate, get_3pids, whoami};

use super::uia;
use crate::{
    app::App,
    flows,
    http::{Caller, CallerKind, Parts, RateClass, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<whoami::v3::Request, _, _>(RateClass::Light, whoami);
    routes.add::<get_3pids::v3::Request, _, _>(RateClass::Light, get_3pids);
    routes.add_with_parts::<change_password::v3::Request, _, _>(RateClass::Login, change_password);
    routes.add_with_parts::<deactivate::v3::Request, _, _>(RateClass::Login, deactivate);
}

async fn whoami(_: App, caller: Caller, _: whoami::v3::Request) -> Result<whoami::v3::Response, Refusal> {
    let mut response = whoami::v3::Response::new(caller.user_id, caller.kind == CallerKind::Guest);
    response.device_id = caller.device_id;
    Ok(response)
}

/// Third-party identifiers are not offered, so nobody has any.
async fn get_3pids(_: App, _: Caller, _: get_3pids::v3::Request) -> Result<get_3pids::v3::Response, Refusal> {
    Ok(get_3pids::v3::Response::new(Vec::new()))
}

async fn change_password(
    app: App,
    caller: Option<Caller>,
    request: change_password::v3::Request,
    parts: Parts,
) -> Result<change_password::v3::Response, Refusal> {
    let caller = caller.ok_or_else(Refusal::missing_token)?;
    let passed = uia::authenticate(&app, &uia::operation(&caller, &parts), uia::PASSWORD, request.auth).await?;
    let Caller { user_id, device_id, .. } = caller;
    let sessions = (device_id, request.logout_devices);
    flows::account::change_password(&app.users, user_id, request.new_password, sessions, passed).await?;
    Ok(change_password::v3::Response::new())
}

async fn deactivate(
    app: App,
    caller: Option<Caller>,
    request: deactivate::v3::Request,
    parts: Parts,
) -> Result<deactivate::v3::Response, Refusal> {
    let caller = caller.ok_or_else(Refusal::missing_token)?;
    let passed = uia::authenticate(&app, &uia::operation(&caller, &parts), uia::PASSWORD, request.auth).await?;
    flows::account::deactivate(&app.users, caller.user_id, Some(passed)).await?;
    // There was nothing to unbind.
    Ok(deactivate::v3::Response::new(ThirdPartyIdRemovalStatus::Success))
}
