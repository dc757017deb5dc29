//! What must come of a log, worked out without the lanes, the merge, the scorer, the window or the filter.

use std::collections::BTreeMap;

use super::broker::Broker;
use super::log::Meaning;
use super::setup::Setup;
use super::undisturbed::Account;
use crate::assemble::{LaneCounters, oracle};
use crate::event::Event;
use crate::filter::{Verdict, WarmUp};
use crate::pipeline::{Judged, RecordCounters};
use crate::position::{Offset, Partition};
use crate::score::Unit;
use crate::trajectory::Trajectory;

pub struct Expected {
    pub trajectories: Vec<Trajectory>,
    pub lane: LaneCounters,
    pub records: RecordCounters,
    pub malformed: Vec<Offset>,
}

/// The whole range of one partition, closed at its end.
pub fn partition(setup: &Setup, broker: &Broker, account: &Account, partition: Partition) -> Expected {
    let (mut records, mut malformed, mut events) = (RecordCounters::default(), Vec::new(), Vec::<Event>::new());
    let topic = broker.topic(partition);
    let mut due = (topic.index_of(account.start[&partition]), account.start[&partition].raw());
    for number in account.consumed.get(&partition).into_iter().flatten() {
        let entry = &topic.entries[*number];
        records.records += 1;
        if *number > due.0 {
            records.lost += entry.offset.raw() - due.1;
        }
        due = (number + 1, entry.offset.raw() + 1);
        match &entry.meaning {
            Meaning::Event(event) => {
                records.decoded += 1;
                events.push(event.clone());
            }
            Meaning::Ignored => records.ignored += 1,
            Meaning::Tombstone => records.tombstones += 1,
            Meaning::Malformed => {
                records.malformed += 1;
                malformed.push(entry.offset);
            }
        }
    }
    let (trajectories, lane) = oracle::expect(partition, &events, &setup.sessions);
    Expected { trajectories, lane, records, malformed }
}

/// The one order. Without idle partitions it is that of the keys. With them it depends on the journal as well; then it is
/// taken from the log of decisions, and must keep the order of every partition.
pub fn order<'a>(
    expected: &'a BTreeMap<Partition, Expected>,
    account: &Account,
    judged: &[Judged],
) -> Vec<&'a Trajectory> {
    let mut all: Vec<&Trajectory> = expected.values().flat_map(|expected| &expected.trajectories).collect();
    if account.journal.is_empty() {
        all.sort_by_key(|trajectory| trajectory.key);
        return all;
    }
    let mut next: BTreeMap<Partition, std::slice::Iter<'_, Trajectory>> =
        expected.iter().map(|(partition, expected)| (*partition, expected.trajectories.iter())).collect();
    let firsts = judged.iter().filter(|line| line.step == 0);
    firsts.filter_map(|line| next.get_mut(&Partition(line.partition))?.next()).collect()
}

/// A line of the decision log, as far as it can be worked out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    sequence: u64,
    place: (u32, u64, u64),
    step: u64,
    steps: u64,
    value: f64,
    threshold: Option<f32>,
    atom_share: Option<f64>,
    window_len: u64,
    level: f64,
    verdict: Verdict,
    weight: f64,
}

impl Line {
    pub fn of(judged: &Judged) -> Line {
        Line {
            sequence: judged.sequence,
            place: (judged.partition, judged.first_offset, judged.last_offset),
            step: judged.step,
            steps: judged.steps,
            value: judged.r#return,
            threshold: judged.threshold,
            atom_share: judged.atom_share,
            window_len: judged.window_len,
            level: judged.level,
            verdict: judged.verdict,
            weight: judged.weight,
        }
    }
}

/// The hard filter as one would write it who has never heard of windows: a list that is sorted for every unit.
pub fn judge(setup: &Setup, merged: &[&Trajectory]) -> Vec<Line> {
    const ONE: f64 = 4_294_967_296.0;
    let rules = &setup.pipeline.filter;
    let kappa = rules.kappa;
    let warm = ((3.0 / kappa).ceil() as usize).max(30).min(rules.window);
    let (mut level, mut window, mut lines) = (kappa, Vec::<f32>::new(), Vec::new());
    for (sequence, trajectory) in (0..).zip(merged) {
        for (step, steps, value) in units(setup, trajectory) {
            let score = value as f32 + 0.0;
            let mass = (level.clamp(0.0, 1.0) * ONE).round() as u64;
            let cut = (window.len() >= warm).then(|| {
                let mut sorted = window.clone();
                sorted.sort_by(|left, right| right.total_cmp(left));
                let rank = ((mass * sorted.len() as u64) >> 32).min(sorted.len() as u64 - 1);
                let threshold = sorted[rank as usize];
                let above = sorted.iter().filter(|score| **score > threshold).count() as u64;
                let equal = sorted.iter().filter(|score| **score == threshold).count() as u64;
                let share = (mass * sorted.len() as u64 - (above << 32)) as f64 / (equal as f64 * ONE);
                (threshold, share)
            });
            let weight = match (cut, rules.warmup) {
                (Some(_), _) if mass == ONE as u64 => 1.0,
                (Some((threshold, _)), _) if score > threshold => 1.0,
                (Some((threshold, share)), _) if score == threshold => share,
                (Some(_), _) | (None, WarmUp::Hold) => 0.0,
                (None, WarmUp::Admit) => 1.0,
            };
            let verdict = match (cut, weight > 0.0) {
                (_, true) => Verdict::Admit,
                (Some(_), false) => Verdict::Filter,
                (None, false) => Verdict::Hold,
            };
            lines.push(Line {
                sequence,
                place: (trajectory.key.partition.0, trajectory.first.offset.raw(), trajectory.last.offset.raw()),
                step,
                steps,
                value,
                threshold: cut.map(|cut| cut.0),
                atom_share: cut.map(|cut| cut.1),
                window_len: window.len() as u64,
                level: mass as f64 / ONE,
                verdict,
                weight,
            });
            window.push(score);
            if window.len() > rules.window {
                window.remove(0);
            }
            if cut.is_some() {
                let highest = kappa.max((20.0 * kappa).min(0.98));
                level = (level + rules.level_rate * (kappa - weight)).clamp(kappa / 50.0, highest);
            }
        }
    }
    lines
}

/// First step, number of steps and discounted return of every unit.
fn units(setup: &Setup, trajectory: &Trajectory) -> Vec<(u64, u64, f64)> {
    let rewards: Vec<f64> = trajectory.steps.iter().map(|step| step.reward).collect();
    let value =
        |from: usize| rewards[from..].iter().rev().fold(0.0, |rest, reward| reward + setup.score.discount * rest);
    match setup.score.unit {
        Unit::Trajectory => vec![(0, rewards.len() as u64, value(0))],
        Unit::Step => (0..rewards.len()).map(|step| (step as u64, 1, value(step))).collect(),
    }
}
