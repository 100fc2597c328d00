//! Secrets: given in place or as a file, and never shown.

use std::{fmt, path::PathBuf};

use super::{problem::Problem, setting::Setting, typed::Reader};

/// Something that must not be shown; `{:?}` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(secret: &str) -> Self {
        Self(secret.to_owned())
    }

    /// The secret itself: for its use, never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The secret that stands in one option or in the file that the other one names, without white space at its ends.
pub(super) fn find(
    reader: &Reader<'_>,
    in_place: &'static Setting<Secret>,
    in_file: &'static Setting<PathBuf>,
) -> Result<Option<Secret>, Problem> {
    let (secret, path) = (reader.find(in_place)?, reader.find(in_file)?);
    match (secret, path) {
        (Some(_), Some(_)) => {
            Err(Problem::unfit(format!("`{}` and `{}` are both set: keep one of them", in_place.key, in_file.key)))
        }
        (secret, None) => Ok(secret),
        (None, Some(path)) => {
            let what = |why: &dyn fmt::Display| format!("`{}` is {}, {why}", in_file.key, path.display());
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Problem::unfit(what(&format_args!("which can't be read: {error}"))))?;
            match text.trim() {
                "" => Err(Problem::unfit(what(&"which is empty"))),
                secret => Ok(Some(Secret::new(secret))),
            }
        }
    }
}
