//! The daemon's only door to the kernel: whatever needs `nix`, `libc` or `unsafe`.
//!
//! It hands out enums and owned descriptors. Policy (what to do about an exit, a signal, a full link) is not here.

pub mod cgroup;
pub mod clock;
pub mod daemon;
pub mod files;
pub mod link;
pub mod memory;
pub mod poll;
pub mod process;
pub mod signals;
pub mod title;
pub mod users;

pub use process::{Pid, Status};
pub use signals::Signal;
