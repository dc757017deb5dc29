//! The settings of one history: small limits, so that each of them is reached.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use super::dice::Dice;
use crate::assemble::SessionRules;
use crate::catalog::{Catalog, Vocabulary};
use crate::decode::Decoder;
use crate::filter::{BufferRules, Curriculum, FilterRules, ReplayRatio, WarmUp};
use crate::learner::{LearnerSettings, PolicyKind, Vectors};
use crate::pipeline::{ActionForm, Pipeline, PipelineRules, PipelineState};
use crate::position::Partition;
use crate::score::{Baseline, Scale, ScoreKind, ScoreRules, Scorer, Unit};
use crate::state::{Pooling, StateEncoder};
use crate::time::Span;

pub struct Setup {
    pub partitions: Vec<Partition>,
    pub decoder: Arc<Decoder>,
    pub sessions: SessionRules,
    pub score: ScoreRules,
    pub pipeline: PipelineRules,
    pub encoder: Arc<StateEncoder>,
    pub items_max: usize,
    /// The real learner, or a digest of its batches in its place.
    pub learner: Option<LearnerSettings>,
    pub keep: NonZeroUsize,
    /// Does feedback name its decision, or the item?
    pub by_item: bool,
}

/// One learner in so many histories is the real one: it costs as much as all the rest of a history.
const REAL_LEARNER: u64 = 50;

fn decoder(by_item: bool) -> Arc<Decoder> {
    static BOTH: OnceLock<[Arc<Decoder>; 2]> = OnceLock::new();
    let make = |join: &str| {
        let mapping = format!(
            r#"
            kind = {{ pointer = "/k", table = {{ d = "decision", f = "reward", e = "session_end", w = "watermark", i = "ignore" }} }}
            time = "/t"
            user = "/u"
            session = "/s"
            event_id = "/id"
            decision_id = "/d"
            item = "/i"
            context = "/x"
            context_dimension = 1
            reward = "/r"
            feedback = {{ join = "{join}", reward = "/r", is_final = "/final" }}
            "#
        );
        Arc::new(Decoder::new(&toml::from_str(&mapping).unwrap()).unwrap())
    };
    let both = BOTH.get_or_init(|| [make("decision_id"), make("latest_item")]);
    Arc::clone(&both[usize::from(by_item)])
}

impl Setup {
    pub fn draw(dice: &mut Dice) -> Setup {
        let by_item = dice.chance(40);
        let encoder = StateEncoder {
            context_dimension: 1,
            pooling: dice.pick(&[Pooling::None, Pooling::Mean { length: 3 }]),
            hashed_dimension: 2,
            catalog: Arc::new(Catalog::default()),
        };
        let items_max = if dice.chance(80) { 100 } else { 2 };
        let learner = (dice.below(REAL_LEARNER) == 0).then(|| LearnerSettings {
            hidden: vec![3],
            seed: 7,
            ..LearnerSettings::new(
                encoder.dimension(),
                PolicyKind::Softmax { vectors: Vectors::Learned { capacity: items_max, dimension: 2 } },
            )
        });
        Setup {
            partitions: (0..=dice.below(3) as u32).map(Partition).collect(),
            decoder: decoder(by_item),
            sessions: session_rules(dice),
            score: score_rules(dice),
            pipeline: pipeline_rules(dice),
            encoder: Arc::new(encoder),
            items_max,
            learner,
            keep: dice.pick(&[1, 2, 2, 3]).try_into().unwrap(),
            by_item,
        }
    }

    /// Can the verdicts be worked out by a sorted list? The other guards have tests of their own.
    pub fn is_plain(&self) -> bool {
        let filter = &self.pipeline.filter;
        self.score.kind == ScoreKind::Return
            && filter.max_age.is_none()
            && filter.max_share_per_user == 1.0
            && !filter.max_silence
            && self.pipeline.expire_after.is_none()
    }

    pub fn new_pipeline(&self) -> Pipeline {
        let vocabulary = Vocabulary::new(&self.encoder.catalog, self.items_max);
        let partitions = self.partitions.iter().copied();
        Pipeline::new(partitions, self.pipeline.clone(), Arc::clone(&self.encoder), self.scorer(), vocabulary)
    }

    pub fn restored_pipeline(&self, state: PipelineState) -> Pipeline {
        let encoder = Arc::clone(&self.encoder);
        Pipeline::restore(state, self.pipeline.clone(), encoder, self.scorer(), self.items_max).unwrap()
    }

    fn scorer(&self) -> Scorer {
        Scorer::new(self.score.clone(), &self.encoder)
    }
}

fn session_rules(dice: &mut Dice) -> SessionRules {
    let mut span = |low: i64, high: i64| Span::from_millis(dice.between(low, high) as u32);
    SessionRules {
        gap: span(20, 150),
        max_duration: span(50, 500),
        reward_wait: span(0, 300),
        lateness: span(0, 60),
        jump_max: Span::from_millis(1000),
        max_steps: dice.between(1, 5) as u32,
        max_waiting_events: if dice.chance(80) { 1000 } else { dice.below(7) + 1 },
        max_open: if dice.chance(80) { 1000 } else { dice.below(3) + 1 },
        max_bytes: 1 << 30,
    }
}

fn score_rules(dice: &mut Dice) -> ScoreRules {
    let is_plain = dice.chance(70);
    ScoreRules {
        unit: dice.pick(&[Unit::Step, Unit::Step, Unit::Trajectory]),
        kind: if is_plain { ScoreKind::Return } else { ScoreKind::Advantage },
        baseline: if is_plain {
            Baseline::None
        } else {
            dice.pick(&[Baseline::None, Baseline::Mean, Baseline::Linear, Baseline::Network])
        },
        scale: dice.pick(&[Scale::Global, Scale::Context]),
        discount: 0.875,
        clip: None,
        generation: 5,
        ridge: 1e-3,
    }
}

fn pipeline_rules(dice: &mut Dice) -> PipelineRules {
    let is_plain = dice.chance(80);
    let filter = FilterRules {
        kappa: dice.pick(&[0.1, 0.25, 0.5, 1.0]),
        curriculum: Curriculum::Fixed,
        seed: 1,
        drift_threshold: None,
        noise_gate: if is_plain { None } else { dice.pick(&[None, Some(0.5)]) },
        window: dice.between(4, 20) as usize,
        max_age: if is_plain { None } else { Some(Span::from_millis(200)) },
        level_rate: 0.05,
        warmup: dice.pick(&[WarmUp::Hold, WarmUp::Admit]),
        max_share_per_user: if is_plain { 1.0 } else { 0.5 },
        max_silence: !is_plain,
    };
    let buffer = BufferRules {
        capacity: dice.between(2, 20) as usize,
        batch: dice.between(1, 6) as usize,
        replay_ratio: ReplayRatio::Fixed(dice.pick(&[0.0, 0.75, 1.0, 2.5])),
        seed: dice.seed(),
    };
    PipelineRules {
        filter,
        buffer,
        action: ActionForm::Item,
        probe_share: 0.0,
        critic: None,
        expire_after: if is_plain { None } else { Some(Span::from_millis(150)) },
        log_decisions: true,
    }
}
