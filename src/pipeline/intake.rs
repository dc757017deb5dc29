//! The part of the path that one partition owns: bytes in, closed trajectories out.
//!
//! An intake sees the records of its own partition in offset order and nothing else, so it may run on any thread: what
//! it gives out is a function of that partition's content.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::{Lane, LaneState, SessionRules};
use crate::decode::{Decoded, Decoder, Malformed};
use crate::event::{Event, Fingerprint};
use crate::position::{NextOffset, Offset, Partition};
use crate::time::EventTime;
use crate::trajectory::Trajectory;

/// One partition's decoder, lane and counters.
pub struct Intake {
    decoder: Arc<Decoder>,
    lane: Lane,
    state: Progress,
    breaker: Breaker,
    scratch: Vec<Event>,
}

/// Stops a run that cannot read its log: better no policy than one made of the few records that fit by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Largest share of malformed records, in [0, 1].
    pub max_share: f64,
    /// Records that are judged together.
    pub sample: u64,
}

/// What a checkpoint keeps of a partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntakeState {
    pub progress: Progress,
    pub lane: LaneState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub next: NextOffset,
    pub counters: RecordCounters,
    /// Fingerprint of the last record: a log that was replaced by another has the same offsets, but not this.
    pub last_record: Option<(Offset, Fingerprint)>,
    /// Records and malformed ones in the breaker's present sample.
    sample_seen: u64,
    sample_malformed: u64,
}

/// records = decoded + ignored + tombstones + malformed; what was lost was never a record here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounters {
    pub records: u64,
    pub decoded: u64,
    pub ignored: u64,
    pub tombstones: u64,
    pub malformed: u64,
    /// Offsets that retention deleted before they were read.
    pub lost: u64,
}

/// What a record became beside the trajectories that it closed.
#[derive(Debug)]
pub enum Observed {
    /// Read, or rightly skipped.
    Taken,
    /// To the dead letters, with its original bytes.
    Rejected(Malformed),
    /// Too large a share of the last records was malformed.
    Broken { malformed: u64, sample: u64, last: Malformed },
}

impl Intake {
    pub fn new(partition: Partition, start: NextOffset, decoder: Arc<Decoder>, rules: SessionRules) -> Intake {
        let state = Progress {
            next: start,
            counters: RecordCounters::default(),
            last_record: None,
            sample_seen: 0,
            sample_malformed: 0,
        };
        let breaker = Breaker { max_share: 1.0, sample: u64::MAX };
        Intake { decoder, lane: Lane::new(partition, rules), state, breaker, scratch: Vec::new() }
    }

    pub fn restore(
        partition: Partition,
        state: IntakeState,
        decoder: Arc<Decoder>,
        rules: SessionRules,
    ) -> Result<Intake, String> {
        if state.lane.partition() != partition {
            return Err(format!("the lane of partition {} stands under {partition}", state.lane.partition()));
        }
        let lane = Lane::restore(state.lane, rules).map_err(|error| error.to_string())?;
        let breaker = Breaker { max_share: 1.0, sample: u64::MAX };
        Ok(Intake { decoder, lane, state: state.progress, breaker, scratch: Vec::new() })
    }

    pub fn with_breaker(mut self, breaker: Breaker) -> Intake {
        self.breaker = breaker;
        self
    }

    /// Cheap: the lane's sessions are shared, not copied.
    pub fn snapshot(&mut self) -> IntakeState {
        IntakeState { progress: self.state.clone(), lane: self.lane.snapshot() }
    }

    pub fn next_offset(&self) -> NextOffset {
        self.state.next
    }

    pub fn watermark(&self) -> EventTime {
        self.lane.watermark()
    }

    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    pub fn counters(&self) -> &RecordCounters {
        &self.state.counters
    }

    /// Takes the record at `offset`; `watch` sees its events. A record that was taken before (a redelivery) changes
    /// nothing. After the last record of a run comes [`Intake::remember`].
    pub fn observe(
        &mut self,
        offset: Offset,
        timestamp: Option<i64>,
        value: Option<&[u8]>,
        watch: &mut dyn FnMut(&Event),
        closed: &mut Vec<Trajectory>,
    ) -> Observed {
        if self.state.next.is_past(offset) {
            return Observed::Taken;
        }
        self.state.next = offset.next();
        let counters = &mut self.state.counters;
        counters.records += 1;
        self.state.sample_seen += 1;
        self.scratch.clear();
        let outcome = match self.decoder.decode(offset, timestamp, value, &mut self.scratch) {
            Ok(Decoded::Events(_)) => {
                counters.decoded += 1;
                for event in self.scratch.drain(..) {
                    watch(&event);
                    self.lane.observe(event, closed);
                }
                Observed::Taken
            }
            Ok(Decoded::Ignored) => {
                counters.ignored += 1;
                Observed::Taken
            }
            Ok(Decoded::Tombstone) => {
                counters.tombstones += 1;
                Observed::Taken
            }
            Err(malformed) => {
                counters.malformed += 1;
                self.state.sample_malformed += 1;
                Observed::Rejected(malformed)
            }
        };
        self.check_breaker(outcome)
    }

    /// Takes note of the content of the record that was observed last. Only the last one of a run is ever compared with
    /// the log again, so only it is worth the hash.
    pub fn remember(&mut self, offset: Offset, timestamp: Option<i64>, value: Option<&[u8]>) {
        if self.state.next == offset.next() {
            self.state.last_record = Some((offset, record_fingerprint(timestamp, value)));
        }
    }

    /// The log does not go on at the next offset but at `to`: retention was faster. Told again, it changes nothing.
    pub fn skip_to(&mut self, to: NextOffset) {
        self.state.counters.lost += to.raw().saturating_sub(self.state.next.raw());
        self.state.next = self.state.next.max(to);
    }

    /// Closes what is open: the range has ended.
    pub fn finish(&mut self, closed: &mut Vec<Trajectory>) {
        self.lane.finish(closed);
    }

    fn check_breaker(&mut self, outcome: Observed) -> Observed {
        let (seen, malformed, sample) = (self.state.sample_seen, self.state.sample_malformed, self.breaker.sample);
        let outcome = match outcome {
            Observed::Rejected(last) if malformed as f64 > self.breaker.max_share * sample as f64 => {
                Observed::Broken { malformed, sample: seen, last }
            }
            outcome => outcome,
        };
        if seen >= sample {
            (self.state.sample_seen, self.state.sample_malformed) = (0, 0);
        }
        outcome
    }
}

impl RecordCounters {
    pub fn add(&mut self, other: &RecordCounters) {
        self.records += other.records;
        self.decoded += other.decoded;
        self.ignored += other.ignored;
        self.tombstones += other.tombstones;
        self.malformed += other.malformed;
        self.lost += other.lost;
    }

    pub fn is_conserved(&self) -> bool {
        self.records == self.decoded + self.ignored + self.tombstones + self.malformed
    }
}

/// Identifies a record's content: timestamp and value; a missing value (tombstone) differs from an empty one.
pub fn record_fingerprint(timestamp: Option<i64>, value: Option<&[u8]>) -> Fingerprint {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&timestamp.unwrap_or(i64::MIN).to_le_bytes());
    hasher.update(&[u8::from(value.is_some())]);
    hasher.update(value.unwrap_or_default());
    Fingerprint(hasher.digest128())
}
