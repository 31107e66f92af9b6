//! The `rgunicorn` command.
fn main() {}
