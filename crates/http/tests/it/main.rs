//! The decoder from outside: rules, splits, a corpus of requests.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which clippy can't tell")]

mod corpus;
mod generate;
mod rules;
mod splits;
mod support;
