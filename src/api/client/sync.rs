//! `/sync`: what the caller has not seen yet.

use std::time::Duration;

use http::Method;

use crate::{
    app::App,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::filter::Filter,
    sync::v3::{StateSection, SyncRequest},
    users::filters,
};

pub(super) fn routes(routes: &mut Routes) {
    // ruma's type knows neither the unstable name of `use_state_after` nor all fields of filters.
    for version in ["r0", "v3"] {
        routes.raw(Method::GET, &format!("/_matrix/client/{version}/sync"), RateClass::Poll, sync);
    }
}

async fn sync(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let timeout = number(&request, "timeout")?.map_or(Duration::ZERO, Duration::from_millis);
    let (stable, unstable) =
        (switch(&request, "use_state_after")?, switch(&request, "org.matrix.msc4222.use_state_after")?);
    let filter = match request.query_value("filter").filter(|filter| !filter.is_empty()) {
        Some(filter) => read_filter(&app, &caller, filter).await?,
        None => Filter::default(),
    };
    let request = SyncRequest {
        user_id: caller.user_id,
        device_id: caller.device_id,
        token: caller.token,
        since: request.query_value("since").filter(|since| !since.is_empty()),
        filter,
        full_state: switch(&request, "full_state")?,
        state: match (stable, unstable) {
            (true, _) => StateSection::After,
            (false, true) => StateSection::AfterUnstable,
            (false, false) => StateSection::Before,
        },
        timeout: timeout.min(app.config.limits.sync_timeout),
    };
    Ok(Json::text(app.sync.v3(request).await?))
}

/// A filter in place, or the id of a stored one; the first character tells.
async fn read_filter(app: &App, caller: &Caller, filter: String) -> Result<Filter, Refusal> {
    if filter.starts_with('{') {
        return Filter::parse(&filter).map_err(|error| Refusal::invalid_param(error.to_string()));
    }
    let user_id = caller.user_id.clone();
    let found = app.users.read(move |view| filters::get(view, &user_id, &filter)).await?;
    found.ok_or_else(|| Refusal::invalid_param("There is no filter of this id"))
}

fn number(request: &RawRequest, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = request.query_value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    // Beyond any number that means something is as good as the largest.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) if is_number => Ok(Some(u64::MAX)),
        Err(_) => Err(Refusal::invalid_param(format!("`{name}` must be a number of milliseconds"))),
    }
}

fn switch(request: &RawRequest, name: &str) -> Result<bool, Refusal> {
    match request.query_value(name).as_deref() {
        None | Some("false" | "") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::invalid_param(format!("`{name}` must be true or false"))),
    }
}
