//! `PUT /_matrix/federation/v1/send/{txnId}`
//!
//! Read by hand: one event that is none must not make the whole transaction unreadable.

use ::http::Method;

use crate::{
    app::App,
    federation::Origin,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.raw(Method::PUT, "/_matrix/federation/v1/send/{txn_id}", RateClass::Federation, send);
}

async fn send(app: App, origin: Origin, request: RawRequest) -> Result<Json, Refusal> {
    let body = request.object()?;
    let answer = app.inbox.take(&origin, request.arg("txn_id")?, request.parts.body.clone()).await?;
    // Before the answer: who has it does not send it again.
    if let Err(error) = app.handshakes.hear(&origin, body).await {
        return Err(Refusal::unavailable(&error));
    }
    Ok(Json::text(answer))
}
