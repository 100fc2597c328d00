//! User-interactive authentication: a session walks through stages, and is bound to the one request that it is for.
//!
//! Sessions are stored, so that any process can go on with them. A session names the method, the path, the user and the
//! body (without `auth`) of the request that began it; it serves no other. What the last stage proves is used up in the
//! commit of the request's effect, so that it proves nothing twice.

mod operation;

use std::time::Duration;

use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::operation::Operation;
use super::{
    Users,
    attempts::AttemptError,
    keys::{UIA, fits},
    registration,
};
use crate::{
    base::clock::UnixMillis,
    store::{Batch, CommitError, ReadError},
};

/// How long a session may take.
const LIFETIME: Duration = Duration::from_mins(15);

/// A step of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// `m.login.password`: the password of the user who asks.
    Password,
    /// `m.login.dummy`: nothing.
    Dummy,
    /// `m.login.registration_token`: a token that lets one register.
    RegistrationToken,
}

impl Stage {
    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "m.login.password",
            Self::Dummy => "m.login.dummy",
            Self::RegistrationToken => "m.login.registration_token",
        }
    }
}

/// Stages that, done in this order, authenticate.
pub type Flow = &'static [Stage];

/// What a client sends as `auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The session; a new one begins if absent.
    pub session: Option<String>,
    /// The stage that it tries.
    pub proof: Proof,
}

/// What a client brings to pass a stage.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing but the session: the client asks how it stands.
    None,
    /// For [`Stage::Password`]: whose password (if the client says so), and the password.
    Password(Option<OwnedUserId>, String),
    /// For [`Stage::Dummy`].
    Dummy,
    /// For [`Stage::RegistrationToken`].
    RegistrationToken(String),
    /// A stage that this server does not have.
    Unsupported,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.stage().map_or("no stage", Stage::name))
    }
}

impl Proof {
    fn stage(&self) -> Option<Stage> {
        match self {
            Self::None | Self::Unsupported => None,
            Self::Password(..) => Some(Stage::Password),
            Self::Dummy => Some(Stage::Dummy),
            Self::RegistrationToken(_) => Some(Stage::RegistrationToken),
        }
    }
}

/// A stored session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UiaRow {
    pub(super) binding: [u8; 32],
    pub(super) completed: Vec<Stage>,
    /// The registration token of a completed stage; used up with the effect.
    pub(super) token: Option<String>,
    pub(super) expires_at: UnixMillis,
}

/// What comes of an attempt.
#[derive(Debug)]
pub enum Progress {
    /// A flow is complete: do what was asked, and call [`Passed::consume`] in its commit.
    Passed(Passed),
    /// More is needed: 401.
    Challenge(Challenge),
}

/// What the client must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The session to go on with.
    pub session: String,
    /// The flows to choose from.
    pub flows: &'static [Flow],
    /// The stages done so far.
    pub completed: Vec<Stage>,
    /// Why the last attempt failed, if it did.
    pub failure: Option<Failure>,
}

/// Why a stage was not passed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// The password is wrong, or it is somebody else's.
    #[error("wrong password")]
    Password,
    /// The registration token is not valid.
    #[error("this registration token is not valid")]
    RegistrationToken,
    /// This stage is not the next one of any flow.
    #[error("this stage does not come next in any flow")]
    NotNext,
    /// There is no such session (any more).
    #[error("this session is unknown or has expired: begin again")]
    UnknownSession,
}

/// Why authentication could not even be tried.
#[derive(Debug, Error)]
pub enum UiaError {
    /// The session is bound to another request.
    #[error("this session was begun for another request")]
    OtherOperation,
    /// A password could not be tried.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A flow was completed, for one effect.
#[derive(Debug)]
pub struct Passed {
    /// The stored session, if there is one: a flow of one stage may be passed without.
    session: Option<(String, UiaRow)>,
    /// The registration token that was shown.
    pub registration_token: Option<String>,
}

impl Passed {
    /// Nothing has to be proved: an application service does to its own users what it likes (application service API,
    /// "Server admin style permissions").
    pub fn by_appservice() -> Self {
        Self { session: None, registration_token: None }
    }

    /// Uses the session up in the commit of the effect; that fails with a conflict if it was used already.
    pub fn consume(&self, batch: &mut Batch) {
        if let Some((session, row)) = &self.session {
            batch.assert_is(&UIA, &(session,), row);
            batch.delete(&UIA, &(session,));
        }
    }
}

/// A session that an attempt goes on with.
struct Walk {
    session: String,
    /// What is stored of it.
    stored: Option<UiaRow>,
    row: UiaRow,
}

impl Users {
    /// Takes one step of the flows of a request. `attempt` is its `auth`, if it has one.
    pub async fn interact(
        &self,
        operation: &Operation,
        flows: &'static [Flow],
        attempt: Option<Attempt>,
    ) -> Result<Progress, UiaError> {
        let Some(Attempt { session, proof }) = attempt else {
            return self.challenge(self.begin(operation), flows, None).await;
        };
        let mut walk = match session {
            None => self.begin(operation),
            Some(session) => match self.resume(operation, session).await? {
                Some(walk) => walk,
                None => {
                    return self.challenge(self.begin(operation), flows, Some(Failure::UnknownSession)).await;
                }
            },
        };
        let failure = self.step(operation, flows, &mut walk.row, proof).await?;
        if failure.is_none() && flows.contains(&walk.row.completed.as_slice()) {
            let session = walk.stored.map(|stored| (walk.session, stored));
            return Ok(Progress::Passed(Passed { session, registration_token: walk.row.token }));
        }
        self.challenge(walk, flows, failure).await
    }

    fn begin(&self, operation: &Operation) -> Walk {
        let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let expires_at = self.clock.now().saturating_add(lifetime);
        let row = UiaRow { binding: operation.binding, completed: Vec::new(), token: None, expires_at };
        Walk { session: self.random.alphanumeric(32), stored: None, row }
    }

    async fn resume(&self, operation: &Operation, session: String) -> Result<Option<Walk>, UiaError> {
        if !fits(&session) {
            return Ok(None);
        }
        let key = session.clone();
        let row = self.store.read(move |view| view.get(&UIA, &(&key,))).await.map_err(UiaError::Read)?;
        let Some(row) = row.filter(|row| row.expires_at > self.clock.now()) else { return Ok(None) };
        if row.binding != operation.binding {
            return Err(UiaError::OtherOperation);
        }
        Ok(Some(Walk { session, stored: Some(row.clone()), row }))
    }

    /// Tries a stage. What is done stays done: trying it again changes nothing.
    async fn step(
        &self,
        operation: &Operation,
        flows: &'static [Flow],
        row: &mut UiaRow,
        proof: Proof,
    ) -> Result<Option<Failure>, UiaError> {
        let Some(stage) = proof.stage() else {
            return Ok((proof == Proof::Unsupported).then_some(Failure::NotNext));
        };
        if row.completed.contains(&stage) {
            return Ok(None);
        }
        let is_next = |flow: &&Flow| flow.strip_prefix(row.completed.as_slice()).and_then(<[_]>::first) == Some(&stage);
        if !flows.iter().any(|flow| is_next(&flow)) {
            return Ok(Some(Failure::NotNext));
        }
        let failure = match proof {
            Proof::Password(claimed, password) => self.check_password(operation, claimed, password).await?,
            Proof::RegistrationToken(token) => {
                let (now, shown) = (self.clock.now(), token.clone());
                let valid = self.store.read(move |view| registration::is_valid_token(view, &shown, now)).await?;
                row.token = valid.then_some(token);
                (!valid).then_some(Failure::RegistrationToken)
            }
            Proof::None | Proof::Dummy | Proof::Unsupported => None,
        };
        if failure.is_none() {
            row.completed.push(stage);
        }
        Ok(failure)
    }

    async fn check_password(
        &self,
        operation: &Operation,
        claimed: Option<OwnedUserId>,
        password: String,
    ) -> Result<Option<Failure>, UiaError> {
        let Some(user_id) = operation.user_id.clone() else { return Ok(Some(Failure::NotNext)) };
        if claimed.is_some_and(|claimed| claimed != user_id) {
            return Ok(Some(Failure::Password));
        }
        let account = self.try_password(&user_id, password, operation.from).await?;
        Ok(account.is_none().then_some(Failure::Password))
    }

    async fn challenge(
        &self,
        walk: Walk,
        flows: &'static [Flow],
        failure: Option<Failure>,
    ) -> Result<Progress, UiaError> {
        let Walk { session, stored, row } = walk;
        if stored.as_ref() != Some(&row) {
            let mut batch = Batch::new();
            batch.assert_still(&UIA, &(&session,), stored.as_ref());
            batch.put(&UIA, &(&session,), &row);
            self.store.commit(batch).await?;
        }
        Ok(Progress::Challenge(Challenge { session, flows, completed: row.completed, failure }))
    }
}
