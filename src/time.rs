//! Event time: the clock that the log itself carries. Nothing here asks the machine what time it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as written in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(i64);

/// A length of event time in milliseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span(i64);

impl EventTime {
    /// 2000-01-01T00:00:00Z, the first time that an event may carry.
    pub const FIRST: EventTime = EventTime(946_684_800_000);
    /// 2100-01-01T00:00:00Z, the first time that an event may *not* carry any more.
    pub const LIMIT: EventTime = EventTime(4_102_444_800_000);
    /// Before every event: the watermark of a partition that has shown nothing yet.
    pub const START: EventTime = EventTime(i64::MIN);
    /// After every event: the watermark of a partition that has ended.
    pub const END: EventTime = EventTime(i64::MAX);

    /// `None` outside the years 2000 to 2099: such a number is seconds, microseconds or rubbish, not milliseconds.
    pub fn new(millis: i64) -> Option<EventTime> {
        let time = EventTime(millis);
        (EventTime::FIRST <= time && time < EventTime::LIMIT).then_some(time)
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    pub fn plus(self, span: Span) -> EventTime {
        EventTime(self.0.saturating_add(span.0))
    }

    pub fn minus(self, span: Span) -> EventTime {
        EventTime(self.0.saturating_sub(span.0))
    }

    /// How far `self` lies after `earlier`; zero when it does not.
    pub fn since(self, earlier: EventTime) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }
}

impl Span {
    pub const ZERO: Span = Span(0);
    /// Longer than any log.
    pub const LONGEST: Span = Span(i64::MAX);

    pub const fn from_millis(millis: u32) -> Span {
        Span(millis as i64)
    }

    /// Saturates at about 292 million years.
    pub fn from_duration(duration: std::time::Duration) -> Span {
        Span(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    pub fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EventTime::START => f.write_str("start"),
            EventTime::END => f.write_str("end"),
            EventTime(millis) => match jiff::Timestamp::from_millisecond(millis) {
                Ok(timestamp) => timestamp.fmt(f),
                Err(_) => write!(f, "{millis} ms"),
            },
        }
    }
}
