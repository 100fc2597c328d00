//! The command line. Everything that a command prints for its user goes to standard output, what is wrong, the
//! log and which data folder it works on to standard error.

mod config;
mod fsck;
mod offline;
mod output;
mod password;
mod registration_token;
mod serve;
mod signing_key;
mod user;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::LazyLock,
};

use clap::{Parser, Subcommand};

use crate::config::Config;

/// How a command ends. An error is shown with its causes, and the exit code is 1.
type Outcome = Result<(), Box<dyn Error>>;

/// The version, with the commit if the build was told it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("BUILD_COMMIT").map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
});

/// A Matrix homeserver.
#[derive(Debug, Parser)]
#[command(name = "myelin", version = VERSION.as_str(), subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    /// The configuration file. Without it, ./myelin.toml is read if it exists; MYELIN_… variables override both.
    #[arg(long, short, global = true, env = "MYELIN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C.
    Serve {
        /// Start although the disk lost writes that were acknowledged. What is lost stays lost.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Make, list and promote accounts. The server must not be running.
    #[command(subcommand)]
    User(user::User),
    /// Make registration tokens. The server must not be running.
    #[command(subcommand)]
    RegistrationToken(registration_token::RegistrationToken),
    /// Look after the key that this server signs with. The server must not be running.
    #[command(subcommand)]
    SigningKey(signing_key::SigningKey),
    /// Check that everything in the store fits together. The server must not be running.
    Fsck,
}

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Outcome {
    let file = arguments.config.or_else(default_file);
    let read = || Config::load(file.as_deref());
    match arguments.command {
        Command::Serve { accept_loss } => serve::run(read()?, file, accept_loss),
        Command::Config(command) => config::run(&command, file.as_deref()),
        Command::User(command) => user::run(command, &read()?),
        Command::RegistrationToken(command) => registration_token::run(&command, &read()?),
        Command::SigningKey(command) => signing_key::run(&command, &read()?),
        Command::Fsck => fsck::run(&read()?),
    }
}

/// The configuration file in the working folder, if there is one.
fn default_file() -> Option<PathBuf> {
    let path = Path::new("myelin.toml");
    path.exists().then(|| path.to_owned())
}
