//! Login, refresh, logout: which tokens live when.

use std::net::Ipv4Addr;

use super::{uia::pass_dummy, *};
use crate::{
    flows::{
        account,
        delete_device::delete_devices,
        login::{LoginError, new_login_token, with_password, with_token},
        logout::{logout, logout_all},
        refresh::{RefreshError, refresh},
    },
    users::{
        AttemptError, AuthError, Session, Standing, TokenHash,
        devices::{self, DeviceError},
        login_tokens,
        tokens::Issued,
        uia::Progress,
    },
};

async fn lives(house: &House, token: &str) -> bool {
    match house.users.authenticate(token).await {
        Ok(_) => true,
        Err(AuthError::UnknownToken { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn login(house: &House, name: &str, choice: DeviceChoice) -> LoggedIn {
    with_password((&house.users, HOME), user_id(name), password(name), choice).await.unwrap()
}

fn reveal(tokens: Issued) -> (String, String) {
    (tokens.access.reveal(), tokens.refresh.unwrap().reveal())
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_until_its_logout_and_survives_a_restart() {
    let house = House::new();
    let first = house.register("alice").await;
    let (device_id, token) = (first.device_id.clone(), first.tokens.access.reveal());
    let session = house.users.authenticate(&token).await.unwrap();
    assert_eq!((session.user_id.as_str(), &session.device_id), ("@alice:localhost", &device_id));
    assert!(token.starts_with("myl_") && !lives(&house, "").await && !lives(&house, "myl_").await);

    let house = house.restart();
    let second = login(&house, "alice", on("PHONE")).await.tokens.access.reveal();
    assert!(lives(&house, &token).await && lives(&house, &second).await);
    logout(&house.users, &user_id("alice"), &device_id).await.unwrap();
    assert!(!lives(&house, &token).await, "the token is dead at once, cache or not");
    assert!(lives(&house, &second).await);
    let house = house.restart();
    assert!(!lives(&house, &token).await && lives(&house, &second).await);
    logout_all(&house.users, &user_id("alice")).await.unwrap();
    assert!(!lives(&house, &second).await);
    logout(&house.users, &user_id("alice"), &device_id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_learns_whether_the_name_or_the_password_is_wrong() {
    let house = House::new();
    house.register("alice").await;
    for (name, tried) in [("alice", "bob"), ("nobody", "nobody")] {
        let result = with_password((&house.users, HOME), user_id(name), password(tried), DeviceChoice::default()).await;
        assert!(matches!(result, Err(LoginError::Forbidden)), "{name}");
    }
    let bare = NewAccount { password_hash: None, ..house.account("bare").await };
    register(&house.users, bare).await.unwrap();
    let result = with_password((&house.users, HOME), user_id("bare"), String::new(), DeviceChoice::default()).await;
    assert!(matches!(result, Err(LoginError::Forbidden)), "an account without a password has none that fits");
}

#[tokio::test(start_paused = true)]
async fn guessing_is_slowed_down() {
    let house = House::new();
    house.register("alice").await;
    let guess =
        async |word: &str| with_password((&house.users, HOME), user_id("alice"), word.to_owned(), on("X")).await;
    for _ in 0..10 {
        assert!(matches!(guess("wrong").await, Err(LoginError::Forbidden)));
    }
    assert!(matches!(guess(&password("alice")).await, Err(LoginError::Attempt(AttemptError::TooMany(_)))));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(guess(&password("alice")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_second_login_takes_a_device_over() {
    let house = House::new();
    house.register("alice").await;
    let choice = DeviceChoice { display_name: Some("first".to_owned()), ..on("PHONE") };
    let first = login(&house, "alice", choice.clone()).await.tokens.access.reveal();
    assert!(lives(&house, &first).await);
    let choice = DeviceChoice { display_name: Some("second".to_owned()), ..choice };
    let second = login(&house, "alice", choice).await.tokens.access.reveal();
    assert!(!lives(&house, &first).await && lives(&house, &second).await);
    let user = user_id("alice");
    let device = house.users.read(move |view| devices::get(view, &user, "PHONE".into())).await.unwrap().unwrap();
    assert_eq!(device.display_name.as_deref(), Some("first"), "the name at login is for new devices");
}

#[tokio::test(start_paused = true)]
async fn logins_to_one_device_at_once_leave_one_session() {
    let house = House::new();
    house.register("alice").await;
    let logins = (0..8).map(|_| login(&house, "alice", on("PHONE")));
    let mut alive = 0;
    for session in futures_util::future::join_all(logins).await {
        alive += usize::from(lives(&house, &session.tokens.access.reveal()).await);
    }
    assert_eq!(alive, 1);
}

#[tokio::test(start_paused = true)]
async fn devices_are_bounded_and_checked() {
    let house = House::new();
    house.register("alice").await;
    for number in 1..5 {
        login(&house, "alice", on(&number.to_string())).await;
    }
    let long = "x".repeat(1_025);
    for (choice, error) in [
        (on("6"), DeviceError::TooMany),
        (on(""), DeviceError::BadId),
        (on(&"x".repeat(256)), DeviceError::BadId),
        (DeviceChoice { display_name: Some(long), ..on("1") }, DeviceError::BadDisplayName),
    ] {
        let result = with_password((&house.users, HOME), user_id("alice"), password("alice"), choice).await;
        let found = result.unwrap_err().to_string();
        assert_eq!(found, LoginError::Device(error).to_string());
    }
    login(&house, "alice", on("1")).await;
}

#[tokio::test(start_paused = true)]
async fn refreshed_tokens_replace_the_old_ones_when_they_are_used() {
    let house = House::new();
    house.register("alice").await;
    let (access0, refresh0) =
        reveal(login(&house, "alice", DeviceChoice { refresh: true, ..on("PHONE") }).await.tokens);
    tokio::time::advance(HOUR).await;
    let expired = house.users.authenticate(&access0).await;
    assert!(matches!(expired, Err(AuthError::UnknownToken { soft_logout: true })));

    // The answer was lost: the client asks again, and what it never got is dead.
    let (access_lost, refresh_lost) = reveal(refresh(&house.users, &refresh0).await.unwrap());
    let (access1, refresh1) = reveal(refresh(&house.users, &refresh0).await.unwrap());
    assert!(!lives(&house, &access_lost).await);
    assert!(matches!(refresh(&house.users, &refresh_lost).await, Err(RefreshError::Unknown)));

    // The first use of the new access token ends the old pair.
    assert!(lives(&house, &access1).await);
    assert!(matches!(refresh(&house.users, &refresh0).await, Err(RefreshError::Unknown)));
    assert!(!lives(&house, &access0).await);

    // So does the first use of the new refresh token.
    let (access2, refresh2) = reveal(refresh(&house.users, &refresh1).await.unwrap());
    let (access3, _) = reveal(refresh(&house.users, &refresh2).await.unwrap());
    assert!(matches!(refresh(&house.users, &refresh1).await, Err(RefreshError::Unknown)));
    assert!(!lives(&house, &access1).await && lives(&house, &access2).await && lives(&house, &access3).await);
    assert!(!lives(&house, &access2).await, "the newest pair is in use, the one before is over");
    assert!(matches!(refresh(&house.users, "mylr_nothing").await, Err(RefreshError::Unknown)));

    logout(&house.users, &user_id("alice"), "PHONE".into()).await.unwrap();
    assert!(!lives(&house, &access3).await);
    assert!(matches!(refresh(&house.users, &refresh2).await, Err(RefreshError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn refreshing_and_logging_out_at_once_leave_nothing_behind() {
    for _ in 0..16 {
        let house = House::new();
        house.register("alice").await;
        let choice = DeviceChoice { refresh: true, ..on("PHONE") };
        let (access, old) = reveal(login(&house, "alice", choice).await.tokens);
        let user = user_id("alice");
        let (refreshed, out) = tokio::join!(refresh(&house.users, &old), logout(&house.users, &user, "PHONE".into()));
        out.unwrap();
        assert!(!lives(&house, &access).await);
        if let Ok(tokens) = refreshed {
            assert!(!lives(&house, &tokens.access.reveal()).await);
        }
    }
}

async fn login_token(house: &House, name: &str) -> String {
    let Progress::Passed(passed) = pass_dummy(house).await else { panic!() };
    new_login_token(&house.users, &user_id(name), passed).await.unwrap().reveal()
}

#[tokio::test(start_paused = true)]
async fn a_login_token_lets_one_in_once_and_soon() {
    let house = House::new();
    house.register("alice").await;
    let token = login_token(&house, "alice").await;
    let at_once = (0..3).map(|_| with_token(&house.users, token.clone(), DeviceChoice::default()));
    let results = futures_util::future::join_all(at_once).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(matches!(with_token(&house.users, token, DeviceChoice::default()).await, Err(LoginError::BadToken)));
    let late = login_token(&house, "alice").await;
    tokio::time::advance(login_tokens::LIFETIME).await;
    assert!(matches!(with_token(&house.users, late, DeviceChoice::default()).await, Err(LoginError::BadToken)));
    assert_eq!(house.users.sweep().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn locked_suspended_and_deactivated_accounts() {
    let house = House::new();
    let (user, users) = (user_id("alice"), &house.users);
    let token = house.register("alice").await.tokens.access.reveal();
    let choice = DeviceChoice { refresh: true, ..on("PHONE") };
    let (_, refresh_token) = reveal(login(&house, "alice", choice).await.tokens);
    let standing = async || users.authenticate(&token).await.unwrap().standing;

    account::set_suspended(users, user.clone(), true).await.unwrap();
    assert_eq!(standing().await, Standing::Suspended);
    login(&house, "alice", on("TABLET")).await;

    account::set_locked(users, user.clone(), true).await.unwrap();
    assert_eq!(standing().await, Standing::Locked);
    let refused = with_password((users, HOME), user.clone(), password("alice"), on("X")).await;
    assert!(matches!(refused, Err(LoginError::Locked)));
    let guessed = with_password((users, HOME), user.clone(), "wrong".to_owned(), on("X")).await;
    assert!(matches!(guessed, Err(LoginError::Forbidden)), "only who knows the password learns of the lock");
    let by_token = login_token(&house, "alice").await;
    assert!(matches!(with_token(users, by_token, on("X")).await, Err(LoginError::Locked)));
    assert!(matches!(refresh(users, &refresh_token).await, Err(RefreshError::Locked)));
    account::set_locked(users, user.clone(), false).await.unwrap();
    account::set_suspended(users, user.clone(), false).await.unwrap();
    assert_eq!(standing().await, Standing::Good);

    let is_admin = async || users.authenticate(&token).await.unwrap().is_admin;
    for admin in [true, false, true] {
        account::set_admin(users, user.clone(), admin).await.unwrap();
        assert_eq!(is_admin().await, admin);
    }

    let by_token = login_token(&house, "alice").await;
    account::deactivate(users, user.clone(), None).await.unwrap();
    assert!(!lives(&house, &token).await);
    assert!(matches!(refresh(users, &refresh_token).await, Err(RefreshError::Unknown)));
    assert!(matches!(with_token(users, by_token, on("X")).await, Err(LoginError::Deactivated)));
    let refused = with_password((users, HOME), user.clone(), password("alice"), on("X")).await;
    assert!(matches!(refused, Err(LoginError::Forbidden)), "the password is gone");
    assert!(account::set_locked(users, user.clone(), false).await.is_err());
    assert!(account::set_admin(users, user, true).await.is_err());
    let again = house.account("alice").await;
    assert!(register(users, again).await.is_err(), "the user id stays taken");
}

#[tokio::test(start_paused = true)]
async fn deleting_a_device_twice_or_in_one_list_is_one_deletion() {
    let house = House::new();
    house.register("alice").await;
    let token = login(&house, "alice", on("PHONE")).await.tokens.access.reveal();
    assert!(lives(&house, &token).await);
    for _ in 0..2 {
        let ids = vec!["PHONE".into(), "PHONE".into(), "nothing".into()];
        let Progress::Passed(passed) = pass_dummy(&house).await else { panic!() };
        delete_devices(&house.users, &user_id("alice"), ids, passed).await.unwrap();
        assert!(!lives(&house, &token).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_is_written_and_goes_with_the_device() {
    let house = House::new();
    house.register("alice").await;
    let token = login(&house, "alice", on("PHONE")).await.tokens.access.reveal();
    let (user, session) = (user_id("alice"), house.users.authenticate(&token).await.unwrap());
    let gone = Session { device_id: "GONE".into(), token: TokenHash::of("gone"), ..Session::clone(&session) };
    let seen = async |house: &House, device: &str| house.users.last_seen(&user, device.into()).await.unwrap();
    house.users.saw(&session, Ipv4Addr::new(192, 0, 2, 1).into());
    house.users.saw(&session, Ipv4Addr::new(192, 0, 2, 2).into());
    house.users.saw(&gone, Ipv4Addr::LOCALHOST.into());
    assert!(seen(&house, "PHONE").await.is_some());
    house.users.write_seen().await.unwrap();
    tokio::time::advance(Duration::from_mins(1)).await;
    house.users.saw(&session, Ipv4Addr::new(192, 0, 2, 3).into());
    house.users.write_seen().await.unwrap();
    let house = house.restart();
    let phone = seen(&house, "PHONE").await.unwrap();
    assert_eq!((phone.at, phone.ip.as_deref()), (1_800_000_060_000, Some("192.0.2.3")));
    assert!(seen(&house, "GONE").await.is_none(), "there is no such device");
    logout(&house.users, &user, "PHONE".into()).await.unwrap();
    assert!(seen(&house, "PHONE").await.is_none());
}
