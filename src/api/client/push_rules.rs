//! `/pushrules`: what notifies the caller.

use ::http::Method;
use ruma::{RoomId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::raw;
use crate::{
    app::App,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    push::{Kind, Rule, Rules, RulesError, rules},
    store::{Batch, View},
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let all = format!("/_matrix/client/{version}/pushrules");
        let global = format!("{all}/global");
        let rule = format!("{global}/{{kind}}/{{rule_id}}");
        // With a slash at the end in the specification, without it in many a client.
        for slash in ["", "/"] {
            routes.raw(Method::GET, &format!("{all}{slash}"), RateClass::Light, get_all);
            routes.raw(Method::GET, &format!("{global}{slash}"), RateClass::Light, get_global);
        }
        routes.raw(Method::GET, &rule, RateClass::Light, get_rule);
        routes.raw(Method::PUT, &rule, RateClass::Light, set_rule);
        routes.raw(Method::DELETE, &rule, RateClass::Light, delete_rule);
        routes.raw(Method::GET, &format!("{rule}/enabled"), RateClass::Light, get_enabled);
        routes.raw(Method::PUT, &format!("{rule}/enabled"), RateClass::Light, set_enabled);
        routes.raw(Method::GET, &format!("{rule}/actions"), RateClass::Light, get_actions);
        routes.raw(Method::PUT, &format!("{rule}/actions"), RateClass::Light, set_actions);
    }
}

async fn get_all(app: App, caller: Caller, _: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::text(read(&app, &caller).await?.to_content().get().to_owned()))
}

async fn get_global(app: App, caller: Caller, _: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::of(&json!(read(&app, &caller).await?)))
}

async fn get_rule(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::of(&json!(read_one(&app, &caller, &request).await?)))
}

async fn get_enabled(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::of(&json!({ "enabled": read_one(&app, &caller, &request).await?.enabled })))
}

async fn get_actions(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::of(&json!({ "actions": read_one(&app, &caller, &request).await?.actions })))
}

#[derive(Deserialize)]
struct NewRule {
    actions: Vec<Value>,
    conditions: Option<Vec<Value>>,
    pattern: Option<String>,
}

async fn set_rule(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (kind, rule_id) = (kind(&request)?, request.arg("rule_id")?.to_owned());
    let is_fit = match kind {
        Kind::Room => RoomId::parse(&rule_id).is_ok(),
        Kind::Sender => UserId::parse(&rule_id).is_ok(),
        Kind::Override | Kind::Content | Kind::Underride => true,
    };
    if !is_fit {
        return Err(Refusal::invalid_param("the id of this kind of rule must be that of a room or a user"));
    }
    let NewRule { actions, conditions, pattern } = raw::parse(&request.body)?;
    let rule = Rule { rule_id, actions, conditions, pattern, ..Rule::default() };
    let (after, before) = (request.query_value("after"), request.query_value("before"));
    change(&app, &caller, move |rules| rules.put(kind, rule.clone(), after.as_deref(), before.as_deref())).await
}

async fn delete_rule(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (kind, rule_id) = (kind(&request)?, request.arg("rule_id")?.to_owned());
    change(&app, &caller, move |rules| rules.remove(kind, &rule_id)).await
}

#[derive(Deserialize)]
struct Enabled {
    enabled: bool,
}

async fn set_enabled(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (kind, rule_id) = (kind(&request)?, request.arg("rule_id")?.to_owned());
    let Enabled { enabled } = raw::parse(&request.body)?;
    change(&app, &caller, move |rules| rules.set_enabled(kind, &rule_id, enabled)).await
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<Value>,
}

async fn set_actions(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (kind, rule_id) = (kind(&request)?, request.arg("rule_id")?.to_owned());
    let Actions { actions } = raw::parse(&request.body)?;
    change(&app, &caller, move |rules| rules.set_actions(kind, &rule_id, actions.clone())).await
}

fn kind(request: &RawRequest) -> Result<Kind, Refusal> {
    Kind::named(request.arg("kind")?).ok_or_else(|| Refusal::invalid_param("there is no such kind of push rule"))
}

async fn read(app: &App, caller: &Caller) -> Result<Rules, Refusal> {
    let user_id = caller.user_id.clone();
    Ok(app.users.read(move |view| rules::read(view, &user_id)).await?)
}

async fn read_one(app: &App, caller: &Caller, request: &RawRequest) -> Result<Rule, Refusal> {
    let rules = read(app, caller).await?;
    let rule = rules.get(kind(request)?, request.arg("rule_id")?);
    Ok(rule.cloned().ok_or(RulesError::NotFound)?)
}

async fn change(
    app: &App,
    caller: &Caller,
    edit: impl Fn(&mut Rules) -> Result<(), RulesError> + Clone + Send + Sync + 'static,
) -> Result<Json, Refusal> {
    let user_id = caller.user_id.clone();
    let write = move |view: &View<'_>, batch: &mut Batch| {
        let mut rules = rules::read(view, &user_id)?;
        edit(&mut rules)?;
        rules::write(view, batch, &user_id, &rules)
    };
    app.users.change(write).await?;
    Ok(Json::empty())
}
