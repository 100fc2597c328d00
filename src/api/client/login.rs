//! `/login`, `/refresh`, `/logout`, `/login/get_token`: how sessions begin, go on, and end.

use ::http::{Method, StatusCode};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{
        session::{get_login_token, logout, logout_all, refresh_token},
        uiaa::UserIdentifier,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{raw, uia};
use crate::{
    app::App,
    flows::{
        self,
        login::{DeviceChoice, LoggedIn},
    },
    http::{Caller, Json, Parts, RateClass, RawRequest, Refusal, Routes, appservice},
    users::login_tokens,
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/login");
        routes.raw(Method::GET, &path, RateClass::Light, get_login_types);
        // ruma's type of this request panics on a body without `type` (0.25.2), so the body is read here.
        routes.raw(Method::POST, &path, RateClass::Login, login);
    }
    routes.add_with_parts::<get_login_token::v1::Request, _, _>(RateClass::Login, get_login_token);
    routes.add::<refresh_token::v3::Request, _, _>(RateClass::Login, refresh_token);
    routes.add::<logout::v3::Request, _, _>(RateClass::Light, logout);
    routes.add::<logout_all::v3::Request, _, _>(RateClass::Light, logout_all);
}

/// How application services log in and register (application service API, "Server admin style permissions").
pub(super) const BY_APPSERVICE: &str = "m.login.application_service";

async fn get_login_types(_: App, _: RawRequest) -> Result<Json, Refusal> {
    let flows = json!([
        {"type": "m.login.password"},
        {"type": "m.login.token", "get_login_token": true},
        {"type": BY_APPSERVICE},
    ]);
    Ok(Json::of(&json!({ "flows": flows })))
}

#[derive(Deserialize)]
struct Login {
    #[serde(rename = "type")]
    kind: String,
    identifier: Option<UserIdentifier>,
    /// What came before `identifier`.
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

impl Login {
    /// Who wants to log in. Users of other servers and third-party identifiers lead to nobody here.
    fn user_id(&self, app: &App) -> Result<OwnedUserId, Refusal> {
        let user_id = match (&self.identifier, &self.user) {
            (Some(identifier), _) => uia::local_user(&app.users, identifier),
            (None, Some(user)) => uia::local_user_named(&app.users, user),
            (None, None) => return Err(Refusal::missing_param("`identifier` is missing")),
        };
        Ok(user_id.ok_or(flows::login::LoginError::Forbidden)?)
    }
}

async fn login(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let login: Login = raw::parse(&request.body)?;
    let choice = DeviceChoice {
        device_id: login.device_id.clone(),
        display_name: login.initial_device_display_name.clone(),
        refresh: login.refresh_token,
    };
    let logged_in = match login.kind.as_str() {
        "m.login.password" => {
            let user_id = login.user_id(&app)?;
            let password = login.password.ok_or_else(|| Refusal::missing_param("`password` is missing"))?;
            flows::login::with_password((&app.users, request.peer), user_id, password, choice).await?
        }
        "m.login.token" => {
            let token = login.token.ok_or_else(|| Refusal::missing_param("`token` is missing"))?;
            flows::login::with_token(&app.users, token, choice).await?
        }
        BY_APPSERVICE => {
            let appservice = appservice(&app, &request.parts)?;
            let user_id = login.user_id(&app)?;
            if !appservice.has_user(&user_id) {
                return Err(Refusal::exclusive());
            }
            flows::login::by_appservice(&app.users, user_id, choice).await?
        }
        _ => return Err(Refusal::custom(StatusCode::BAD_REQUEST, "M_UNKNOWN", "this type of login is not offered")),
    };
    Ok(Json::of(&session(logged_in)))
}

/// What a client is told of its new session.
pub(in crate::api) fn session(logged_in: LoggedIn) -> Value {
    let LoggedIn { user_id, device_id, tokens } = logged_in;
    let mut answer = json!({
        "user_id": user_id,
        "device_id": device_id,
        "access_token": tokens.access.reveal(),
        "home_server": user_id.server_name(),
    });
    if let (Some(refresh), Some(lifetime), Some(answer)) = (tokens.refresh, tokens.lifetime, answer.as_object_mut()) {
        answer.insert("refresh_token".to_owned(), refresh.reveal().into());
        answer.insert("expires_in_ms".to_owned(), u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).into());
    }
    answer
}

async fn refresh_token(
    app: App,
    (): (),
    request: refresh_token::v3::Request,
) -> Result<refresh_token::v3::Response, Refusal> {
    let tokens = flows::refresh::refresh(&app.users, &request.refresh_token).await?;
    let mut response = refresh_token::v3::Response::new(tokens.access.reveal());
    response.refresh_token = tokens.refresh.map(crate::users::tokens::Secret::reveal);
    response.expires_in_ms = tokens.lifetime;
    Ok(response)
}

async fn get_login_token(
    app: App,
    caller: Caller,
    request: get_login_token::v1::Request,
    parts: Parts,
) -> Result<get_login_token::v1::Response, Refusal> {
    let passed = uia::authenticate(&app, &uia::operation(&caller, &parts), uia::PASSWORD, request.auth).await?;
    let token = flows::login::new_login_token(&app.users, &caller.user_id, passed).await?;
    Ok(get_login_token::v1::Response::new(login_tokens::LIFETIME, token.reveal()))
}

async fn logout(app: App, caller: Caller, _: logout::v3::Request) -> Result<logout::v3::Response, Refusal> {
    if let Some(device_id) = &caller.device_id {
        flows::logout::logout(&app.users, &caller.user_id, device_id).await?;
    }
    Ok(logout::v3::Response::new())
}

async fn logout_all(app: App, caller: Caller, _: logout_all::v3::Request) -> Result<logout_all::v3::Response, Refusal> {
    flows::logout::logout_all(&app.users, &caller.user_id).await?;
    Ok(logout_all::v3::Response::new())
}
