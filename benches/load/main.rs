//! The load generator: drives any Matrix homeserver on this machine through the client API, and says what each operation costs.
//!
//! For each workload: operations a second, latency percentiles, and, where the server's process ids are given, the CPU time and
//! the bytes written per operation. The server's cheapest endpoint, measured in the same run, is the yardstick. Only loopback
//! addresses are driven; every workload is bounded in time and in count.

#![expect(clippy::disallowed_methods, reason = "it measures in real time, beside the server and not as a part of it")]

mod client;
mod measure;
mod population;
mod probe;
mod report;
mod workloads;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{client::Target, population::Population, probe::Probe, report::Report};

/// Whatever went wrong, for the person who reads it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Drives a Matrix homeserver on this machine and measures it.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
pub(crate) struct Args {
    /// The server's address: http://, loopback only.
    #[arg(long, default_value = "http://127.0.0.1:8008")]
    url: String,
    /// A process of the server, to tell its CPU time and memory; may be given several times.
    #[arg(long)]
    pid: Vec<u32>,
    /// The secret of /_synapse/admin/v1/register; without it the users register by open registration.
    #[arg(long)]
    shared_secret: Option<String>,
    /// Only the workloads whose name contains one of these words (comma separated).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The longest time of one measurement, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Concurrent senders.
    #[arg(long, default_value_t = 32)]
    senders: usize,
    /// Clients that wait in /sync in the fan-out.
    #[arg(long, default_value_t = 100)]
    waiters: usize,
    /// Rooms of the user who syncs many rooms.
    #[arg(long, default_value_t = 200)]
    rooms: usize,
    /// Members of the large room that is joined.
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// Entries of the state in which one changes.
    #[arg(long, default_value_t = 10_000)]
    state_entries: usize,
    /// Events of the room that is paged through.
    #[arg(long, default_value_t = 2_000)]
    history: usize,
    /// A folder on the server's disk: the time of an fsync there is told beside the figures.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Where the report is written as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    fn longest(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.1, 120.0))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("load: {error}");
    ExitCode::FAILURE
}

async fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.url)?;
    let probe = Probe::new(args.pid.clone());
    let mut report = Report::new(&args.url, &probe, args.disk.as_deref())?;
    let population = Population::new(target, args.shared_secret.clone());
    let context = workloads::Context { args, population: &population, probe: &probe };
    for (name, workload) in workloads::all() {
        if !args.wants(name) {
            continue;
        }
        eprintln!("{name} …");
        match workload(&context).await {
            Ok(rows) => report.add(rows),
            Err(error) => report.failed(name, &error.to_string()),
        }
    }
    report.finish(&probe);
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()?)?;
    }
    if report.has_failures() { Err("some workloads failed".into()) } else { Ok(()) }
}
