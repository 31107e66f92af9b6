//! rgunicorn, the daemon: Gunicorn's process manager in Rust. It runs no user code and contains no libpython.

pub mod cli;
pub mod settings;
pub mod sys;
