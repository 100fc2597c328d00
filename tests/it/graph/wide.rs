//! Changes that are too large for one commit: what thousands of members do while nobody hears of it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use myelin::{
    event::{Template, Verified, build, version},
    graph::{
        Adoption, Membership, Placed, Receipt, RoomNo, RoomServer, Verdict,
        keys::{MEMBER, NEXT_INDEXES, NODE, ROOM_SERVER, SLOT},
        log::Stream,
    },
    store::engine::{
        faulty::{Fault, Faulty},
        memory::Memory,
    },
};
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, ServerName, UserId, serde::Base64, signatures::PublicKeyMap,
};
use serde_json::{Value, json};

use super::{
    rig::{ALICE, Rig, content, key_of, member, message, room, state, user},
    there::{EVE, There, draft, joins},
};

const VERSION: RoomVersionId = RoomVersionId::V11;
/// Servers of those who come from elsewhere.
const SERVERS: usize = 700;
/// An event that nobody has, and one after it.
const LOST: &str = "$lostlostlostlostlostlostlostlostlostlostlos";
const LATER: &str = "$laterlaterlaterlaterlaterlaterlaterlaterlater";

/// A user of one of many servers.
pub fn someone(number: usize) -> String {
    format!("@u{number}:s{}", number % SERVERS)
}

/// Signs what a user of any server says.
pub fn signed(
    room_id: &RoomId,
    (sender, kind, state_key): (&str, &str, &str),
    value: Value,
    (prev, auth): (&[OwnedEventId], &[OwnedEventId]),
) -> Verified {
    let (rules, server) = (version::rules(&VERSION).unwrap(), user(sender).server_name().to_string());
    let key = key_of(&server, 2);
    let template = Template {
        room_id: Some(room_id.to_owned()),
        event_id: None,
        sender: user(sender),
        kind: kind.to_owned(),
        state_key: Some(state_key.to_owned()),
        content: content(value),
        redacts: None,
        origin_server_ts: 5,
        prev_events: prev.iter().cloned().map(Into::into).collect(),
        auth_events: auth.iter().cloned().map(Into::into).collect(),
        depth: 100,
    };
    let pdu = build::build(template, rules, &key).unwrap();
    let public = BTreeMap::from([(key.key_id().to_owned(), Base64::new(key.public_key().to_vec()))]);
    Verified::check(&pdu, rules, &PublicKeyMap::from([(server, public)])).unwrap()
}

pub fn moves(room_id: &RoomId, who: &str, membership: &str, auth: &[OwnedEventId]) -> Verified {
    signed(room_id, (who, "m.room.member", who), json!({"membership": membership}), (&[lost()], auth))
}

pub fn lost() -> OwnedEventId {
    OwnedEventId::try_from(LOST).unwrap()
}

fn id(event: &Verified) -> OwnedEventId {
    event.pdu().event_id().to_owned()
}

fn ids(events: &[Verified]) -> Vec<OwnedEventId> {
    events.iter().map(id).collect()
}

/// What is left in keyspaces of another generation than the one that is read, and of what was begun.
fn left_over(rig: &Rig, no: RoomNo) -> usize {
    rig.read(|view| {
        let generation = rig.graph.reader().head(view, no)?.unwrap().index_generation;
        let members = view.scan(&MEMBER.span(&(no,)), usize::MAX)?.rows;
        let servers = view.scan(&ROOM_SERVER.span(&(no,)), usize::MAX)?.rows;
        let members = members.iter().filter(|((_, of, _), _)| *of != generation).count();
        let servers = servers.iter().filter(|((_, of, _), _)| *of != generation).count();
        Ok(members + servers + usize::from(view.has(&NEXT_INDEXES, &(no,))?))
    })
}

/// Members by what they are, as `/members` lists them, and as the head counts them.
fn counted(rig: &Rig, no: RoomNo) -> (usize, usize, u32) {
    rig.read(|view| {
        let reader = rig.graph.reader();
        let count = |wanted| Ok::<_, myelin::store::ReadError>(reader.members(view, no, &[wanted])?.len());
        let head = reader.head(view, no)?.unwrap();
        Ok((count(Membership::Join)?, count(Membership::Leave)?, head.joined_members))
    })
}

fn server_row(rig: &Rig, no: RoomNo, server: &str) -> Option<RoomServer> {
    let rows = rig.read(|view| rig.graph.reader().servers(view, no));
    rows.into_iter().find(|(name, _)| name == server).map(|(_, row)| row)
}

/// A room of another server, as it tells of it.
struct Elsewhere {
    room_id: OwnedRoomId,
    /// Create event, Eve, power levels, join rules: what authorises a join.
    begin: Vec<Verified>,
}

impl Elsewhere {
    fn new() -> Self {
        let room_id = RoomId::parse("!large:there").unwrap();
        let says = |kind, state_key, value, auth: &[Verified]| {
            signed(&room_id, (EVE, kind, state_key), value, (&[lost()], &ids(auth)))
        };
        let rules = version::rules(&VERSION).unwrap();
        let create = {
            // The first event cites nothing.
            let value = json!({"room_version": VERSION.as_str()});
            signed(&room_id, (EVE, "m.room.create", ""), value, (&[], &[]))
        };
        assert!(!version::room_id_is_create_id(rules));
        let mut begin = vec![create];
        let eve =
            signed(&room_id, (EVE, "m.room.member", EVE), json!({"membership": "join"}), (&ids(&begin), &ids(&begin)));
        begin.push(eve);
        let levels = says("m.room.power_levels", "", json!({"users": {EVE: 100}}), &begin);
        begin.push(levels);
        let join_rules = says("m.room.join_rules", "", json!({"join_rule": "public"}), &begin);
        begin.push(join_rules);
        Self { room_id, begin }
    }

    /// What authorises a join.
    fn auth(&self) -> Vec<OwnedEventId> {
        [0, 2, 3].map(|index| id(&self.begin[index])).to_vec()
    }

    /// Alice's join after an event that nobody here has, and these members before it.
    fn adoption(&self, prev: &str, members: &[Verified], more: &[Verified]) -> Adoption {
        let rules = version::rules(&VERSION).unwrap();
        let template = Template {
            room_id: Some(self.room_id.clone()),
            event_id: None,
            sender: user(ALICE),
            kind: "m.room.member".to_owned(),
            state_key: Some(ALICE.to_owned()),
            content: content(json!({"membership": "join", "members": members.len()})),
            redacts: None,
            origin_server_ts: 6,
            prev_events: vec![OwnedEventId::try_from(prev).unwrap().into()],
            auth_events: self.auth().into_iter().map(Into::into).collect(),
            depth: 200,
        };
        let join = build::build(template, rules, &key_of("here", 1)).unwrap();
        let state: Vec<Verified> = [&self.begin, members].concat();
        Adoption {
            room_version: VERSION,
            join: Verified::check(&join, rules, &super::there::keys()).unwrap(),
            state: ids(&state),
            events: [&*state, more].concat(),
        }
    }
}

#[tokio::test]
async fn a_room_is_joined_again_after_thousands_of_members_have_come_and_gone() {
    const CAME: usize = 4_900;
    const WENT: usize = 100;
    let rig = Rig::new();
    let elsewhere = Elsewhere::new();
    let auth = elsewhere.auth();
    let old: Vec<_> = (0..WENT).map(|at| moves(&elsewhere.room_id, &format!("@old{at}:old"), "join", &auth)).collect();
    let first = rig.graph.adopt(elsewhere.adoption(LOST, &old, &[])).await.unwrap();
    let no = first.room;
    assert_eq!(counted(&rig, no), (WENT + 2, 0, 102));
    rig.send(no, member(ALICE, ALICE, "leave")).await.unwrap();
    let before = rig.root(no);

    let went = old.iter().enumerate().map(|(at, join)| {
        let auth = [&auth[..2], &[id(join)]].concat();
        moves(&elsewhere.room_id, &format!("@old{at}:old"), "leave", &auth)
    });
    let came = (0..CAME).map(|at| moves(&elsewhere.room_id, &someone(at), "join", &auth));
    let members: Vec<_> = went.chain(came).collect();
    let placed = rig.graph.adopt(elsewhere.adoption(LATER, &members, &old)).await.unwrap();

    assert_eq!(placed.room, no);
    assert_eq!(counted(&rig, no), (CAME + 2, WENT, 4_902));
    assert_eq!(left_over(&rig, no), 0);
    let position = rig.event(&placed.event_id).meta.position();
    let reader = rig.graph.reader();
    // Who came is told from the join on, who went up to it, and who was there all along as before.
    let came = server_row(&rig, no, "s3").unwrap();
    assert_eq!((came.joined_users, came.joined, came.left), (7, position, RoomServer::STILL));
    let went = server_row(&rig, no, "old").unwrap();
    assert_eq!((went.joined_users, went.left), (0, position));
    assert!(went.joined < position);
    assert!(server_row(&rig, no, "there").unwrap().joined < position);
    let rooms = rig.read(|view| reader.server_rooms(view, &ServerName::parse("s3").unwrap(), (None, 10)));
    assert_eq!(rooms.rows, [(no, came)]);
    let own = rig.read(|view| reader.user_room(view, &user(ALICE), no)).unwrap();
    assert_eq!((own.membership, own.joined_at), (Membership::Join, Some(position)));
    let changes = rig.read(|view| reader.changes(view, no, before, reader.root_at(view, no, position)?));
    // Everybody who came or went, and Alice.
    assert_eq!(changes.len(), CAME + WENT + 1);
    // And on from there, by the ordinary way.
    let another = moves(&elsewhere.room_id, "@new:s3", "join", &auth);
    let there = There { rig: &rig, no };
    let another = signed(
        &elsewhere.room_id,
        ("@new:s3", "m.room.member", "@new:s3"),
        json!({"membership": "join"}),
        (&there.tips(), another.pdu().auth_events()),
    );
    assert!(matches!(rig.graph.receive(no, another.into()).await.unwrap(), Verdict::Accepted(_)));
    let came = server_row(&rig, no, "s3").unwrap();
    assert_eq!((came.joined_users, came.joined), (8, position));
    // Nothing that was kept in memory of the members before is believed.
    rig.send(no, message(ALICE, "back")).await.unwrap();
    there.accepted(draft(EVE, "m.room.message", None, json!({"body": "welcome"}))).await;
}

/// A room of ours with Eve in it, who may do all that Alice may.
async fn shared(rig: &Rig) -> RoomNo {
    let mut events = room(ALICE, "public", &VERSION);
    events[2] = state(ALICE, "m.room.power_levels", "", json!({"users": {ALICE: 100, EVE: 100}}));
    let no = rig.try_create(&VERSION, events).await.unwrap();
    There { rig, no }.accepted(joins(EVE)).await;
    no
}

/// An event of Eve's behind a hole, with a state before it in which so many members are whom nobody here knows.
async fn claim(rig: &Rig, no: RoomNo, members: usize) -> Receipt {
    let there = There { rig, no };
    let auth = there.selected(&joins("@somebody:there"));
    let room_id = rig.read(|view| rig.graph.reader().head(view, no)).unwrap().room_id;
    let came: Vec<_> = (0..members).map(|at| moves(&room_id, &someone(at), "join", &auth)).collect();
    for some in came.chunks(500) {
        let kept = some.iter().map(|event| rig.graph.receive_outlier(no, event.clone().into()));
        assert!(join_all(kept).await.iter().all(|verdict| matches!(verdict, Ok(Verdict::Accepted(_)))));
    }
    let now = rig.state(no, rig.root(no)).into_iter().map(|(_, event_id)| event_id);
    let behind = draft(EVE, "m.room.topic", Some(""), json!({"topic": "after a long time"})).after(&[lost()]);
    Receipt { state_before: Some(now.chain(ids(&came)).collect()), ..there.signed(behind) }
}

#[tokio::test]
async fn a_claimed_state_brings_thousands_of_unknown_members() {
    const CAME: usize = 5_000;
    let rig = Rig::new();
    let no = shared(&rig).await;
    let receipt = claim(&rig, no, CAME).await;
    let verdict = rig.graph.receive(no, receipt).await.unwrap();
    let Verdict::Accepted(placed) = verdict else { panic!("{verdict:?}") };
    assert_eq!(counted(&rig, no), (CAME + 2, 0, 5_002));
    assert_eq!(left_over(&rig, no), 0);
    assert_eq!(rig.membership(no, &someone(4_999)), Some(Membership::Join));
    let position = rig.event(&placed.event_id).meta.position();
    assert_eq!(server_row(&rig, no, "s8").unwrap().joined, position);
    assert_eq!(rig.state_content(no, "m.room.topic", ""), Some(json!({"topic": "after a long time"})));
    rig.send(no, message(ALICE, "welcome, all of you")).await.unwrap();
}

/// Local users come while Eve, on her branch, has closed the door before.
async fn close_the_door(rig: &Rig, no: RoomNo, came: usize) -> Receipt {
    let there = There { rig, no };
    let closes = draft(EVE, "m.room.join_rules", Some(""), json!({"join_rule": "invite"}));
    let closes = there.signed(closes.after(&there.tips()));
    for first in (0..came).step_by(50) {
        let some = (first..(first + 50).min(came)).map(|at| {
            let id = format!("@u{at}:here");
            member(&id, &id, "join")
        });
        rig.graph.send(no, some.collect()).await.unwrap();
    }
    closes
}

#[tokio::test]
async fn a_resolution_removes_thousands_of_local_members() {
    const CAME: usize = 5_000;
    let rig = Rig::new();
    let no = shared(&rig).await;
    let closes = close_the_door(&rig, no, CAME).await;
    assert_eq!(counted(&rig, no), (CAME + 2, 0, 5_002));
    rig.touches.lock().clear();
    let verdict = rig.graph.receive(no, closes).await.unwrap();
    let Verdict::Accepted(placed) = verdict else { panic!("{verdict:?}") };

    assert_eq!(counted(&rig, no), (2, 0, 2));
    assert_eq!(left_over(&rig, no), 0);
    let (reader, position) = (rig.graph.reader(), rig.event(&placed.event_id).meta.position());
    let touches = rig.touches.lock().clone();
    for at in 0..CAME {
        let id = user(&format!("@u{at}:here"));
        let own = rig.read(|view| reader.user_room(view, &id, no)).unwrap();
        assert_eq!((own.membership, own.seq, own.was_joined), (Membership::Leave, None, true));
        assert!(own.left_root == Some(rig.root(no)) && own.left_at.unwrap() > position);
    }
    let told = touches.iter().filter(|touch| touch.entry.stream == Stream::Membership).count();
    assert_eq!(told, CAME, "each hears of it once");
    // They may come again when the door is open.
    let knows = member(ALICE, "@u7:here", "invite");
    rig.send(no, knows).await.unwrap();
    rig.send(no, member("@u7:here", "@u7:here", "join")).await.unwrap();
    assert_eq!(counted(&rig, no), (3, 0, 3));
}

#[tokio::test]
async fn users_of_ours_who_were_in_a_large_room_before_it_is_known_here_are_told() {
    const OURS: usize = 1_100;
    let rig = Rig::new();
    let elsewhere = Elsewhere::new();
    let ours: Vec<_> =
        (0..OURS).map(|at| moves(&elsewhere.room_id, &format!("@u{at}:here"), "join", &elsewhere.auth())).collect();
    let placed = rig.graph.adopt(elsewhere.adoption(LOST, &ours, &[])).await.unwrap();
    let reader = rig.graph.reader();
    assert_eq!((counted(&rig, placed.room), left_over(&rig, placed.room)), ((OURS + 2, 0, 1_102), 0));
    for at in 0..OURS {
        let own = rig.read(|view| reader.user_room(view, &user(&format!("@u{at}:here")), placed.room)).unwrap();
        assert_eq!(own.membership, Membership::Join);
    }
}

/// How many slots and nodes a room has.
fn of_states(rig: &Rig, no: RoomNo) -> (usize, usize) {
    rig.read(|view| {
        let slots = view.scan(&SLOT.span(&(no,)), usize::MAX)?.rows;
        Ok((slots.len(), view.scan(&NODE.span(&(no,)), usize::MAX)?.rows.len()))
    })
}

/// Members enough that their indexes are written aside.
const MANY: usize = 2_100;

/// Hands in an event again and again, each time to a server whose disk fails one commit later, until it is in. Nobody ever
/// sees a part of what it changes, and what is left to do afterwards is done by whoever starts next.
async fn fails_everywhere(engine: Faulty<Memory>, no: RoomNo, receipt: Receipt, (before, after): (usize, usize)) {
    let event_id = id(&receipt.event);
    let mut rig = Rig::over(engine.clone());
    let (old, (slots, nodes)) = (rig.root(no), of_states(&rig, no));
    let mut failures = 0;
    let placed: Placed = 'placed: loop {
        for fault in [Fault::Refused, Fault::Applied] {
            engine.fail_after(failures, fault);
            let verdict = rig.graph.receive(no, receipt.clone()).await;
            engine.crash().unwrap();
            drop(rig);
            rig = Rig::over(engine.clone());
            rig.check();
            match verdict {
                Ok(Verdict::Accepted(placed) | Verdict::Duplicate(placed)) => break 'placed placed,
                Ok(verdict) => panic!("{verdict:?}"),
                Err(_) if rig.root(no) == old => assert_eq!(counted(&rig, no).0, before, "{failures}"),
                // The commit that failed was applied.
                Err(_) => assert_eq!(counted(&rig, no).0, after, "{failures}"),
            }
        }
        failures += 1;
    };
    assert!(failures > 3, "it was written in {failures} commits");
    assert_eq!(placed.event_id, event_id);
    let (more_slots, more_nodes) = of_states(&rig, no);
    let (more_slots, more_nodes) = (more_slots - slots, more_nodes - nodes);
    // What the tries wrote was used again.
    assert!(more_slots <= MANY + 1 && more_nodes < 200, "{more_slots} slots, {more_nodes} nodes");
    for good in 0.. {
        assert_eq!(counted(&rig, no).0, after);
        engine.fail_after(good, Fault::Refused);
        let swept = rig.graph.sweep_staged().await;
        if !engine.has_failed() {
            swept.unwrap();
            engine.fail_after(usize::MAX, Fault::Refused);
            break;
        }
        assert!(swept.is_err());
        engine.crash().unwrap();
        drop(rig);
        rig = Rig::over(engine.clone());
        rig.check();
    }
    assert_eq!(left_over(&rig, no), 0);
    rig.send(no, message(ALICE, "all is well")).await.unwrap();
}

#[tokio::test]
async fn whichever_commit_of_a_large_change_fails_nothing_is_half_done() {
    let engine = Faulty::new(Memory::new());
    let rig = Rig::over(engine.clone());
    let no = shared(&rig).await;
    let receipt = claim(&rig, no, MANY).await;
    drop(rig);
    fails_everywhere(engine, no, receipt, (2, MANY + 2)).await;
}

#[tokio::test]
async fn whichever_commit_fails_all_local_users_are_told_in_the_end() {
    let engine = Faulty::new(Memory::new());
    let rig = Rig::over(engine.clone());
    let no = shared(&rig).await;
    let receipt = close_the_door(&rig, no, MANY).await;
    drop(rig);
    fails_everywhere(engine.clone(), no, receipt, (MANY + 2, 2)).await;
    let rig = Rig::over(engine);
    for at in 0..MANY {
        let id = UserId::parse(format!("@u{at}:here")).unwrap();
        let own = rig.read(|view| rig.graph.reader().user_room(view, &id, no)).unwrap();
        assert_eq!(own.membership, Membership::Leave);
    }
}
