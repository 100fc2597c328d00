//! Rooms whose history forks: what the specification says of soft failure, of rejected events and of the state of several.

use myelin::graph::{
    Membership, Needs, Receipt, RoomNo, Status, Verdict,
    keys::{GAP, RESOLVED},
};
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::json;

use super::{
    rig::{ALICE, BOB, Rig, member, message, room, state, versions},
    there::{EVE, There, draft, joins, says},
};

const FRED: &str = "@fred:there";

/// A room in which Eve may set the topic, and Fred is, too.
async fn shared(rig: &Rig, version: &RoomVersionId) -> RoomNo {
    let mut events = room(ALICE, "public", version);
    let mut users = json!({EVE: 50});
    if *version != RoomVersionId::V12 {
        users[ALICE] = json!(100);
    }
    events[2] = state(ALICE, "m.room.power_levels", "", json!({"users": users}));
    let no = rig.try_create(version, events).await.unwrap();
    let there = There { rig, no };
    there.accepted(joins(EVE)).await;
    there.accepted(joins(FRED)).await;
    no
}

fn resolved_forks(rig: &Rig, no: RoomNo) -> usize {
    rig.read(|view| view.scan(&RESOLVED.span(&(no,)), 100)).rows.len()
}

/// The example of "Soft failure": A, the ban B, Eve's topic C beside it, and D after both.
#[tokio::test]
async fn a_soft_failed_event_may_enter_the_state_by_resolution() {
    for version in versions() {
        let rig = Rig::new();
        let no = shared(&rig, &version).await;
        let there = There { rig: &rig, no };
        let a = there.tips();
        let topic = draft(EVE, "m.room.topic", Some(""), json!({"topic": "evading"})).after(&a);
        let topic = topic.by(&there.selected(&says("")));
        let b = rig.send(no, member(ALICE, EVE, "ban")).await.unwrap();
        let root = rig.root(no);
        let verdict = there.sends(topic).await;
        let Verdict::SoftFailed(c) = verdict else { panic!("{version}: {verdict:?}") };
        assert_eq!((there.tips(), rig.root(no)), (vec![b.event_id.clone()], root));

        let d = says("after both").sent_by(FRED).after(&[b.event_id.clone(), c.event_id.clone()]);
        let d = there.accepted(d).await;
        assert_eq!(there.tips(), [d.event_id]);
        // "In the original version of the algorithm C would be in the resolved state, whereas in latter versions …"
        let topic = rig.state_content(no, "m.room.topic", "");
        assert_eq!(topic.is_some(), version == RoomVersionId::V1, "{version}");
        assert_eq!(rig.membership(no, EVE), Some(Membership::Ban));
        assert_eq!(there.status(&c.event_id), Some(Status::SoftFailed));
        assert!(rig.arrived(no).iter().all(|event| event.event_id != c.event_id));
    }
}

#[tokio::test]
async fn what_only_soft_failed_events_have_after_them_is_no_extremity_for_ever() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let (a, auth) = (there.tips(), there.selected(&says("")));
    let beside = there.accepted(says("a branch").sent_by(FRED).after(&a)).await;
    rig.send(no, member(ALICE, EVE, "ban")).await.unwrap();
    // The ban joined both; now Eve goes on from where she still was, and Fred, who does not know, from there.
    let eve = there.sends(says("still here").after(&[beside.event_id]).by(&auth)).await;
    let Verdict::SoftFailed(eve) = eve else { panic!("{eve:?}") };
    let tips = there.tips();
    let fred = there.accepted(says("behind her").sent_by(FRED).after(std::slice::from_ref(&eve.event_id))).await;
    assert_eq!(there.tips(), [tips, vec![fred.event_id.clone()]].concat());
    // What joins both only by way of a rejected event has all of them before it.
    let rejected = there.signed(says("again").after(&there.tips()).by(&auth));
    let id = rejected.event.pdu().event_id().to_owned();
    let verdict = rig.graph.receive(no, rejected).await.unwrap();
    assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
    let last = there.accepted(says("and on").sent_by(FRED).after(&[id])).await;
    assert_eq!(there.tips(), [last.event_id]);
}

#[tokio::test]
async fn a_fork_is_resolved_once() {
    for version in [RoomVersionId::V1, RoomVersionId::V6, RoomVersionId::V12] {
        let rig = Rig::new();
        let no = shared(&rig, &version).await;
        let there = There { rig: &rig, no };
        let fork = there.tips();
        rig.send(no, state(ALICE, "m.room.topic", "", json!({"topic": "ours"}))).await.unwrap();
        let theirs =
            there.accepted(draft(EVE, "m.room.topic", Some(""), json!({"topic": "theirs"})).after(&fork)).await;
        assert_eq!((there.tips().len(), resolved_forks(&rig, no)), (2, 1));
        let mut last = theirs.event_id;
        for _ in 0..3 {
            last = there.accepted(says("on the other branch").sent_by(FRED).after(&[last])).await.event_id;
        }
        assert_eq!((there.tips().len(), resolved_forks(&rig, no)), (2, 1));
        let root = rig.root(no);
        let joined = rig.send(no, message(ALICE, "both")).await.unwrap();
        assert_eq!((there.tips(), rig.root(no)), (vec![joined.event_id], root));
        assert_eq!(resolved_forks(&rig, no), 1);
        assert_eq!(rig.event(&rig.arrived(no).last().unwrap().event_id).meta.root_before, root);
    }
}

#[tokio::test]
async fn members_follow_what_resolution_decides() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    let fork = there.tips();
    let by = there.selected(&draft(EVE, "m.room.member", Some(BOB), json!({"membership": "leave"})));
    rig.send(no, message(BOB, "I am here")).await.unwrap();
    rig.send(no, state(ALICE, "m.room.topic", "", json!({"topic": "here"}))).await.unwrap();
    // On another branch Eve, who may, has kicked him. That she did is later in the order of power, so it holds.
    there.accepted(draft(EVE, "m.room.member", Some(BOB), json!({"membership": "leave"})).after(&fork).by(&by)).await;
    assert_eq!(rig.membership(no, BOB), Some(Membership::Leave));
    let head = rig.read(|view| rig.graph.reader().head(view, no)).unwrap();
    assert_eq!((head.extremities.len(), head.joined_members), (2, 3));
    rig.send(no, message(BOB, "I am gone")).await.unwrap_err();
    assert_eq!(rig.state_content(no, "m.room.topic", "").unwrap()["topic"], "here");
}

/// More extremities than an event may cite are joined step by step; none is dropped.
#[tokio::test]
async fn many_extremities_are_joined_step_by_step() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let fork = there.tips();
    for number in 0..23 {
        let name = draft(EVE, "m.room.name", Some(""), json!({"name": number})).after(&fork);
        there.accepted(name).await;
    }
    assert_eq!(there.tips().len(), 23);
    for left in [14, 5, 1] {
        let event = rig.send(no, message(ALICE, "step")).await.unwrap();
        assert_eq!(there.tips().len(), left);
        assert_eq!(rig.event(&event.event_id).meta.status, Status::Accepted);
    }
}

/// An event that was rejected when only its auth events were known gets its place, so that others can come after it.
#[tokio::test]
async fn a_rejected_outlier_gets_its_place_later() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let bad = there.signed(draft(FRED, "m.room.name", Some(""), json!({"name": "Fred's"})));
    let id = bad.event.pdu().event_id().to_owned();
    assert!(matches!(rig.graph.receive_outlier(no, bad.clone()).await, Ok(Verdict::Rejected(_))));
    let behind = there.signed(says("behind it").after(std::slice::from_ref(&id)));
    let needs = rig.graph.receive(no, behind.clone()).await.unwrap();
    assert_eq!(needs, Verdict::Needs(Needs::Missing { prev: vec![id.clone()], auth: Vec::new() }));
    assert!(matches!(rig.graph.receive(no, bad.clone()).await, Ok(Verdict::Rejected(_))));
    assert!(matches!(rig.graph.receive(no, bad).await, Ok(Verdict::Duplicate(_))));
    assert!(matches!(rig.graph.receive(no, behind).await, Ok(Verdict::Accepted(_))));
    assert_eq!(there.status(&id), Some(Status::Rejected));
    assert_eq!(rig.state_content(no, "m.room.name", ""), None);
}

/// A redaction and its target that come together, the wrong way around.
#[tokio::test]
async fn a_redaction_finds_its_target_in_the_same_commit() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let fork: Vec<OwnedEventId> = there.tips();
    let target = there.signed(says("regretted").after(&fork));
    let target_id = target.event.pdu().event_id().to_owned();
    let mut redaction = draft(EVE, "m.room.redaction", None, json!({})).after(&fork);
    redaction.redacts = Some(target_id.clone());
    let redaction = there.signed(redaction);
    let commits = rig.commits();
    let (first, second) = tokio::join!(rig.graph.receive(no, redaction), rig.graph.receive(no, target));
    assert_eq!(rig.commits(), commits + 1, "they share a commit");
    let Ok(Verdict::Accepted(redaction)) = first else { panic!("{first:?}") };
    assert!(matches!(second, Ok(Verdict::Accepted(_))));
    assert_eq!(there.status(&redaction.event_id), Some(Status::Accepted));
    assert_eq!(rig.event(&target_id).meta.redacted_by, Some(redaction.seq));
    assert_eq!(rig.event(&target_id).content(), b"{}");
}

fn gaps(rig: &Rig, no: RoomNo) -> usize {
    rig.read(|view| view.scan(&GAP.span(&(no,)), 100)).rows.len()
}

/// An event whose previous event cannot be had, with the state before it as another server says.
#[tokio::test]
async fn behind_a_gap_another_server_says_what_the_state_is() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let state_before: Vec<OwnedEventId> = rig.state(no, rig.root(no)).into_iter().map(|(_, id)| id).collect();
    let lost = there.signed(says("lost on the way").sent_by(FRED));
    let lost_id = lost.event.pdu().event_id().to_owned();
    let topic = there
        .signed(draft(EVE, "m.room.topic", Some(""), json!({"topic": "on"})).after(std::slice::from_ref(&lost_id)));
    let needs = rig.graph.receive(no, topic.clone()).await.unwrap();
    assert_eq!(needs, Verdict::Needs(Needs::Missing { prev: vec![lost_id.clone()], auth: Vec::new() }));
    let unknown = vec![OwnedEventId::try_from("$unknown").unwrap()];
    let needs = rig.graph.receive(no, Receipt { state_before: Some(unknown.clone()), ..topic.clone() }).await.unwrap();
    assert_eq!(needs, Verdict::Needs(Needs::Missing { prev: Vec::new(), auth: unknown }));

    let behind = Receipt { state_before: Some(state_before), ..topic };
    let verdict = rig.graph.receive(no, behind).await.unwrap();
    let Verdict::Accepted(topic) = verdict else { panic!("{verdict:?}") };
    assert_eq!((gaps(&rig, no), there.tips().len()), (1, 2));
    assert_eq!(rig.state_content(no, "m.room.topic", "").unwrap()["topic"], "on");
    // What was lost comes after all: it is behind what came before it, and no extremity.
    assert!(matches!(rig.graph.receive(no, lost).await, Ok(Verdict::Accepted(_))));
    assert_eq!((gaps(&rig, no), there.tips()), (0, vec![topic.event_id]));
}

/// By a state that another server made up nothing is put away as rejected: it is judged again when its previous events are here.
#[tokio::test]
async fn an_event_that_was_rejected_wrongly_is_taken_later() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    let there = There { rig: &rig, no };
    let mut made_up = rig.state(no, rig.root(no));
    made_up.retain(|(key, _)| key.state_key != EVE);
    let lost = there.signed(says("lost on the way").sent_by(FRED));
    let lost_id = lost.event.pdu().event_id().to_owned();
    let topic = there
        .signed(draft(EVE, "m.room.topic", Some(""), json!({"topic": "on"})).after(std::slice::from_ref(&lost_id)));
    let id = topic.event.pdu().event_id().to_owned();
    let state_before = Some(made_up.into_iter().map(|(_, id)| id).collect());
    let verdict = rig.graph.receive(no, Receipt { state_before, ..topic.clone() }).await.unwrap();
    assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
    assert_eq!((there.status(&id), gaps(&rig, no)), (None, 0));
    assert!(matches!(rig.graph.receive(no, topic.clone()).await, Ok(Verdict::Needs(_))));
    let verdict = rig.graph.receive(no, lost).await.unwrap();
    assert!(matches!(verdict, Verdict::Accepted(_)));
    let verdict = rig.graph.receive(no, topic).await.unwrap();
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    assert_eq!((there.status(&id), there.tips(), gaps(&rig, no)), (Some(Status::Accepted), vec![id], 0));
    assert_eq!(rig.state_content(no, "m.room.topic", "").unwrap()["topic"], "on");
}

/// In a room whose auth graph is read in part: what the new event itself cites is in it, too.
#[tokio::test]
async fn what_a_new_event_cites_is_known_to_the_resolution_that_it_makes_necessary() {
    let rig = Rig::new();
    let no = shared(&rig, &RoomVersionId::V11).await;
    for number in 0..120 {
        rig.send(no, message(ALICE, &number.to_string())).await.unwrap();
    }
    let there = There { rig: &rig, no };
    let named = |name: &str| draft(EVE, "m.room.member", Some(EVE), json!({"membership": "join", "displayname": name}));
    let eves = || {
        let found = rig.state(no, rig.root(no)).into_iter().find(|(key, _)| key.state_key == EVE);
        found.unwrap().1
    };
    let first = there.signed(named("first"));
    let mut auth = first.event.pdu().auth_events().to_vec();
    auth.retain(|id| *id != eves());
    let citing = |outlier: &Receipt| [&*auth, &[outlier.event.pdu().event_id().to_owned()]].concat();
    let second = there.signed(named("second").by(&citing(&first)));
    let third = named("third").by(&citing(&second));
    let lost = there.signed(says("lost on the way").sent_by(FRED)).event.pdu().event_id().to_owned();
    let third = there.signed(third.after(&[lost]));
    let mut state_before: Vec<OwnedEventId> = rig.state(no, rig.root(no)).into_iter().map(|(_, id)| id).collect();
    state_before.retain(|id| *id != eves());
    state_before.push(second.event.pdu().event_id().to_owned());
    for outlier in [first, second] {
        rig.graph.receive_outlier(no, outlier).await.unwrap();
    }
    let verdict = rig.graph.receive(no, Receipt { state_before: Some(state_before), ..third }).await.unwrap();
    assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    assert_eq!(there.tips().len(), 2);
}
