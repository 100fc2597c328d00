//! User-interactive authentication: what a session is bound to, and what it proves.

use super::*;
use crate::{
    store::Batch,
    users::uia::{Attempt, Challenge, Failure, Flow, Operation, Passed, Progress, Proof, Stage, UiaError},
};

const PASSWORD: &[Flow] = &[&[Stage::Password]];
const DUMMY: &[Flow] = &[&[Stage::Dummy]];
const TOKEN: &[Flow] = &[&[Stage::RegistrationToken]];
const BOTH: &[Flow] = &[&[Stage::RegistrationToken, Stage::Dummy]];
const DELETE: &str = "/_matrix/client/v3/delete_devices";

fn operation(name: &str, path: &str, body: &str) -> Operation {
    Operation::new(Some(&user_id(name)), "POST", path, body.as_bytes())
}

fn attempt(session: Option<&str>, proof: Proof) -> Option<Attempt> {
    Some(Attempt { session: session.map(ToOwned::to_owned), proof })
}

fn word(name: &str) -> Proof {
    Proof::Password(None, password(name))
}

fn challenge(progress: Progress) -> Challenge {
    match progress {
        Progress::Challenge(challenge) => challenge,
        Progress::Passed(_) => panic!("passed"),
    }
}

fn passed(progress: Progress) -> Passed {
    match progress {
        Progress::Passed(passed) => passed,
        Progress::Challenge(challenge) => panic!("{challenge:?}"),
    }
}

/// An authentication that asks nothing.
pub(super) async fn pass_dummy(house: &House) -> Progress {
    let operation = Operation::new(None, "POST", "/register", b"{}");
    house.users.interact(&operation, DUMMY, attempt(None, Proof::Dummy)).await.unwrap()
}

async fn consume(house: &House, passed: Passed) -> bool {
    let mut batch = Batch::new();
    passed.consume(&mut batch);
    house.store.commit(batch).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_session_is_bound_to_its_request() {
    let house = House::new();
    house.register("alice").await;
    house.register("bob").await;
    let body = r#"{"devices": ["A", "B"], "auth": {"type": "x"}}"#;
    let begun = operation("alice", DELETE, body);
    let session = challenge(house.users.interact(&begun, PASSWORD, None).await.unwrap()).session;
    for (what, other) in [
        ("another user", operation("bob", DELETE, body)),
        ("another path", operation("alice", "/_matrix/client/v1/login/get_token", body)),
        ("another body", operation("alice", DELETE, r#"{"devices": ["A", "C"]}"#)),
        ("another order in a list", operation("alice", DELETE, r#"{"devices": ["B", "A"]}"#)),
        ("no body", operation("alice", DELETE, "{}")),
        ("another method", Operation::new(Some(&user_id("alice")), "DELETE", DELETE, body.as_bytes())),
        ("no user", Operation::new(None, "POST", DELETE, body.as_bytes())),
    ] {
        let owner = if what == "another user" { "bob" } else { "alice" };
        let result = house.users.interact(&other, PASSWORD, attempt(Some(&session), word(owner))).await;
        assert!(matches!(result, Err(UiaError::OtherOperation)), "{what}");
    }
    // White space, the order of keys and the `auth` itself are not part of the request; a restart changes nothing.
    let house = house.restart();
    let same = operation("alice", DELETE, r#"{ "auth": 7, "devices":["A","B"]}"#);
    passed(house.users.interact(&same, PASSWORD, attempt(Some(&session), word("alice"))).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_session_serves_one_effect() {
    let house = House::new();
    house.register("alice").await;
    let begun = operation("alice", DELETE, "{}");
    let session = challenge(house.users.interact(&begun, PASSWORD, None).await.unwrap()).session;
    let prove = || house.users.interact(&begun, PASSWORD, attempt(Some(&session), word("alice")));
    let (first, second) = (passed(prove().await.unwrap()), passed(prove().await.unwrap()));
    assert!(consume(&house, first).await);
    assert!(!consume(&house, second).await, "the session was used up");
    let later = challenge(prove().await.unwrap());
    assert_eq!(later.failure, Some(Failure::UnknownSession));
    assert_ne!(later.session, session);
}

#[tokio::test(start_paused = true)]
async fn proofs_must_be_right_and_of_the_right_user() {
    let house = House::new();
    house.register("alice").await;
    house.register("bob").await;
    let begun = operation("alice", DELETE, "{}");
    for (what, proof, failure) in [
        ("a wrong password", Proof::Password(None, "wrong".to_owned()), Failure::Password),
        ("bob's password", word("bob"), Failure::Password),
        ("bob, in fact", Proof::Password(Some(user_id("bob")), password("bob")), Failure::Password),
        ("a dummy", Proof::Dummy, Failure::NotNext),
        ("a token", Proof::RegistrationToken("x".to_owned()), Failure::NotNext),
        ("something else", Proof::Unsupported, Failure::NotNext),
    ] {
        let answer = house.users.interact(&begun, PASSWORD, attempt(None, proof)).await.unwrap();
        let answer = challenge(answer);
        assert_eq!((answer.failure, answer.completed), (Some(failure), vec![]), "{what}");
    }
    let claimed = Proof::Password(Some(user_id("alice")), password("alice"));
    passed(house.users.interact(&begun, PASSWORD, attempt(None, claimed)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn stages_come_in_their_order_and_stay_done() {
    let house = House::new();
    let token = crate::flows::register::create_token(&house.users, Default::default()).await.unwrap();
    let begun = Operation::new(None, "POST", "/register", b"{}");
    let step = |session: Option<String>, proof| {
        let attempt = Some(Attempt { session, proof });
        house.users.interact(&begun, BOTH, attempt)
    };
    let first = challenge(step(None, Proof::Dummy).await.unwrap());
    assert_eq!(first.failure, Some(Failure::NotNext), "the token comes first");
    let session = Some(first.session);
    let wrong = challenge(step(session.clone(), Proof::RegistrationToken("nope".to_owned())).await.unwrap());
    assert_eq!(wrong.failure, Some(Failure::RegistrationToken));
    let second = challenge(step(session.clone(), Proof::RegistrationToken(token.clone())).await.unwrap());
    assert_eq!((second.completed, second.failure), (vec![Stage::RegistrationToken], None));
    let house_after = challenge(step(session.clone(), Proof::None).await.unwrap());
    assert_eq!(house_after.completed, vec![Stage::RegistrationToken], "asking how it stands changes nothing");
    let repeated = challenge(step(session.clone(), Proof::RegistrationToken("nope".to_owned())).await.unwrap());
    assert_eq!((repeated.completed, repeated.failure), (vec![Stage::RegistrationToken], None), "done stays done");
    let end = passed(step(session, Proof::Dummy).await.unwrap());
    assert_eq!(end.registration_token, Some(token));
}

#[tokio::test(start_paused = true)]
async fn sessions_end() {
    let house = House::new();
    house.register("alice").await;
    let begun = operation("alice", DELETE, "{}");
    let session = challenge(house.users.interact(&begun, PASSWORD, None).await.unwrap()).session;
    tokio::time::advance(Duration::from_mins(15)).await;
    for unknown in [session.as_str(), "", "nothing", &"x".repeat(1_000)] {
        let answer = house.users.interact(&begun, PASSWORD, attempt(Some(unknown), word("alice"))).await.unwrap();
        assert_eq!(challenge(answer).failure, Some(Failure::UnknownSession));
    }
    assert_eq!(house.users.sweep().await.unwrap(), 1, "the others begin anew");
}

#[tokio::test(start_paused = true)]
async fn a_registration_token_makes_as_many_accounts_as_it_says() {
    let house = House::new();
    let limits = crate::users::registration::RegistrationToken { uses_allowed: Some(2), ..Default::default() };
    let token = crate::flows::register::create_token(&house.users, limits).await.unwrap();
    let tries = (0..6).map(async |number| {
        let name = format!("user{number}");
        let begun = Operation::new(None, "POST", "/register", name.as_bytes());
        let proof = Proof::RegistrationToken(token.clone());
        let passed = passed(house.users.interact(&begun, TOKEN, attempt(None, proof)).await.unwrap());
        let entitlement = Entitlement::Interactive(passed);
        register(&house.users, NewAccount { entitlement, ..house.account(&name).await }).await.is_ok()
    });
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 2);
}
