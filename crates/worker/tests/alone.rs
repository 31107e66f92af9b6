//! Tests of those parts of the extension that know nothing of Python: the extension itself cannot be linked into a test.

#[path = "../src/engine/gate.rs"]
mod gate;
#[path = "../src/engine/habits.rs"]
mod habits;
