//! The server's own keys: the active one in a file of the data folder, in the form that Synapse uses too (`ed25519 a_…`
//! and the seed in unpadded base64, on one line), and those that it replaced in a file beside it.
//!
//! Of a replaced key only the public half is kept: it signs nothing any more, but others check old events with it for ever
//! (server-server API, "Publishing Keys").

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ruma::ServerName;
use thiserror::Error;

use crate::{
    base::{clock::UnixMillis, random::Random},
    event::{SigningKey, sign::KeyError},
};

/// The name of the file of the active key.
pub const FILE: &str = "signing.key";
/// The name of the file of those that it replaced: a line for each, with key id, public key and the time (in ms) from
/// which on it signed nothing.
pub const OLD_FILE: &str = "signing.key.old";

/// Why the keys can't be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What is in the file of the active key is no key.
    #[error("{} must hold `ed25519`, a key version and 32 bytes in base64: put back the file that was there", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A line of the file of old keys is none.
    #[error(
        "{}, line {line}: must be a key id such as `ed25519:a_1`, a public key in base64 and a time in ms",
        path.display()
    )]
    NoOldKey {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The version of a key is not well-formed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A key that this server signed with once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// Its id, `ed25519:…`.
    pub key_id: String,
    /// What its signatures are checked with.
    pub public_key: [u8; 32],
    /// From when on it signed nothing.
    pub expired_at: UnixMillis,
}

/// The server's own keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What it signs with.
    pub active: Arc<SigningKey>,
    /// What it signed with once.
    pub old: Arc<[OldKey]>,
}

/// The keys of the data folder; a new one if there is none.
///
/// # Errors
/// A file that is there and can't be used is an error: others know the server by this key.
pub fn load_or_create(data: &Path, server_name: &ServerName, random: &Random) -> Result<Identity, IdentityError> {
    let path = data.join(FILE);
    let failed = |error| IdentityError::File { path: path.clone(), error };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = new_key(random, &[]);
            write(&path, &text).map_err(failed)?;
            text
        }
        Err(error) => return Err(failed(error)),
    };
    let active = parse(&text, server_name)?.ok_or(IdentityError::NoKey { path })?;
    let mut old = load_old(data)?;
    // A rotation that was cut short has noted the key as old and not replaced it yet.
    old.retain(|old| old.key_id != active.key_id());
    Ok(Identity { active: Arc::new(active), old: old.into() })
}

/// Replaces the active key by a new one, and keeps the public half of the old one. The server must not be running: what it
/// signed from now on with the old key would be valid for nobody.
///
/// # Errors
/// When the files can't be used; then the old key stays.
pub fn rotate(
    data: &Path,
    server_name: &ServerName,
    random: &Random,
    now: UnixMillis,
) -> Result<Identity, IdentityError> {
    let Identity { active, old } = load_or_create(data, server_name, random)?;
    let mut old = old.to_vec();
    let key_id = active.key_id().to_owned();
    old.push(OldKey { key_id, public_key: active.public_key(), expired_at: now });
    let line = |old: &OldKey| format!("{} {} {}\n", old.key_id, STANDARD_NO_PAD.encode(old.public_key), old.expired_at);
    let lines: String = old.iter().map(line).collect();
    // First the old keys: when the second write does not happen, the first one changes nothing.
    for (name, text) in [(OLD_FILE, lines), (FILE, new_key(random, &old))] {
        let path = data.join(name);
        write(&path, &text).map_err(|error| IdentityError::File { path, error })?;
    }
    load_or_create(data, server_name, random)
}

/// The text of a key file, with a version that none of these has.
fn new_key(random: &Random, old: &[OldKey]) -> String {
    loop {
        let version = format!("a_{}", random.alphanumeric(4));
        if old.iter().all(|old| old.key_id.strip_prefix("ed25519:") != Some(&version)) {
            return format!("ed25519 {version} {}\n", STANDARD_NO_PAD.encode(random.bytes::<32>()));
        }
    }
}

fn parse(text: &str, server_name: &ServerName) -> Result<Option<SigningKey>, KeyError> {
    let mut words = text.split_ascii_whitespace();
    let (Some("ed25519"), Some(version), Some(seed), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    bytes(seed).map(|seed| SigningKey::from_seed(&seed, version, server_name)).transpose()
}

fn bytes(base64: &str) -> Option<[u8; 32]> {
    STANDARD_NO_PAD.decode(base64.trim_end_matches('=')).ok()?.try_into().ok()
}

fn load_old(data: &Path) -> Result<Vec<OldKey>, IdentityError> {
    let path = data.join(OLD_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(IdentityError::File { path, error }),
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(line, text)| parse_old(text).ok_or_else(|| IdentityError::NoOldKey { path: path.clone(), line }))
        .collect()
}

fn parse_old(line: &str) -> Option<OldKey> {
    let mut words = line.split_ascii_whitespace();
    let (key_id, key, time, None) = (words.next()?, words.next()?, words.next()?, words.next()) else { return None };
    key_id.strip_prefix("ed25519:").filter(|version| !version.is_empty())?;
    Some(OldKey { key_id: key_id.to_owned(), public_key: bytes(key)?, expired_at: time.parse().ok()? })
}

/// Writes the file whole or not at all, for its owner's eyes only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn load(folder: &Path, seed: u64) -> Result<Identity, IdentityError> {
        load_or_create(folder, server_name!("a.b"), &Random::seeded(seed))
    }

    #[test]
    fn the_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (first, again) = (load(folder.path(), 1).unwrap().active, load(folder.path(), 2).unwrap().active);
        assert_eq!((first.key_id(), first.public_key()), (again.key_id(), again.public_key()));
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder.path().join(FILE)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_cannot_be_used_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "",
            "ed25519 a_1",
            "ed25519 a_1 AAAA",
            "rsa a_1 AAAA",
            "ed25519 a:1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(load(folder.path(), 1).is_err(), "{text}");
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
        }
    }

    #[test]
    fn a_rotation_keeps_the_public_half_of_the_old_key() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path(), 1).unwrap().active;
        let seed = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let rotate = |seed, now| rotate(folder.path(), server_name!("a.b"), &Random::seeded(seed), now).unwrap();
        let second = rotate(2, 1_000);
        let third = rotate(3, 2_000);
        let old = |key: &SigningKey, expired_at| OldKey {
            key_id: key.key_id().to_owned(),
            public_key: key.public_key(),
            expired_at,
        };
        assert_eq!(*second.old, [old(&first, 1_000)]);
        assert_eq!(*third.old, [old(&first, 1_000), old(&second.active, 2_000)]);
        let kept = fs::read_to_string(folder.path().join(OLD_FILE)).unwrap();
        let secret = seed.split_ascii_whitespace().next_back().unwrap();
        assert!(!kept.contains(secret), "no secret outlives its use");
    }

    #[test]
    fn a_rotation_that_was_cut_short_leaves_the_key_active() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(folder.path(), 1).unwrap().active;
        let line = format!("{} {} 1000\n", first.key_id(), STANDARD_NO_PAD.encode(first.public_key()));
        fs::write(folder.path().join(OLD_FILE), line).unwrap();
        let identity = load(folder.path(), 2).unwrap();
        assert_eq!((identity.active.key_id(), identity.old.len()), (first.key_id(), 0));
    }

    #[test]
    fn a_wrong_line_of_an_old_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), 1).unwrap();
        for line in ["x", "ed25519:a AAAA 1", "ed25519: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 1"] {
            fs::write(folder.path().join(OLD_FILE), format!("\n{line}\n")).unwrap();
            let error = load(folder.path(), 1).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
