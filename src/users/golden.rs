//! The stored bytes of accounts, one row of each keyspace.

use super::{
    accounts::Account,
    devices::{Device, Seen},
    keys::*,
    openid::OpenIdToken,
    profile::Profile,
    registration::RegistrationToken,
    tokens::{LoginToken, RefreshRow, TokenHash, TokenRow},
    txn::Transaction,
    uia::{Stage, UiaRow},
};
use crate::store::{Position, golden::Golden};

const USER: &str = "@alice:localhost";

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn stored_bytes_do_not_change() {
    let mut golden = Golden::of("users");
    rows_of_accounts(&mut golden);
    rows_of_sessions(&mut golden);
    rows_of_data(&mut golden);
    golden.check(KEYSPACES);
}

fn rows_of_accounts(golden: &mut Golden) {
    let account = Account {
        password_hash: Some(text("$argon2id$x")),
        guest: false,
        admin: true,
        locked: false,
        suspended: true,
        deactivated: false,
        created_at: 1_800_000_000_000,
    };
    golden.row(&ACCOUNT, (text(USER),), account);
    let token = RegistrationToken { uses_allowed: Some(3), used: 1, expires_at: None };
    golden.row(&REGISTRATION_TOKEN, (text("token"),), token);
    golden.row(&NONCE, (text("nonce"),), 1_800_000_000_000);
    let fields = [("displayname", "\"Alice\""), ("m.tz", "\"UTC\"")];
    let profile = Profile(fields.map(|(field, value)| (text(field), text(value))).into());
    golden.row(&PROFILE, (text(USER),), profile);
    golden.row(&PROFILE_DUE, (text(USER),), 7);
}

fn rows_of_sessions(golden: &mut Golden) {
    let (user, device, hash) = (text(USER), text("PHONE"), TokenHash([7; 32]));
    let made = Device { display_name: Some(text("a phone")), created_at: 1_800_000_000_000, generation: 300 };
    golden.row(&DEVICE, (user.clone(), device.clone()), made);
    let seen = Seen { at: 1_800_000_000_000, ip: Some(text("192.0.2.1")) };
    golden.row(&SEEN, (user.clone(), device.clone()), seen);
    let token = TokenRow { user: user.clone(), device: device.clone(), expires_at: Some(9), replaces: None };
    golden.row(&TOKEN, (hash,), token);
    let refresh =
        RefreshRow { user: user.clone(), device: device.clone(), access: hash, replaces: Some(hash), next: None };
    golden.row(&REFRESH, (hash,), refresh);
    golden.row(&DEVICE_TOKEN, (user.clone(), device.clone(), 1, hash), ());
    golden.row(&LOGIN_TOKEN, (hash,), LoginToken { user: user.clone(), expires_at: 9, credentials: [3; 16] });
    golden.row(&OPENID_TOKEN, (hash,), OpenIdToken { user: user.clone(), expires_at: 9 });
    golden.row(&TXN, (user, device, [8; 16]), Transaction { at: 9, answer: b"{}".to_vec() });
    let stages = vec![Stage::Password, Stage::Dummy, Stage::RegistrationToken];
    let session = UiaRow { binding: [9; 32], completed: stages, token: Some(text("token")), expires_at: 9 };
    golden.row(&UIA, (text("session"),), session);
}

fn rows_of_data(golden: &mut Golden) {
    let (user, room, kind) = (text(USER), text("!room:localhost"), text("m.tag"));
    let row = AccountDataRow { content: text("{\"tags\":{}}"), position: Position(5) };
    golden.row(&ACCOUNT_DATA, (user.clone(), room.clone(), kind.clone()), row);
    golden.row(&AD_LOG, (user.clone(), Position(5), room, kind), ());
    golden.row(&AD_SIZE, (user.clone(),), AccountDataSize { entries: 1, bytes: 11 });
    golden.row(&FILTER, (user, text("id")), text("{}"));
}
