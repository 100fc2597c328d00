//! Verdicts on events that another server made and signed.

use myelin::graph::{Needs, Receipt, SendError, Status, Verdict};
use ruma::{OwnedEventId, RoomVersionId, serde::Base64};
use serde_json::json;

use super::{
    rig::{ALICE, BOB, Rig, key_of, member, message, state, versions},
    there::{EVE, There, draft, joins, says},
};

#[tokio::test]
async fn what_another_server_sends_is_accepted_in_every_version() {
    for version in versions() {
        let rig = Rig::new();
        let no = rig.create(&version, "public").await;
        let there = There { rig: &rig, no };
        there.accepted(joins(EVE)).await;
        let said = there.accepted(says("hello")).await;
        let event = rig.event(&said.event_id);
        assert_eq!(event.meta.status, Status::Accepted, "{version}");
        assert!(!event.meta.relay);
        assert!(matches!(there.status(&said.event_id), Some(Status::Accepted)));
        let servers = rig.read(|view| rig.graph.reader().servers(view, no));
        assert_eq!(servers.len(), 2);
        assert_eq!(rig.arrived(no).len(), 7);
        rig.send(no, message(ALICE, "hello there")).await.unwrap();
        let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
        assert_eq!(head.extremities.len(), 1);
        assert!(head.last_relayed_position > rig.event(&said.event_id).meta.position());
    }
}

#[tokio::test]
async fn an_event_is_taken_once() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let receipt = there.signed(says("twice"));
    let (one, two) = tokio::join!(rig.graph.receive(no, receipt.clone()), rig.graph.receive(no, receipt.clone()));
    assert!(matches!(one, Ok(Verdict::Accepted(_))), "{one:?}");
    assert!(matches!(two, Ok(Verdict::Duplicate(_))), "{two:?}");
    assert!(matches!(rig.graph.receive(no, receipt).await, Ok(Verdict::Duplicate(_))));
    assert_eq!(rig.arrived(no).len(), 7);
}

#[tokio::test]
async fn what_it_cites_must_be_here() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let unknown: Vec<OwnedEventId> = vec![OwnedEventId::try_from("$unknown").unwrap()];
    let needs = there.sends(says("from nowhere").after(&unknown)).await;
    assert_eq!(needs, Verdict::Needs(Needs::Missing { prev: unknown.clone(), auth: Vec::new() }));
    let needs = there.sends(says("by nobody").by(&unknown)).await;
    assert_eq!(needs, Verdict::Needs(Needs::Missing { prev: Vec::new(), auth: unknown }));
    assert_eq!(rig.arrived(no).len(), 6);

    let elsewhere = rig.create(&RoomVersionId::V11, "public").await;
    let other = rig.arrived(elsewhere).last().unwrap().event_id.clone();
    assert!(matches!(there.sends(says("across").after(&[other])).await, Verdict::Rejected(_)));
    let receipt = there.signed(says("to the wrong room"));
    assert!(matches!(rig.graph.receive(elsewhere, receipt).await, Err(SendError::WrongRoom)));
}

#[tokio::test]
async fn what_its_auth_events_forbid_is_rejected_and_kept_as_such() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    let before = rig.root(no);
    // Not in the room at all.
    let receipt = there.signed(says("from outside"));
    let id = receipt.event.pdu().event_id().to_owned();
    let verdict = rig.graph.receive(no, receipt.clone()).await.unwrap();
    assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
    assert_eq!(there.status(&id), Some(Status::Rejected));
    assert_eq!(rig.arrived(no).len(), 5);
    assert!(matches!(rig.graph.receive(no, receipt).await, Ok(Verdict::Duplicate(_))));
    // A rejected event may be cited as previous; never as authorising.
    there.accepted(joins(EVE)).await;
    let name = there.signed(draft(EVE, "m.room.name", Some(""), json!({"name": "Eve's"})));
    let name_id = name.event.pdu().event_id().to_owned();
    let bad = rig.graph.receive(no, name).await.unwrap();
    assert!(matches!(bad, Verdict::Rejected(_)), "{bad:?}");
    there.accepted(says("after a rejected one").after(&[there.tips(), vec![name_id]].concat())).await;
    let forged = there.sends(says("forged").by(&[there.selected(&says("")), vec![id]].concat())).await;
    assert!(matches!(forged, Verdict::Rejected(_)), "{forged:?}");
    let second = there.sends(draft(EVE, "m.room.create", Some(""), json!({})).after(&[]).by(&[])).await;
    assert!(matches!(second, Verdict::Rejected(_)), "{second:?}");
    let without = there.sends(says("without any").by(&[])).await;
    assert!(matches!(without, Verdict::Rejected(_)), "{without:?}");
    assert_ne!(rig.root(no), before);
    assert!(rig.state_content(no, "m.room.name", "").is_none());
}

#[tokio::test]
async fn what_only_the_current_state_forbids_soft_fails() {
    for version in [RoomVersionId::V6, RoomVersionId::V12] {
        let rig = Rig::new();
        let no = rig.create(&version, "public").await;
        let there = There { rig: &rig, no };
        there.accepted(joins(EVE)).await;
        let (tips, late_auth) = (there.tips(), there.selected(&says("")));
        let name_auth = late_auth.clone();
        rig.send(no, member(ALICE, EVE, "ban")).await.unwrap();
        let (head, count) = (rig.read(|view| rig.graph.reader().head(view, no)).unwrap(), rig.arrived(no).len());
        let verdict = there.sends(says("as if I were still here").after(&tips).by(&late_auth)).await;
        let Verdict::SoftFailed(placed) = verdict else { panic!("{verdict:?}") };
        assert_eq!(there.status(&placed.event_id), Some(Status::SoftFailed));
        let after = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
        assert_eq!((after.extremities, after.root), (head.extremities, head.root), "{version}");
        assert_eq!(rig.arrived(no).len(), count);
        let timeline =
            rig.read(|view| rig.graph.reader().timeline(view, no, None, myelin::graph::Direction::Backward, 100));
        assert!(timeline.rows.iter().all(|(_, seq)| *seq != placed.seq));
        // Rejected by the state before it, though its auth events allow it.
        let verdict = there.sends(says("after the ban").by(&name_auth)).await;
        assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
    }
}

#[tokio::test]
async fn forks_are_taken_and_joined() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let fork = there.tips();
    let auth = there.selected(&says(""));
    rig.send(no, message(ALICE, "one branch")).await.unwrap();
    there.accepted(says("another branch").after(&fork)).await;
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    assert_eq!(head.extremities.len(), 2);
    // Our next event joins them.
    let joined = rig.send(no, message(ALICE, "both")).await.unwrap();
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    assert_eq!(head.extremities, [joined.seq]);

    rig.send(no, state(ALICE, "m.room.topic", "", json!({"topic": "here"}))).await.unwrap();
    there.accepted(says("beside another state").after(&fork).by(&auth)).await;
    assert_eq!(there.tips().len(), 2);
    let both = [fork, there.tips()].concat();
    let joined = there.accepted(says("of two states").after(&both)).await;
    assert_eq!(there.tips(), [joined.event_id]);
    assert_eq!(rig.state_content(no, "m.room.topic", "").unwrap()["topic"], "here");
}

#[tokio::test]
async fn an_outlier_gets_its_place_later() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    let receipt = there.signed(joins(EVE));
    let id = receipt.event.pdu().event_id().to_owned();
    let kept = rig.graph.receive_outlier(no, receipt.clone()).await.unwrap();
    assert!(matches!(kept, Verdict::Accepted(_)));
    assert_eq!(there.status(&id), Some(Status::Outlier));
    assert_eq!(rig.membership(no, EVE), None);
    assert!(matches!(rig.graph.receive_outlier(no, receipt.clone()).await.unwrap(), Verdict::Duplicate(_)));
    let Verdict::Accepted(placed) = kept else { panic!() };
    // The state at an outlier is not known, so it is as good as missing.
    let needs = there.sends(says("behind it").after(std::slice::from_ref(&id)).by(&there.selected(&joins(EVE)))).await;
    assert!(matches!(needs, Verdict::Needs(Needs::Missing { .. })), "{needs:?}");
    let verdict = rig.graph.receive(no, receipt).await.unwrap();
    assert_eq!(verdict, Verdict::Accepted(placed));
    assert_eq!(there.status(&id), Some(Status::Accepted));
    there.accepted(says("now I am here")).await;
}

#[tokio::test]
async fn a_redaction_waits_for_its_target() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let fork = there.tips();
    let target = there.signed(says("regretted").after(&fork));
    let target_id = target.event.pdu().event_id().to_owned();
    let mut redaction = draft(EVE, "m.room.redaction", None, json!({})).after(&fork);
    redaction.redacts = Some(target_id.clone());
    let held = there.accepted(redaction).await;
    assert_eq!(there.status(&held.event_id), Some(Status::Held));
    assert_eq!(rig.arrived(no).len(), 6, "it is not shown before it does something");
    let verdict = rig.graph.receive(no, target).await.unwrap();
    assert!(matches!(verdict, Verdict::Accepted(_)));
    assert_eq!(there.status(&held.event_id), Some(Status::Accepted));
    let event = rig.event(&target_id);
    assert_eq!((event.content(), event.meta.redacted_by), (&b"{}"[..], Some(held.seq)));
    let arrived: Vec<_> = rig.arrived(no).into_iter().skip(6).map(|event| event.seq).collect();
    assert_eq!(arrived, [event.seq, held.seq]);
    // What somebody else's server says is not theirs to take away.
    let ours = rig.send(no, message(ALICE, "ours")).await.unwrap();
    let mut theirs = draft(EVE, "m.room.redaction", None, json!({}));
    theirs.redacts = Some(ours.event_id.clone());
    let held = there.accepted(theirs).await;
    assert_eq!(there.status(&held.event_id), Some(Status::Held));
    assert_eq!(rig.event(&ours.event_id).meta.redacted_by, None);
}

#[tokio::test]
async fn a_relation_finds_a_target_that_comes_later() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let fork = there.tips();
    let target = there.signed(says("root").after(&fork));
    let root_id = target.event.pdu().event_id().to_owned();
    let relates_to = json!({"rel_type": "m.thread", "event_id": root_id});
    let reply = draft(EVE, "m.room.message", None, json!({"body": "reply", "m.relates_to": relates_to})).after(&fork);
    let reply = there.accepted(reply).await;
    let Verdict::Accepted(root) = rig.graph.receive(no, target).await.unwrap() else { panic!() };
    let reader = rig.graph.reader().clone();
    let found = rig.read(|view| reader.relations_to(view, &[(no, root.seq)], "m.thread", 10));
    assert_eq!(found[0].rows, [(rig.event(&reply.event_id).meta.tie, reply.seq)]);
    assert_eq!(rig.read(|view| reader.threads(view, no, None, 10)).rows.len(), 1);
}

#[tokio::test]
async fn a_policy_server_must_have_signed() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let public = Base64::<ruma::serde::base64::Standard>::new(key_of("there", 9).public_key().to_vec());
    let policy = json!({"via": "there", "public_keys": {"ed25519": public.encode()}});
    rig.send(no, state(ALICE, "m.room.policy", "", policy)).await.unwrap();
    let refused = rig.send(no, message(ALICE, "unsigned")).await;
    assert!(matches!(refused, Err(SendError::NeedsPolicySignature(_))), "{refused:?}");
    let receipt = there.signed(says("unsigned"));
    assert_eq!(rig.graph.receive(no, receipt.clone()).await, Ok(Verdict::Needs(Needs::PolicySignature)));
    let refused = Receipt { refused_by_policy: true, ..receipt };
    assert!(matches!(rig.graph.receive(no, refused).await, Ok(Verdict::SoftFailed(_))));
    // Changing the policy itself needs no signature of the one that is there.
    rig.send(no, state(ALICE, "m.room.policy", "", json!({}))).await.unwrap();
    rig.send(no, message(ALICE, "free again")).await.unwrap();
}

#[tokio::test]
async fn depths_are_cut_to_what_the_previous_events_allow() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let mut high = says("from the far end");
    high.depth = (1 << 53) - 1;
    let high = there.accepted(high).await;
    let mut low = says("from below");
    low.depth = 0;
    let low = there.accepted(low).await;
    let (high, low) = (rig.event(&high.event_id).meta.depth, rig.event(&low.event_id).meta.depth);
    assert_eq!((high, low), (100 + (1 << 20), 101 + (1 << 20)));
    rig.send(no, message(BOB, "x")).await.unwrap_err();
    rig.send(no, message(ALICE, "we go on")).await.unwrap();
}

/// Ids are chosen in versions 1 and 2: what came first under one is the event, whatever became of it.
#[tokio::test]
async fn an_id_is_not_given_to_another_event() {
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let rig = Rig::new();
        let no = rig.create(&version, "public").await;
        let there = There { rig: &rig, no };
        there.accepted(joins(EVE)).await;
        let topic = |text: &str| draft(EVE, "m.room.topic", Some(""), json!({"topic": text})).named("$chosen:there");
        let rejected = there.sends(topic("not allowed")).await;
        assert!(matches!(rejected, Verdict::Rejected(_)), "{rejected:?}");
        let later = there.accepted(draft(EVE, "m.room.member", Some(EVE), json!({"membership": "join", "x": 1}))).await;
        let again = there.sends(says("another").named("$chosen:there").by(&[later.event_id])).await;
        assert!(matches!(again, Verdict::Rejected(_)), "{again:?}");
        let stored = rig.event(&OwnedEventId::try_from("$chosen:there").unwrap());
        assert_eq!((&*stored.kind, stored.meta.status), ("m.room.topic", Status::Rejected));
    }
}
