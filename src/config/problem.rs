//! What is wrong with a configuration, said so that it can be mended without reading anything else.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Where something was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, on this line (from 1).
    Line(usize),
    /// In this environment variable.
    Variable(String),
    /// Nowhere: it is missing.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}: "),
            Self::Variable(name) => write!(f, "environment variable {name}: "),
            Self::Nowhere => Ok(()),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) place: Place,
    pub(super) what: What,
}

/// What is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum What {
    #[error("this is not TOML: {0}")]
    Syntax(String),
    #[error("unknown key `{key}`{}", hint(.near))]
    Unknown { key: String, near: Result<String, Vec<String>> },
    #[error("`{key}` is {value}, which is not allowed; allowed: {allowed}")]
    Bad { key: String, value: String, allowed: String },
    #[error("`{key}` must be set to {allowed}, for example `{example}`; {variable} in the environment does it too")]
    Missing { key: String, allowed: String, example: String, variable: String },
    #[error("{0}")]
    Unfit(String),
}

/// What was probably meant, or else what there is.
fn hint(near: &Result<String, Vec<String>>) -> String {
    match near {
        Ok(near) => format!("; did you mean `{near}`?"),
        Err(all) if all.is_empty() => String::new(),
        Err(all) => format!("; known are: {}", all.join(", ")),
    }
}

/// The known name that was probably meant by `typed`.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = 1 + typed.len() / 4;
    known
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

impl Problem {
    /// Something that fits nowhere else, in a whole sentence that names the keys.
    pub(super) fn unfit(what: impl Into<String>) -> Self {
        Self { place: Place::Nowhere, what: What::Unfit(what.into()) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, self.what)
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Things are wrong in what was typed; all of them, at least one.
    #[error("{}", list(.0))]
    Wrong(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("  {problem}")).collect();
    format!("the configuration is wrong:\n{}", lines.join("\n"))
}
