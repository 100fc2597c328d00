//! What the commands print.

use std::{
    error::Error,
    io::{self, Write},
};

use crate::base::clock::UnixMillis;

/// Prints a line for the user. A closed pipe (`myelin user list | head`) is no error.
pub(super) fn say(line: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells what a command works on, on standard error: what it prints may be read by a program.
pub(super) fn note(line: &str) {
    // Standard error may be closed; then nobody reads this.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Shows an error with its causes on standard error.
pub(super) fn complain(error: &dyn Error) {
    let mut text = format!("myelin: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Many errors already end with the text of their cause.
        let why = error.to_string();
        if !text.ends_with(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    note(&text);
}

/// The day and minute of a time, in UTC: `2026-11-24 13:07`.
pub(super) fn utc(time: UnixMillis) -> String {
    let minutes = time / 60_000;
    let (days, minute) = (minutes / (24 * 60), minutes % (24 * 60));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Counts in years that begin on
/// the first of March, so that a leap day is the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097); // 400 years
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March = 0
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (millis, expected) in [
            (0, "1970-01-01 00:00"),
            (951_782_400_000, "2000-02-29 00:00"),
            (951_868_799_999, "2000-02-29 23:59"),
            (951_868_800_000, "2000-03-01 00:00"),
            (1_795_525_620_000, "2026-11-24 13:07"),
            (4_107_542_400_000, "2100-03-01 00:00"),
            (4_107_456_000_000, "2100-02-28 00:00"),
            (253_402_300_799_999, "9999-12-31 23:59"),
        ] {
            assert_eq!(utc(millis), expected);
        }
    }
}
