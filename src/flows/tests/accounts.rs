//! Accounts: creation, names, nonces, first start, passwords.

use super::{uia::pass_dummy, *};
use crate::{
    flows::{
        account::change_password,
        login::{LoginError, with_password},
        register::{RegisterError, create_token, first_token},
    },
    push::rules,
    users::{PasswordError, registration, uia::Progress},
};

#[tokio::test(start_paused = true)]
async fn a_name_is_given_out_once() {
    let house = House::new();
    let tries = (0..5).map(async |_| register(&house.users, house.account("alice").await).await);
    let results = futures_util::future::join_all(tries).await;
    let taken = results.iter().filter(|result| matches!(result, Err(RegisterError::UserInUse))).count();
    assert_eq!((results.iter().filter(|result| result.is_ok()).count(), taken), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_new_account_has_the_default_push_rules() {
    let house = House::new();
    house.register("alice").await;
    let stored = |view: &View<'_>| crate::users::account_data::get(view, &user_id("alice"), None, rules::TYPE);
    let content = house.users.read(stored).await.unwrap().unwrap();
    let expected = crate::push::defaults::rules_for(&user_id("alice"));
    assert_eq!(content, expected.to_content().get());
}

#[tokio::test(start_paused = true)]
async fn a_nonce_serves_once_and_soon() {
    let house = House::new();
    let nonce = || {
        let maker = house.users.clone();
        house.users.change(move |_, batch| {
            Ok::<_, RegisterError>(registration::new_nonce(batch, &maker.random, maker.clock.now()))
        })
    };
    let create = async |name: &str, nonce: &str| {
        let entitlement = Entitlement::Nonce(nonce.to_owned());
        register(&house.users, NewAccount { entitlement, ..house.account(name).await }).await
    };
    let fresh = nonce().await.unwrap();
    assert!(create("alice", &fresh).await.is_ok());
    assert!(matches!(create("bob", &fresh).await, Err(RegisterError::BadNonce)));
    assert!(matches!(create("bob", "never given").await, Err(RegisterError::BadNonce)));
    let late = nonce().await.unwrap();
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(matches!(create("bob", &late).await, Err(RegisterError::BadNonce)));
}

#[tokio::test(start_paused = true)]
async fn the_first_start_gives_one_token_once() {
    let house = House::new();
    let token = first_token(&house.users).await.unwrap().unwrap();
    assert!(registration::is_token(&token));
    let house = house.restart();
    assert_eq!(first_token(&house.users).await.unwrap(), None);
    let house = House::new();
    house.register("alice").await;
    assert_eq!(first_token(&house.users).await.unwrap(), None, "there are accounts already");
    let house = House::new();
    create_token(&house.users, Default::default()).await.unwrap();
    assert_eq!(first_token(&house.users).await.unwrap(), None, "there is a token already");
}

#[tokio::test(start_paused = true)]
async fn a_new_password_replaces_the_old_one() {
    let house = House::new();
    let token = house.register("alice").await.tokens.access.reveal();
    let other = with_password((&house.users, HOME), user_id("alice"), password("alice"), on("OTHER")).await.unwrap();
    let other = other.tokens.access.reveal();
    let kept = house.users.authenticate(&token).await.unwrap().device_id.clone();
    for (bad, error) in [("short", PasswordError::TooShort(8)), (&*"x".repeat(513), PasswordError::TooLong)] {
        assert_eq!(house.users.hash_password(bad.to_owned()).await, Err(error));
    }
    let Progress::Passed(passed) = pass_dummy(&house).await else { panic!() };
    change_password(&house.users, user_id("alice"), "a new password".to_owned(), (Some(kept), true), passed)
        .await
        .unwrap();
    assert!(house.users.authenticate(&token).await.is_ok() && house.users.authenticate(&other).await.is_err());
    let old = with_password((&house.users, HOME), user_id("alice"), password("alice"), on("X")).await;
    assert!(matches!(old, Err(LoginError::Forbidden)));
    with_password((&house.users, HOME), user_id("alice"), "a new password".to_owned(), on("X")).await.unwrap();
}
