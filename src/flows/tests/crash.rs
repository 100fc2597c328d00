//! The disk fails at the k-th write, for every k, and the server starts again: what was acknowledged is there, what was
//! not is not there by halves.

use super::{uia::pass_dummy, *};
use crate::{
    flows::{
        account,
        delete_device::delete_devices,
        login::{with_password, with_token},
        logout::{logout, logout_all},
        refresh::refresh,
    },
    store::engine::faulty::{Fault, Faulty},
    users::uia::Progress,
};

/// What a server acknowledged before its disk failed.
#[derive(Debug, Default)]
struct Acknowledged {
    alive: Vec<String>,
    dead: Vec<String>,
    finished: bool,
}

/// The life of a user's sessions; goes as far as the disk lets it.
async fn live(house: &House, acknowledged: &mut Acknowledged) -> Option<()> {
    let users = &house.users;
    let account = NewAccount { session: Some(on("FIRST")), ..house.account("alice").await };
    let first = register(users, account).await.ok()??.tokens.access.reveal();
    acknowledged.alive.push(first.clone());
    let login = async |choice| with_password((users, HOME), user_id("alice"), password("alice"), choice).await.ok();
    let second = login(on("SECOND")).await?.tokens.access.reveal();
    acknowledged.alive.push(second.clone());
    // A takeover: the device's old token is dead when the new one is given out, and may be when it is not.
    acknowledged.alive.retain(|token| *token != second);
    let third = login(DeviceChoice { refresh: true, ..on("SECOND") }).await?.tokens;
    acknowledged.dead.push(second);
    let refresh_token = third.refresh?.reveal();
    let fourth = refresh(users, &refresh_token).await.ok()?.access.reveal();
    acknowledged.alive.push(fourth.clone());
    users.authenticate(&fourth).await.ok()?;
    acknowledged.dead.push(third.access.reveal());
    let Progress::Passed(passed) = pass_dummy(house).await else { return None };
    let by_token = crate::flows::login::new_login_token(users, &user_id("alice"), passed).await.ok()?.reveal();
    let fifth = with_token(users, by_token, on("THIRD")).await.ok()?.tokens.access.reveal();
    acknowledged.alive.push(fifth.clone());
    // From here on sessions end: a token that is to end is neither surely alive nor surely dead until it is answered.
    let end = |acknowledged: &mut Acknowledged, token: &str| acknowledged.alive.retain(|alive| alive != token);
    end(acknowledged, &fourth);
    logout(users, &user_id("alice"), "SECOND".into()).await.ok()?;
    acknowledged.dead.push(fourth);
    end(acknowledged, &fifth);
    let Progress::Passed(passed) = pass_dummy(house).await else { return None };
    delete_devices(users, &user_id("alice"), vec!["THIRD".into()], passed).await.ok()?;
    acknowledged.dead.push(fifth);
    end(acknowledged, &first);
    logout_all(users, &user_id("alice")).await.ok()?;
    acknowledged.dead.push(first);
    let last = login(on("LAST")).await?.tokens.access.reveal();
    account::deactivate(users, user_id("alice"), None).await.ok()?;
    acknowledged.dead.push(last);
    acknowledged.finished = true;
    Some(())
}

#[tokio::test(start_paused = true)]
async fn the_kth_write_fails() {
    for fault in [Fault::Refused, Fault::Applied] {
        let mut writes = 0;
        while !ends_before(writes, fault).await {
            writes += 1;
            assert!(writes < 100, "the story never came to its end");
        }
        assert!(writes >= 10, "the whole story takes some writes");
    }
}

/// Lives with a disk that fails after so many writes, and restarts; says whether the story was over before.
async fn ends_before(writes: usize, fault: Fault) -> bool {
    let disk = Memory::new();
    let failing = Faulty::new(disk.clone());
    failing.fail_after(writes, fault);
    let mut acknowledged = Acknowledged::default();
    if let Ok(store) = Store::open_with(failing.clone(), Default::default()) {
        let house = House::in_store(disk.clone(), store);
        live(&house, &mut acknowledged).await;
    }
    failing.crash().unwrap();
    let house = House::over(disk);
    assert_eq!(house.problems(), [] as [String; 0], "after {writes} writes");
    for token in &acknowledged.alive {
        assert!(house.users.authenticate(token).await.is_ok(), "after {writes} writes a session was lost");
    }
    for token in &acknowledged.dead {
        assert!(house.users.authenticate(token).await.is_err(), "after {writes} writes a session came back");
    }
    acknowledged.finished
}
