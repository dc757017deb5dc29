//! From settings to a job: the one place where names of settings meet the types of the parts.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::assemble::SessionRules;
use crate::catalog::{Catalog, CatalogFields};
use crate::checkpoint::SettingsDigests;
use crate::decode::{Decoder, Mapping, Size};
use crate::exit::{Exit, Failure};
use crate::filter::{BufferRules, Curriculum, FilterRules};
use crate::kafka::{Connection, ConsumerSettings, DeadLetterTopic, TopicSource};
use crate::learner::{
    CrrWeight, GuardSettings, LearnerSettings, Objective, PolicyKind, Sigma, Taper, Temperature, Tilt, Vectors,
};
use crate::live::Sessions;
use crate::pipeline::{ActionForm, Breaker, CriticRules, PipelineRules};
use crate::runtime::{Board, JobError, JobSpec, KillMark, Limits, Mode, SealPlan};
use crate::score::ScoreRules;
use crate::settings::{self, Settings, TauUnit};
use crate::state::{Pooling, StateEncoder};
use crate::time::Span;
use crate::validation::ValidationRules;

/// Users that `/status` can show.
const LIVE_USERS_MAX: usize = 100_000;

/// What the command line adds to the settings.
pub struct Paths {
    pub state: PathBuf,
    pub decisions: Option<PathBuf>,
    pub kill: Option<KillMark>,
    pub mode: Mode,
}

/// The decoder that the settings describe.
pub fn decoder(settings: &Settings) -> Result<Decoder, Failure> {
    let mapping = serde_path_to_error::deserialize(toml::Value::Table(settings.mapping.clone()));
    let mut mapping: Mapping = mapping.map_err(|error| mapping_problem(&error))?;
    // Two homes for one limit would hide one of them.
    let limits = settings.mapping.get("limits").and_then(|limits| limits.as_table());
    for (name, home) in [("bytes", "decode.max_bytes"), ("depth", "decode.max_depth")] {
        if limits.is_some_and(|limits| limits.contains_key(name)) {
            return Err(Exit::Config.because(format!("mapping.limits.{name} is not a setting: write {home}")));
        }
    }
    mapping.limits.bytes = Size(settings.decode.max_bytes);
    mapping.limits.depth = settings.decode.max_depth as u32;
    Decoder::new(&mapping).map_err(|error| Exit::Config.because(error))
}

/// Which key of the mapping is wrong, and what was most likely meant.
fn mapping_problem(error: &serde_path_to_error::Error<toml::de::Error>) -> Failure {
    let message = error.inner().message();
    let place = error.path().iter().next().map(|_| format!(".{}", error.path())).unwrap_or_default();
    // serde puts names between backticks: the one that it does not know, then those that it does.
    let mut names = message.split('`').skip(1).step_by(2);
    let written = names.next().filter(|_| message.starts_with("unknown "));
    let near = written.and_then(|written| settings::hint::nearest(written, names));
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Exit::Config.because(format!("mapping{place}: {message}{near} (docs/mapping.md)"))
}

pub fn catalog(settings: &Settings) -> Result<Catalog, Failure> {
    let fields = CatalogFields { item: settings.catalog.item.clone(), embedding: settings.catalog.embedding.clone() };
    match &settings.catalog.file {
        None => Ok(Catalog::default()),
        Some(path) => Catalog::load(path, &fields).map_err(|error| Exit::Config.because(error)),
    }
}

/// How to reach the brokers.
pub fn connection(settings: &Settings) -> Connection {
    let kafka = &settings.kafka;
    let mut properties = kafka.properties.clone();
    let mut set = |key: &str, value: String| properties.insert(key.to_owned(), value);
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let protocol = match kafka.security.protocol {
        settings::SecurityProtocol::Plaintext => None,
        settings::SecurityProtocol::Ssl => Some("ssl"),
        settings::SecurityProtocol::SaslPlaintext => Some("sasl_plaintext"),
        settings::SecurityProtocol::SaslSsl => Some("sasl_ssl"),
    };
    if let Some(protocol) = protocol {
        set("security.protocol", protocol.to_owned());
    }
    if let Some(sasl) = &kafka.security.sasl {
        let mechanism = match sasl.mechanism {
            settings::SaslMechanism::Plain => "PLAIN",
            settings::SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            settings::SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            settings::SaslMechanism::OauthBearer => "OAUTHBEARER",
        };
        set("sasl.mechanism", mechanism.to_owned());
        if let Some(login) = &sasl.login {
            set("sasl.username", login.username.clone());
            set("sasl.password", login.password.reveal().to_owned());
        }
    }
    if let Some(file) = &kafka.security.ca_file {
        set("ssl.ca.location", path(file));
    }
    if let Some(client) = &kafka.security.client {
        set("ssl.certificate.location", path(&client.certificate_file));
        set("ssl.key.location", path(&client.key_file));
        if let Some(password) = &client.key_password {
            set("ssl.key.password", password.reveal().to_owned());
        }
    }
    Connection { brokers: kafka.brokers.join(","), properties, connect_timeout: kafka.connect_timeout }
}

/// The topic of the settings, connected.
pub fn topic_source(settings: &Settings) -> Result<TopicSource, Failure> {
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?.to_owned();
    let consumer = ConsumerSettings {
        connection: connection(settings),
        topic,
        group: settings.kafka.group.clone(),
        retention_gap: settings.kafka.retention_gap,
    };
    TopicSource::connect(consumer).map_err(|error| job_failure(JobError::Source(error.into())))
}

pub fn job_failure(error: JobError) -> Failure {
    error.exit().because(error)
}

/// Everything that a job needs but the log itself.
pub fn job(settings: &Settings, topic: &str, paths: Paths) -> Result<JobSpec, Failure> {
    let decoder = Arc::new(decoder(settings)?);
    let encoder = Arc::new(encoder(settings, &decoder)?);
    let dead_letter_topic = match &settings.dead_letters.topic {
        Some(topic) if matches!(paths.mode, Mode::Live { .. }) => {
            let opened = DeadLetterTopic::open(&connection(settings), topic);
            Some(Box::new(opened.map_err(|error| job_failure(JobError::Source(error.into())))?))
        }
        Some(_) | None => None,
    };
    // Only `run` is asked while it reads.
    let live_history = if matches!(paths.mode, Mode::Live { .. }) { encoder.history_length() } else { 0 };
    let decisions = paths.decisions.or_else(|| settings.decisions.file.clone());
    Ok(JobSpec {
        topic: Arc::from(topic),
        sessions: session_rules(settings),
        score: score_rules(settings),
        pipeline: pipeline_rules(settings, decisions.is_some()),
        vocabulary_capacity: settings.catalog.max_items,
        learner: learner_settings(settings, &encoder)?,
        validation: ValidationRules { share: settings.validation.share, window: settings.validation.window },
        breaker: Breaker {
            max_share: settings.dead_letters.max_malformed_share,
            sample: settings.dead_letters.min_sample,
        },
        limits: Limits { queue_max: settings.merge.queue_max as u64, ahead_max: settings.merge.ahead_max },
        seals: SealPlan { every: settings.checkpoint.every, every_records: settings.checkpoint.every_records },
        keep: NonZeroUsize::new(settings.checkpoint.keep).unwrap_or(NonZeroUsize::MIN),
        threads: settings.runtime.lane_threads(),
        settings: settings.effective.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        settings_digests: SettingsDigests {
            structural: settings.structural_digest().to_hex().to_string(),
            tunable: settings.effective.learning_digest().to_hex().to_string(),
        },
        dead_letters: settings.dead_letters.file.clone().unwrap_or_else(|| paths.state.join("dead-letters.jsonl")),
        state: paths.state,
        decisions,
        dead_letter_topic,
        kill: paths.kill,
        mode: paths.mode,
        warm_start: None,
        live: Arc::new(Sessions::new(LIVE_USERS_MAX).with_history(live_history)),
        announce: None,
        board: Arc::new(Board::default()),
        decoder,
        encoder,
    })
}

/// How state vectors are built.
pub fn encoder(settings: &Settings, decoder: &Decoder) -> Result<StateEncoder, Failure> {
    let catalog = catalog(settings)?;
    let carried = decoder.embedding_dimension();
    if carried > 0 && catalog.dimension() > 0 && carried != catalog.dimension() {
        return Err(Exit::Config.because(format!(
            "mapping.embedding_dimension is {carried}, but the embeddings of catalog.file have {} numbers",
            catalog.dimension()
        )));
    }
    let context = decoder.context_dimension();
    let wanted = settings.state.context_dimension;
    if wanted != 0 && wanted != context {
        return Err(Exit::Config.because(format!(
            "state.context_dimension is {wanted}, but mapping.context gives {context} numbers; 0 takes what it gives"
        )));
    }
    let history = settings.state.history;
    let pooling = match history.pooling {
        _ if history.length == 0 => Pooling::None,
        settings::Pooling::None => Pooling::None,
        settings::Pooling::Mean => Pooling::Mean { length: history.length },
        settings::Pooling::Decay => Pooling::Decay { length: history.length, decay: history.decay as f32 },
    };
    let hashed_dimension = if carried > 0 { carried } else { settings.state.item_dimension };
    Ok(StateEncoder { context_dimension: context, pooling, hashed_dimension, catalog: Arc::new(catalog) })
}

/// How sessions are assembled.
pub fn session_rules(settings: &Settings) -> SessionRules {
    let session = &settings.session;
    SessionRules {
        gap: session.gap,
        max_steps: session.max_steps as u32,
        max_duration: session.max_duration.unwrap_or(Span::LONGEST),
        reward_wait: settings.reward.wait,
        lateness: settings.time.lateness,
        jump_max: settings.time.jump_max,
        max_waiting_events: session.max_waiting_events as u64,
        max_open: session.max_open_per_partition as u64,
        max_bytes: session.max_bytes_per_partition,
    }
}

fn score_rules(settings: &Settings) -> ScoreRules {
    ScoreRules {
        unit: settings.filter.unit,
        kind: settings.score.kind,
        baseline: settings.score.baseline,
        scale: settings.score.scale,
        discount: settings.score.discount,
        clip: settings.reward.clip.map(|clip| (clip.low, clip.high)),
        generation: settings.score.generation,
        ridge: settings.score.ridge,
    }
}

fn pipeline_rules(settings: &Settings, log_decisions: bool) -> PipelineRules {
    let filter = &settings.filter;
    PipelineRules {
        filter: FilterRules {
            kappa: filter.kappa,
            curriculum: match filter.curriculum {
                settings::Curriculum::Fixed => Curriculum::Fixed,
                settings::Curriculum::Paper => Curriculum::Paper,
                settings::Curriculum::Ess => Curriculum::Ess { share: filter.curriculum_ess },
            },
            seed: settings.learner.seed,
            window: filter.window,
            max_age: filter.max_age,
            level_rate: filter.level_rate,
            warmup: filter.warmup,
            max_share_per_user: filter.max_share_per_user,
            max_silence: filter.max_silence,
            drift_threshold: match filter.drift {
                settings::DriftTest::Off => None,
                settings::DriftTest::PageHinkley => Some(filter.drift_threshold),
            },
            noise_gate: filter.noise_gate,
        },
        buffer: BufferRules {
            capacity: filter.buffer,
            batch: settings.learner.batch,
            replay_ratio: settings.learner.replay_ratio,
            seed: settings.learner.seed,
        },
        action: match settings.learner.policy {
            settings::Policy::Gaussian => ActionForm::Embedding,
            settings::Policy::Softmax => ActionForm::Item,
        },
        probe_share: settings.validation.share,
        critic: (!tilt(settings).is_off())
            .then_some(CriticRules { batch: settings.learner.batch, seed: settings.learner.seed }),
        expire_after: filter.max_age,
        log_decisions,
    }
}

pub fn learner_settings(settings: &Settings, encoder: &StateEncoder) -> Result<LearnerSettings, Failure> {
    let learner = &settings.learner;
    let policy = match learner.policy {
        settings::Policy::Gaussian => PolicyKind::Gaussian {
            dimension: gaussian_dimension(settings, encoder)?,
            sigma: learner.sigma.map_or(Sigma::Learned { initial: 1.0 }, |sigma| Sigma::Fixed(sigma as f32)),
        },
        settings::Policy::Softmax => PolicyKind::Softmax {
            vectors: Vectors::Learned { capacity: settings.catalog.max_items, dimension: learner.item_dimension },
        },
    };
    Ok(LearnerSettings {
        hidden: learner.hidden.clone(),
        objective: objective(learner),
        propensity_power: settings.filter.propensity_power,
        tilt: tilt(settings),
        learning_rate: learner.learning_rate,
        weight_decay: learner.weight_decay,
        gradient_norm_max: learner.clip_norm,
        seed: learner.seed,
        guard: GuardSettings {
            snapshot_updates: learner.snapshot_updates,
            refused_in_a_row: learner.refused_in_a_row as u32,
            ..GuardSettings::default()
        },
        ..LearnerSettings::new(encoder.dimension(), policy)
    })
}

/// `auto` finds nothing to tilt in a Gaussian policy; a number for one is refused where the learner checks its settings.
fn tilt(settings: &Settings) -> Tilt {
    match (settings.learner.policy, settings.learner.tilt) {
        (settings::Policy::Gaussian, Tilt::Auto) => Tilt::OFF,
        (settings::Policy::Gaussian | settings::Policy::Softmax, tilt) => tilt,
    }
}

fn objective(learner: &settings::Learner) -> Objective {
    let temperature = match learner.tau_unit {
        TauUnit::Std => Temperature::Std(learner.tau),
        TauUnit::Raw => Temperature::Raw(learner.tau),
    };
    match learner.objective {
        settings::Objective::Drpo => Objective::Drpo,
        settings::Objective::DrpoExp => Objective::DrpoExp { temperature },
        settings::Objective::AdaptiveBc => Objective::AdaptiveBc,
        settings::Objective::Remoteness => Objective::Remoteness {
            taper: Taper {
                rate: learner.remoteness_rate,
                start: learner.remoteness_start,
                width: learner.remoteness_width,
            },
        },
        settings::Objective::Bc => Objective::Bc,
        settings::Objective::Apg => Objective::Apg,
        settings::Objective::Asymre => Objective::Asymre { negative_share: learner.asymre_share },
        settings::Objective::Awr => Objective::Awr { temperature },
        settings::Objective::Crr => Objective::Crr {
            weight: match learner.crr {
                settings::Crr::Indicator => CrrWeight::Indicator,
                settings::Crr::Exponential => CrrWeight::Exponential { temperature },
            },
        },
        settings::Objective::Iql => Objective::Iql { expectile: learner.iql_expectile, temperature },
        settings::Objective::Bppo => Objective::Bppo { clip: learner.bppo_clip, behavior_updates: learner.bppo_warmup },
    }
}

fn gaussian_dimension(settings: &Settings, encoder: &StateEncoder) -> Result<usize, Failure> {
    let carried = decoder(settings)?.embedding_dimension();
    match (encoder.catalog.dimension(), carried) {
        (0, 0) => Err(Exit::Config.because(
            "learner.policy = \"gaussian\" chooses among embeddings, but there are none: name a catalog.file with \
             embeddings, map them with mapping.embedding, or use learner.policy = \"softmax\"",
        )),
        (0, carried) => Ok(carried),
        (known, _) => Ok(known),
    }
}

/// Names of settings that differ between two effective lists and must not.
pub fn structural_changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<settings::Difference> {
    let effective = |list: &BTreeMap<String, String>| settings::Effective::from_list(list.clone());
    settings::differences(&effective(before), &effective(after))
}
