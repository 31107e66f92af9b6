//! Taking new connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rgunicorn_http::{Decoder, proxy};

use super::conn::Conn;
use super::serve::Serving;
use crate::sys::now;

/// How long no connection is accepted when descriptors have run out.
pub(super) const NO_DESCRIPTORS_NS: u64 = 100_000_000;
/// Connections taken from a queue in one go when the whole server stops.
const DRAIN_BATCH: usize = 1024;

impl Serving {
    /// Takes what waits in the listeners' queues: nobody else will.
    pub(super) fn drain_listeners(&mut self) {
        for index in 0..self.shared.listeners.len() {
            for _ in 0..DRAIN_BATCH {
                match crate::sys::accept(self.shared.listeners[index].fd) {
                    Ok((fd, peer)) => self.admit(fd, index, peer),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(_) => break,
                }
            }
        }
    }

    pub(super) fn accept(&mut self, index: usize) {
        let shared = &self.shared;
        if shared.retires() || !shared.sets.listens(index) || now() < shared.watch.accept_after.load(Ordering::Relaxed)
        {
            return;
        }
        let batch = if shared.hand_off.has_others() { 1 } else { self.appetite.batch() };
        for at in 0..batch {
            let (fd, peer) = match crate::sys::accept(self.shared.listeners[index].fd) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.appetite.had_enough(at);
                    return self.accept_failed(index, &error);
                }
            };
            self.shared.watch.accept_failing.store(false, Ordering::Relaxed);
            self.admit(fd, index, peer);
            if self.shared.pause_if_full() {
                return;
            }
        }
        self.appetite.wants_more();
    }

    fn admit(&self, fd: OwnedFd, listener: usize, peer: Option<SocketAddr>) {
        let open = self.shared.table.opened();
        self.shared.vitals.slot.count_connection(1, open as u64);
        let trusted = self.shared.options.trust.trusts(peer.map(|peer| peer.ip()));
        let mut decoder = Decoder::new(Arc::clone(&self.shared.options.http));
        decoder.set_trusted(trusted);
        let mut conn = Conn::new(fd, listener, peer, trusted, decoder);
        conn.greeted = self.shared.options.proxy == proxy::Mode::Off;
        conn.deadline = now() + self.shared.options.request_head_timeout;
        self.shared.table.push(conn);
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                if !self.shared.watch.accept_failing.swap(true, Ordering::Relaxed) {
                    self.warn(&format!("cannot accept connections: {error}; going on with those that are open"));
                }
                // The connection stays in the queue: without a pause the loop would spin on it.
                self.shared.watch.accept_after.store(now() + NO_DESCRIPTORS_NS, Ordering::Relaxed);
                self.shared.sets.stop_listening(&self.shared.listeners);
            }
            // The arbiter has shut the listener down.
            Some(libc::EINVAL | libc::EBADF) => self.shared.sets.forget_listener(&self.shared.listeners, index),
            // Errors of the connection that was to be accepted (accept(2)): it is gone.
            _ => {}
        }
    }
}
