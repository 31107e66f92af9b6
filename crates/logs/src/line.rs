//! The text of a line.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, tz::TimeZone};

/// Severity, in Gunicorn's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only with `--log-level debug`.
    Debug,
    /// What the server does.
    Info,
    /// Something an operator should look at.
    Warning,
    /// Something failed.
    Error,
    /// A worker had to be killed.
    Critical,
}

impl Level {
    /// As in a log line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        }
    }

    /// Gunicorn's `loglevel`: any case, an unknown word means info.
    pub fn from_setting(word: &str) -> Level {
        match word.to_ascii_lowercase().as_str() {
            "debug" => Level::Debug,
            "warning" => Level::Warning,
            "error" => Level::Error,
            "critical" => Level::Critical,
            _ => Level::Info,
        }
    }
}

/// Local time, formatted once a second.
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    second: i64,
    error: String,
    access: String,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { zone: local_zone(), second: i64::MIN, error: String::new(), access: String::new() }
    }
}

impl Clock {
    /// `2026-11-22 12:00:00 +0000`, as in the error log.
    pub fn error_stamp(&mut self, now: SystemTime) -> &str {
        self.refresh(now);
        &self.error
    }

    /// `[22/Nov/2026:12:00:00 +0000]`, as in the access log.
    pub fn access_stamp(&mut self, now: SystemTime) -> &str {
        self.refresh(now);
        &self.access
    }

    fn refresh(&mut self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        if second == self.second {
            return;
        }
        self.second = second;
        let zoned = Timestamp::from_second(second).unwrap_or_default().to_zoned(self.zone.clone());
        self.error = zoned.strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        self.access = zoned.strftime("[%d/%b/%Y:%H:%M:%S %z]").to_string();
    }
}

/// The local time zone, as tzset(3) finds it. Not jiff's own search: that lists the whole zone database, some hundred
/// directories and files, at the start of every worker.
fn local_zone() -> TimeZone {
    let from_file = |path: &Path| {
        let bytes = std::fs::read(path).ok()?;
        TimeZone::tzif("local", &bytes).ok()
    };
    let Ok(name) = std::env::var("TZ") else {
        return from_file(Path::new("/etc/localtime")).unwrap_or(TimeZone::UTC);
    };
    let name = name.strip_prefix(':').unwrap_or(&name);
    // An absolute name is a path of its own; an empty one is a directory, which is no zone: UTC, as it should be.
    from_file(&Path::new("/usr/share/zoneinfo").join(name))
        .or_else(|| TimeZone::posix(name).ok())
        .unwrap_or(TimeZone::UTC)
}

/// Appends one error-log line, `[time] [pid] [LEVEL] message\n`. A message of several lines (a traceback) keeps them;
/// other control characters are escaped.
pub fn error_line(out: &mut String, stamp: &str, pid: u32, level: Level, message: &str) {
    let _ = write!(out, "[{stamp}] [{pid}] [{}] ", level.name());
    for (index, part) in message.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        escape_into(out, part, false);
    }
    out.push('\n');
}

/// Appends `text` with every control character (C0, DEL, C1) as `\xNN` or `\uNNNN`, so that no input can forge a line
/// or drive a terminal; `quotes` also turns `"` into `\"`, as Gunicorn's access log does. A TAB stays in unquoted text.
pub fn escape_into(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '"' if quotes => out.push_str("\\\""),
            '\t' if !quotes => out.push(c),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_gunicorns() {
        let mut out = String::new();
        error_line(&mut out, "2026-11-22 12:00:00 +0000", 7, Level::Warning, "a\x1b[1mb\r");
        assert_eq!(out, "[2026-11-22 12:00:00 +0000] [7] [WARNING] a\\x1b[1mb\\x0d\n");
    }

    #[test]
    fn a_message_of_several_lines_keeps_them() {
        let mut out = String::new();
        error_line(&mut out, "T", 7, Level::Error, "a\n\tb\r\n\0c\n");
        assert_eq!(out, "[T] [7] [ERROR] a\n\tb\\x0d\n\\x00c\n\n");
    }

    #[test]
    fn words_of_the_setting() {
        for (word, level) in [
            ("debug", Level::Debug),
            ("INFO", Level::Info),
            ("Warning", Level::Warning),
            ("error", Level::Error),
            ("critical", Level::Critical),
            ("warn", Level::Info),
            ("", Level::Info),
        ] {
            assert_eq!(Level::from_setting(word), level, "{word}");
        }
        assert!(Level::Debug < Level::Info && Level::Error < Level::Critical);
    }

    #[test]
    fn quotes_and_controls_cannot_forge() {
        let mut out = String::new();
        escape_into(&mut out, "GET /\"\n\u{85}\u{2028}é", true);
        assert_eq!(out, "GET /\\\"\\x0a\\x85\\u2028é");
    }

    #[test]
    fn stamps() {
        let mut clock = Clock { zone: TimeZone::UTC, ..Clock::default() };
        let at = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        assert_eq!(clock.error_stamp(at), "2023-11-14 22:13:20 +0000");
        assert_eq!(clock.access_stamp(at), "[14/Nov/2023:22:13:20 +0000]");
        // A new second, and each second's own offset.
        clock.zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let later = |seconds: u64| at + std::time::Duration::from_secs(seconds);
        assert_eq!(clock.access_stamp(later(1)), "[14/Nov/2023:23:13:21 +0100]");
        assert_eq!(clock.error_stamp(later(200 * 86400)), "2024-06-02 00:13:20 +0200");
        assert_eq!(clock.error_stamp(UNIX_EPOCH - std::time::Duration::from_secs(1)), "1970-01-01 01:00:00 +0100");
    }
    /// `$TZ` by name or by rule, as everything that uses localtime(3) reads it: in a copy of this program.
    #[test]
    fn the_zone_of_the_environment() {
        const EXPECTED: &str = "RGUNICORN_LOGS_TEST_STAMP";
        if let Ok(expected) = std::env::var(EXPECTED) {
            let at = UNIX_EPOCH + std::time::Duration::from_secs(1_720_000_000);
            assert_eq!(Clock::default().error_stamp(at), expected);
            return;
        }
        let mut zones = vec![
            ("UTC0", "2024-07-03 09:46:40 +0000"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2024-07-03 11:46:40 +0200"),
            ("<+0530>-5:30", "2024-07-03 15:16:40 +0530"),
        ];
        // Not every machine has the names.
        if std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            zones.push(("Europe/Berlin", "2024-07-03 11:46:40 +0200"));
        }
        for (zone, expected) in zones {
            let mut copy = std::process::Command::new(std::env::current_exe().unwrap());
            copy.args(["--exact", "line::tests::the_zone_of_the_environment"]).env("TZ", zone).env(EXPECTED, expected);
            let output = copy.output().unwrap();
            assert!(output.status.success(), "{zone}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
