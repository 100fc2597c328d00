//! Telling other servers who types. Nothing of it is kept: what is not told at once is not told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use ruma::{OwnedServerName, OwnedUserId, ServerName};
use tokio::time::Instant;

use super::Sender;
use crate::{
    graph::{RoomNo, RoomServer},
    store::ReadError,
};

/// Others believe for about a minute that somebody types whose server says nothing more.
const REPEAT_EVERY: Duration = Duration::from_secs(30);

/// Who types, as other servers were told.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// Rooms in which that has changed.
    changed: BTreeSet<RoomNo>,
    /// When each was told last.
    rooms: HashMap<RoomNo, BTreeMap<OwnedUserId, Instant>>,
}

impl Announced {
    /// Something has changed in a room.
    pub(super) fn changed(&mut self, room: RoomNo) {
        self.changed.insert(room);
    }

    /// Who types in a room now, of users of ours; says what is to be told.
    fn tell(&mut self, room: RoomNo, typing: &BTreeSet<OwnedUserId>, now: Instant) -> Vec<(OwnedUserId, bool)> {
        let told = self.rooms.entry(room).or_default();
        let stopped: Vec<OwnedUserId> = told.keys().filter(|user| !typing.contains(*user)).cloned().collect();
        let mut news = Vec::new();
        for user in stopped {
            told.remove(&user);
            news.push((user, false));
        }
        for user in typing {
            if told.get(user).is_none_or(|at| *at + REPEAT_EVERY <= now) {
                told.insert(user.clone(), now);
                news.push((user.clone(), true));
            }
        }
        if told.is_empty() {
            self.rooms.remove(&room);
        }
        news
    }

    /// The next time at which somebody is to be told again.
    fn next_repeat(&self) -> Option<Instant> {
        self.rooms.values().flat_map(BTreeMap::values).min().map(|at| *at + REPEAT_EVERY)
    }

    /// The rooms to look at now.
    fn due(&mut self, now: Instant) -> BTreeSet<RoomNo> {
        let mut due = std::mem::take(&mut self.changed);
        let repeated = |users: &BTreeMap<OwnedUserId, Instant>| users.values().any(|at| *at + REPEAT_EVERY <= now);
        due.extend(self.rooms.iter().filter(|(_, users)| repeated(users)).map(|(room, _)| *room));
        due
    }
}

impl Sender {
    /// Tells other servers who types, for ever.
    pub(super) async fn announce(self) {
        loop {
            let next = self.0.announced.lock().next_repeat();
            match next {
                None => self.0.typed.notified().await,
                Some(at) => tokio::select! {
                    () = self.0.typed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
            let now = self.0.clock.instant();
            let due = self.0.announced.lock().due(now);
            for room in due {
                let typing = self.0.typing.changed_since(room, 0).unwrap_or_default();
                let ours = typing.into_iter().filter(|user| user.server_name() == self.0.servers.own).collect();
                let news = self.0.announced.lock().tell(room, &ours, now);
                if !news.is_empty()
                    && let Err(error) = self.tell_typing(room, &news).await
                {
                    tracing::warn!(%error, "other servers are not told who types");
                }
            }
        }
    }

    async fn tell_typing(&self, room: RoomNo, news: &[(OwnedUserId, bool)]) -> Result<(), ReadError> {
        let (reader, own) = (self.0.reader.clone(), self.0.servers.own.clone());
        let servers = self.0.store.read(move |view| {
            let there = reader.servers(view, room)?.into_iter().filter(|(_, row)| row.left == RoomServer::STILL);
            let named = there.filter_map(|(server, _)| ServerName::parse(server).ok());
            Ok::<_, ReadError>(named.filter(|server| *server != own).collect::<Vec<OwnedServerName>>())
        });
        let servers = servers.await?;
        let now = self.0.clock.instant();
        let mut state = self.0.state.lock();
        for server in servers.into_iter().filter(|server| self.0.servers.allow(server)) {
            let destination = state.destinations.entry(server.clone()).or_default();
            news.iter().for_each(|(user, types)| destination.push_typing(room, user.clone(), *types));
            state.note(&server, now);
        }
        drop(state);
        self.0.due.notify_one();
        Ok(())
    }
}
