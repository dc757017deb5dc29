//! The machine's clocks. Only this module asks what time it is; everybody else takes time as an argument.
//!
//! The wall clock names moments for people (reports, manifests, `ts=` ranges). The monotonic clock measures lengths.
//! Neither ever decides what is learned: that is event time's task, see [`crate::time`].

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment by the machine's wall clock: milliseconds since the Unix epoch. It can jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(i64);

/// What the wall clock shows.
pub fn wall() -> WallTime {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 is wrong, but no reason to stop.
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    WallTime(millis)
}

/// What the monotonic clock shows.
pub fn instant() -> Instant {
    Instant::now()
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch { started: instant() }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

impl WallTime {
    pub const fn from_millis(millis: i64) -> WallTime {
        WallTime(millis)
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// How far `self` lies after `earlier`; zero when the clock went back.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment `length` before this one.
    pub fn minus(self, length: Duration) -> WallTime {
        WallTime(self.0.saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339, UTC.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_measures_zero() {
        let (earlier, later) = (WallTime::from_millis(1_000), WallTime::from_millis(4_500));
        assert_eq!(later.since(earlier), Duration::from_millis(3_500));
        assert_eq!(earlier.since(later), Duration::ZERO);
        assert_eq!(later.minus(Duration::from_millis(3_500)), earlier);
    }

    #[test]
    fn wall_time_prints_as_utc() {
        assert_eq!(WallTime::from_millis(1_500).to_string(), "1970-01-01T00:00:01.5Z");
        assert!(wall() > WallTime::from_millis(1_500_000_000_000), "the machine's clock stands before 2017");
    }
}
