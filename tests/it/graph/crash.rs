//! Whichever commit fails, all rows agree afterwards, and what was acknowledged is there.

use futures_util::future::join_all;
use myelin::{
    graph::Placed,
    store::engine::{
        faulty::{Fault, Faulty},
        memory::Memory,
    },
};
use ruma::{RoomVersionId, server_name};

use super::rig::{ALICE, BOB, CAROL, Rig, member, message};

const DAVE: &str = "@dave:here";

/// A small life of a room; says what was acknowledged.
async fn live(rig: &Rig) -> Vec<Placed> {
    let Ok(no) = rig.try_create(&RoomVersionId::V11, super::rig::room(ALICE, "public", &RoomVersionId::V11)).await
    else {
        return Vec::new();
    };
    let mut acknowledged = Vec::new();
    acknowledged.extend(rig.send(no, member(BOB, BOB, "join")).await);
    let said = join_all((0..20).map(|number| rig.send(no, message(ALICE, &number.to_string())))).await;
    acknowledged.extend(said.into_iter().flatten());
    acknowledged.extend(rig.send(no, member(CAROL, CAROL, "join")).await);
    acknowledged.extend(rig.send(no, member(ALICE, BOB, "ban")).await);
    acknowledged.extend(rig.send(no, message(CAROL, "where is Bob?")).await);
    acknowledged.extend(rig.send(no, member(CAROL, CAROL, "leave")).await);
    acknowledged.extend(rig.send(no, member(ALICE, ALICE, "leave")).await);
    acknowledged
}

#[tokio::test]
async fn every_commit_may_be_the_last() {
    for fault in [Fault::Refused, Fault::Applied] {
        let mut commits = 0;
        while !survives(commits, fault).await {
            commits += 1;
        }
    }
}

/// The life of a room whose disk fails after so many commits; says whether it came to its end before.
async fn survives(commits: usize, fault: Fault) -> bool {
    let engine = Faulty::new(Memory::new());
    let rig = Rig::over(engine.clone());
    engine.forget(13, commits as u64);
    engine.fail_after(commits, fault);
    let acknowledged = live(&rig).await;
    let is_over = !engine.has_failed();
    drop(rig);

    engine.crash().unwrap();
    let rig = Rig::over(engine);
    rig.check();
    for placed in &acknowledged {
        let event = rig.event(&placed.event_id);
        assert_eq!((event.room, event.seq), (placed.room, placed.seq));
        assert!(event.is_accepted());
    }
    // And on from there.
    let rooms = rig.read(|view| rig.graph.reader().server_rooms(view, server_name!("here"), (None, 10)));
    for (no, _) in rooms.rows {
        rig.send(no, member(DAVE, DAVE, "join")).await.unwrap();
    }
    assert!(!is_over || acknowledged.len() == 26);
    is_over
}
