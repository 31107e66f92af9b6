//! What systemd is told, and what it passes.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends a state to `$NOTIFY_SOCKET` (sd_notify(3)), if there is one.
pub fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET").and_then(address) else { return };
    // Nobody there is nobody's fault.
    let _ = UnixDatagram::unbound().and_then(|socket| {
        // Nor is a queue that is full worth waiting for.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
}

/// A reload begins (sd_notify(3): `Type=notify-reload` wants the time with it, by CLOCK_MONOTONIC).
pub fn reloading(now: Duration) -> String {
    format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.as_micros())
}

/// Tells systemd again and again that the arbiter's loop runs (`WatchdogSec=`).
#[derive(Debug)]
pub struct Watchdog {
    pause: Duration,
    next: Duration,
}

impl Watchdog {
    /// Twice as often as systemd wants to hear of us.
    pub fn new(period: Duration, now: Duration) -> Watchdog {
        let pause = period / 2;
        Watchdog { pause, next: now + pause }
    }

    /// When it is to be told next.
    pub fn deadline(&self) -> Duration {
        self.next
    }

    /// Whether it is to be told now.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now + self.pause;
        }
        due
    }
}

/// The variables by which systemd asks for that (sd_watchdog_enabled(3)).
pub const WATCHDOG: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often it wants to hear of the process with this pid at least.
pub fn watchdog(own_pid: i32, variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let [period, pid] = WATCHDOG.map(variable);
    let period: u64 = period?.trim().parse().ok().filter(|period| *period > 0)?;
    let is_ours = pid.is_none_or(|pid| pid.trim().parse() == Ok(own_pid));
    is_ours.then(|| Duration::from_micros(period))
}

fn address(name: OsString) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(&name).ok(),
        _ => None,
    }
}

/// How many sockets were passed to the process with this pid (sd_listen_fds(3)).
pub fn passed_sockets(own_pid: i32, variable: impl Fn(&str) -> Option<String>) -> Option<u32> {
    let meant_for: i32 = variable("LISTEN_PID")?.trim().parse().ok()?;
    let count: u32 = variable("LISTEN_FDS")?.trim().parse().ok()?;
    (meant_for == own_pid && count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_ours_only_if_our_pid_is_meant() {
        let with = |pid: &'static str, count: &'static str| {
            passed_sockets(7, |name| match name {
                "LISTEN_PID" => Some(pid.into()),
                "LISTEN_FDS" => Some(count.into()),
                _ => None,
            })
        };
        assert_eq!(with("7", "2"), Some(2));
        assert_eq!(with("8", "2"), None);
        assert_eq!(with("7", "0"), None);
        assert_eq!(with("x", "1"), None);
        assert_eq!(passed_sockets(7, |_| None), None);
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_period_by_whom_it_watches() {
        let with = |pid: Option<&'static str>, period: &'static str| {
            watchdog(7, |name| match name {
                "WATCHDOG_PID" => pid.map(Into::into),
                "WATCHDOG_USEC" => Some(period.into()),
                _ => None,
            })
        };
        let second = Duration::from_secs(1);
        assert_eq!(with(Some("7"), "1000000"), Some(second));
        assert_eq!(with(None, "1000000"), Some(second));
        for (pid, period) in [(Some("8"), "1000000"), (Some("x"), "1000000"), (None, "0"), (None, "-1"), (None, "x")] {
            assert_eq!(with(pid, period), None, "{pid:?} {period}");
        }
        let mut dog = Watchdog::new(second, second);
        assert_eq!(dog.deadline(), second * 3 / 2);
        assert!(!dog.is_due(second));
        assert!(dog.is_due(second * 2));
        assert_eq!(dog.deadline(), second * 5 / 2);
    }
}
