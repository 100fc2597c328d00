//! `/_synapse/admin/v1/register`: accounts for who knows the shared secret, as Synapse defines it and its tools use it.

use ::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::client::{login, raw},
    app::App,
    config::Secret,
    flows::{
        login::DeviceChoice,
        register::{Entitlement, NewAccount, RegisterError, register},
    },
    http::{Json, RateClass, RawRequest, Refusal, Routes},
    store::{Batch, View},
    users::registration::{self, SharedSecretRequest},
};

const PATH: &str = "/_synapse/admin/v1/register";

pub(super) fn routes(routes: &mut Routes) {
    routes.raw(Method::GET, PATH, RateClass::Register, get_nonce);
    routes.raw(Method::POST, PATH, RateClass::Register, register_signed);
}

#[derive(Deserialize)]
struct Signed {
    nonce: String,
    username: String,
    password: String,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    displayname: Option<String>,
    mac: String,
    #[serde(default)]
    inhibit_login: bool,
}

fn secret(app: &App) -> Result<&str, Refusal> {
    let secret = app.config.registration.shared_secret.as_ref().map(Secret::reveal);
    secret.ok_or_else(|| {
        let text = "registration by shared secret is not enabled";
        Refusal::custom(StatusCode::BAD_REQUEST, "M_UNKNOWN", text)
    })
}

async fn get_nonce(app: App, _: RawRequest) -> Result<Json, Refusal> {
    secret(&app)?;
    let maker = app.users.clone();
    let make = move |_: &View<'_>, batch: &mut Batch| {
        Ok::<_, RegisterError>(registration::new_nonce(batch, &maker.random, maker.clock.now()))
    };
    Ok(Json::of(&json!({ "nonce": app.users.change(make).await? })))
}

async fn register_signed(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let secret = secret(&app)?;
    let Signed { nonce, username, password, admin, user_type, displayname, mac, inhibit_login } =
        raw::parse(&request.body)?;
    let signed = SharedSecretRequest {
        nonce: &nonce,
        username: &username,
        password: &password,
        admin,
        user_type: user_type.as_deref(),
    };
    if !registration::is_signed(secret, &signed, &mac) {
        return Err(Refusal::forbidden("the HMAC is not right"));
    }
    let account = NewAccount {
        user_id: registration::user_id_for(&username, app.users.server_name())?,
        password_hash: Some(app.users.hash_password(password).await?),
        admin,
        guest: false,
        displayname,
        entitlement: Entitlement::Nonce(nonce),
        session: (!inhibit_login).then(DeviceChoice::default),
    };
    let user_id = account.user_id.clone();
    Ok(Json::of(&match register(&app.users, account).await? {
        Some(session) => login::session(session),
        None => json!({ "user_id": user_id, "home_server": user_id.server_name() }),
    }))
}
