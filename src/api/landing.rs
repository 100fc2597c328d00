//! `GET /`: a page for whoever opens the server's address in a browser; and `GET /health` for who watches it.

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use crate::{
    app::App,
    config::RegistrationMode,
    http::{Json, Outgoing, RateClass, RawRequest, Refusal, Routes},
};

const PAGE: &str = include_str!("landing.html");
/// The page is alone: it loads nothing, runs nothing, and is in no frame.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(routes: &mut Routes) {
    routes.raw(Method::GET, "/", RateClass::Light, get_landing_page);
    routes.raw(Method::GET, "/health", RateClass::Light, get_health);
}

async fn get_landing_page(app: App, _: RawRequest) -> Result<Outgoing, Refusal> {
    let registration = match app.config.registration.mode {
        RegistrationMode::Open => "Create an account in your client: registration is open.",
        RegistrationMode::Token => {
            "Create an account in your client: it asks for a registration token, which you get from whoever runs this server."
        }
        RegistrationMode::Closed => "Accounts are made by whoever runs this server.",
    };
    let address = app.config.server.public_base_url.as_ref().map_or("the address of this page", |url| url.as_str());
    let page = PAGE
        .replace("{{server_name}}", &escaped(app.server_name.as_str()))
        .replace("{{address}}", &escaped(address))
        .replace("{{registration}}", registration)
        .replace("{{version}}", env!("CARGO_PKG_VERSION"));
    let header = |name, value: &'static str| (name, HeaderValue::from_static(value));
    Ok(Outgoing {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([
            header(header::CONTENT_TYPE, "text/html; charset=utf-8"),
            header(header::CONTENT_SECURITY_POLICY, POLICY),
            header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            header(header::REFERRER_POLICY, "no-referrer"),
        ]),
        body: page.into(),
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// 200 while the server answers, 503 when it is stopping.
async fn get_health(app: App, _: RawRequest) -> Result<Json, Refusal> {
    if app.shutdown.is_triggered() {
        return Err(Refusal::custom(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "The server is stopping"));
    }
    Ok(Json::of(&json!({"status": "ok"})))
}
