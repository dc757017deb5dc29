//! The streaming form: the log once, from its first row to its last, through the very pipeline and learner of the product.

use std::collections::VecDeque;
use std::sync::Arc;

use super::data::Data;
use super::plan::Plan;
use super::recipe::Recipe;
use super::train::{Setup, Trained, learner};
use crate::catalog::{Catalog, Vocabulary};
use crate::event::Decision;
use crate::filter::{BufferRules, FilterRules, ReplayRatio, WarmUp};
use crate::learner::LearnerError;
use crate::pipeline::{ActionForm, Outputs, Pipeline, PipelineRules};
use crate::position::{Offset, Partition, Place};
use crate::score::{Baseline, Scale, ScoreKind, ScoreRules, Scorer, Unit};
use crate::state::{Pooling, StateEncoder};
use crate::time::{EventTime, Span};
use crate::trajectory::{ClosingKey, Ending, Step, Steps, Trajectory};

/// What only a stream has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream {
    pub window: usize,
    pub buffer: usize,
    pub drift_threshold: Option<f64>,
    /// `None`: rewards as they are, as in the paper's setting.
    pub baseline: Baseline,
}

impl Stream {
    pub const STATIONARY: Stream =
        Stream { window: 2_000, buffer: 20_000, drift_threshold: None, baseline: Baseline::None };
}

/// The product's step size, whatever the batch form's is: one pass has far fewer updates. Their number is the log's.
pub fn setup(plan: &Plan) -> Setup {
    Setup { steps: 0, hidden: plan.hidden.clone(), learning_rate: 1e-3, weight_decay: 0.0, guarded: true }
}

/// What a stream let through, in equal pieces of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// Admitted mass over judged units, by piece.
    pub shares: Vec<f64>,
    pub drifts: u64,
}

/// Where the rows go; each row is a session of one step, as in the paper's setting.
pub fn pipeline(data: &Data, recipe: &Recipe, stream: Stream, seed: u64) -> Pipeline {
    let encoder = Arc::new(StateEncoder {
        context_dimension: data.context,
        pooling: Pooling::None,
        hashed_dimension: data.dimension,
        catalog: Arc::new(Catalog::default()),
    });
    let score = ScoreRules {
        unit: Unit::Step,
        kind: if stream.baseline == Baseline::None { ScoreKind::Reward } else { ScoreKind::Advantage },
        baseline: stream.baseline,
        scale: Scale::Global,
        discount: 1.0,
        clip: None,
        generation: 1_000,
        ridge: 1.0,
    };
    let rules = PipelineRules {
        filter: FilterRules {
            kappa: recipe.keep.kappa(),
            curriculum: recipe.keep.curriculum(),
            seed,
            window: stream.window,
            max_age: None,
            level_rate: 0.005,
            warmup: WarmUp::Hold,
            max_share_per_user: 1.0,
            max_silence: true,
            drift_threshold: stream.drift_threshold,
            noise_gate: None,
        },
        buffer: BufferRules { capacity: stream.buffer, batch: 256, replay_ratio: ReplayRatio::Auto, seed },
        critic: None,
        action: ActionForm::Embedding,
        expire_after: None,
        probe_share: 0.0,
        log_decisions: false,
    };
    let scorer = Scorer::new(score, &encoder);
    let vocabulary = Vocabulary::new(&encoder.catalog, 1);
    Pipeline::new([Partition(0)], rules, encoder, scorer, vocabulary)
}

/// One pass.
pub fn train(
    data: &Data,
    recipe: &Recipe,
    setup: &Setup,
    stream: Stream,
    pieces: usize,
    seed: u64,
) -> Result<(Trained, Admitted), LearnerError> {
    let mut learner = learner(data, recipe, setup, seed)?;
    let mut pipeline = pipeline(data, recipe, stream, seed);
    let (mut shares, mut in_flight) = (Vec::new(), VecDeque::new());
    let (mut mass, mut judged) = (0.0, 0);
    for row in 0..data.len() {
        let time = EventTime::FIRST.plus(Span::from_millis(row as u32));
        // There is one partition, and it is this one.
        let _ = pipeline.merge_mut().offer(trajectory(data, row, time));
        let _ = pipeline.merge_mut().watermark(Partition(0), time.plus(Span::from_millis(1)));
        loop {
            let mut outputs = Outputs::default();
            pipeline.drain(&mut outputs);
            for batch in &outputs.batches {
                // The batch is made for this learner; what the guard refuses it counts.
                let _ = learner.update(batch);
            }
            // So are the samples of a baseline that it has to fit.
            let fits: Vec<_> =
                outputs.baseline_batches.iter().filter_map(|batch| learner.learn_baseline(batch).ok()).collect();
            in_flight.extend(fits);
            if !pipeline.is_waiting() {
                break;
            }
            match in_flight.pop_front() {
                Some(fit) => drop(pipeline.accept(fit)),
                None => break,
            }
        }
        if (row + 1) * pieces / data.len() > shares.len() {
            let totals = *pipeline.filter().totals();
            shares.push((totals.admitted_mass - mass) / (totals.judged - judged).max(1) as f64);
            (mass, judged) = (totals.admitted_mass, totals.judged);
        }
    }
    let admitted = Admitted { shares, drifts: pipeline.filter().totals().drifts };
    Ok((Trained { policy: learner.policy().clone(), counters: learner.counters() }, admitted))
}

fn trajectory(data: &Data, row: usize, time: EventTime) -> Trajectory {
    let place = Place { offset: Offset::from_count(row as u64), index: 0 };
    let reward = f64::from(data.rewards[row]);
    let decision = Decision {
        id: None,
        item: "-".into(),
        embedding: Some(data.action(row).into()),
        context: data.state(row).into(),
        candidates: None,
        propensity: None,
        position: None,
        reward,
    };
    Trajectory {
        key: ClosingKey { time, partition: Partition(0), sequence: row as u64 },
        user: "-".into(),
        session: None,
        ending: Ending::SessionEnd,
        ended_at: time,
        first: place,
        last: place,
        steps: Steps::from_iter([Step { time, place, decision, reward }]),
    }
}
