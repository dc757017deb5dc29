//! What a sample of a log would be read as, and what looks wrong about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::explain::EventSummary;
use super::malformed::{Malformed, MalformedReason};
use super::{Decoded, Decoder, Explanation};
use crate::event::{Body, Decision, Event, EventKind, Fingerprint};
use crate::position::{Offset, Partition};
use crate::time::EventTime;

/// Users and items remembered: a longer sample is judged by the first so many.
const REMEMBERED_MAX: usize = 200_000;
const FIRST_ERRORS_MAX: usize = 3;

/// Statistics over the records that it is shown.
#[derive(Debug, Clone)]
pub struct Sample {
    decoder: Decoder,
    report: SampleReport,
    times: Option<(EventTime, EventTime)>,
    users: BTreeMap<Fingerprint, Partition>,
    split_users: BTreeSet<Fingerprint>,
    items: BTreeSet<Fingerprint>,
    buffer: Vec<Event>,
}

/// Plain numbers and lists, ready to be printed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SampleReport {
    pub records: u64,
    pub decoded: u64,
    pub ignored: u64,
    pub tombstones: u64,
    pub malformed: u64,
    pub events: u64,
    /// Events by kind: `decision`, `feedback`, `session_end`, `watermark`.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Refused records by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first few of every reason.
    pub first_errors: Vec<FirstError>,
    pub users: usize,
    pub users_in_several_partitions: usize,
    pub items: usize,
    pub decisions_without_propensity: u64,
    pub propensity_min: Option<f64>,
    pub reward_min: Option<f64>,
    pub reward_max: Option<f64>,
    pub time_first: Option<String>,
    pub time_last: Option<String>,
    /// The first record of each kind, field by field.
    pub examples: Vec<Example>,
    pub warnings: Vec<String>,
}

/// Where a record of the sample stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RecordPlace {
    pub partition: Partition,
    pub offset: Offset,
    /// In a file, counting empty lines, from 1.
    pub line: Option<u64>,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}"),
            None => write!(f, "partition {}, offset {}", self.partition, self.offset),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    #[serde(flatten)]
    pub place: RecordPlace,
    #[serde(flatten)]
    pub explanation: Explanation,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstError {
    #[serde(flatten)]
    pub place: RecordPlace,
    pub reason: MalformedReason,
    pub field: Option<&'static str>,
    pub detail: String,
}

impl Sample {
    pub fn new(decoder: Decoder) -> Sample {
        Sample {
            decoder,
            report: SampleReport::default(),
            times: None,
            users: BTreeMap::new(),
            split_users: BTreeSet::new(),
            items: BTreeSet::new(),
            buffer: Vec::new(),
        }
    }

    pub fn observe(&mut self, place: RecordPlace, timestamp: Option<i64>, value: Option<&[u8]>) {
        self.report.records += 1;
        let mut events = std::mem::take(&mut self.buffer);
        match self.decoder.decode(place.offset, timestamp, value, &mut events) {
            Ok(Decoded::Events(count)) => {
                self.report.decoded += 1;
                self.report.events += count as u64;
            }
            Ok(Decoded::Ignored) => self.report.ignored += 1,
            Ok(Decoded::Tombstone) => self.report.tombstones += 1,
            Err(malformed) => self.refuse(place, malformed),
        }
        for event in events.drain(..) {
            let kind = EventSummary::kind_of(&event);
            let count = self.report.kinds.entry(kind).or_default();
            *count += 1;
            if *count == 1 {
                let explanation = self.decoder.explain(place.offset, timestamp, value);
                self.report.examples.push(Example { place, explanation });
            }
            self.see(place.partition, &event);
        }
        self.buffer = events;
    }

    /// The statistics so far, with what a person should look at.
    pub fn report(&self) -> SampleReport {
        let mut report = self.report.clone();
        report.users = self.users.len();
        report.users_in_several_partitions = self.split_users.len();
        report.items = self.items.len();
        report.time_first = self.times.map(|(first, _)| first.to_string());
        report.time_last = self.times.map(|(_, last)| last.to_string());
        report.warnings = warnings(&report);
        report
    }

    fn refuse(&mut self, place: RecordPlace, malformed: Malformed) {
        self.report.malformed += 1;
        let count = self.report.reasons.entry(malformed.reason.name()).or_default();
        *count += 1;
        if *count <= FIRST_ERRORS_MAX as u64 {
            let Malformed { reason, field, detail } = malformed;
            self.report.first_errors.push(FirstError { place, reason, field, detail });
        }
    }

    fn see(&mut self, partition: Partition, event: &Event) {
        let (first, last) = self.times.unwrap_or((event.time, event.time));
        self.times = Some((first.min(event.time), last.max(event.time)));
        let EventKind::Interaction(interaction) = &event.kind else { return };
        let user = Fingerprint::of(&interaction.user);
        match self.users.get(&user) {
            Some(home) if *home != partition => {
                self.split_users.insert(user);
            }
            Some(_) => {}
            None if self.users.len() < REMEMBERED_MAX => {
                self.users.insert(user, partition);
            }
            None => {}
        }
        match &interaction.body {
            Body::Decision(decision) => self.see_decision(decision),
            Body::Feedback(feedback) => self.see_reward(feedback.reward),
            Body::SessionEnd => {}
        }
    }

    fn see_decision(&mut self, decision: &Decision) {
        if self.items.len() < REMEMBERED_MAX {
            self.items.insert(Fingerprint::of(&decision.item));
        }
        let report = &mut self.report;
        match decision.propensity {
            Some(propensity) => {
                report.propensity_min = Some(report.propensity_min.map_or(propensity, |least| least.min(propensity)));
            }
            None => report.decisions_without_propensity += 1,
        }
        self.see_reward(decision.reward);
    }

    fn see_reward(&mut self, reward: f64) {
        let report = &mut self.report;
        report.reward_min = Some(report.reward_min.map_or(reward, |least| least.min(reward)));
        report.reward_max = Some(report.reward_max.map_or(reward, |most| most.max(reward)));
    }
}

fn warnings(report: &SampleReport) -> Vec<String> {
    let mut warnings = Vec::new();
    let decisions = report.kinds.get("decision").copied().unwrap_or_default();
    if report.users_in_several_partitions > 0 {
        warnings.push(format!(
            "{} of {} users are in more than one partition: the topic is not keyed by user, and their sessions will be \
             split. Key the topic by user, or load a copy that is.",
            report.users_in_several_partitions, report.users
        ));
    }
    if report.events == 0 {
        warnings.push("no record was read as an event".to_owned());
    } else if decisions == 0 {
        warnings.push("no record was read as a decision: there is nothing to learn from".to_owned());
    }
    if decisions > 0 && report.reward_min == report.reward_max {
        warnings.push("all rewards are equal: nothing is better than anything else".to_owned());
    }
    let without = report.decisions_without_propensity;
    if 0 < without && without < decisions {
        warnings.push(format!("{without} of {decisions} decisions have no propensity, the others have one"));
    }
    if report.malformed * 100 > report.records {
        warnings.push(format!("{} of {} records are malformed", report.malformed, report.records));
    }
    warnings
}
