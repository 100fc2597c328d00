//! `GET /_matrix/client/v3/sync` (client-server API, "Syncing").

mod collect;
mod joined;
mod left;
mod reply;
mod room;
mod shape;
mod state;
mod timeline;

use std::{sync::Arc, time::Duration};

use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use self::collect::{Answer, Question};
pub use self::reply::StateSection;
use super::{
    Sync, SyncError,
    subscriber::{Subscriber, Touched},
};
use crate::{
    graph::{Membership, RoomNo},
    push::{self, Matcher},
    rooms::{
        filter::Filter,
        sync_token::{Kind, SyncToken},
    },
    store::{Position, ReadError, View},
    users::{self, AuthError, TokenHash},
};

/// How long a token that is ahead of this process is waited for.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a client asks.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Who.
    pub user_id: OwnedUserId,
    /// On which device.
    pub device_id: Option<OwnedDeviceId>,
    /// By which token: nothing is delivered once it is not accepted any more. Application services have none of their users'.
    pub token: Option<TokenHash>,
    /// Since when: a `next_batch` of an earlier answer.
    pub since: Option<String>,
    /// What is wanted.
    pub filter: Filter,
    /// All of the state, whatever was sent before.
    pub full_state: bool,
    /// Which state is wanted, under which name.
    pub state: StateSection,
    /// How long to wait for news.
    pub timeout: Duration,
}

impl SyncRequest {
    fn device(&self) -> String {
        super::device(&self.user_id, self.device_id.as_deref())
    }
}

impl Sync {
    /// Answers a request: at once if there are news (or none were sent before), otherwise when there are, or when its time
    /// is up. The answer is the JSON of the response.
    ///
    /// # Errors
    /// When `since` is no token of this server, the session ends while it waits, or the store cannot read.
    pub async fn v3(&self, request: SyncRequest) -> Result<Vec<u8>, SyncError> {
        let deadline = self.0.clock.instant() + request.timeout;
        let request = Arc::new(request);
        let subscriber = self.subscribe(&request.user_id)?;
        let since = match &request.since {
            Some(token) => self.believe(SyncToken::decode(token, Kind::Sync)?, &subscriber).await?,
            None => None,
        };
        loop {
            let touched = subscriber.touched();
            let mut touched = std::pin::pin!(touched);
            touched.as_mut().enable();
            let answer = self.look(&request, since, &subscriber).await?;
            self.still_may(&request).await?;
            let waits = since.is_some() && !request.full_state && answer.reply.is_empty();
            if !waits || self.0.clock.instant() >= deadline || self.0.shutdown.is_triggered() {
                return Ok(self.finish(&request, answer));
            }
            tokio::select! {
                () = touched => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = self.0.shutdown.wait() => {}
            }
        }
    }

    /// The session may have ended, or the account been locked, since the request came.
    async fn still_may(&self, request: &SyncRequest) -> Result<(), SyncError> {
        let Some(token) = request.token else { return self.account_may(request).await };
        match self.0.users.session(token).await {
            Ok(session) if session.standing == users::Standing::Locked => Err(SyncError::Locked),
            Ok(_) => Ok(()),
            // A token that was replaced is as unknown as one that was revoked, but its device lives on with the new one.
            Err(AuthError::UnknownToken { soft_logout }) => {
                let lives_on = match &request.device_id {
                    Some(device_id) => {
                        let (user_id, device_id) = (request.user_id.clone(), device_id.clone());
                        let device = move |view: &View<'_>| users::devices::get(view, &user_id, &device_id);
                        self.0.store.read(device).await?.is_some()
                    }
                    None => false,
                };
                Err(SyncError::Ended { soft_logout: soft_logout || lives_on })
            }
            Err(AuthError::Read(error)) => Err(error.into()),
            Err(AuthError::Commit(error)) => Err(error.into()),
        }
    }

    /// The same where an application service asks: the account goes on.
    async fn account_may(&self, request: &SyncRequest) -> Result<(), SyncError> {
        let user_id = request.user_id.clone();
        let account = self.0.store.read(move |view| users::accounts::get(view, &user_id)).await?;
        match account.filter(|account| !account.deactivated) {
            None => Err(SyncError::Ended { soft_logout: false }),
            Some(account) if account.locked => Err(SyncError::Locked),
            Some(_) => Ok(()),
        }
    }

    fn subscribe(&self, user_id: &UserId) -> Result<Arc<Subscriber>, ReadError> {
        let joined = || {
            self.0.store.read_blocking(|view| {
                let rooms = self.0.reader.user_rooms(view, user_id)?;
                let joined = rooms.into_iter().filter(|(_, row)| row.membership == Membership::Join);
                Ok((view.horizon(), joined.map(|(room, _)| room).collect::<Vec<RoomNo>>()))
            })
        };
        self.0.subscribers.subscribe(user_id.as_str(), self.0.clock.instant(), joined)
    }

    /// A token of an older epoch is as good as none; one that is ahead of this process is waited for, a moment.
    async fn believe(&self, token: SyncToken, subscriber: &Subscriber) -> Result<Option<SyncToken>, SyncError> {
        let epoch = self.0.store.epoch();
        if token.epoch != epoch {
            return if token.epoch < epoch { Ok(None) } else { Err(SyncError::BadToken) };
        }
        let deadline = self.0.clock.instant() + CATCH_UP;
        while token.position > self.0.subscribers.position() {
            let touched = subscriber.touched();
            if tokio::time::timeout_at(deadline, touched).await.is_err() {
                let reached = token.position <= self.0.subscribers.position();
                return if reached { Ok(Some(token)) } else { Err(SyncError::BadToken) };
            }
        }
        Ok(Some(token))
    }

    /// Looks once.
    async fn look(
        &self,
        request: &Arc<SyncRequest>,
        since: Option<SyncToken>,
        subscriber: &Arc<Subscriber>,
    ) -> Result<Answer, SyncError> {
        // First how far everybody was told, then what the subscriber was told, then the snapshot: what is missed by one is
        // in the next.
        let through = self.0.subscribers.position();
        let ephemeral = self.0.typing.count();
        let counted = since.filter(|token| token.boot == self.0.boot).map(|token| token.ephemeral);
        let touched = since.and_then(|token| subscriber.touched_since(token.position)).map(|mut touched| {
            let typing = self.0.typing.rooms_changed_since(counted.unwrap_or(0));
            touched.extend(typing.into_iter().map(Touched::Ephemeral));
            touched
        });
        let nothing = touched.as_ref().is_some_and(Vec::is_empty) && !request.full_state;
        if nothing {
            return Ok(Answer::nothing(through, ephemeral));
        }
        let device = request.device();
        let question = Question {
            request: Arc::clone(request),
            since: since.map(|token| token.position),
            through,
            touched,
            counted,
            ephemeral,
            memory: self.0.lazy_members.recall(&device, since.map(|token| token.position)),
            now: self.0.clock.now(),
            reader: self.0.reader.clone(),
            recents: Arc::clone(&self.0.recents),
            memos: Arc::clone(&self.0.memos),
            typing: self.0.typing.clone(),
            subscriber: Arc::clone(subscriber),
        };
        Ok(self.0.store.read(move |view| collect::collect(&question, view)).await?)
    }

    /// Remembers what the answer carries, and writes it.
    fn finish(&self, request: &SyncRequest, answer: Answer) -> Vec<u8> {
        let token = SyncToken {
            position: answer.through,
            to_device: Position::ZERO,
            epoch: self.0.store.epoch(),
            boot: self.0.boot,
            ephemeral: answer.ephemeral,
        };
        if let Some(memory) = answer.memory {
            self.0.lazy_members.remember(&request.device(), answer.through, memory);
        }
        if let Some(memos) = self.0.memos.keep(&request.user_id, answer.unread) {
            let store = self.0.store.clone();
            self.0.tasks.spawn("unread memos", async move {
                // A memo that is lost is counted again.
                let _ = store.commit_lazy(memos).await;
            });
        }
        answer.reply.finish(&token.encode(Kind::Sync))
    }
}

/// The rules of a user, prepared.
fn matcher(view: &View<'_>, user_id: &UserId) -> Result<Matcher, ReadError> {
    Ok(Matcher::new(&push::rules::read(view, user_id)?))
}
