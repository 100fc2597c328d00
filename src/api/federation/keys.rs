//! `/_matrix/key/v2/…`: this server's keys, and those of others with our signature.

use std::collections::BTreeMap;

use ::http::Method;
use futures_util::{StreamExt as _, stream};
use ruma::{OwnedServerName, ServerName, canonical_json::CanonicalJsonObject};
use serde::Deserialize;
use serde_json::json;

use crate::{
    app::App,
    base::clock::UnixMillis,
    event::json,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
};

/// Servers of one query; most of them must be looked up by us first.
const MOST_SERVERS: usize = 500;
/// Of these, how many are looked up at once.
const AT_ONCE: usize = 32;
/// Keys of one server of a query.
const MOST_KEYS: usize = 20;

pub(super) fn routes(routes: &mut Routes) {
    routes.raw(Method::GET, "/_matrix/key/v2/server", RateClass::Federation, get_own);
    // Old servers append the id of a key; it never meant anything.
    routes.raw(Method::GET, "/_matrix/key/v2/server/{key_id}", RateClass::Federation, get_own);
    routes.raw(Method::GET, "/_matrix/key/v2/query/{server_name}", RateClass::Federation, query_one);
    routes.raw(Method::POST, "/_matrix/key/v2/query", RateClass::Federation, query_many);
}

async fn get_own(app: App, _: RawRequest) -> Result<Json, Refusal> {
    let document = app.federation.keys().own_document().map_err(|error| Refusal::internal(&error))?;
    Ok(Json::text(json::to_bytes(&document)))
}

async fn query_one(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let server = ServerName::parse(request.arg("server_name")?);
    let server = server.map_err(|_| Refusal::invalid_param("this is no server name"))?;
    let valid_until = match request.query_value("minimum_valid_until_ts") {
        Some(time) => Some(time.parse().map_err(|_| Refusal::invalid_param("`minimum_valid_until_ts` is no time"))?),
        None => None,
    };
    let document = app.federation.keys().notarised(&server, &BTreeMap::new(), valid_until).await?;
    Ok(answer(document))
}

#[derive(Deserialize)]
struct Query {
    server_keys: BTreeMap<OwnedServerName, BTreeMap<String, Criteria>>,
}

#[derive(Deserialize)]
struct Criteria {
    minimum_valid_until_ts: Option<UnixMillis>,
}

async fn query_many(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let query: Query =
        serde_json::from_slice(request.object()?).map_err(|error| Refusal::bad_json(error.to_string()))?;
    let servers = query.server_keys;
    if servers.len() > MOST_SERVERS || servers.values().any(|keys| keys.len() > MOST_KEYS) {
        return Err(Refusal::too_large("Too many keys are asked for at once"));
    }
    let one = |(server, keys): (OwnedServerName, BTreeMap<String, Criteria>)| {
        let keys = keys.into_iter().map(|(key_id, criteria)| (key_id, criteria.minimum_valid_until_ts)).collect();
        let app = app.clone();
        async move { app.federation.keys().notarised(&server, &keys, None).await }
    };
    let mut found = stream::iter(servers).map(one).buffered(AT_ONCE);
    let mut documents = Vec::new();
    while let Some(document) = found.next().await {
        documents.extend(document?);
    }
    Ok(answer(documents))
}

fn answer(documents: impl IntoIterator<Item = CanonicalJsonObject>) -> Json {
    Json::of(&json!({"server_keys": documents.into_iter().collect::<Vec<_>>()}))
}
