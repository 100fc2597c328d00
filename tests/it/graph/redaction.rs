//! Redactions: what they take away, who may, and what waits.

use myelin::graph::{Direction, Event, Proposal, SendError, Status, Verdict};
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::{Value, json};

use super::{
    rig::{ALICE, BOB, Rig, content, member, message, user, versions},
    there::{EVE, There, joins, says},
};

fn redact(sender: &str, target: &OwnedEventId) -> Proposal {
    Proposal::redaction(user(sender), target.clone(), content(json!({"reason": "spam"})))
}

fn content_of(event: &Event) -> Value {
    serde_json::from_slice(event.content()).unwrap()
}

#[tokio::test]
async fn a_redaction_takes_the_content_in_every_version() {
    for version in versions() {
        let rig = Rig::new();
        let no = rig.create(&version, "public").await;
        rig.send(no, member(BOB, BOB, "join")).await.unwrap();
        let said = rig.send(no, message(BOB, "secret")).await.unwrap();
        let by = rig.send(no, redact(ALICE, &said.event_id)).await.unwrap();
        let event = rig.event(&said.event_id);
        assert_eq!(content_of(&event), json!({}), "{version}");
        assert_eq!(event.meta.redacted_by, Some(by.seq));
        assert_eq!((event.seq, event.sender.as_str()), (said.seq, BOB));
        let original = rig.read(|view| rig.graph.reader().original(view, no, said.seq)).unwrap();
        assert!(String::from_utf8(original.pdu).unwrap().contains("secret"));
        assert!(original.expires > 1_700_000_000_000);
        let redaction = rig.event(&by.event_id);
        assert_eq!(redaction.redacts.as_ref(), Some(&said.event_id));
        let in_content = content_of(&redaction).get("redacts").is_some();
        assert_eq!(in_content, matches!(version, RoomVersionId::V11 | RoomVersionId::V12), "{version}");
        let client: Value = serde_json::from_str(&(String::from_utf8(redaction.client_json()).unwrap() + "}")).unwrap();
        assert_eq!(client["redacts"], said.event_id.as_str());
        // A second one changes nothing more.
        rig.send(no, redact(BOB, &said.event_id)).await.unwrap();
        assert_eq!(rig.event(&said.event_id).meta.redacted_by, Some(by.seq));
    }
}

#[tokio::test]
async fn only_who_may_redacts() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let elsewhere = rig.create(&RoomVersionId::V11, "public").await;
    let there = rig.send(elsewhere, message(ALICE, "in another room")).await.unwrap();
    let refused = rig.send(no, redact(ALICE, &there.event_id)).await;
    assert!(matches!(refused, Err(SendError::NotAllowed(_))), "{refused:?}");
    let nothing = OwnedEventId::try_from("$nothing").unwrap();
    rig.send(no, member(BOB, BOB, "join")).await.unwrap();
    assert!(matches!(rig.send(no, redact(BOB, &nothing)).await, Err(SendError::UnknownTarget)));
    assert_eq!(rig.event(&there.event_id).meta.redacted_by, None);
}

#[tokio::test]
async fn an_event_and_its_redaction_in_one_commit() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let root = rig.send(no, message(ALICE, "root")).await.unwrap();
    let reply = |body: &str| {
        let relates_to = json!({"rel_type": "m.thread", "event_id": root.event_id});
        let content = content(json!({"body": body, "msgtype": "m.text", "m.relates_to": relates_to}));
        Proposal::message(user(ALICE), "m.room.message", content)
    };
    let one = rig.send(no, reply("one")).await.unwrap();
    let two = rig.send(no, reply("two")).await.unwrap();
    let reader = rig.graph.reader().clone();
    let thread = |limit| {
        rig.read(|view| reader.relations(view, no, root.seq, Some("m.thread"), None, Direction::Backward, limit))
    };
    assert_eq!(thread(10).rows.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [two.seq, one.seq]);
    assert!(thread(1).more);
    let last = |rig: &Rig| rig.read(|view| reader.threads(view, no, None, 10)).rows;
    assert_eq!(last(&rig).len(), 1);
    assert_eq!(last(&rig)[0], (rig.event(&two.event_id).meta.tie, root.seq));

    // The last of the thread goes, and the thread moves back to the one before.
    rig.send(no, redact(ALICE, &two.event_id)).await.unwrap();
    assert_eq!(thread(10).rows.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [one.seq]);
    assert_eq!(last(&rig), [(rig.event(&one.event_id).meta.tie, root.seq)]);
    rig.send(no, redact(ALICE, &one.event_id)).await.unwrap();
    assert!(thread(10).rows.is_empty() && last(&rig).is_empty());
    let any = rig.read(|view| reader.relations(view, no, root.seq, None, None, Direction::Forward, 10));
    assert!(any.rows.is_empty());
}

#[tokio::test]
async fn relations_of_all_types_come_in_order() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V12, "public").await;
    let target = rig.send(no, message(ALICE, "target")).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..6 {
        let rel_type = ["m.annotation", "m.reference", "m.replace"][number % 3];
        let relates_to = json!({"rel_type": rel_type, "event_id": target.event_id, "key": "👍"});
        let content = content(json!({"m.relates_to": relates_to}));
        expected.push(rig.send(no, Proposal::message(user(ALICE), "m.reaction", content)).await.unwrap().seq);
    }
    let reader = rig.graph.reader().clone();
    let page =
        |from, direction, limit| rig.read(|view| reader.relations(view, no, target.seq, None, from, direction, limit));
    let seqs = |rows: &[(myelin::graph::Tie, myelin::graph::Seq)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
    let first = page(None, Direction::Forward, 4);
    assert!(first.more);
    assert_eq!(seqs(&first.rows), expected[..4]);
    let second = page(first.rows.last().map(|row| row.0), Direction::Forward, 4);
    assert!(!second.more);
    assert_eq!(seqs(&second.rows), expected[4..]);
    let back = page(None, Direction::Backward, 10);
    assert_eq!(seqs(&back.rows), expected.iter().rev().copied().collect::<Vec<_>>());
    let two = rig.read(|view| reader.relations_to(view, &[(no, target.seq)], "m.replace", 1));
    assert_eq!(seqs(&two[0].rows), [expected[5]]);
}

/// Others may have what is not here: who may redact anything has their redaction sent, and it waits for its target.
#[tokio::test]
async fn a_redaction_is_sent_before_its_target_is_here() {
    let rig = Rig::new();
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let there = There { rig: &rig, no };
    there.accepted(joins(EVE)).await;
    let said = there.signed(says("666"));
    let id = said.event.pdu().event_id().to_owned();
    let redaction = rig.send(no, redact(ALICE, &id)).await.unwrap();
    let stored = rig.event(&redaction.event_id);
    assert_eq!((stored.meta.status, stored.meta.relay), (Status::Held, true));
    assert!(rig.arrived(no).iter().all(|event| event.event_id != redaction.event_id));
    let told = rig.touches.lock().iter().any(|touch| touch.entry.reference == u64::from(redaction.seq.0));
    assert!(told, "whoever sends to others follows the log");
    assert!(matches!(rig.graph.receive(no, said).await, Ok(Verdict::Accepted(_))));
    assert_eq!(rig.event(&id).meta.redacted_by, Some(redaction.seq));
    assert!(rig.arrived(no).iter().any(|event| event.event_id == redaction.event_id));
}
