//! What must hold among the rows of accounts, checked row by row. For `myelin fsck` and the crash tests.

use std::collections::HashMap;

use super::{
    accounts::Account,
    keys::{
        ACCOUNT, ACCOUNT_DATA, AD_LOG, AD_SIZE, AccountDataSize, DEVICE, DEVICE_TOKEN, PROFILE, REFRESH, SEEN, TOKEN,
    },
    tokens::{ACCESS, REFRESHER},
};
use crate::store::{Key, KeyOf, Keyspace, ReadError, Value, View};

/// Rows that are read at once.
const PAGE: usize = 1_000;

/// Calls `problem` with each thing that does not fit, in words for an administrator.
pub fn check(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    check_devices(view, problem)?;
    check_tokens(view, problem)?;
    check_account_data(view, problem)?;
    each(view, &PROFILE, |(user,), _| {
        if !view.has(&ACCOUNT, &(&user,))? {
            problem(format!("{user} has a profile and no account"));
        }
        Ok(())
    })
}

fn each<K: Key + KeyOf<K> + Clone, V: Value>(
    view: &View<'_>,
    keyspace: &Keyspace<K, V>,
    mut visit: impl FnMut(K, V) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut span = keyspace.span(&());
    loop {
        let page = view.scan(&span, PAGE)?;
        let Some((last, _)) = page.rows.last() else { return Ok(()) };
        span = keyspace.span(&()).after(last);
        for (key, value) in page.rows {
            visit(key, value)?;
        }
    }
}

fn check_devices(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    each(view, &DEVICE, |(user, device), _| {
        match view.get(&ACCOUNT, &(&user,))? {
            None => problem(format!("device {device} of {user} has no account")),
            Some(Account { deactivated: true, .. }) => {
                problem(format!("device {device} of {user} outlived the account"));
            }
            Some(_) => {}
        }
        Ok(())
    })?;
    each(view, &SEEN, |(user, device), _| {
        if !view.has(&DEVICE, &(&user, &device))? {
            problem(format!("device {device} of {user} was seen and does not exist"));
        }
        Ok(())
    })
}

fn check_tokens(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    each(view, &TOKEN, |(hash,), row| {
        let (user, device) = (&row.user, &row.device);
        if !view.has(&DEVICE, &(user, device))? {
            problem(format!("an access token of {user} belongs to device {device}, which does not exist"));
        }
        if !view.has(&DEVICE_TOKEN, &(user, device, ACCESS, hash))? {
            problem(format!("device {device} of {user} does not know one of its access tokens"));
        }
        Ok(())
    })?;
    each(view, &REFRESH, |(hash,), row| {
        let (user, device) = (&row.user, &row.device);
        if !view.has(&DEVICE_TOKEN, &(user, device, REFRESHER, hash))? {
            problem(format!("device {device} of {user} does not know one of its refresh tokens"));
        }
        Ok(())
    })?;
    each(view, &DEVICE_TOKEN, |(user, device, kind, hash), ()| {
        let exists = match kind {
            ACCESS => view.has(&TOKEN, &(hash,))?,
            _ => view.has(&REFRESH, &(hash,))?,
        };
        if !exists {
            problem(format!("device {device} of {user} lists a token that does not exist"));
        }
        Ok(())
    })
}

fn check_account_data(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    let mut sizes: HashMap<String, AccountDataSize> = HashMap::new();
    each(view, &ACCOUNT_DATA, |(user, room, kind), row| {
        if !view.has(&AD_LOG, &(&user, row.position, &room, &kind))? {
            problem(format!("account data {kind} of {user} is missing from the order of changes"));
        }
        let size = sizes.entry(user).or_default();
        size.entries = size.entries.saturating_add(1);
        size.bytes = size.bytes.saturating_add(u64::try_from(row.content.len()).unwrap_or(u64::MAX));
        Ok(())
    })?;
    each(view, &AD_LOG, |(user, position, room, kind), ()| {
        if view.get(&ACCOUNT_DATA, &(&user, &room, &kind))?.is_none_or(|row| row.position != position) {
            problem(format!("a change of account data {kind} of {user} was left behind"));
        }
        Ok(())
    })?;
    each(view, &AD_SIZE, |(user,), size| {
        if sizes.remove(&user) != Some(size) {
            problem(format!("the amount of account data of {user} is wrong"));
        }
        Ok(())
    })?;
    for user in sizes.into_keys() {
        problem(format!("the amount of account data of {user} is missing"));
    }
    Ok(())
}
