//! `GET /_matrix/federation/v1/openid/userinfo`

use ruma::api::federation::openid::get_openid_userinfo::v1 as get_openid_userinfo;

use crate::{
    app::App,
    http::{RateClass, Refusal, Routes},
    users::openid,
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_openid_userinfo::Request, _, _>(RateClass::Federation, get_userinfo);
}

async fn get_userinfo(
    app: App,
    (): (),
    request: get_openid_userinfo::Request,
) -> Result<get_openid_userinfo::Response, Refusal> {
    let now = app.clock.now();
    let user_id = app.users.read(move |view| openid::user_of(view, &request.access_token, now)).await?;
    let user_id = user_id.ok_or_else(|| Refusal::unknown_token(false))?;
    Ok(get_openid_userinfo::Response::new(user_id))
}
