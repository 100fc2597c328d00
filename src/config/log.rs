//! `[log]`: what is written to the log, on standard error.

use tracing_subscriber::EnvFilter;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// What is written to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The directives of a `tracing` filter; they parse.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

static LEVEL: Setting<String> = Setting {
    key: "level",
    about: "What is written to the log. Parts of the program can have levels of their own. SIGHUP reads it again.",
    allowed: "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a list such as \"info,myelin::store=debug\"",
    presence: Presence::Default("\"info\""),
    secret: false,
    read: |value| value.text().filter(|text| is_filter(text)).map(str::to_owned),
};

/// Whether the text is a list of levels, each alone or behind the name of a part. (The library also takes any single word
/// as the name of a part, and so would not notice a mistyped level.)
fn is_filter(text: &str) -> bool {
    let is_level = |level: &str| level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let levels = text.split(',').map(|part| part.rsplit_once('=').map_or(part, |(_, level)| level));
    levels.map(str::trim).all(is_level) && EnvFilter::try_new(text).is_ok()
}

static FORMAT: Setting<LogFormat> = Setting {
    key: "format",
    about: "How a line of the log looks: \"text\" for people, or \"json\", one object a line, for machines.",
    allowed: "\"text\" or \"json\"",
    presence: Presence::Default("\"text\""),
    secret: false,
    read: |value| match value.text()? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    },
};

pub(super) static SECTION: Section =
    Section { name: "log", about: "The log, on standard error.", settings: &[&LEVEL, &FORMAT] };

impl Log {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self { level: reader.get(&LEVEL)?, format: reader.get(&FORMAT)? })
    }
}
