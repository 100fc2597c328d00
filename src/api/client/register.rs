//! `/register` and what belongs to it: new accounts.

use ::http::Method;
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{
        account::{check_registration_token_validity, get_username_availability},
        uiaa::AuthData,
    },
};
use serde::Deserialize;
use serde_json::json;

use super::{login, raw, uia};
use crate::{
    app::App,
    config::RegistrationMode as Mode,
    flows::{
        self,
        login::DeviceChoice,
        register::{self, Entitlement, NewAccount},
    },
    http::{Json, RateClass, RawRequest, Refusal, Routes, appservice},
    users::{
        registration,
        uia::{Flow, Operation, Stage},
    },
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/register");
        // The body is part of what a session is bound to, and clients send `null` for what they do not say.
        routes.raw(Method::POST, &path, RateClass::Register, register);
    }
    routes.add::<get_username_availability::v3::Request, _, _>(RateClass::Register, get_username_availability);
    routes.add::<check_registration_token_validity::v1::Request, _, _>(RateClass::Register, check_token);
}

const OPEN: &[Flow] = &[&[Stage::Dummy]];
const BY_TOKEN: &[Flow] = &[&[Stage::RegistrationToken]];

#[derive(Deserialize)]
struct Register {
    auth: Option<AuthData>,
    username: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    inhibit_login: Option<bool>,
    refresh_token: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn register(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let body: Register = raw::parse(&request.body)?;
    match request.query_value("kind").as_deref() {
        None | Some("user") if body.kind.as_deref() == Some(login::BY_APPSERVICE) => {
            register_by_appservice(&app, &request, body).await
        }
        None | Some("user") => register_user(&app, &request, body).await,
        Some("guest") => register_guest(&app, body).await,
        Some(_) => Err(Refusal::invalid_param("`kind` must be `user` or `guest`")),
    }
}

async fn register_user(app: &App, request: &RawRequest, body: Register) -> Result<Json, Refusal> {
    let flows = match app.config.registration.mode {
        Mode::Open => OPEN,
        Mode::Token => BY_TOKEN,
        Mode::Closed => return Err(Refusal::forbidden("registration is disabled on this server")),
    };
    if body.kind.is_some() {
        return Err(Refusal::unknown("only application services say a `type` when they register"));
    }
    // What the client can know before it authenticates, it is told before.
    let user_id = match &body.username {
        Some(name) => free_user_id(app, name).await?,
        None => registration::user_id_for(&registration::random_name(&app.users.random), app.users.server_name())?,
    };
    let session = DeviceChoice {
        device_id: body.device_id,
        display_name: body.initial_device_display_name,
        refresh: body.refresh_token == Some(true),
    };
    session.check()?;
    // Many clients ask for the flows with an empty body and go on with that session, so it is not bound to the body. There
    // is no account yet that somebody could be tricked about.
    let operation = Operation::new(None, request.method.as_str(), &request.path, b"{}");
    let passed = uia::authenticate(app, &operation, flows, body.auth).await?;
    let password = body.password.ok_or_else(|| Refusal::missing_param("`password` is missing"))?;
    let account = NewAccount {
        user_id,
        password_hash: Some(app.users.hash_password(password).await?),
        admin: false,
        guest: false,
        displayname: None,
        entitlement: Entitlement::Interactive(passed),
        session: (body.inhibit_login != Some(true)).then_some(session),
    };
    create(app, account).await
}

/// Whoever may be any of some users also makes them, whoever else may register.
async fn register_by_appservice(app: &App, request: &RawRequest, body: Register) -> Result<Json, Refusal> {
    let appservice = appservice(app, &request.parts)?;
    let name = body.username.ok_or_else(|| Refusal::missing_param("`username` is missing"))?;
    let user_id = registration::user_id_for(&name, app.users.server_name())?;
    if !appservice.has_user(&user_id) || app.appservices.keep_user(&user_id, Some(&appservice)) {
        return Err(Refusal::exclusive());
    }
    let session = DeviceChoice {
        device_id: body.device_id,
        display_name: body.initial_device_display_name,
        refresh: body.refresh_token == Some(true),
    };
    let session = (body.inhibit_login != Some(true)).then_some(session);
    create(app, NewAccount { session, ..flows::appservice::account(user_id) }).await
}

async fn register_guest(app: &App, body: Register) -> Result<Json, Refusal> {
    if !app.config.registration.guests {
        return Err(Refusal::guest_forbidden());
    }
    // All but the display name of the device is the server's to choose.
    let session = DeviceChoice { display_name: body.initial_device_display_name, ..DeviceChoice::default() };
    let name = registration::random_name(&app.users.random);
    let account = NewAccount {
        user_id: registration::user_id_for(&name, app.users.server_name())?,
        password_hash: None,
        admin: false,
        guest: true,
        displayname: None,
        entitlement: Entitlement::Decision,
        session: Some(session),
    };
    create(app, account).await
}

async fn create(app: &App, account: NewAccount) -> Result<Json, Refusal> {
    let user_id = account.user_id.clone();
    Ok(Json::of(&match register::register(&app.users, account).await? {
        Some(session) => login::session(session),
        None => json!({ "user_id": user_id, "home_server": user_id.server_name() }),
    }))
}

/// The user id for a name that everybody may ask for, if it is free.
async fn free_user_id(app: &App, name: &str) -> Result<OwnedUserId, Refusal> {
    let user_id = registration::user_id_for(name, app.users.server_name())?;
    registration::check_not_reserved(&user_id)?;
    if app.appservices.keep_user(&user_id, None) {
        return Err(Refusal::exclusive());
    }
    let asked = user_id.clone();
    app.users.read(move |view| register::check_free(view, &asked)).await?;
    Ok(user_id)
}

async fn get_username_availability(
    app: App,
    (): (),
    request: get_username_availability::v3::Request,
) -> Result<get_username_availability::v3::Response, Refusal> {
    free_user_id(&app, &request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

async fn check_token(
    app: App,
    (): (),
    request: check_registration_token_validity::v1::Request,
) -> Result<check_registration_token_validity::v1::Response, Refusal> {
    let now = app.users.clock.now();
    let valid = app.users.read(move |view| registration::is_valid_token(view, &request.token, now)).await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
