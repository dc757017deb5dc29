//! Where a job begins: at the start of its range, in a checkpoint, or with a policy that was learned elsewhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::JobError;
use super::content::{self, Content, Meta};
use super::job::{JobSpec, Mode};
use super::kill::{KillMark, kill_self};
use crate::catalog::{Vocabulary, VocabularyState};
use crate::checkpoint::{Disk, End, MarkedDisk, Parts, PassedOver, RealDisk, Sealed, Store};
use crate::learner::{self, Learner};
use crate::pipeline::{Intake, Pipeline};
use crate::position::{Partition, Position};
use crate::score::{NetworkFit, Scorer};
use crate::source::{Bounds, Range, Source};
use crate::validation::ValidationState;

/// A checkpoint as it was read back, in all its parts.
pub struct Restored {
    pub sealed: Sealed,
    pub content: Content,
    pub meta: Meta,
    pub learned: learner::Parts,
}

/// What the newest checkpoint holds when a job has ended.
pub type Outcome = Restored;

/// Opens the checkpoints of a state directory; broken ones are passed over, loudly.
pub fn open_store(spec: &JobSpec) -> Result<(Store, Option<Restored>), JobError> {
    let disk: Arc<dyn Disk> = match spec.kill {
        Some(KillMark::Disk(mark)) => {
            let board = Arc::clone(&spec.board);
            let die = move || {
                board.announce_kill();
                kill_self()
            };
            Arc::new(MarkedDisk::new(Arc::new(RealDisk), mark, die))
        }
        Some(KillMark::Record(_)) | None => Arc::new(RealDisk),
    };
    let mut store = Store::open(disk, &spec.state, spec.keep).map_err(JobError::Checkpoint)?;
    let loaded = store.load_newest().map_err(JobError::Checkpoint)?;
    tell_passed_over(&loaded.passed_over);
    let restored = loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()?;
    Ok((store, restored))
}

/// Whoever goes on with an older checkpoint should know that there was a newer one.
pub fn tell_passed_over(checkpoints: &[PassedOver]) {
    for passed_over in checkpoints {
        crate::telemetry::declared::BROKEN_CHECKPOINTS.add(1);
        tracing::error!(sequence = %passed_over.sequence, flaw = %passed_over.flaw, "checkpoint is broken and was passed over");
    }
}

/// The newest intact checkpoint of a state directory, without opening it for work.
pub fn read_outcome(state: &Path) -> Result<Option<Outcome>, JobError> {
    let loaded = crate::checkpoint::read_newest(&RealDisk, state).map_err(JobError::Checkpoint)?;
    tell_passed_over(&loaded.passed_over);
    loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()
}

/// The checkpoint of a replay from before it closed what its range had left open.
pub fn read_unclosed(state: &Path) -> Result<Option<Restored>, JobError> {
    let is_unclosed = |sealed: &Sealed| !sealed.manifest.facts.complete;
    let loaded = crate::checkpoint::read_newest_where(&RealDisk, state, is_unclosed).map_err(JobError::Checkpoint)?;
    loaded.newest.map(|(sealed, parts)| restore(sealed, parts)).transpose()
}

/// What `--warm-start` takes: from one checkpoint, or from the newest of a state directory.
pub fn read_warm_start(path: &Path) -> Result<WarmStart, JobError> {
    let is_checkpoint = path.join("manifest.json").is_file();
    let restored = if is_checkpoint {
        let (sealed, parts) = crate::checkpoint::read_checkpoint(&RealDisk, path).map_err(JobError::Checkpoint)?;
        Some(restore(sealed, parts)?)
    } else {
        read_outcome(path)?
    };
    let missing = || JobError::Config(format!("--warm-start {}: there is no checkpoint", path.display()));
    let Restored { content, learned, .. } = restored.ok_or_else(missing)?;
    Ok(WarmStart { policy: learned.policy, vocabulary: content.pipeline.vocabulary })
}

pub fn restore(sealed: Sealed, parts: Parts) -> Result<Restored, JobError> {
    let sequence = sealed.sequence.0;
    let (content, meta) = content::decode(&parts.state).map_err(|problem| JobError::Restore { sequence, problem })?;
    let learned = learner::Parts { policy: parts.policy, optimizer: parts.optimizer };
    Ok(Restored { sealed, content, meta, learned })
}

/// A policy, and the numbers by which it knows the items: they mean nothing without each other.
#[derive(Debug, Clone)]
pub struct WarmStart {
    pub policy: Vec<u8>,
    pub vocabulary: VocabularyState,
}

/// The state from which the threads start.
pub struct Beginning {
    pub intakes: BTreeMap<Partition, Intake>,
    pub pipeline: Pipeline,
    pub learner: Learner,
    /// What the pipeline had asked for at the cut and the learner had answered.
    pub fit_in_flight: Option<NetworkFit>,
    pub validation: ValidationState,
    pub meta: Meta,
    pub position: Position,
    /// What was restored.
    pub parent: Option<Sealed>,
    pub side_files: Option<BTreeMap<String, End>>,
}

impl Beginning {
    pub fn of(
        spec: &JobSpec,
        restored: Option<Restored>,
        range: &Range,
        source: &dyn Source,
    ) -> Result<Beginning, JobError> {
        let scorer = Scorer::new(spec.score.clone(), &spec.encoder);
        match restored {
            None => {
                let learner = match &spec.warm_start {
                    Some(warm) => Learner::warm_start(spec.learner.clone(), &warm.policy),
                    None => Learner::new(spec.learner.clone()),
                };
                let learner = learner.map_err(|error| JobError::Config(error.to_string()))?;
                Ok(Beginning::fresh(spec, range, source, learner, scorer))
            }
            Some(restored) => Beginning::resumed(spec, restored, scorer),
        }
    }

    fn fresh(spec: &JobSpec, range: &Range, source: &dyn Source, learner: Learner, scorer: Scorer) -> Beginning {
        let rules = spec.sessions;
        let intake = |(partition, bounds): (&Partition, &Bounds)| {
            let intake = Intake::new(*partition, bounds.start, Arc::clone(&spec.decoder), rules);
            (*partition, intake.with_breaker(spec.breaker))
        };
        let capacity = spec.vocabulary_capacity;
        let vocabulary = match &spec.warm_start {
            Some(warm) => Vocabulary::restore(warm.vocabulary.clone(), capacity),
            None => Vocabulary::new(&spec.encoder.catalog, capacity),
        };
        let encoder = Arc::clone(&spec.encoder);
        Beginning {
            intakes: range.iter().map(intake).collect(),
            pipeline: Pipeline::new(range.keys().copied(), spec.pipeline.clone(), encoder, scorer, vocabulary),
            learner,
            fit_in_flight: None,
            validation: ValidationState::default(),
            meta: Meta {
                range: matches!(spec.mode, Mode::Range { .. }).then(|| range.clone()),
                log: source.identity(),
                settings: spec.settings.clone(),
                catalog: spec.encoder.catalog.fingerprint(),
                journal: Vec::new(),
                idle: Default::default(),
                restarts: 0,
            },
            position: range.iter().map(|(partition, bounds)| (*partition, bounds.start)).collect(),
            parent: None,
            side_files: None,
        }
    }

    fn resumed(spec: &JobSpec, restored: Restored, scorer: Scorer) -> Result<Beginning, JobError> {
        let sequence = restored.sealed.sequence;
        let failed = |problem: String| JobError::Restore { sequence: sequence.0, problem };
        let learner = Learner::restore(spec.learner.clone(), &restored.learned);
        let learner = learner.map_err(|error| failed(error.to_string()))?;
        let Restored { sealed, content, mut meta, .. } = restored;
        let position = content.position();
        let rules = spec.sessions;
        let intakes = content.intakes.into_iter().map(|(partition, state)| {
            let intake = Intake::restore(partition, state, Arc::clone(&spec.decoder), rules);
            intake.map(|intake| (partition, intake.with_breaker(spec.breaker)))
        });
        let intakes = intakes.collect::<Result<BTreeMap<_, _>, _>>().map_err(failed)?;
        let pipeline = Pipeline::restore(
            content.pipeline,
            spec.pipeline.clone(),
            Arc::clone(&spec.encoder),
            scorer,
            spec.vocabulary_capacity,
        );
        let pipeline = pipeline.map_err(failed)?;
        let fit_in_flight = learner.baseline_fit();
        if fit_in_flight.as_ref().map(|fit| fit.generation) != pipeline.fit_in_flight() {
            return Err(failed("scores and learner stand at different generations of the baseline".to_owned()));
        }
        meta.restarts += 1;
        if matches!(spec.mode, Mode::Live { .. }) {
            meta.range = None;
        }
        meta.settings.clone_from(&spec.settings);
        Ok(Beginning {
            intakes,
            pipeline,
            learner,
            fit_in_flight,
            validation: content.validation,
            meta,
            position,
            // What another state directory has written beside its checkpoints stays there.
            side_files: sealed.directory.starts_with(&spec.state).then(|| sealed.manifest.facts.side_files.clone()),
            parent: Some(sealed),
        })
    }
}
