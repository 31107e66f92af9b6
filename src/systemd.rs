//! What systemd is told, and what it passes.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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

/// A reload begins (sd_notify(3): `Type=notify-reload` wants the time with it).
pub fn reloading() {
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", crate::sys::clock::now().as_micros()));
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
}
