//! The verbs over a store in memory: what is committed, what is refused, and what two at once do.

mod accounts;
mod crash;
mod sessions;
mod uia;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ruma::{OwnedUserId, owned_server_name};

use super::{
    login::{DeviceChoice, LoggedIn},
    register::{Entitlement, NewAccount, register},
};
use crate::{
    base::{clock::Clock, random::Random},
    store::{ReadError, Store, View, engine::memory::Memory},
    users::{Hashing, Options, Users},
};

/// Where everybody logs in from.
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server's accounts, and the disk they are on. Whatever a test does, nothing may be out of joint at its end.
struct House {
    disk: Memory,
    store: Store,
    users: Users,
}

impl House {
    fn new() -> Self {
        Self::over(Memory::new())
    }

    fn over(disk: Memory) -> Self {
        let store = Store::open(disk.clone());
        Self::in_store(disk, store)
    }

    fn in_store(disk: Memory, store: Store) -> Self {
        let hashing = Hashing { memory_kib: 8, iterations: 1, concurrency: 2, queue: 64 };
        let options = Options { hashing, most_devices: 5, ..Options::default() };
        let clock = Clock::starting_at(1_800_000_000_000);
        let users = Users::new(store.clone(), clock, Random::system(), owned_server_name!("localhost"), options);
        Self { disk, store, users }
    }

    /// The same data in a new process.
    fn restart(self) -> Self {
        Self::over(self.disk.clone())
    }

    /// What does not fit in the store.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let check = |view: &View<'_>| crate::users::fsck::check(view, &mut |problem| problems.push(problem));
        self.store.read_blocking::<(), ReadError>(check).unwrap();
        problems
    }

    /// Creates an account and its first session.
    async fn register(&self, name: &str) -> LoggedIn {
        let session = Some(DeviceChoice::default());
        register(&self.users, NewAccount { session, ..self.account(name).await }).await.unwrap().unwrap()
    }

    async fn account(&self, name: &str) -> NewAccount {
        NewAccount {
            user_id: user_id(name),
            password_hash: Some(self.users.hash_password(password(name)).await.unwrap()),
            admin: false,
            guest: false,
            displayname: None,
            entitlement: Entitlement::Decision,
            session: None,
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.problems(), [] as [String; 0]);
        }
    }
}

fn user_id(name: &str) -> OwnedUserId {
    ruma::UserId::parse(format!("@{name}:localhost")).unwrap()
}

fn password(name: &str) -> String {
    format!("{name}'s password")
}

fn on(device_id: &str) -> DeviceChoice {
    DeviceChoice { device_id: Some(device_id.into()), ..DeviceChoice::default() }
}

const HOUR: Duration = Duration::from_hours(1);
