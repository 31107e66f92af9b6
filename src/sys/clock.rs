//! CLOCK_MONOTONIC, the clock of the scoreboard, as a [`Duration`] since its arbitrary start.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Now.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// As the scoreboard counts: whole nanoseconds.
pub fn nanos(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}
