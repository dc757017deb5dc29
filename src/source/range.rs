//! Which part of a log to read: what a user writes after `--from` and `--until`, resolved once to offsets.
//!
//! Resolved ranges are stored before the first record is read, so that a restart reads the same records although "now"
//! has moved on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Fault, Source, SourceError};
use crate::position::{NextOffset, Partition, Position};

/// What to read of every partition.
pub type Range = BTreeMap<Partition, Bounds>;

/// `[start, end)` of one partition; no end means for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub start: NextOffset,
    pub end: Option<NextOffset>,
}

/// One end of a range as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boundary {
    /// `earliest`: what retention has left.
    Earliest,
    /// `latest` or `now`: the end of the log at the moment of resolving.
    Latest,
    /// `ts=`: the first record whose record time, in milliseconds, is not before this.
    Time(i64),
    /// `offset=N`: the same offset in all partitions.
    Offset(u64),
    /// `offset=P:N,...`: every partition its own.
    Offsets(BTreeMap<Partition, u64>),
    /// `last=7d`: so long before the newest record of the log. Not before the clock on the wall: an old log has last days too.
    Last(Duration),
}

const FORMS: &str = "earliest, latest (or now), ts=2026-01-31T06:00:00Z, ts=<milliseconds since 1970>, offset=N, \
                     offset=P:N,P:N,... (each partition once), last=7d";

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RangeError {
    #[error("could not read the range boundary {given:?}: {problem}; accepted are {FORMS}")]
    Form { given: String, problem: String },
    #[error("`{0}` can only be where a range begins: as its end it would name a moment that has no record yet")]
    OnlyAsStart(Boundary),
    #[error("the range names partition {partition}, but the log has partitions 0 to {last}")]
    NoSuchPartition { partition: Partition, last: Partition },
    #[error(
        "the range gives offsets by partition, but none for partition {0}: each needs its own, or write one for all as offset=N"
    )]
    PartitionMissing(Partition),
}

impl RangeError {
    pub fn fault(&self) -> Fault {
        Fault::Usage
    }
}

impl Bounds {
    /// How many offsets lie in between: an upper limit of the records, since offsets may have gaps.
    pub fn offsets(&self) -> Option<u64> {
        self.end.map(|end| end.raw().saturating_sub(self.start.raw()))
    }
}

/// Asks the log once what the two boundaries mean. `until = None` is a range without an end.
///
/// A start beyond the end of the log is its end, and an end before the start is the start: such ranges are empty.
pub fn resolve(source: &mut dyn Source, from: &Boundary, until: Option<&Boundary>) -> Result<Range, SourceError> {
    let first = source.start_offsets()?;
    let last = source.end_offsets()?;
    let starts = place(source, from, &first, &last)?;
    let ends = match until {
        None => None,
        Some(until @ Boundary::Last(_)) => return Err(RangeError::OnlyAsStart(until.clone()).into()),
        Some(until) => Some(place(source, until, &first, &last)?),
    };
    let bounds = |(partition, start): (Partition, NextOffset)| {
        let end = ends.as_ref().map(|ends| ends.get(&partition).copied().unwrap_or(start).max(start));
        (partition, Bounds { start, end })
    };
    Ok(starts.into_iter().map(bounds).collect())
}

fn place(
    source: &mut dyn Source,
    boundary: &Boundary,
    first: &Position,
    last: &Position,
) -> Result<Position, SourceError> {
    match boundary {
        Boundary::Earliest => Ok(first.clone()),
        Boundary::Latest => Ok(last.clone()),
        Boundary::Time(millis) => source.offsets_at(*millis),
        Boundary::Offset(offset) => Ok(last.iter().map(|(partition, end)| (*partition, at(*offset, *end))).collect()),
        Boundary::Offsets(offsets) => Ok(each(offsets, last)?),
        Boundary::Last(length) => match source.newest_timestamp()? {
            Some(newest) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                // Kafka reads negative times as names of special offsets.
                source.offsets_at(newest.saturating_sub(length).max(0))
            }
            None => Ok(first.clone()),
        },
    }
}

fn at(offset: u64, end: NextOffset) -> NextOffset {
    NextOffset::boundary(offset).min(end)
}

fn each(offsets: &BTreeMap<Partition, u64>, last: &Position) -> Result<Position, RangeError> {
    if let Some(partition) = offsets.keys().find(|partition| !last.contains_key(partition)) {
        let last = last.keys().next_back().copied().unwrap_or(Partition(0));
        return Err(RangeError::NoSuchPartition { partition: *partition, last });
    }
    let one = |(partition, end): (&Partition, &NextOffset)| match offsets.get(partition) {
        Some(offset) => Ok((*partition, at(*offset, *end))),
        None => Err(RangeError::PartitionMissing(*partition)),
    };
    last.iter().map(one).collect()
}

impl FromStr for Boundary {
    type Err = RangeError;

    fn from_str(given: &str) -> Result<Boundary, RangeError> {
        let refuse = |problem: String| RangeError::Form { given: given.to_owned(), problem };
        match given.split_once('=') {
            None if given == "earliest" => Ok(Boundary::Earliest),
            None if given == "latest" || given == "now" => Ok(Boundary::Latest),
            None => Err(refuse("no such form".to_owned())),
            Some(("ts", time)) => parse_time(time).map(Boundary::Time).map_err(refuse),
            Some(("offset", offsets)) => parse_offsets(offsets).map_err(refuse),
            Some(("last", length)) => match humantime::parse_duration(length) {
                Ok(length) => Ok(Boundary::Last(length)),
                Err(problem) => Err(refuse(format!("{length:?} is not a duration such as 7d or 90m ({problem})"))),
            },
            Some((name, _)) => Err(refuse(format!("no form is called {name:?}"))),
        }
    }
}

fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return if millis >= 0 { Ok(millis) } else { Err("a time before 1970".to_owned()) };
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) if time.as_millisecond() >= 0 => Ok(time.as_millisecond()),
        Ok(_) => Err("a time before 1970".to_owned()),
        Err(problem) => Err(format!("{text:?} is neither RFC 3339 with a zone nor milliseconds ({problem})")),
    }
}

fn parse_offsets(text: &str) -> Result<Boundary, String> {
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| format!("{text:?} is negative")),
        Err(_) => Err(format!("{text:?} is not an offset")),
    };
    if !text.contains(':') {
        return number(text).map(Boundary::Offset);
    }
    let mut offsets = BTreeMap::new();
    for part in text.split(',') {
        let (partition, offset) = part.split_once(':').ok_or_else(|| format!("{part:?} is not PARTITION:OFFSET"))?;
        let partition = partition.parse::<u32>().map_err(|_| format!("{partition:?} is not a partition"))?;
        if offsets.insert(Partition(partition), number(offset)?).is_some() {
            return Err(format!("partition {partition} occurs twice"));
        }
    }
    Ok(Boundary::Offsets(offsets))
}

/// Writes what [`Boundary::from_str`] reads.
impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Boundary::Earliest => f.write_str("earliest"),
            Boundary::Latest => f.write_str("latest"),
            Boundary::Time(millis) => write!(f, "ts={millis}"),
            Boundary::Offset(offset) => write!(f, "offset={offset}"),
            Boundary::Offsets(offsets) => {
                let parts: Vec<_> = offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
                write!(f, "offset={}", parts.join(","))
            }
            Boundary::Last(length) => write!(f, "last={}", humantime::format_duration(*length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_read_and_written_back() {
        let hour = Duration::from_secs(3600);
        let both = BTreeMap::from([(Partition(0), 5), (Partition(1), 0)]);
        let forms = [
            ("earliest", Boundary::Earliest),
            ("latest", Boundary::Latest),
            ("now", Boundary::Latest),
            ("ts=1700000000123", Boundary::Time(1_700_000_000_123)),
            ("ts=2023-11-14T22:13:20.123Z", Boundary::Time(1_700_000_000_123)),
            ("ts=2023-11-15T00:13:20.123+02:00", Boundary::Time(1_700_000_000_123)),
            ("offset=42", Boundary::Offset(42)),
            ("offset=0:5,1:0", Boundary::Offsets(both)),
            ("last=7d", Boundary::Last(7 * 24 * hour)),
            ("last=1h 30m", Boundary::Last(hour + hour / 2)),
        ];
        for (text, boundary) in forms {
            assert_eq!(text.parse(), Ok(boundary.clone()), "{text}");
            assert_eq!(boundary.to_string().parse(), Ok(boundary), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_told_with_the_accepted_forms() {
        let refused = [
            ("", "no such form"),
            ("yesterday", "no such form"),
            ("since=1", "\"since\""),
            ("ts=", "neither"),
            ("ts=2023-11-14", "neither"),
            ("ts=2023-11-14T22:13:20", "neither"),
            ("ts=-5", "before 1970"),
            ("offset=-1", "negative"),
            ("offset=", "not an offset"),
            ("offset=1,2", "not an offset"),
            ("offset=0:1,2", "PARTITION:OFFSET"),
            ("offset=0:1,0:2", "twice"),
            ("last=7", "not a duration"),
            ("last=-7d", "not a duration"),
        ];
        for (text, reason) in refused {
            let message = text.parse::<Boundary>().unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("last=7d"), "{text}: {message}");
        }
    }
}
