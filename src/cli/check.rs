//! `check`: how a sample would be read, before anything is learned from it.

mod trend;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::trend::Trend;
use super::plan::{self, job_failure};
use super::{args, print_json, print_text, replay, settings_from};
use crate::decode::{Decoder, RecordPlace, Sample, SampleReport};
use crate::exit::{Exit, Failure};
use crate::files::{FilesError, Lines, Splitter};
use crate::position::NextOffset;
use crate::runtime::JobError;
use crate::settings::Settings;
use crate::source::{Bounds, Polled, Range, Source, SourceError};

/// What `check --json` prints; `schemas/check-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct Report {
    sample: PathBuf,
    /// The share of malformed records is within what the settings accept.
    ok: bool,
    malformed_share: f64,
    max_malformed_share: f64,
    #[serde(flatten)]
    reading: SampleReport,
    #[serde(flatten)]
    trend: trend::Report,
}

const POLL: Duration = Duration::from_millis(100);

pub fn check(arguments: &args::Check) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let decoder = plan::decoder(&settings)?;
    let mut reader = Reader::new(&settings, decoder);
    if arguments.sample == Path::new("topic") {
        let mut source = plan::topic_source(&settings)?;
        let read = reader.read_topic(&mut source, arguments.records);
        read.map_err(|error| job_failure(JobError::Source(error)))?;
    } else {
        let read = reader.read_file(&arguments.sample, arguments.records);
        read.map_err(|error| job_failure(JobError::Source(error.into())))?;
    }
    let report = reader.report(&arguments.sample, &settings);
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&report.in_words())?;
    }
    Ok(if report.ok { Exit::Success } else { Exit::Refuted })
}

/// Shows every record to the statistics and to the lanes.
struct Reader {
    decoder: Decoder,
    sample: Sample,
    trend: Trend,
}

impl Reader {
    fn new(settings: &Settings, decoder: Decoder) -> Reader {
        let trend = Trend::new(plan::session_rules(settings), settings.score);
        Reader { sample: Sample::new(decoder.clone()), trend, decoder }
    }

    fn read_file(&mut self, path: &Path, records_max: u64) -> Result<(), FilesError> {
        let mut lines = Lines::open(path)?;
        let decoder = self.decoder.clone();
        let key_of = replay::line_keys(&decoder);
        // One partition: how a file would be divided says nothing about it.
        let mut splitter = Splitter::new(1);
        for _ in 0..records_max {
            let Some(line) = lines.next()?.map(<[u8]>::to_vec) else { break };
            // A line has no time of its own, and gets the one that `load` would give it.
            let placed = splitter.place(&key_of(&line));
            let place = RecordPlace { partition: placed.partition, offset: placed.offset, line: Some(lines.number()) };
            self.observe(place, Some(placed.timestamp), Some(&line));
        }
        Ok(())
    }

    /// The first records of every partition.
    fn read_topic(&mut self, source: &mut dyn Source, records_max: u64) -> Result<(), SourceError> {
        let (starts, ends) = (source.start_offsets()?, source.end_offsets()?);
        let share = records_max.div_ceil(starts.len().max(1) as u64);
        let mut range = Range::new();
        for (partition, start) in starts {
            let end = ends.get(&partition).copied().unwrap_or(start);
            let end = end.min(NextOffset::boundary(start.raw().saturating_add(share)));
            range.insert(partition, Bounds { start, end: Some(end) });
        }
        source.assign(&range)?;
        let mut open = range.len();
        while open > 0 {
            match source.poll(POLL)? {
                Polled::Records(runs) => {
                    for run in &runs {
                        for record in run.iter() {
                            let place = RecordPlace { partition: run.partition(), offset: record.offset, line: None };
                            self.observe(place, record.timestamp, record.value);
                        }
                    }
                }
                Polled::RangeEnd(_) => open -= 1,
                Polled::CaughtUp(_) | Polled::Lost { .. } | Polled::Nothing => {}
            }
        }
        Ok(())
    }

    fn observe(&mut self, place: RecordPlace, timestamp: Option<i64>, value: Option<&[u8]>) {
        self.sample.observe(place, timestamp, value);
        let mut events = Vec::new();
        // What was malformed has been counted by the sample.
        if self.decoder.decode(place.offset, timestamp, value, &mut events).is_ok() {
            self.trend.observe(place.partition, events);
        }
    }

    fn report(self, sample: &Path, settings: &Settings) -> Report {
        let mut reading = self.sample.report();
        let trend = self.trend.report();
        reading.warnings.extend(trend.warning(&settings.score, settings.filter.unit));
        let malformed_share = reading.malformed as f64 / reading.records.max(1) as f64;
        let max_malformed_share = settings.dead_letters.max_malformed_share;
        Report {
            sample: sample.to_path_buf(),
            ok: malformed_share <= max_malformed_share,
            malformed_share,
            max_malformed_share,
            reading,
            trend,
        }
    }
}
