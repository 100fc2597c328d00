//! `POST /user/{userId}/openid/request_token`

use ruma::{api::client::account::request_openid_token, authentication::TokenType};

use crate::{
    app::App,
    http::{Caller, RateClass, Refusal, Routes},
    users::openid,
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<request_openid_token::v3::Request, _, _>(RateClass::Light, request_token);
}

async fn request_token(
    app: App,
    caller: Caller,
    request: request_openid_token::v3::Request,
) -> Result<request_openid_token::v3::Response, Refusal> {
    if request.user_id != caller.user_id {
        return Err(Refusal::forbidden("you can only do this for yourself"));
    }
    let token = app.users.new_openid_token(&caller.user_id).await?;
    let server = app.server_name.clone();
    Ok(request_openid_token::v3::Response::new(token.reveal(), TokenType::Bearer, server, openid::LIFETIME))
}
