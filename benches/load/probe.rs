//! What the server's processes have used, from /proc, and how long an fsync takes on the disk.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::Failure;

/// The kernel's unit in /proc/PID/stat: 100 a second on every Linux that reports to user space.
const TICK: Duration = Duration::from_millis(10);

/// The processes of the server.
pub(crate) struct Probe {
    pids: Vec<u32>,
}

/// What they had used at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Bytes sent to the disk.
    pub(crate) written: u64,
}

impl Usage {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), written: self.written.saturating_add(other.written) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(other.cpu), written: self.written.saturating_sub(other.written) }
    }
}

impl Probe {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.pids.is_empty()
    }

    /// What the processes have used so far.
    pub(crate) fn usage(&self) -> Usage {
        let each = self.pids.iter().map(|pid| Usage {
            cpu: cpu(*pid).unwrap_or_default(),
            written: field(&format!("/proc/{pid}/io"), "write_bytes:").unwrap_or_default(),
        });
        each.fold(Usage::default(), Usage::plus)
    }

    /// Resident memory now, in kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        self.pids.iter().filter_map(|pid| field(&format!("/proc/{pid}/status"), "VmRSS:")).sum()
    }
}

fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The fields after the command's name, which may hold anything, in parentheses: utime and stime are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(TICK.saturating_mul(ticks(11)?.saturating_add(ticks(12)?)))
}

fn field(path: &str, name: &str) -> Option<u64> {
    let file = std::fs::read_to_string(path).ok()?;
    file.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// The median and 99th percentile of the time that appending 4 kB and an fdatasync take in `folder`.
pub(crate) fn fsync_time(folder: &Path) -> Result<(Duration, Duration), Failure> {
    let path = folder.join(format!(".fsync-probe-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(200);
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    Ok((at(100), at(198)))
}
