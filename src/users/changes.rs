//! What a commit tells those who wait: a log row and a touch for each thing of a user that changed.

use ruma::UserId;

use crate::store::{Batch, Touch};

#[derive(Clone, Debug, PartialEq, Eq)]
struct SessionsChanged(Box<str>);

/// Sessions of this user ended or changed their meaning: whoever holds one must read it again.
pub fn sessions(batch: &mut Batch, user_id: &UserId) {
    let user_id = user_id.as_str().into();
    batch.touch(move |_| SessionsChanged(user_id));
}

/// The user whose sessions changed, if that is what a touch says.
pub(super) fn sessions_changed(touch: &Touch) -> Option<&str> {
    touch.downcast_ref::<SessionsChanged>().map(|SessionsChanged(user_id)| &**user_id)
}

/// Account data of this user was set.
pub fn account_data(batch: &mut Batch, user_id: &UserId) {
    let user_id: Box<str> = user_id.as_str().into();
    batch.touch(move |_| AccountDataChanged(user_id));
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AccountDataChanged(Box<str>);

/// Devices of this user came, went or were renamed.
pub fn devices(batch: &mut Batch, user_id: &UserId) {
    let user_id: Box<str> = user_id.as_str().into();
    batch.touch(move |_| DevicesChanged(user_id));
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DevicesChanged(Box<str>);
