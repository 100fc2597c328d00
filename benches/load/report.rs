//! The report: a table for people, JSON for programs.

use std::{fmt::Write as _, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    Failure,
    measure::Row,
    probe::{Probe, fsync_time},
};

/// What was measured.
pub(crate) struct Report {
    url: String,
    fsync: Option<(Duration, Duration)>,
    rows: Vec<Row>,
    failures: Vec<(String, String)>,
    blind: bool,
    resident_before_kb: u64,
    resident_after_kb: u64,
}

impl Report {
    pub(crate) fn new(url: &str, probe: &Probe, disk: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            url: url.to_owned(),
            fsync: disk.map(fsync_time).transpose()?,
            rows: Vec::new(),
            failures: Vec::new(),
            blind: probe.is_blind(),
            resident_before_kb: probe.resident_kb(),
            resident_after_kb: 0,
        })
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn failed(&mut self, name: &str, why: &str) {
        self.failures.push((name.to_owned(), why.to_owned()));
    }

    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    pub(crate) fn finish(&mut self, probe: &Probe) {
        self.resident_after_kb = probe.resident_kb();
    }

    /// The table, in Markdown, aligned so that it reads well in a terminal too.
    pub(crate) fn table(&self) -> String {
        let headings = ["workload", "operations/s", "p50 ms", "p90 ms", "p99 ms", "CPU µs/op", "written B/op", "note"];
        let mut lines = vec![headings.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let ms = |share| format!("{:.2}", row.percentile(share).as_secs_f64() * 1e3);
            let used = |value: f64| if self.blind { "–".to_owned() } else { format!("{value:.0}") };
            [
                row.name.clone(),
                row.rate().map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}")),
                ms(0.5),
                ms(0.9),
                ms(0.99),
                used(row.cpu_micros()),
                used(row.bytes_written()),
                row.note.clone(),
            ]
        }));
        let mut text = self.preamble();
        for (number, line) in lines.iter().enumerate() {
            text.push_str(&aligned(&lines, line));
            if number == 0 {
                let rule = headings.map(|_| "---".to_owned());
                text.push_str(&aligned(&lines, &rule));
            }
        }
        for (name, why) in &self.failures {
            let _ = writeln!(text, "\nFAILED {name}: {why}");
        }
        text
    }

    fn preamble(&self) -> String {
        let mut text = format!("server: {}\n", self.url);
        if let Some((median, p99)) = self.fsync {
            let (median, p99) = (median.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
            let _ = writeln!(text, "fsync of 4 kB on its disk: p50 {median:.2} ms, p99 {p99:.2} ms");
        }
        if !self.blind {
            let (before, after) = (self.resident_before_kb / 1024, self.resident_after_kb / 1024);
            let _ = writeln!(text, "resident memory: {before} MB before, {after} MB after");
        }
        text.push('\n');
        text
    }

    /// The same as JSON: times in µs.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "workload": row.name,
                    "operations": row.operations,
                    "seconds": row.elapsed.as_secs_f64(),
                    "operations_per_second": row.rate(),
                    "latency_us": {
                        "p50": micros(row.percentile(0.5)),
                        "p90": micros(row.percentile(0.9)),
                        "p99": micros(row.percentile(0.99)),
                        "max": micros(row.percentile(1.0)),
                    },
                    "cpu_us_per_operation": if self.blind { Value::Null } else { json!(row.cpu_micros()) },
                    "bytes_written_per_operation": if self.blind { Value::Null } else { json!(row.bytes_written()) },
                    "note": row.note,
                })
            })
            .collect();
        let failures: Vec<Value> =
            self.failures.iter().map(|(name, why)| json!({ "workload": name, "error": why })).collect();
        Ok(serde_json::to_string_pretty(&json!({
            "server": self.url,
            "fsync_us": self.fsync.map(|(median, p99)| json!({ "p50": micros(median), "p99": micros(p99) })),
            "resident_kb": { "before": self.resident_before_kb, "after": self.resident_after_kb },
            "workloads": rows,
            "failures": failures,
        }))?)
    }
}

fn aligned<const N: usize>(lines: &[[String; N]], line: &[String; N]) -> String {
    let mut text = String::from("|");
    for (column, cell) in line.iter().enumerate() {
        let width = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let width = width.unwrap_or_default();
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        // Names and notes to the left, figures to the right.
        if column == 0 || column.saturating_add(1) == N {
            let _ = write!(text, " {cell}{padding} |");
        } else {
            let _ = write!(text, " {padding}{cell} |");
        }
    }
    text.push('\n');
    text
}
