//! Text for people: tables, times; and JSON for scripts.

use std::io::Write;

use baton_domain::QueueName;

use super::failure::Failure;
use super::stderr::printable;

/// Writes to stdout; a reader that went away ends the command as SIGPIPE would.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Failure::quiet(141)
        } else {
            Failure::new(format!("stdout cannot be written: {error}"))
        }
    })
}

/// Says whether a destination is new.
pub(super) fn print_created(name: &QueueName, created: bool) -> Result<(), Failure> {
    print(&format!("{name} {}\n", if created { "is created" } else { "was there already" }))
}

/// Writes a value as one line of JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::new(format!("JSON cannot be written: {error}")))?;
    print(&format!("{text}\n"))
}

/// The longest cell of a table, in characters.
const CELL_MAX: usize = 600;

/// Rows under a heading, in columns as wide as they need. A heading that starts with `>` aligns its column right.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |text: &String| printable(text).chars().take(CELL_MAX).collect::<String>();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let rows = &rows;
    let right: Vec<bool> = heading.iter().map(|title| title.starts_with('>')).collect();
    let titles: Vec<String> = heading.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
    let mut widths: Vec<usize> = titles.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if *right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("{before}{cell}{after}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A point in time as people write it, in UTC.
pub(super) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// How long, as people say it.
pub(super) fn age(ms: u64) -> String {
    match ms / 1_000 {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds if seconds < 172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A number with thousands apart.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 message", "2 messages".
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", thousands(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["server1", "5", "x"], ["s2", "1000", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["NAME", ">LAG", "WHY"], &rows), "NAME      LAG  WHY\nserver1     5  x\ns2       1000\n");
    }

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        let text = table(&["WHY"], &[vec![format!("\x1b[2J{}", "x".repeat(100_000))]]);
        assert!(text.len() < 1_000 && !text.contains('\x1b'), "{}", text.len());
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_704_067_199_999, "2023-12-31 23:59:59 UTC"),
            (1_795_474_923_000, "2026-11-23 23:02:03 UTC"),
        ] {
            assert_eq!(utc(ms), expected);
        }
        assert_eq!([0, 119_000, 120_000, 7_200_000, 200_000_000].map(age), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "message"), counted(1_000, "message")], ["1 message", "1,000 messages"]);
    }
}
