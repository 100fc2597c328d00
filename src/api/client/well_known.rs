//! `/.well-known/matrix/…`: where this server is found, and whom to ask about it. What is not configured is 404.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    app::App,
    config::Support,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
};

pub(in crate::api) fn routes(routes: &mut Routes) {
    routes.raw(Method::GET, "/.well-known/matrix/client", RateClass::Light, get_client);
    routes.raw(Method::GET, "/.well-known/matrix/server", RateClass::Light, get_server);
    routes.raw(Method::GET, "/.well-known/matrix/support", RateClass::Light, get_support);
}

fn not_configured() -> Refusal {
    Refusal::not_found("This server says nothing about that")
}

async fn get_client(app: App, _: RawRequest) -> Result<Json, Refusal> {
    let url = app.config.server.public_base_url.as_ref().ok_or_else(not_configured)?;
    Ok(Json::of(&json!({"m.homeserver": {"base_url": url.as_str().trim_end_matches('/')}})))
}

async fn get_server(app: App, _: RawRequest) -> Result<Json, Refusal> {
    let name = app.config.well_known.server.as_ref().ok_or_else(not_configured)?;
    Ok(Json::of(&json!({"m.server": name})))
}

async fn get_support(app: App, _: RawRequest) -> Result<Json, Refusal> {
    let Support { page, admin_email, admin_matrix_id, security_email, security_matrix_id } = &app.config.support;
    let contact = |role: &str, email: &Option<String>, id: Option<&str>| -> Option<Value> {
        let mut contact = json!({"role": role});
        let fields = contact.as_object_mut()?;
        fields.extend(email.as_ref().map(|email| ("email_address".to_owned(), json!(email))));
        fields.extend(id.map(|id| ("matrix_id".to_owned(), json!(id))));
        (fields.len() > 1).then_some(contact)
    };
    let admin = contact("m.role.admin", admin_email, admin_matrix_id.as_ref().map(|id| id.as_str()));
    let security = contact("m.role.security", security_email, security_matrix_id.as_ref().map(|id| id.as_str()));
    let contacts: Vec<_> = admin.into_iter().chain(security).collect();
    let mut answer = serde_json::Map::new();
    if !contacts.is_empty() {
        answer.insert("contacts".to_owned(), json!(contacts));
    }
    answer.extend(page.as_ref().map(|page| ("support_page".to_owned(), json!(page.as_str()))));
    if answer.is_empty() { Err(not_configured()) } else { Ok(Json::of(&answer)) }
}
