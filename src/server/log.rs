//! The log, on standard error.

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat};

/// Changes the level of the log while it is written.
#[derive(Clone, Debug)]
pub struct Handle(reload::Handle<EnvFilter, Registry>);

/// Writes the log of this process from now on, panics included. To be called once.
pub fn start(log: &Log) -> Handle {
    let (filter, handle) = reload::Layer::new(filter(&log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    // The second call in a process changes nothing: the first log goes on.
    let _ = match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(lines.with_ansi(colours)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(place, text, %trace, "a panic: this is a bug, please report it");
    }));
    Handle(handle)
}

impl Handle {
    pub(super) fn set_level(&self, level: &str) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::error!(%error, "the level of the log stays as it was");
        }
    }
}

/// The configuration was checked, so the level parses. The HTTP library says much that only its own developers need.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("actix_server=warn,actix_http=error,{level}"))
}
