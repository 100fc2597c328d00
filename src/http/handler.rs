//! Handlers: what an endpoint runs, and what happens before it does: who asks is made out, and the request is taken from
//! their budget.

use std::{future::Future, sync::Arc};

use ::http::Method;
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::{IncomingRequest, auth_scheme::AccessToken, federation::authentication::ServerSignatures},
};

use super::{
    Parts, RateClass, appservice,
    caller::{Caller, Scheme},
    error::Refusal,
    extract::RawRequest,
    limit::Limiter,
    reply::{IntoOutgoing, Outgoing},
};
use crate::{app::App, base::address::subscriber, federation::Origin};

/// A request whose route is found.
#[doc(hidden)]
pub struct Call {
    pub(super) app: App,
    pub(super) parts: Parts,
    pub(super) args: Vec<(String, String)>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) pattern: Arc<str>,
}

/// Makes out the caller and takes the request from its budget.
pub(super) async fn admit<S: Scheme>(call: &Call, class: RateClass) -> Result<S::Who, Refusal> {
    let by_address = matches!(class, RateClass::Login | RateClass::Register);
    if by_address {
        charge_address(call, class)?;
    }
    let who = match S::identify(&call.app, &call.parts).await {
        Ok(who) => who,
        // Nobody's budget pays for those who are nobody.
        Err(refusal) => return Err(charge(call, RateClass::Light, None).err().unwrap_or(refusal)),
    };
    if let Some(caller) = S::caller(&who) {
        caller.may(class, (&call.parts, &call.pattern))?;
    }
    if !by_address && !S::caller(&who).is_some_and(Caller::is_unlimited) {
        charge(call, cost(call, class), S::budget(&who))?;
    }
    Ok(who)
}

/// What a request costs: a sync that has no beginning, or asks for everything, reads more than one that goes on.
fn cost(call: &Call, class: RateClass) -> RateClass {
    let value = |name| call.parts.query_value(name).filter(|value| !value.is_empty());
    let is_whole = class == RateClass::Poll
        && (value("since").is_none() || value("full_state").is_some_and(|value| value == "true"));
    if is_whole { RateClass::Heavy } else { class }
}

/// The device of somebody who reads, to whom what it reads shall come behind the answers to what it sends.
pub(super) struct Reading(Option<(App, OwnedUserId, Option<OwnedDeviceId>)>);

impl Reading {
    /// Of a request: only those that change nothing read.
    pub(super) fn of(call: &Call, caller: Option<&Caller>) -> Self {
        let caller = caller.filter(|_| call.parts.method == Method::GET);
        Self(caller.map(|caller| (call.app.clone(), caller.user_id.clone(), caller.device_id.clone())))
    }

    /// Waits for those answers; see [`crate::sync::Sync::answered`].
    pub(super) async fn behind_sends(self, answer: Result<Outgoing, Refusal>) -> Result<Outgoing, Refusal> {
        if let Some((app, user_id, device_id)) = self.0 {
            app.sync.answered(&user_id, device_id.as_deref()).await;
        }
        answer
    }
}

/// Whoever has the token of an application service may come from anywhere, as often as they like.
fn charge_address(call: &Call, class: RateClass) -> Result<(), Refusal> {
    if appservice::asks(&call.app, &call.parts) { Ok(()) } else { charge(call, class, None) }
}

fn charge(call: &Call, class: RateClass, budget: Option<&str>) -> Result<(), Refusal> {
    let checked = match budget {
        Some(budget) => call.limiter.check(class, budget),
        None => call.limiter.check(class, &subscriber(call.parts.peer)),
    };
    checked.map_err(Refusal::limit_exceeded)
}

/// A handler of a typed request: `async fn(App, who, request) -> Result<response, Refusal>`.
pub trait Handler<R: IncomingRequest, A>: Clone + Send + Sync + 'static
where
    R::Authentication: Scheme,
{
    /// Runs it.
    fn call(
        self,
        app: App,
        who: <R::Authentication as Scheme>::Who,
        request: R,
    ) -> impl Future<Output = Result<Outgoing, Refusal>> + Send;
}

impl<R, F, Fut, Out> Handler<R, (Fut, Out)> for F
where
    R: IncomingRequest + Send,
    R::Authentication: Scheme,
    F: Fn(App, <R::Authentication as Scheme>::Who, R) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Refusal>> + Send,
    Out: IntoOutgoing,
{
    async fn call(self, app: App, who: <R::Authentication as Scheme>::Who, request: R) -> Result<Outgoing, Refusal> {
        self(app, who, request).await?.into_outgoing()
    }
}

/// A handler of a typed request that also takes it as it came: `async fn(App, who, request, Parts)`.
pub trait PartsHandler<R: IncomingRequest, A>: Clone + Send + Sync + 'static
where
    R::Authentication: Scheme,
{
    /// Runs it.
    fn call(
        self,
        app: App,
        who: <R::Authentication as Scheme>::Who,
        request: R,
        parts: Parts,
    ) -> impl Future<Output = Result<Outgoing, Refusal>> + Send;
}

impl<R, F, Fut, Out> PartsHandler<R, (Fut, Out)> for F
where
    R: IncomingRequest + Send,
    R::Authentication: Scheme,
    F: Fn(App, <R::Authentication as Scheme>::Who, R, Parts) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Refusal>> + Send,
    Out: IntoOutgoing,
{
    async fn call(
        self,
        app: App,
        who: <R::Authentication as Scheme>::Who,
        request: R,
        parts: Parts,
    ) -> Result<Outgoing, Refusal> {
        self(app, who, request, parts).await?.into_outgoing()
    }
}

/// A handler of a raw request: `async fn(App, RawRequest)` for everybody, `async fn(App, Caller, RawRequest)` for users,
/// `async fn(App, Origin, RawRequest)` for other servers.
pub trait RawHandler<A>: Clone + Send + Sync + 'static {
    /// Runs it.
    #[doc(hidden)]
    fn run(self, call: Call, class: RateClass) -> impl Future<Output = Result<Outgoing, Refusal>> + Send;
}

impl<F, Fut, Out> RawHandler<(App, RawRequest, Fut, Out)> for F
where
    F: Fn(App, RawRequest) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Refusal>> + Send,
    Out: IntoOutgoing,
{
    async fn run(self, call: Call, class: RateClass) -> Result<Outgoing, Refusal> {
        charge_address(&call, class)?;
        self(call.app, RawRequest { parts: call.parts, args: call.args }).await?.into_outgoing()
    }
}

impl<F, Fut, Out> RawHandler<(App, Caller, RawRequest, Fut, Out)> for F
where
    F: Fn(App, Caller, RawRequest) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Refusal>> + Send,
    Out: IntoOutgoing,
{
    async fn run(self, call: Call, class: RateClass) -> Result<Outgoing, Refusal> {
        let caller = admit::<AccessToken>(&call, class).await?;
        let reading = Reading::of(&call, Some(&caller));
        let answer = self(call.app, caller, RawRequest { parts: call.parts, args: call.args }).await;
        reading.behind_sends(answer.and_then(Out::into_outgoing)).await
    }
}

impl<F, Fut, Out> RawHandler<(App, Origin, RawRequest, Fut, Out)> for F
where
    F: Fn(App, Origin, RawRequest) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Refusal>> + Send,
    Out: IntoOutgoing,
{
    async fn run(self, call: Call, class: RateClass) -> Result<Outgoing, Refusal> {
        let origin = admit::<ServerSignatures>(&call, class).await?;
        self(call.app, origin, RawRequest { parts: call.parts, args: call.args }).await?.into_outgoing()
    }
}
