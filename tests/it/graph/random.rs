//! Random sequences of sends, gathered as they come: states are those of a plain map at every event and every position,
//! and all rows agree.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use myelin::graph::{Proposal, RoomNo, StateKey};
use proptest::prelude::*;
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::json;

use super::rig::{ALICE, BOB, CAROL, Rig, content, member, message, room, state, user};

const DAVE: &str = "@dave:elsewhere";
const PEOPLE: [&str; 4] = [ALICE, BOB, CAROL, DAVE];

#[derive(Clone, Debug)]
enum Action {
    Member { sender: usize, target: usize, membership: &'static str },
    State { sender: usize, kind: usize, key: u8 },
    Say { sender: usize },
    Reply { sender: usize, to: prop::sample::Index },
    Redact { sender: usize, target: prop::sample::Index },
}

fn action() -> impl Strategy<Value = Action> {
    let who = 0..3_usize;
    let membership = prop_oneof![Just("join"), Just("join"), Just("leave"), Just("invite"), Just("ban")];
    prop_oneof![
        3 => (who.clone(), 0..4_usize, membership)
            .prop_map(|(sender, target, membership)| Action::Member { sender, target, membership }),
        2 => (who.clone(), 0..3_usize, 0..80_u8).prop_map(|(sender, kind, key)| Action::State { sender, kind, key }),
        2 => who.clone().prop_map(|sender| Action::Say { sender }),
        2 => (who.clone(), any::<prop::sample::Index>()).prop_map(|(sender, to)| Action::Reply { sender, to }),
        1 => (who, any::<prop::sample::Index>()).prop_map(|(sender, target)| Action::Redact { sender, target }),
    ]
}

fn proposal(action: &Action, known: &[OwnedEventId]) -> Proposal {
    match action {
        Action::Member { sender, target, membership } => member(PEOPLE[*sender], PEOPLE[*target], membership),
        Action::State { sender, kind, key } => {
            let kind = ["org.example.one", "org.example.two", "m.room.topic"][*kind];
            state(PEOPLE[*sender], kind, &key.to_string(), json!({"value": key}))
        }
        Action::Say { sender } => message(PEOPLE[*sender], "something"),
        Action::Reply { sender, to } => {
            let relates_to = json!({"rel_type": "m.thread", "event_id": to.get(known)});
            let content = content(json!({"body": "reply", "m.relates_to": relates_to}));
            Proposal::message(user(PEOPLE[*sender]), "m.room.message", content)
        }
        Action::Redact { sender, target } => {
            Proposal::redaction(user(PEOPLE[*sender]), target.get(known).clone(), content(json!({})))
        }
    }
}

type Model = BTreeMap<StateKey, OwnedEventId>;

fn check_states(rig: &Rig, no: RoomNo) {
    let mut model = Model::new();
    let by_model = |model: &Model| model.iter().map(|(key, id)| (key.clone(), id.clone())).collect::<Vec<_>>();
    let arrived = rig.arrived(no);
    for (index, event) in arrived.iter().enumerate() {
        assert_eq!(rig.state(no, event.meta.root_before), by_model(&model), "before {}", event.seq.0);
        if let Some(state_key) = &event.state_key {
            model.insert(StateKey::new(&*event.kind, &**state_key), event.event_id.clone());
        }
        let position = event.meta.position();
        if arrived.get(index + 1).is_none_or(|next| next.meta.position() > position) {
            let root = rig.read(|view| rig.graph.reader().root_at(view, no, position));
            assert_eq!(rig.state(no, root), by_model(&model), "at {}", position.0);
        }
    }
    assert_eq!(rig.state(no, rig.root(no)), by_model(&model));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn states_are_those_of_a_plain_map(
        rounds in prop::collection::vec(prop::collection::vec(action(), 1..12), 1..8),
        version in prop::sample::select(vec![RoomVersionId::V1, RoomVersionId::V6, RoomVersionId::V11, RoomVersionId::V12]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let no = rig.try_create(&version, room(ALICE, "public", &version)).await.unwrap();
            let mut known: Vec<OwnedEventId> =
                rig.arrived(no).into_iter().map(|event| event.event_id.clone()).collect();
            for round in &rounds {
                let sends = round.iter().map(|action| rig.send(no, proposal(action, &known)));
                let sent: Vec<_> = join_all(sends).await;
                known.extend(sent.into_iter().flatten().map(|placed| placed.event_id));
                rig.check();
            }
            check_states(&rig, no);
        });
    }
}
