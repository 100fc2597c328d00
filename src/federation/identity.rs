//! The server's own signing key: a file in the data folder, in the form that Synapse uses too
//! (`ed25519 a_…` and the seed in unpadded base64, on one line).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ruma::ServerName;
use thiserror::Error;

use crate::{
    base::random::Random,
    event::{SigningKey, sign::KeyError},
};

/// The file's name.
pub const FILE: &str = "signing.key";

/// Why the key can't be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What is in it is no key.
    #[error("{} must hold `ed25519`, a key version and 32 bytes in base64: put back the file that was there", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Its version is not well-formed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The key of the data folder; a new one if there is none.
///
/// # Errors
/// A file that is there and can't be used is an error: others know the server by this key.
pub fn load_or_create(data: &Path, server_name: &ServerName, random: &Random) -> Result<SigningKey, IdentityError> {
    let path = data.join(FILE);
    let failed = |error| IdentityError::File { path: path.clone(), error };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text =
                format!("ed25519 a_{} {}\n", random.alphanumeric(4), STANDARD_NO_PAD.encode(random.bytes::<32>()));
            write(&path, &text).map_err(failed)?;
            text
        }
        Err(error) => return Err(failed(error)),
    };
    parse(&text, server_name)?.ok_or(IdentityError::NoKey { path })
}

fn parse(text: &str, server_name: &ServerName) -> Result<Option<SigningKey>, KeyError> {
    let mut words = text.split_ascii_whitespace();
    let (Some("ed25519"), Some(version), Some(seed), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let seed = STANDARD_NO_PAD.decode(seed.trim_end_matches('=')).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    seed.map(|seed| SigningKey::from_seed(&seed, version, server_name)).transpose()
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

    #[test]
    fn the_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let load = |seed| load_or_create(folder.path(), server_name!("a.b"), &Random::seeded(seed));
        let first = load(1).unwrap();
        let again = load(2).unwrap();
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
            assert!(load_or_create(folder.path(), server_name!("a.b"), &Random::seeded(1)).is_err(), "{text}");
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
        }
    }
}
