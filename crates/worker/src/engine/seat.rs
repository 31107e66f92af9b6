//! A serving thread as the others see it: what it has in hand, since when, and whether it waits.
//!
//! The thread writes, sentinel and main thread read. No system call is made here on a request's way, and no lock is held over
//! anything but the sentinel's 504.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Seat {
    /// Its record in the scoreboard's slot.
    pub number: u32,
    begun: AtomicU64,
    progress: AtomicU64,
    waits: AtomicBool,
    thread: AtomicI32,
    socket: AtomicI32,
    /// The response in hand.
    pub in_flight: InFlight,
    /// What interrupts its Python code.
    pub interrupt: Interrupt,
    parked: AtomicBool,
    handle: Mutex<Option<Thread>>,
}

impl Seat {
    /// A seat that nobody has taken.
    pub fn new(number: u32) -> Self {
        Seat { number, socket: AtomicI32::new(-1), ..Seat::default() }
    }

    /// The calling thread takes it.
    pub fn take(&self) {
        self.thread.store(crate::sys::thread_id(), Ordering::Relaxed);
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
    }

    /// The thread, as tgkill(2) names it.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub fn begin(&self, now: u64, socket: RawFd) {
        self.in_flight.begin(socket);
        self.socket.store(socket, Ordering::Relaxed);
        self.progress.store(now, Ordering::Relaxed);
        self.begun.store(now, Ordering::Release);
        // Before the caller looks whether the sentinel sleeps: see `Bell`.
        fence(Ordering::SeqCst);
    }

    /// It is over.
    pub fn end(&self) {
        self.begun.store(0, Ordering::Release);
        self.socket.store(-1, Ordering::Relaxed);
        self.in_flight.end();
    }

    /// When the request in hand began.
    pub fn begun(&self) -> Option<u64> {
        Some(self.begun.load(Ordering::Acquire)).filter(|&begun| begun > 0)
    }

    /// Something moved.
    pub fn progress(&self, now: u64) {
        self.progress.store(now, Ordering::Relaxed);
    }

    /// When something last did.
    pub fn last_progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// It begins or ends to wait for its client.
    pub fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Whether it waits for its client.
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// The socket of the request in hand, or -1.
    pub fn socket(&self) -> RawFd {
        self.socket.load(Ordering::Relaxed)
    }

    /// The thread sleeps until it is called, or does no more.
    pub fn set_parked(&self, parked: bool) {
        self.parked.store(parked, Ordering::SeqCst);
    }

    /// Whether it sleeps.
    pub fn parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        if let Some(thread) = &*self.handle.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
}

/// What interrupts a thread's Python code when its request has taken too long. Both sides hold the GIL.
#[derive(Debug, Default)]
pub struct Interrupt {
    /// The request whose app code runs; 0: none.
    running: AtomicU64,
    /// `threading.get_ident()` of the thread.
    ident: AtomicU64,
    pending: AtomicBool,
}

impl Interrupt {
    /// The thread calls the app.
    pub fn enter(&self, turn: u64) {
        self.running.store(turn, Ordering::Relaxed);
    }

    /// It is back, with the GIL. What is on its way to it and has not arrived is taken back.
    pub fn leave(&self, py: pyo3::Python<'_>) {
        self.running.store(0, Ordering::Relaxed);
        if self.pending.load(Ordering::Relaxed) {
            self.pending.store(false, Ordering::Relaxed);
            crate::sys::uninterrupt_python(py, self.ident.load(Ordering::Relaxed));
        }
    }

    /// Whether the thread has the GIL for the app, or has had it: before that it waits for it.
    pub fn entered(&self) -> bool {
        self.running.load(Ordering::Relaxed) != 0
    }

    /// Notes the thread.
    pub fn set_ident(&self, ident: u64) {
        self.ident.store(ident, Ordering::Relaxed);
    }

    /// The thread to interrupt, if it still runs this request.
    pub fn aim(&self, turn: u64) -> Option<u64> {
        if self.running.load(Ordering::Relaxed) != turn {
            return None;
        }
        self.pending.store(true, Ordering::Relaxed);
        Some(self.ident.load(Ordering::Relaxed))
    }
}

/// The response that a thread is about to send, as far as the sentinel may interfere with it.
///
/// Whoever moves it away from "no head" decides what the client gets. The lock is held for as long as the descriptor is
/// surely open, so the sentinel cannot write into another connection that got the same number.
#[derive(Debug, Default)]
pub struct InFlight {
    inner: Mutex<Response>,
}

#[derive(Debug, Default)]
struct Response {
    turn: u64,
    socket: Option<RawFd>,
    head: Head,
    /// A whole response, while the app is not done with the request.
    kept: Vec<u8>,
    /// How much of it the sentinel has sent, and whether that failed.
    progress: Kept,
}

impl Response {
    fn send_kept(&mut self) {
        let Some(socket) = self.socket else { return };
        while !self.progress.failed && self.progress.sent < self.kept.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(socket, &self.kept[self.progress.sent..], flags) {
                Ok(took) => self.progress.sent += took,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.progress.failed = true,
            }
        }
    }
}

/// What has become of a response that was kept.
#[derive(Debug, Default, Clone, Copy)]
pub struct Kept {
    /// Bytes sent.
    pub sent: usize,
    /// The connection is broken.
    pub failed: bool,
}

impl Kept {
    /// Whether somebody has begun to send it.
    pub fn begun(self) -> bool {
        self.sent > 0 || self.failed
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Head {
    #[default]
    NotSent,
    Sent,
    TimedOut,
}

impl InFlight {
    fn begin(&self, socket: RawFd) {
        let mut inner = self.lock();
        inner.turn += 1;
        inner.socket = Some(socket);
        inner.head = Head::NotSent;
    }

    fn end(&self) {
        let mut inner = self.lock();
        inner.socket = None;
        inner.kept.clear();
    }

    /// The response is whole, its head claimed, but the app is not done with the request. It is sent with
    /// [`InFlight::take_kept`], or by the sentinel if that takes long. `response` gets other memory.
    pub fn keep(&self, response: &mut Vec<u8>) {
        let mut inner = self.lock();
        std::mem::swap(&mut inner.kept, response);
        inner.progress = Kept::default();
    }

    /// The app is done: gives back what was kept, for the empty memory in `response`, and says how much of it was sent.
    pub fn take_kept(&self, response: &mut Vec<u8>) -> Option<Kept> {
        let mut inner = self.lock();
        if inner.kept.is_empty() {
            return None;
        }
        response.clear();
        std::mem::swap(&mut inner.kept, response);
        Some(inner.progress)
    }

    /// Sends what is kept, as much as the client takes: the app takes long.
    pub fn send_kept(&self) {
        self.lock().send_kept();
    }

    /// Which request this is: counts up.
    pub fn turn(&self) -> u64 {
        self.lock().turn
    }

    /// The head is about to be sent, or the request ended without one. False: a 504 was sent in its place.
    pub fn claim(&self) -> bool {
        let mut inner = self.lock();
        if inner.head == Head::NotSent {
            inner.head = Head::Sent;
        }
        inner.head == Head::Sent
    }

    /// Whether the sentinel has answered.
    pub fn timed_out(&self) -> bool {
        self.lock().head == Head::TimedOut
    }

    /// Answers the request of this turn, never one that has followed it. `cut`: a response that has begun is broken off.
    /// False: that request is over.
    pub fn answer_504(&self, turn: u64, cut: bool) -> bool {
        let mut inner = self.lock();
        let Some(socket) = inner.socket.filter(|_| inner.turn == turn) else { return false };
        match inner.head {
            Head::NotSent => {
                inner.head = Head::TimedOut;
                let page =
                    rgunicorn_http::error_response(504, "Gateway Timeout", "The application did not answer in time.");
                let _ = send(socket, &page, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
                let _ = shutdown(socket, Shutdown::Write);
            }
            Head::Sent if cut => {
                inner.send_kept();
                let _ = shutdown(socket, Shutdown::Both);
            }
            Head::Sent | Head::TimedOut => {}
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Response> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
