//! Authentication: from a token to who is asking.
//!
//! Sessions are cached with the horizon that they were read at. A commit that changes what a session rests on raises the
//! floor of its user; a cached session from below the floor is read again. Nothing is ever removed by hand, so nothing
//! can be missed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache as QuickCache;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Users,
    accounts::{self, Account},
    changes, devices,
    keys::TOKEN,
    tokens::{self, TokenHash},
};
use crate::{
    base::clock::UnixMillis,
    store::{Batch, CommitError, Position, ReadError, Store, View},
};

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// When the device was made; tells it from an earlier one of the same id.
    pub device_created_at: UnixMillis,
    /// The token, as the store knows it.
    pub token: TokenHash,
    /// An administrator: may redact what other local users sent, and name and publish any room.
    pub is_admin: bool,
    /// A guest account.
    pub is_guest: bool,
    /// What the account may do.
    pub standing: Standing,
    /// When the token ends.
    pub expires_at: Option<UnixMillis>,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All that its user may.
    Good,
    /// Read and leave, but not take part (403 `M_USER_SUSPENDED` for the rest).
    Suspended,
    /// Log out, and nothing else (401 `M_USER_LOCKED`).
    Locked,
}

impl Standing {
    /// That of an account.
    pub fn of(account: &Account) -> Self {
        match account {
            Account { locked: true, .. } => Self::Locked,
            Account { suspended: true, .. } => Self::Suspended,
            _ => Self::Good,
        }
    }
}

/// Why a token is not accepted.
#[derive(Debug, Error)]
pub enum AuthError {
    /// There is no such token. Soft: it has expired, and the client may come back with a new one for the same device.
    #[error("the access token is unknown or has expired")]
    UnknownToken {
        /// The device still exists.
        soft_logout: bool,
    },
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Sessions that are kept.
const MOST_SESSIONS: usize = 100_000;
/// Users share a floor when they fall on the same number: a needless read, nothing more.
const FLOORS: usize = 4_096;

pub(super) struct Cache {
    sessions: QuickCache<TokenHash, Cached>,
    floors: Arc<Floors>,
}

#[derive(Clone)]
struct Cached {
    session: Arc<Session>,
    read_at: Position,
}

struct Floors(Box<[AtomicU64]>);

impl Floors {
    fn of(&self, user_id: &str) -> Option<&AtomicU64> {
        let hash = blake3::hash(user_id.as_bytes());
        let number = u64::from_le_bytes(*hash.as_bytes().first_chunk()?);
        let buckets = u64::try_from(self.0.len()).ok()?;
        self.0.get(usize::try_from(number.checked_rem(buckets)?).ok()?)
    }

    /// Sessions of this user that were read below `position` are void.
    fn raise(&self, user_id: &str, position: Position) {
        if let Some(floor) = self.of(user_id) {
            floor.fetch_max(position.0, Ordering::AcqRel);
        }
    }

    fn allows(&self, cached: &Cached) -> bool {
        let floor = self.of(cached.session.user_id.as_str());
        floor.is_some_and(|floor| cached.read_at.0 >= floor.load(Ordering::Acquire))
    }
}

impl Cache {
    /// An empty cache that follows what `store` publishes.
    pub(super) fn following(store: &Store) -> Self {
        let floors = Arc::new(Floors((0..FLOORS).map(|_| AtomicU64::new(0)).collect()));
        let followed = Arc::clone(&floors);
        store.on_published(move |published| {
            for touch in &published.touches {
                if let Some(user_id) = changes::sessions_changed(touch) {
                    followed.raise(user_id.as_str(), published.position);
                }
            }
        });
        Self { sessions: QuickCache::new(MOST_SESSIONS), floors }
    }

    fn get(&self, token: TokenHash) -> Option<Arc<Session>> {
        self.sessions.get(&token).filter(|cached| self.floors.allows(cached)).map(|cached| cached.session)
    }
}

/// A session that the store knows, and what must happen before it counts.
enum Found {
    Session { session: Session, read_at: Position, unconfirmed: bool },
    Unknown,
}

impl Users {
    /// Who asks with this token. `Locked` and `Suspended` sessions are given out: what they may do depends on the
    /// request.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Session>, AuthError> {
        self.session(TokenHash::of(token)).await
    }

    /// [`Users::authenticate`] again, for whoever has waited since.
    pub async fn session(&self, hash: TokenHash) -> Result<Arc<Session>, AuthError> {
        let session = match self.sessions.get(hash) {
            Some(session) => session,
            None => self.read_session(hash).await?,
        };
        match session.expires_at {
            Some(end) if end <= self.clock.now() => Err(AuthError::UnknownToken { soft_logout: true }),
            _ => Ok(session),
        }
    }

    async fn read_session(&self, hash: TokenHash) -> Result<Arc<Session>, AuthError> {
        let found = self.store.read(move |view| find(view, hash)).await?;
        let Found::Session { session, read_at, unconfirmed } = found else {
            return Err(AuthError::UnknownToken { soft_logout: false });
        };
        let session = Arc::new(session);
        if unconfirmed {
            // Not cached: the commit below raises the floor anyway.
            self.confirm(hash, &session.user_id).await?;
        } else {
            self.sessions.sessions.insert(hash, Cached { session: Arc::clone(&session), read_at });
        }
        Ok(session)
    }

    /// A refreshed token is used for the first time: what it replaced ends.
    async fn confirm(&self, hash: TokenHash, user_id: &UserId) -> Result<(), AuthError> {
        let changed = self.store.read(move |view| {
            let mut batch = Batch::new();
            tokens::confirm(view, &mut batch, hash)?;
            Ok::<_, ReadError>(batch)
        });
        let mut batch = changed.await?;
        if batch.is_empty() {
            return Ok(());
        }
        changes::sessions(&mut batch, user_id);
        match self.store.commit(batch).await {
            // Another request with the same token confirmed it, or the token has just ended: either way, no more to do.
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn find(view: &View<'_>, hash: TokenHash) -> Result<Found, ReadError> {
    let Some(row) = view.get(&TOKEN, &(hash,))? else { return Ok(Found::Unknown) };
    let Ok(user_id) = UserId::parse(row.user) else { return Ok(Found::Unknown) };
    let Some(account) = accounts::get(view, &user_id)?.filter(|account| !account.deactivated) else {
        return Ok(Found::Unknown);
    };
    let device_id: OwnedDeviceId = row.device.into();
    let Some(device) = devices::get(view, &user_id, &device_id)? else { return Ok(Found::Unknown) };
    let session = Session {
        user_id,
        device_id,
        device_created_at: device.created_at,
        token: hash,
        is_admin: account.admin,
        is_guest: account.guest,
        standing: Standing::of(&account),
        expires_at: row.expires_at,
    };
    Ok(Found::Session { session, read_at: view.horizon(), unconfirmed: row.replaces.is_some() })
}
