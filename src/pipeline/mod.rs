//! Joins the pure parts: closed trajectories and watermarks go in, judged units and batches come out.
//!
//! *Invariant:* no I/O, no clock, no randomness of its own, and nothing here can fail. What comes out is a function of the
//! partitions' contents; in which order their trajectories were handed in does not matter.

mod critic;
mod intake;
mod judged;

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use critic::{CriticFeed, CriticFeedState, CriticRules};
pub use intake::{Breaker, Intake, IntakeState, Observed, Progress, RecordCounters, record_fingerprint};
pub use judged::Judged;

use crate::batch::{Action, BaselineBatch, Batch, CriticBatch};
use crate::catalog::{Vocabulary, VocabularyState};
use crate::filter::{AdmittedStep, Buffer, BufferRules, BufferState, Filter, FilterRules, FilterState, Verdict};
use crate::merge::{Merge, MergeState, Merged};
use crate::position::Partition;
use crate::prefetch::prefetch;
use crate::score::{NetworkFit, Scored, Scorer, ScorerState, Unit};
use crate::state::{StateEncoder, States};
use crate::time::Span;
use crate::trajectory::{ClosingKey, Step, Trajectory};
use crate::validation::{self, Delay, Probe};

/// What the policy chooses among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionForm {
    /// A point in embedding space (Gaussian policy).
    Embedding,
    /// A numbered item (softmax policy).
    Item,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PipelineRules {
    pub filter: FilterRules,
    pub buffer: BufferRules,
    pub action: ActionForm,
    /// Share of all steps that the policy is asked about before it can train on them.
    pub probe_share: f64,
    /// What the critic of the tilt is fed by; `None` when there is no tilt, and then it costs nothing.
    pub critic: Option<CriticRules>,
    /// Units whose trajectory closed longer ago than this, in event time, are not judged.
    pub expire_after: Option<Span>,
    /// Keep a record of every judged unit.
    pub log_decisions: bool,
}

/// Everything after the lanes.
pub struct Pipeline {
    rules: PipelineRules,
    merge: Merge,
    encoder: Arc<StateEncoder>,
    vocabulary: Vocabulary,
    scorer: Scorer,
    filter: Filter,
    buffer: Buffer,
    critic: Option<CriticFeed>,
    totals: Totals,
    /// Of the trajectory that is being judged.
    states: States,
}

/// What handling produced, in order.
#[derive(Debug, Default)]
pub struct Outputs {
    pub batches: Vec<Batch>,
    pub critic_batches: Vec<CriticBatch>,
    /// Each is answered by a fit.
    pub baseline_batches: Vec<BaselineBatch>,
    pub judged: Vec<Judged>,
    /// In order; each says how many batches come before it.
    pub probes: Vec<Probe>,
}

/// Conserved counts: units merged = admitted + filtered + held + expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub trajectories: u64,
    pub steps: u64,
    pub units: u64,
    pub expired: u64,
    pub steps_expired: u64,
    /// Admitted steps that the policy cannot learn from: no embedding, or no place in the vocabulary.
    pub steps_without_action: u64,
    /// Sum of the trajectories' undiscounted rewards.
    pub reward: f64,
}

/// What a checkpoint keeps of the pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineState {
    pub merge: MergeState,
    pub vocabulary: VocabularyState,
    pub scorer: ScorerState,
    pub filter: FilterState,
    pub buffer: BufferState,
    pub critic: Option<CriticFeedState>,
    pub totals: Totals,
}

impl Pipeline {
    pub fn new(
        partitions: impl IntoIterator<Item = Partition>,
        rules: PipelineRules,
        encoder: Arc<StateEncoder>,
        scorer: Scorer,
        vocabulary: Vocabulary,
    ) -> Pipeline {
        Pipeline {
            merge: Merge::new(partitions),
            filter: Filter::new(rules.filter.clone()),
            buffer: Buffer::new(rules.buffer.clone()),
            critic: rules.critic.clone().map(CriticFeed::new),
            totals: Totals::default(),
            states: States::default(),
            rules,
            encoder,
            vocabulary,
            scorer,
        }
    }

    pub fn restore(
        state: PipelineState,
        rules: PipelineRules,
        encoder: Arc<StateEncoder>,
        mut scorer: Scorer,
        vocabulary_capacity: usize,
    ) -> Result<Pipeline, String> {
        if !scorer.restore(state.scorer) {
            return Err("the baseline was fitted to features of another dimension".to_owned());
        }
        Ok(Pipeline {
            merge: Merge::restore(state.merge),
            filter: Filter::restore(rules.filter.clone(), state.filter)?,
            buffer: Buffer::restore(rules.buffer.clone(), state.buffer)?,
            critic: restored_critic(rules.critic.clone(), state.critic)?,
            vocabulary: Vocabulary::restore(state.vocabulary, vocabulary_capacity),
            totals: state.totals,
            states: States::default(),
            rules,
            encoder,
            scorer,
        })
    }

    pub fn snapshot(&mut self) -> PipelineState {
        PipelineState {
            merge: self.merge.snapshot(),
            vocabulary: self.vocabulary.snapshot(),
            scorer: self.scorer.snapshot(),
            filter: self.filter.snapshot(),
            buffer: self.buffer.snapshot(),
            critic: self.critic.as_ref().map(CriticFeed::snapshot),
            totals: self.totals,
        }
    }

    pub fn merge(&self) -> &Merge {
        &self.merge
    }

    /// For offering trajectories and moving watermarks; call [`Pipeline::drain`] afterwards.
    pub fn merge_mut(&mut self) -> &mut Merge {
        &mut self.merge
    }

    pub fn filter(&mut self) -> &mut Filter {
        &mut self.filter
    }

    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Judges everything whose turn has come in the merged order, up to where it must wait for a fit of the baseline.
    pub fn drain(&mut self, outputs: &mut Outputs) {
        while !self.scorer.is_waiting() {
            let Some(merged) = self.merge.next() else { return };
            let ahead = Ahead(self.merge.upcoming());
            self.judge(&merged, &ahead, outputs);
            outputs.baseline_batches.extend(self.scorer.take_generation());
        }
    }

    /// Whether the next trajectory must wait for a fit: [`Pipeline::accept`] it and drain again.
    pub fn is_waiting(&self) -> bool {
        self.scorer.is_waiting()
    }

    /// Takes the fit that it waits for; `false`, and nothing changes, for any other.
    pub fn accept(&mut self, fit: NetworkFit) -> bool {
        self.scorer.accept(fit)
    }

    /// The generation of the baseline whose samples have been put out and whose fit has not been accepted.
    pub fn fit_in_flight(&self) -> Option<u64> {
        self.scorer.fit_in_flight()
    }

    fn judge(&mut self, merged: &Merged, ahead: &Ahead, outputs: &mut Outputs) {
        let trajectory = &merged.trajectory;
        let sequence = self.totals.trajectories;
        self.totals.trajectories += 1;
        self.totals.steps += trajectory.steps.len() as u64;
        self.totals.reward += trajectory.steps.iter().map(|step| step.reward).sum::<f64>();
        if self.is_expired(merged) {
            self.count_expired(trajectory);
            return;
        }
        let mut states = std::mem::take(&mut self.states);
        self.encoder.encode_all(&trajectory.steps, &mut states);
        self.probe(trajectory, &states, &mut outputs.probes);
        self.feed_critic(trajectory, &states, outputs);
        for scored in self.scorer.score(trajectory, &states) {
            ahead.fetch(scored.first_step..scored.first_step + scored.steps);
            self.totals.units += 1;
            let batches_before = self.buffer.batches();
            let judgement = self.filter.consider(scored.score, scored.steps as u64, &trajectory.user, merged.at);
            if judgement.verdict == Verdict::Admit {
                self.admit(trajectory, &states, &scored, judgement.weight, judgement.cut.as_ref(), outputs);
            }
            let kappa = self.filter.kappa();
            (batches_before..self.buffer.batches()).for_each(|_| self.filter.note_batch());
            if self.rules.log_decisions {
                outputs.judged.push(Judged::new(sequence, trajectory, &scored, &judgement, kappa, batches_before));
            }
        }
        self.states = states;
    }

    /// Before any step of the trajectory can be drawn into a batch.
    fn probe(&self, trajectory: &Trajectory, states: &States, probes: &mut Vec<Probe>) {
        let ClosingKey { partition, time: closed, .. } = trajectory.key;
        for (step, state) in trajectory.steps.iter().zip(states.iter()) {
            if validation::is_chosen(self.rules.probe_share, partition, step.place) {
                probes.push(Probe {
                    batches_before: self.buffer.batches(),
                    critic_batches_before: self.critic.as_ref().map_or(0, CriticFeed::batches),
                    state: state.into(),
                    action: self.known_action(step),
                    row: self.encoder.catalog.row(&step.decision.item),
                    propensity: step.decision.propensity,
                    reward: step.reward,
                    delay: Delay::of(closed.since(step.time)),
                });
            }
        }
    }

    /// As [`Pipeline::action`], but numbers no item: looking must not change what is learned.
    fn known_action(&self, step: &Step) -> Option<Action> {
        match self.rules.action {
            ActionForm::Embedding => self.embedding(step),
            ActionForm::Item => {
                let known = |item: &str| self.vocabulary.known(item);
                let candidates = step.decision.candidates.as_deref();
                let candidates = candidates.map(|items| items.iter().filter_map(|item| known(item)).collect());
                Some(Action::Item { chosen: known(&step.decision.item)?, candidates })
            }
        }
    }

    fn embedding(&self, step: &Step) -> Option<Action> {
        let own = step.decision.embedding.as_deref();
        let embedding = own.or_else(|| self.encoder.catalog.embedding(&step.decision.item));
        embedding
            .filter(|embedding| embedding.len() == self.encoder.item_dimension())
            .map(|embedding| Action::Embedding(embedding.into()))
    }

    /// The critic sees all behavior, whatever becomes of it.
    fn feed_critic(&mut self, trajectory: &Trajectory, states: &States, outputs: &mut Outputs) {
        let Some(feed) = &mut self.critic else { return };
        let vocabulary = &mut self.vocabulary;
        let steps = trajectory
            .steps
            .iter()
            .zip(states.iter())
            .filter_map(|(step, state)| Some((state.into(), vocabulary.number(&step.decision.item)?)));
        feed.observe(self.scorer.session_return(trajectory), steps, &mut outputs.critic_batches);
    }

    fn admit(
        &mut self,
        trajectory: &Trajectory,
        states: &States,
        scored: &Scored,
        weight: f64,
        cut: Option<&crate::window::Cut>,
        outputs: &mut Outputs,
    ) {
        let Some(score) = scored.score else { return };
        let unit = trajectory.steps.iter().zip(states.iter()).skip(scored.first_step).take(scored.steps);
        for (step, state) in unit {
            let Some(action) = self.action(step) else {
                self.totals.steps_without_action += 1;
                continue;
            };
            let propensity = step.decision.propensity.map(|propensity| propensity as f32);
            let admitted = AdmittedStep { state: state.into(), action, score, propensity };
            self.buffer.admit(admitted, weight, cut, &mut outputs.batches);
        }
    }

    fn action(&mut self, step: &Step) -> Option<Action> {
        let decision = &step.decision;
        match self.rules.action {
            ActionForm::Embedding => self.embedding(step),
            ActionForm::Item => {
                let chosen = self.vocabulary.number(&decision.item)?;
                let candidates = decision.candidates.as_deref().map(|candidates| {
                    let mut numbers: Vec<u32> =
                        candidates.iter().filter_map(|item| self.vocabulary.number(item)).chain([chosen]).collect();
                    numbers.sort_unstable();
                    numbers.dedup();
                    Arc::from(numbers)
                });
                Some(Action::Item { chosen, candidates })
            }
        }
    }

    fn is_expired(&self, merged: &Merged) -> bool {
        self.rules.expire_after.is_some_and(|limit| merged.at.since(merged.trajectory.key.time) > limit)
    }

    fn count_expired(&mut self, trajectory: &Trajectory) {
        let steps = trajectory.steps.len() as u64;
        let units = match self.scorer.unit() {
            Unit::Step => steps,
            Unit::Trajectory => 1,
        };
        self.totals.units += units;
        self.totals.expired += units;
        self.totals.steps_expired += steps;
    }
}

/// The trajectories that are judged next: their steps were decoded minutes ago, and by another thread. They are asked for step
/// by step while another trajectory is judged, so that they need not be waited for.
struct Ahead([Option<Arc<Trajectory>>; 2]);

impl Ahead {
    fn fetch(&self, steps: Range<usize>) {
        let [next, after] = &self.0;
        if let Some(next) = next {
            prefetch(next.steps.contexts(steps.clone()));
        }
        if let Some(after) = after {
            let all = after.steps.len();
            prefetch(&after.steps[steps.start.min(all)..steps.end.min(all)]);
        }
    }
}

/// The setting decides whether there is a feed: one that is new begins now, one that is off goes.
fn restored_critic(rules: Option<CriticRules>, state: Option<CriticFeedState>) -> Result<Option<CriticFeed>, String> {
    match (rules, state) {
        (Some(rules), Some(state)) => CriticFeed::restore(rules, state).map(Some),
        (Some(rules), None) => Ok(Some(CriticFeed::new(rules))),
        (None, _) => Ok(None),
    }
}

impl Totals {
    /// units = admitted + filtered + held + expired.
    pub fn is_conserved(&self, filter: &crate::filter::FilterTotals) -> bool {
        self.units == filter.admitted + filter.filtered + filter.held + self.expired
            && self.steps == filter.steps_admitted + filter.steps_filtered + filter.steps_held + self.steps_expired
    }
}
