//! `evaluate`: what another policy would have earned, estimated from the log.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, IntervalName};
use super::plan::{self, job_failure};
use super::{print_json, print_text, publish, replay, settings_from};
use crate::assemble::{Lane, LaneCounters, SessionRules};
use crate::checkpoint::RealDisk;
use crate::decode::Decoder;
use crate::evaluate::{
    self, Discount, Estimate, IntervalKind, Plan, PolicyTable, Refusal, RewardModel, Sample, Target,
};
use crate::exit::{Exit, Failure};
use crate::position::{NextOffset, Partition};
use crate::publish::{Lineage, StateShape};
use crate::runtime::{JobError, describe_log};
use crate::serve::Recommender;
use crate::settings::Settings;
use crate::source::range::{Boundary, resolve};
use crate::source::{Polled, Range, Run, Source, SourceError};
use crate::trajectory::Trajectory;

/// What `evaluate --json` prints; `schemas/evaluate-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct Report {
    policy: PathBuf,
    records: u64,
    malformed: u64,
    /// Decisions and feedback that came too late or found no decision: they are not in the estimates.
    late: u64,
    orphan: u64,
    duplicates: u64,
    decisions: u64,
    sessions: u64,
    /// What the logger earned by decision, and by session without discount.
    mean_reward: f64,
    mean_return: f64,
    interval: &'static str,
    resamples: u32,
    seed: u64,
    estimates: Vec<Estimate>,
    warnings: Vec<String>,
}

const POLL: Duration = Duration::from_millis(100);
/// 32 bytes each, and as much again while an estimator works.
const DECISIONS_MAX: usize = 50_000_000;

pub fn evaluate(arguments: &args::Evaluate) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let decoder = plan::decoder(&settings)?;
    if !decoder.reads_propensity() {
        return Err(Exit::Config.because(
            "the mapping reads no propensity, and without the probabilities of the logger nothing can be evaluated: map \
             mapping.propensity or mapping.log_prob",
        ));
    }
    let (mut target, policy, lineage) = target(arguments, &settings, &decoder)?;
    let plan = plan_of(arguments, &settings)?;

    let spool = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
    let mut source = replay::open_source(&settings, &arguments.source, &decoder, spool.path())?;
    let log = Log { decoder: &decoder, rules: plan::session_rules(&settings), range: range(&mut *source, arguments)? };
    // Twice: what the target expects of an item needs the whole log's table of rewards.
    let (mut model, mut facts) = (RewardModel::default(), Facts::default());
    log.read(
        &mut *source,
        RewardModel::default,
        |model, trajectory| {
            trajectory.steps.iter().for_each(|step| model.observe(step));
            Ok(())
        },
        |part, own| {
            model.merge(part);
            facts.add(own)
        },
    )?;
    facts.check(settings.dead_letters.max_malformed_share)?;
    let mut sample = Sample::default();
    log.read(
        &mut *source,
        Sample::default,
        |sample, trajectory| {
            let steps = (0..trajectory.steps.len()).map(|index| target.look(trajectory, index, &model));
            sample.push_session(
                steps.collect::<Result<Vec<_>, Refusal>>().map_err(|refusal| Exit::Data.because(refusal))?,
            );
            Ok(())
        },
        |part, _| sample.append(part),
    )?;
    let mut report = Report::new(policy, &sample, &facts, &plan);
    let seen = lineage.filter(|lineage| lineage.log == describe_log(&source.identity()));
    report.warnings.extend(seen.and_then(|lineage| overlap(&lineage, &log.range)));
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&report.in_words())?;
    }
    Ok(Exit::Success)
}

/// What a policy earned on records that it has learned from says little about others.
fn overlap(lineage: &Lineage, range: &Range) -> Option<String> {
    let seen = range.iter().filter_map(|(partition, bounds)| {
        let learned = lineage.offsets.get(partition)?;
        let (from, to) = (bounds.start.raw(), bounds.end.map_or(u64::MAX, NextOffset::raw));
        Some(to.min(learned.to).saturating_sub(from.max(learned.from.unwrap_or_default())))
    });
    let seen: u64 = seen.sum();
    (seen > 0).then(|| {
        format!(
            "the policy may have learned from up to {seen} of these offsets, which flatters it: --from leaves them out"
        )
    })
}

/// The policy in question, where it stands, and where a published one comes from.
fn target(
    arguments: &args::Evaluate,
    settings: &Settings,
    decoder: &Decoder,
) -> Result<(Target, PathBuf, Option<Lineage>), Failure> {
    match (&arguments.target.policy_table, &arguments.target.policy) {
        (Some(path), _) => {
            let table = fs::read(path).map_err(|error| {
                Exit::Io.because(format!("could not read the policy table {}: {error}", path.display()))
            })?;
            let table = PolicyTable::parse(&table).map_err(|error| Exit::Data.because(error))?;
            Ok((Target::table(table), path.clone(), None))
        }
        (None, Some(path)) => {
            let encoder = plan::encoder(settings, decoder)?;
            let publication = crate::publish::read(&RealDisk, path).map_err(publish::failed)?;
            let lineage = publication.manifest.lineage.clone();
            let recommender = Recommender::new(publication, &StateShape::of(&encoder), None);
            let recommender = Box::new(recommender.map_err(|error| Exit::Config.because(error))?);
            Ok((Target::Published { recommender, encoder: Arc::new(encoder) }, path.clone(), Some(lineage)))
        }
        (None, None) => Err(Exit::Usage.because("name a policy: --policy-table FILE.csv or --policy DIR")),
    }
}

fn plan_of(arguments: &args::Evaluate, settings: &Settings) -> Result<Plan, Failure> {
    let mut gammas = arguments.gamma.clone();
    if gammas.is_empty() {
        gammas = vec![1.0, settings.score.discount];
    }
    gammas.dedup();
    let discounts: Option<Vec<Discount>> = gammas.into_iter().map(Discount::new).collect();
    let discounts = discounts.ok_or_else(|| Exit::Usage.because("--gamma: must be numbers from 0 to 1"))?;
    let interval = match arguments.interval {
        IntervalName::Bootstrap => IntervalKind::Bootstrap,
        IntervalName::Student => IntervalKind::Student,
        IntervalName::Bernstein => IntervalKind::Bernstein,
    };
    let mut lambdas = arguments.lambda.clone();
    lambdas.sort_by(f64::total_cmp);
    lambdas.dedup();
    Ok(Plan { lambdas, discounts, interval, resamples: arguments.resamples, seed: arguments.seed })
}

fn range(source: &mut dyn Source, arguments: &args::Evaluate) -> Result<Range, Failure> {
    let boundary = |flag: &str, text: &str| {
        text.parse::<Boundary>().map_err(|error| Exit::Usage.because(format!("{flag} {text}: {error}")))
    };
    let (from, until) = (boundary("--from", &arguments.from)?, boundary("--until", &arguments.until)?);
    resolve(source, &from, Some(&until)).map_err(source_failure)
}

fn source_failure(error: SourceError) -> Failure {
    job_failure(JobError::Source(error))
}

/// What is read, and how.
struct Log<'a> {
    decoder: &'a Decoder,
    rules: SessionRules,
    range: Range,
}

/// One partition on its way through a pass.
struct Part<P> {
    lane: Lane,
    product: P,
    facts: Facts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    records: u64,
    malformed: u64,
    decisions: u64,
    sessions: u64,
    reward: f64,
    late: u64,
    orphan: u64,
    duplicates: u64,
}

impl Log<'_> {
    /// Reads the range once, and makes one product of each partition, handed over in the order of partitions: so that
    /// nothing depends on the order in which a broker sends them.
    fn read<P>(
        &self,
        source: &mut dyn Source,
        new: impl Fn() -> P,
        mut take: impl FnMut(&mut P, &Trajectory) -> Result<(), Failure>,
        mut finish: impl FnMut(P, &Facts),
    ) -> Result<(), Failure> {
        source.assign(&self.range).map_err(source_failure)?;
        let part = |partition: &Partition| {
            let lane = Lane::new(*partition, self.rules);
            (*partition, Part { lane, product: new(), facts: Facts::default() })
        };
        let mut parts: BTreeMap<Partition, Part<P>> = self.range.keys().map(part).collect();
        let mut open = parts.len();
        while open > 0 {
            match source.poll(POLL).map_err(source_failure)? {
                Polled::Records(runs) => {
                    for run in &runs {
                        if let Some(part) = parts.get_mut(&run.partition()) {
                            self.observe(run, part, &mut take)?;
                        }
                    }
                    let decisions: u64 = parts.values().map(|part| part.facts.decisions).sum();
                    if decisions > DECISIONS_MAX as u64 {
                        let problem =
                            format!("the range holds more than {DECISIONS_MAX} decisions: narrow it by --from");
                        return Err(Exit::Data.because(problem));
                    }
                }
                Polled::RangeEnd(partition) => {
                    if let Some(part) = parts.get_mut(&partition) {
                        let mut closed = Vec::new();
                        part.lane.finish(&mut closed);
                        part.take(&closed, &mut take)?;
                    }
                    open -= 1;
                }
                Polled::CaughtUp(_) | Polled::Lost { .. } | Polled::Nothing => {}
            }
        }
        for Part { lane, product, mut facts } in parts.into_values() {
            facts.note(lane.counters());
            finish(product, &facts);
        }
        Ok(())
    }

    fn observe<P>(
        &self,
        run: &Run,
        part: &mut Part<P>,
        take: &mut impl FnMut(&mut P, &Trajectory) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut events, mut closed) = (Vec::new(), Vec::new());
        for record in run.iter() {
            part.facts.records += 1;
            let decoded = self.decoder.decode(record.offset, record.timestamp, record.value, &mut events);
            part.facts.malformed += u64::from(decoded.is_err());
            for event in events.drain(..) {
                part.lane.observe(event, &mut closed);
            }
        }
        part.take(&closed, take)
    }
}

impl<P> Part<P> {
    fn take(
        &mut self,
        closed: &[Trajectory],
        take: &mut impl FnMut(&mut P, &Trajectory) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for trajectory in closed {
            self.facts.sessions += 1;
            self.facts.decisions += trajectory.steps.len() as u64;
            self.facts.reward += trajectory.steps.iter().map(|step| step.reward).sum::<f64>();
            take(&mut self.product, trajectory)?;
        }
        Ok(())
    }
}

impl Facts {
    fn note(&mut self, lane: &LaneCounters) {
        (self.late, self.orphan, self.duplicates) = (lane.late, lane.orphan, lane.duplicate);
    }

    fn add(&mut self, other: &Facts) {
        self.records += other.records;
        self.malformed += other.malformed;
        self.decisions += other.decisions;
        self.sessions += other.sessions;
        self.reward += other.reward;
        self.late += other.late;
        self.orphan += other.orphan;
        self.duplicates += other.duplicates;
    }

    fn check(&self, max_malformed_share: f64) -> Result<(), Failure> {
        let share = self.malformed as f64 / self.records.max(1) as f64;
        if share > max_malformed_share {
            let problem = format!(
                "{} of {} records are malformed, more than dead_letters.max_malformed_share allows; `sluicebox check` \
                 says why",
                self.malformed, self.records
            );
            return Err(Exit::Data.because(problem));
        }
        match self.decisions {
            0 => Err(Exit::Data.because("the range holds no decision")),
            _ => Ok(()),
        }
    }
}

impl Report {
    fn new(policy: PathBuf, sample: &Sample, facts: &Facts, plan: &Plan) -> Report {
        let mut warnings = Vec::new();
        if facts.malformed > 0 {
            warnings.push(format!(
                "{} of {} records could not be read: what they say is missing in the estimates; `sluicebox check` says why",
                facts.malformed, facts.records
            ));
        }
        if facts.late + facts.orphan > 0 {
            warnings.push(format!(
                "{} events were late and {} found no decision: they are missing in the estimates (time.lateness, \
                 reward.wait, session.gap)",
                facts.late, facts.orphan
            ));
        }
        Report {
            policy,
            records: facts.records,
            malformed: facts.malformed,
            late: facts.late,
            orphan: facts.orphan,
            duplicates: facts.duplicates,
            decisions: facts.decisions,
            sessions: facts.sessions,
            mean_reward: facts.reward / facts.decisions as f64,
            mean_return: facts.reward / facts.sessions as f64,
            interval: match plan.interval {
                IntervalKind::Bernstein => "bernstein",
                IntervalKind::Student => "student",
                IntervalKind::Bootstrap => "bootstrap",
            },
            resamples: plan.resamples,
            seed: plan.seed,
            estimates: evaluate::estimate(sample, plan),
            warnings,
        }
    }

    fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing into a string has no way to fail.
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}");
        };
        line(format!("policy     {}", self.policy.display()));
        line(format!("log        {} decisions in {} sessions", self.decisions, self.sessions));
        line(format!("earned     {:.6} a decision, {:.6} a session", self.mean_reward, self.mean_return));
        let own: Vec<&Estimate> = self.estimates.iter().filter(|estimate| estimate.same_as.is_none()).collect();
        let mut of_sessions = None;
        for estimate in own {
            if of_sessions != Some(estimate.unit) {
                of_sessions = Some(estimate.unit);
                line(format!("\nby {}: {}", estimate.unit.name(), estimate.overlap_in_words()));
                for warning in &estimate.warnings {
                    line(format!("WARNING    {warning}"));
                }
                line(format!("{:<24}{:>14}   95 % by {}", "estimator", "value", self.interval));
            }
            let (low, high) = (estimate.interval_low, estimate.interval_high);
            let interval = match high == f64::INFINITY {
                true => "a lower bound of its own, 95 %".to_owned(),
                false => format!("[{low:.8}, {high:.8}]"),
            };
            line(format!("{:<24}{:>14.8}   {interval}", estimate.estimator, estimate.value));
        }
        for warning in &self.warnings {
            line(format!("WARNING    {warning}"));
        }
        text
    }
}
