//! What a client has not seen yet.
//!
//! A `/sync` reads one snapshot up to one position and answers from it; when there is nothing new it waits for a touch of
//! its `subscriber` and looks again, until its time is up. [`v3`] is the view that clients of the v3 API get.

mod answering;
mod keys;
mod lazy_members;
mod prepared;
mod recent;
mod subscriber;
mod unread;
pub mod v3;

use std::{fmt, sync::Arc};

use ruma::{DeviceId, UserId};
use thiserror::Error;

pub use self::{answering::Answering, keys::KEYSPACES};
use self::{
    answering::Answerings,
    lazy_members::LazyMembers,
    recent::Recents,
    subscriber::{Subscribers, Telling, Touched},
    unread::Memos,
};
use crate::{
    base::{clock::Clock, random::Random, shutdown::Shutdown, tasks::Tasks},
    ephemeral::typing::Typing,
    graph::{
        Graph, Reader, RoomNo, Touch,
        log::{Stream, Subject},
    },
    rooms::{content, sync_token::BadToken},
    store::{CommitError, Published, ReadError, Store},
    users::Users,
};

/// Why a sync was not answered.
#[derive(Debug, Error)]
pub enum SyncError {
    /// `since` is not a token of this server, or ahead of it.
    #[error("`since` is not a token of this server")]
    BadToken,
    /// The session by which it was asked has ended meanwhile.
    #[error("the session has ended")]
    Ended {
        /// The device still exists: it has another token now.
        soft_logout: bool,
    },
    /// The account was locked meanwhile.
    #[error("this account is locked")]
    Locked,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<BadToken> for SyncError {
    fn from(_: BadToken) -> Self {
        Self::BadToken
    }
}

/// Answers syncs. Cheap to clone.
#[derive(Clone)]
pub struct Sync(Arc<Inner>);

struct Inner {
    store: Store,
    users: Users,
    reader: Reader,
    recents: Arc<Recents>,
    memos: Arc<Memos>,
    typing: Typing,
    clock: Clock,
    tasks: Tasks,
    shutdown: Shutdown,
    subscribers: Arc<Subscribers>,
    lazy_members: LazyMembers,
    answerings: Answerings,
    /// Random at each start: counts of typing mean nothing to another process.
    boot: u32,
}

impl Sync {
    /// Follows what `store` commits and what `typing` counts from now on. `users` does so already: who is woken because
    /// their session ended must find it ended.
    pub fn new(
        (store, users, graph, typing): (&Store, &Users, &Graph, &Typing),
        (clock, random): (&Clock, &Random),
        (tasks, shutdown): (&Tasks, &Shutdown),
    ) -> Self {
        let subscribers = Arc::new(Subscribers::default());
        let listener = Arc::clone(&subscribers);
        store.on_published(move |published| tell(&listener, published));
        // Behind the listener: what was published before it is in every snapshot from now on.
        subscribers.reached(store.horizon());
        let listener = Arc::clone(&subscribers);
        typing.on_change(move |room| listener.touch_typing(room));
        Self(Arc::new(Inner {
            store: store.clone(),
            users: users.clone(),
            reader: graph.reader().clone(),
            recents: Arc::default(),
            memos: Arc::default(),
            typing: typing.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            subscribers,
            lazy_members: LazyMembers::default(),
            answerings: Answerings::new(clock.clone()),
            boot: u32::from_be_bytes(random.bytes()),
        }))
    }

    /// A device is about to do what its own reading shows too: that shall come behind the answer to this, which has come
    /// when the returned value is dropped.
    pub fn answering(&self, user_id: &UserId, device_id: Option<&DeviceId>) -> Answering {
        self.0.answerings.begin(device(user_id, device_id))
    }

    /// Waits until the device has the answers to what it is doing now and has dealt with them, a second at most. Whoever has read for it waits so
    /// before it gets that.
    pub async fn answered(&self, user_id: &UserId, device_id: Option<&DeviceId>) {
        self.0.answerings.answered(&device(user_id, device_id)).await;
    }

    /// How many users are online: for metrics.
    pub fn online(&self) -> usize {
        self.0.subscribers.online()
    }
}

impl fmt::Debug for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sync({} online)", self.online())
    }
}

/// A name for a device, or for a user who has none.
fn device(user_id: &UserId, device_id: Option<&DeviceId>) -> String {
    format!("{user_id} {}", device_id.map_or("", DeviceId::as_str))
}

/// Tells the subscribers what a commit touches. Runs in the commit lane: no reads, nothing that waits.
fn tell(subscribers: &Subscribers, published: &Published) {
    subscribers.tell(published.position, |telling| {
        for touch in published.touches.iter().filter_map(|touch| touch.downcast_ref::<Touch>()) {
            tell_of(subscribers, telling, touch);
        }
    });
}

fn tell_of(subscribers: &Subscribers, telling: &mut Telling<'_>, touch: &Touch) {
    match (&touch.entry.subject, touch.entry.stream) {
        (Subject::Room(room), Stream::Receipt) => telling.touch_room(*room, Touched::Receipts(*room)),
        (Subject::Room(room), _) => {
            let member = touch.delivery.as_deref().and_then(|delivery| {
                let user_id = delivery.change.as_ref().filter(|change| change.key.kind == "m.room.member")?;
                Some((&user_id.key.state_key, content::text(delivery.event.content(), "membership")?))
            });
            if let Some((user_id, membership)) = member {
                // Who left learns of it as well; who joins must be listening before the room is touched.
                telling.touch_user(user_id, Touched::Room(*room));
                subscribers.set_joined(user_id, *room, membership == "join");
            }
            telling.touch_room(*room, Touched::Room(*room));
        }
        (Subject::User(user_id), Stream::Membership) => {
            telling.touch_user(user_id.as_str(), Touched::Room(RoomNo(touch.entry.reference)));
        }
        (Subject::User(user_id), _) => telling.touch_user(user_id.as_str(), Touched::User),
    }
}
