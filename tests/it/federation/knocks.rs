//! Knocking on rooms of other servers.

use myelin::graph::Membership;
use serde_json::json;

use super::rooms::{act, create, join, membership, post, server, set, stripped, sync};
use crate::harness::Network;

#[tokio::test(start_paused = true)]
async fn a_knock_is_heard_answered_and_taken_back() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    for version in ["7", "10", "12"] {
        let body = json!({"preset": "private_chat", "name": "Door", "room_version": version});
        let room_id = create(&a, &alice, body).await;
        let id = room_id.as_str();
        post(&b, &bob, "knock", id, &["a.b"], &json!({})).await.refused(403, "M_FORBIDDEN");
        set(&a, &alice, &room_id, ("m.room.join_rules", ""), json!({"join_rule": "knock"})).await;
        join(&b, &bob, id, &["a.b"]).await.refused(403, "M_FORBIDDEN");
        for _ in 0..2 {
            post(&b, &bob, "knock", id, &["a.b"], &json!({"reason": "please"})).await.ok();
            assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Knock), "version {version}");
        }
        let synced = sync(&b, &bob).await;
        let knock = &synced["rooms"]["knock"][id]["knock_state"];
        assert_eq!(stripped(knock, "m.room.name", "")["content"]["name"], "Door");
        assert_eq!(stripped(knock, "m.room.member", &bob.user_id)["content"]["reason"], "please");
        act(&b, &bob, &room_id, "leave", json!({})).await.ok();
        assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Leave));
        assert_eq!(sync(&b, &bob).await["rooms"]["knock"].get(id), None);

        post(&b, &bob, "knock", id, &["a.b"], &json!({})).await.ok();
        act(&a, &alice, &room_id, "invite", json!({"user_id": bob.user_id})).await.ok();
        let synced = sync(&b, &bob).await;
        assert_eq!(synced["rooms"]["knock"].get(id), None);
        assert!(synced["rooms"]["invite"].get(id).is_some());
        post(&b, &bob, "knock", id, &["a.b"], &json!({})).await.refused(403, "M_FORBIDDEN");
        join(&b, &bob, id, &[]).await.ok();
        assert_eq!(membership(&b, &room_id, &bob.user_id), Some(Membership::Join));
    }
}
