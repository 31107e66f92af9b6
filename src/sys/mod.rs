//! The only door to the kernel.

pub mod users;
