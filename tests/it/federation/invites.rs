//! Inviting users of other servers, and being invited by them.

use myelin::graph::Membership;
use serde_json::json;

use super::rooms::{act, create, join, membership, room, server, set, state, stripped, sync, sync_since};
use crate::harness::Network;

#[tokio::test(start_paused = true)]
async fn an_invite_goes_to_another_server_and_is_taken_through_who_sent_it() {
    let network = Network::default();
    let a = server(&network, "a.b");
    for version in ["1", "5", "10", "12"] {
        let b = server(&network, "c.d");
        let alice = a.register_user(&format!("alice{version}")).await;
        let bob = b.register_user("bob").await;
        let body = json!({"preset": "private_chat", "name": "Secret", "room_version": version});
        let room_id = create(&a, &alice, body).await;
        act(&a, &alice, &room_id, "invite", json!({"user_id": bob.user_id})).await.ok();
        assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Invite));
        assert!(room(&b, &room_id).is_none());
        let b = b.restart().await;

        let synced = sync(&b, &bob).await;
        let invite = &synced["rooms"]["invite"][room_id.as_str()]["invite_state"];
        assert_eq!(stripped(invite, "m.room.name", "")["content"]["name"], "Secret", "{invite}");
        assert_eq!(stripped(invite, "m.room.create", "")["sender"], alice.user_id);
        let own = stripped(invite, "m.room.member", &bob.user_id);
        assert_eq!((&own["content"]["membership"], &own["sender"]), (&json!("invite"), &json!(alice.user_id)));
        assert_eq!(stripped(invite, "m.room.member", &alice.user_id)["content"]["membership"], "join");
        assert!(invite["events"].as_array().unwrap().iter().all(|event| event.get("signatures").is_none()));
        let again = sync_since(&b, &bob, &synced).await;
        assert_eq!(again["rooms"]["invite"].get(room_id.as_str()), None, "once is enough");

        join(&b, &bob, room_id.as_str(), &[]).await.ok();
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
        let joined = sync_since(&b, &bob, &again).await;
        let events = joined["rooms"]["join"][room_id.as_str()]["timeline"]["events"].as_array().unwrap();
        let own = events.iter().find(|event| event["state_key"] == bob.user_id).unwrap();
        let (said, by) = (&own["unsigned"]["prev_content"]["membership"], &own["unsigned"]["prev_sender"]);
        assert_eq!((said, by), (&json!("invite"), &json!(alice.user_id)), "who has invited them is still known");
        network.forget("c.d");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invite_is_declined_wherever_the_room_is() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let body = json!({"preset": "private_chat", "invite": [bob.user_id], "is_direct": true});
    let room_id = create(&a, &alice, body).await;
    for _ in 0..2 {
        let invited = sync(&b, &bob).await;
        assert!(invited["rooms"]["invite"].get(room_id.as_str()).is_some());
        act(&b, &bob, &room_id, "leave", json!({"reason": "no"})).await.ok();
        assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Leave), "the other server heard it");
        let left = sync_since(&b, &bob, &invited).await;
        let left = &left["rooms"]["leave"][room_id.as_str()]["timeline"]["events"][0];
        assert_eq!((&left["content"]["membership"], &left["content"]["reason"]), (&json!("leave"), &json!("no")));
        assert_eq!(sync(&b, &bob).await["rooms"]["invite"].get(room_id.as_str()), None);
        act(&b, &bob, &room_id, "leave", json!({})).await;
        act(&a, &alice, &room_id, "invite", json!({"user_id": bob.user_id})).await.ok();
    }
    // Nobody is left who could be told.
    act(&a, &alice, &room_id, "leave", json!({})).await.ok();
    act(&b, &bob, &room_id, "leave", json!({})).await.ok();
    assert_eq!(sync(&b, &bob).await["rooms"]["invite"].get(room_id.as_str()), None);
    act(&b, &bob, &room_id, "forget", json!({})).await.ok();
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_invites_gets_none_from_elsewhere_either() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "private_chat"})).await;
    let path = format!("/v3/user/{}/account_data/m.invite_permission_config", super::rooms::encoded(&bob.user_id));
    b.put(&path).by(&bob).json(&json!({"default_action": "block"})).send().await.ok();
    let invite = act(&a, &alice, &room_id, "invite", json!({"user_id": bob.user_id})).await;
    invite.refused(403, "M_INVITE_BLOCKED");
    let invite = act(&a, &alice, &room_id, "invite", json!({"user_id": "@nobody:c.d"})).await;
    invite.refused(403, "M_FORBIDDEN");
    let target = format!("/v3/rooms/{}/invite", super::rooms::encoded(room_id.as_str()));
    let gone = a.post(&target).by(&alice).json(&json!({"user_id": "@x:nobody.net"})).send_anyhow().await;
    gone.refused(502, "M_UNKNOWN");
    assert_eq!(membership(&a, &room_id, &bob.user_id), None);
    // A room is made all the same.
    create(&a, &alice, json!({"invite": ["@x:nobody.net", bob.user_id]})).await;
}

#[tokio::test(start_paused = true)]
async fn an_invite_by_state_goes_there_too() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "private_chat"})).await;
    set(&a, &alice, &room_id, ("m.room.member", &bob.user_id), json!({"membership": "invite"})).await;
    assert!(sync(&b, &bob).await["rooms"]["invite"].get(room_id.as_str()).is_some());
}

#[tokio::test(start_paused = true)]
async fn whoever_invites_may_take_it_back_and_nobody_else() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, anna, bob) =
        (a.register_user("alice").await, a.register_user("anna").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "trusted_private_chat", "invite": [anna.user_id]})).await;
    join(&a, &anna, room_id.as_str(), &[]).await.ok();
    let kick = json!({"user_id": bob.user_id, "reason": "a mistake"});
    act(&a, &anna, &room_id, "invite", json!({"user_id": bob.user_id})).await.ok();
    act(&a, &alice, &room_id, "kick", kick.clone()).await.ok();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let invited = sync(&b, &bob).await;
    assert!(invited["rooms"]["invite"].get(room_id.as_str()).is_some(), "not by another one");

    act(&a, &alice, &room_id, "invite", json!({"user_id": bob.user_id})).await.ok();
    let invited = sync_since(&b, &bob, &invited).await;
    assert!(invited["rooms"]["invite"].get(room_id.as_str()).is_some());
    act(&a, &alice, &room_id, "kick", kick).await.ok();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let left = sync_since(&b, &bob, &invited).await;
    let event = &left["rooms"]["leave"][room_id.as_str()]["timeline"]["events"][0];
    assert_eq!((&event["sender"], &event["content"]["reason"]), (&json!(alice.user_id), &json!("a mistake")));
    assert_eq!(sync(&b, &bob).await["rooms"]["invite"].get(room_id.as_str()), None);
}
