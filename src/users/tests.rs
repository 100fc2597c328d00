//! What users keep: profiles, account data, tags, filters, answers to transactions.

use ruma::{RoomId, owned_server_name, room_id, user_id};
use serde_json::{json, value::to_raw_value};

use super::{
    account_data::{AccountDataError, LARGEST_CONTENT},
    filters::{FilterError, LARGEST_FILTER},
    profile::ProfileError,
    tags::TagError,
    txn::TxnKey,
    *,
};
use crate::store::{Batch, CommitError, Driver, OpenOptions, Position, View, engine::memory::Memory};

fn alice() -> &'static UserId {
    user_id!("@alice:localhost")
}

fn bob() -> &'static UserId {
    user_id!("@bob:localhost")
}

fn room() -> &'static RoomId {
    room_id!("!room:localhost")
}

fn users() -> Users {
    let store = Store::open(Memory::new());
    Users::new(store, Clock::system(), Random::seeded(7), owned_server_name!("localhost"), Options::default())
}

async fn set_field(users: &Users, field: &str, value: serde_json::Value) -> Result<(), ProfileError> {
    let (field, value) = (field.to_owned(), to_raw_value(&value).unwrap());
    users.change(move |view, batch| profile::set(view, batch, alice(), &field, &value)).await
}

async fn put_data(
    users: &Users,
    scope: Option<&'static RoomId>,
    kind: &str,
    content: serde_json::Value,
) -> Result<(), AccountDataError> {
    let (kind, content) = (kind.to_owned(), to_raw_value(&content).unwrap());
    users.change(move |view, batch| account_data::put(view, batch, alice(), (scope, &kind), &content)).await
}

#[tokio::test]
async fn a_profile_holds_what_was_set() {
    let users = users();
    set_field(&users, "displayname", json!("Alice")).await.unwrap();
    set_field(&users, "avatar_url", json!("mxc://localhost/a")).await.unwrap();
    set_field(&users, "m.tz", json!("Europe/Berlin")).await.unwrap();
    set_field(&users, "org.example.pronouns", json!([{"a": null}])).await.unwrap();
    users.change(|view, batch| profile::remove(view, batch, alice(), "avatar_url")).await.unwrap();
    let profile = users.read(|view| profile::get(view, alice())).await.unwrap();
    assert_eq!(profile.0.keys().collect::<Vec<_>>(), ["displayname", "m.tz", "org.example.pronouns"]);
    let member = profile.for_members();
    assert_eq!((member.displayname.as_deref(), member.avatar_url), (Some("Alice"), None));
    set_field(&users, "displayname", json!("")).await.unwrap();
    let profile = users.read(|view| profile::get(view, alice())).await.unwrap();
    assert_eq!(profile.for_members().displayname, None, "an empty name is none");
    assert_eq!(users.read(|view| profile::get(view, bob())).await.unwrap(), profile::Profile::default());
}

#[tokio::test]
async fn a_profile_refuses_what_it_cannot_hold() {
    let users = users();
    let long_key = format!("a.{}", "x".repeat(254));
    assert_eq!(set_field(&users, &long_key, json!(1)).await, Err(ProfileError::KeyTooLarge));
    for key in ["", "noname", ".a", "A.b", "a.ä", "a b.c", "1.a", "a/b.c"] {
        assert_eq!(set_field(&users, key, json!(1)).await, Err(ProfileError::BadKey(key.to_owned())), "{key}");
    }
    for (field, value) in [
        ("displayname", json!(1)),
        ("displayname", json!(null)),
        ("displayname", json!("x".repeat(257))),
        ("avatar_url", json!({})),
        ("avatar_url", json!("x".repeat(1_001))),
        ("m.tz", json!("")),
        ("m.tz", json!("Europe Berlin")),
        ("m.tz", json!(["UTC"])),
    ] {
        assert!(matches!(set_field(&users, field, value.clone()).await, Err(ProfileError::BadValue(_))), "{value}");
    }
    set_field(&users, "displayname", json!("ä".repeat(256))).await.unwrap();
}

#[tokio::test]
async fn a_whole_profile_stays_below_64_kib() {
    let users = users();
    set_field(&users, "a.a", json!("x".repeat(60 << 10))).await.unwrap();
    assert_eq!(set_field(&users, "b.b", json!("x".repeat(4 << 10))).await, Err(ProfileError::TooLarge));
    let whole = |profile: profile::Profile| {
        let fields = profile.0.iter().map(|(field, value)| format!("\"{field}\":{value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(",")).len()
    };
    let used = whole(users.read(|view| profile::get(view, alice())).await.unwrap());
    let rest = (64 << 10) - used - r#","b.b":"""#.len();
    assert_eq!(set_field(&users, "b.b", json!("x".repeat(rest))).await, Err(ProfileError::TooLarge));
    set_field(&users, "b.b", json!("x".repeat(rest - 1))).await.unwrap();
    assert_eq!(whole(users.read(|view| profile::get(view, alice())).await.unwrap()), (64 << 10) - 1);
    // What is there may shrink, and be replaced.
    set_field(&users, "a.a", json!(1)).await.unwrap();
}

#[tokio::test]
async fn account_data_is_kept_by_scope_and_told_in_order() {
    let users = users();
    put_data(&users, None, "a", json!({"n": 1})).await.unwrap();
    put_data(&users, Some(room()), "a", json!({"n": 2})).await.unwrap();
    let since = users.store.horizon();
    put_data(&users, None, "b", json!({"n": 3})).await.unwrap();
    put_data(&users, None, "a", json!({"n": 4})).await.unwrap();
    let get = async |scope| users.read(move |view| account_data::get(view, alice(), scope, "a")).await.unwrap();
    assert_eq!(get(None).await.as_deref(), Some(r#"{"n":4}"#));
    assert_eq!(get(Some(room())).await.as_deref(), Some(r#"{"n":2}"#));
    let changed = |since| users.read(move |view| account_data::since(view, alice(), since, 10));
    let kinds = |entries: Vec<account_data::Entry>| {
        entries.into_iter().map(|entry| format!("{}{}", entry.room_id, entry.kind)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(changed(since).await.unwrap()), ["b", "a"]);
    assert_eq!(kinds(changed(Position::ZERO).await.unwrap()), ["!room:localhosta", "b", "a"], "each once");
    assert!(changed(users.store.horizon()).await.unwrap().is_empty());
    let scope = users.read(|view| account_data::scope(view, alice(), None)).await.unwrap();
    assert_eq!(kinds(scope), ["a", "b"]);
    let rooms = users.read(|view| account_data::rooms(view, alice(), [room_id!("!no:x"), room()])).await.unwrap();
    assert_eq!(rooms.into_iter().map(|entries| entries.len()).collect::<Vec<_>>(), [0, 1]);
    assert!(users.read(|view| account_data::since(view, bob(), Position::ZERO, 10)).await.unwrap().is_empty());
}

#[tokio::test]
async fn account_data_refuses_what_it_cannot_hold() {
    let users = users();
    for kind in ["m.push_rules", "m.fully_read"] {
        assert_eq!(put_data(&users, None, kind, json!({})).await, Err(AccountDataError::ServerControlled));
    }
    let long = "x".repeat(256);
    for kind in ["", &long] {
        assert_eq!(put_data(&users, None, kind, json!({})).await, Err(AccountDataError::BadType));
    }
    for content in [json!([]), json!(1), json!(null), json!("{}")] {
        assert_eq!(put_data(&users, None, "a", content).await, Err(AccountDataError::NotAnObject));
    }
    let large = json!({ "x": "x".repeat(LARGEST_CONTENT) });
    assert_eq!(put_data(&users, None, "a", large).await, Err(AccountDataError::TooLarge));
}

#[tokio::test]
async fn tags_come_and_go() {
    let users = users();
    let set = async |name: &str| {
        let name = name.to_owned();
        users.change(move |view, batch| tags::set(view, batch, alice(), (room(), &name), json!({"order": 0.5}))).await
    };
    set("m.favourite").await.unwrap();
    set("u.work").await.unwrap();
    assert!(matches!(set("").await, Err(TagError::BadName)));
    users.change(|view, batch| tags::remove(view, batch, alice(), room(), "m.favourite")).await.unwrap();
    let all = users.read(|view| tags::get(view, alice(), room())).await.unwrap();
    assert_eq!(serde_json::Value::Object(all), json!({"u.work": {"order": 0.5}}));
    let content = users.read(|view| account_data::get(view, alice(), Some(room()), "m.tag")).await.unwrap();
    assert_eq!(content.as_deref(), Some(r#"{"tags":{"u.work":{"order":0.5}}}"#));
    for number in 1..100 {
        set(&number.to_string()).await.unwrap();
    }
    assert!(matches!(set("one more").await, Err(TagError::TooMany)));
}

#[tokio::test]
async fn filters_are_found_again() {
    let users = users();
    let put = async |json: &str| {
        let json = json.to_owned();
        users.change(move |view, batch| filters::put(view, batch, alice(), &json)).await
    };
    let json = r#"{"room":{"timeline":{"limit":7}},"org.example":1}"#;
    let id = put(json).await.unwrap();
    assert_eq!(put(json).await.unwrap(), id, "the same filter is the same one");
    assert!(!id.starts_with('{'), "or it would look like a filter itself");
    let (known, wanted) = (id.clone(), id);
    assert_eq!(users.read(move |view| filters::get_json(view, alice(), &known)).await.unwrap().as_deref(), Some(json));
    let parsed = users.read(move |view| filters::get(view, alice(), &wanted)).await.unwrap().unwrap();
    assert_eq!(parsed.room.timeline.event.limit, Some(7));
    for (bad, large) in [("[]", false), (r#"{"room": 1}"#, false), (&*" ".repeat(LARGEST_FILTER + 1), true)] {
        match put(bad).await {
            Err(FilterError::Bad(_)) => assert!(!large),
            Err(FilterError::TooLarge) => assert!(large),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(users.read(|view| filters::get_json(view, bob(), "x")).await.unwrap(), None);
}

#[tokio::test]
async fn an_answer_is_recorded_once_and_for_one_request_of_one_device() {
    let users = users();
    let key = |device: &str, path: &str| TxnKey::new(alice(), Some((device.into(), 9)), &["send", path]);
    let record = async |key: TxnKey, answer: &str| {
        let mut batch = Batch::new();
        txn::record(&mut batch, &key, answer.as_bytes().to_vec(), 1);
        users.store.commit(batch).await.map(drop)
    };
    record(key("PHONE", "/send/1"), "first").await.unwrap();
    assert_eq!(record(key("PHONE", "/send/1"), "second").await, Err(CommitError::Conflict));
    for (device, path, answer) in
        [("PHONE", "/send/1", Some("first")), ("PHONE", "/send/2", None), ("TABLET", "/send/1", None)]
    {
        let key = key(device, path);
        let recorded = users.read(move |view| txn::recorded(view, &key)).await.unwrap();
        assert_eq!(recorded.as_deref(), answer.map(str::as_bytes), "{device} {path}");
    }
    let later = TxnKey::new(alice(), Some(("PHONE".into(), 10)), &["send", "/send/1"]);
    assert_eq!(users.read(move |view| txn::recorded(view, &later)).await.unwrap(), None, "another device of this id");
    let shifted = |parts: &[&str]| TxnKey::new(alice(), None, parts);
    assert_ne!(shifted(&["send", "m.x", "b c"]), shifted(&["send", "m.x b", "c"]));
    assert_ne!(shifted(&["send", "m.x"]), shifted(&["sendm", ".x"]));
    assert_eq!(users.sweep().await.unwrap(), 1, "after a week nobody asks again");
}

#[tokio::test]
async fn many_changes_of_one_user_at_once_all_come_through() {
    // A lane of its own, so that commits meet in one group as they do on a server.
    let options = OpenOptions { driver: Driver::Thread, accept_loss: false, restored: false };
    let store = Store::open_with(Memory::new(), options).unwrap();
    let users =
        Users::new(store, Clock::system(), Random::seeded(7), owned_server_name!("localhost"), Options::default());
    let changes = (0..400).map(|n| {
        let (kind, content) = (format!("t.{n}"), to_raw_value(&json!({})).unwrap());
        let put =
            move |view: &View<'_>, batch: &mut Batch| account_data::put(view, batch, alice(), (None, &kind), &content);
        users.change(put)
    });
    for change in futures_util::future::join_all(changes).await {
        change.unwrap();
    }
}
