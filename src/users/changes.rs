//! What a commit tells those who follow the log: a row for each thing of a user that changed.

use ruma::UserId;

use crate::{
    graph::log::{self, Entry, Stream, Subject},
    store::{Batch, Touch},
};

/// Sessions of this user ended or changed their meaning: whoever holds one must read it again.
pub fn sessions(batch: &mut Batch, user_id: &UserId) {
    log::record(batch, Entry::user(Stream::Token, user_id));
}

/// Devices of this user came, went or were renamed.
pub fn devices(batch: &mut Batch, user_id: &UserId) {
    log::record(batch, Entry::user(Stream::Device, user_id));
}

/// Account data of this user was set.
pub fn account_data(batch: &mut Batch, user_id: &UserId) {
    log::record(batch, Entry::user(Stream::AccountData, user_id));
}

/// The profile of this user changed.
pub fn profile(batch: &mut Batch, user_id: &UserId) {
    log::record(batch, Entry::user(Stream::Profile, user_id));
}

/// The user whose sessions changed, if that is what a touch says.
pub(super) fn sessions_changed(touch: &Touch) -> Option<&UserId> {
    match &touch.downcast_ref::<log::Touch>()?.entry {
        Entry { stream: Stream::Token, subject: Subject::User(user_id), .. } => Some(user_id),
        _ => None,
    }
}
