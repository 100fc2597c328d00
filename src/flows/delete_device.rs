//! Deleting devices of one's own, after authentication for just this.

use std::sync::Arc;

use ruma::{OwnedDeviceId, UserId};

use super::logout::{LogoutError, end_sessions};
use crate::{
    store::{Batch, View},
    users::{Users, uia::Passed},
};

/// Deletes devices with all that belongs to them; those that are not there are passed over.
pub async fn delete_devices(
    users: &Users,
    user_id: &UserId,
    device_ids: Vec<OwnedDeviceId>,
    passed: Passed,
) -> Result<(), LogoutError> {
    let (user_id, passed) = (user_id.to_owned(), Arc::new(passed));
    let delete = move |view: &View<'_>, batch: &mut Batch| {
        passed.consume(batch);
        Ok(end_sessions(view, batch, &user_id, device_ids.iter().map(|device_id| &**device_id))?)
    };
    users.change(delete).await
}
