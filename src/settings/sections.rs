//! The settings as the rest of the program reads them: ranges kept, units in the types, secrets read.
//!
//! What each field is for, its range and its default stand in [`super::table`]; comments here say only what the type adds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::read;
use super::secret::Secret;
pub use crate::filter::{ReplayRatio, WarmUp};
pub use crate::kafka::RetentionGap;
pub use crate::learner::Tilt;
pub use crate::score::{Baseline, Scale, ScoreKind, Unit};
use crate::time::Span;

/// `[kafka]`
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    pub brokers: Vec<String>,
    /// At most one: several are refused until a lane can merge them. Empty when no topic is read.
    pub topics: Vec<String>,
    pub group: String,
    pub start: Start,
    pub retention_gap: RetentionGap,
    pub connect_timeout: Duration,
    pub security: Security,
    /// Without the keys that this program needs for itself.
    pub properties: BTreeMap<String, String>,
}

/// How to talk to the brokers and who we are.
#[derive(Debug, Clone, PartialEq)]
pub struct Security {
    pub protocol: SecurityProtocol,
    /// Present exactly when the protocol is one of SASL.
    pub sasl: Option<Sasl>,
    pub ca_file: Option<PathBuf>,
    pub client: Option<ClientCertificate>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sasl {
    pub mechanism: SaslMechanism,
    /// `None` only with OAUTHBEARER, which is set up by properties.
    pub login: Option<Login>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub key_password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// `[catalog]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    pub file: Option<PathBuf>,
    /// JSON Pointers into a line of the file.
    pub item: String,
    pub embedding: String,
    pub max_items: usize,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// 0: whatever the mapping says.
    pub context_dimension: usize,
    pub item_dimension: usize,
    pub history: History,
}

/// `[state.history]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub length: usize,
    pub pooling: Pooling,
    pub decay: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    None,
    Mean,
    Decay,
}

/// `[time]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    #[serde(deserialize_with = "read::span")]
    pub lateness: Span,
    #[serde(deserialize_with = "read::span")]
    pub jump_max: Span,
}

/// `[session]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    #[serde(deserialize_with = "read::span")]
    pub gap: Span,
    pub max_steps: usize,
    #[serde(deserialize_with = "read::span_or_off")]
    pub max_duration: Option<Span>,
    pub max_open_per_partition: usize,
    #[serde(deserialize_with = "read::size")]
    pub max_bytes_per_partition: u64,
    pub max_waiting_events: usize,
}

/// `[reward]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    #[serde(deserialize_with = "read::span")]
    pub wait: Span,
    pub clip: Option<Clip>,
}

/// Bounds of a reward, low < high, both finite.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "[f64; 2]")]
pub struct Clip {
    pub low: f64,
    pub high: f64,
}

impl From<[f64; 2]> for Clip {
    fn from([low, high]: [f64; 2]) -> Clip {
        Clip { low, high }
    }
}

impl Clip {
    pub fn apply(&self, reward: f64) -> f64 {
        reward.max(self.low).min(self.high)
    }
}

/// `[score]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    pub kind: ScoreKind,
    pub discount: f64,
    pub baseline: Baseline,
    pub scale: Scale,
    pub generation: u64,
    pub ridge: f64,
}

/// `[filter]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub unit: Unit,
    /// In (0, 1].
    pub kappa: f64,
    /// Holds at least max(30, 3/kappa) units, so that warming up ends.
    pub window: usize,
    #[serde(deserialize_with = "read::span_or_off")]
    pub max_age: Option<Span>,
    /// Gamma of the level's feedback.
    pub level_rate: f64,
    pub warmup: WarmUp,
    pub max_share_per_user: f64,
    pub max_silence: bool,
    pub curriculum: Curriculum,
    pub curriculum_ess: f64,
    pub drift: DriftTest,
    pub drift_threshold: f64,
    /// `None`: off.
    #[serde(deserialize_with = "read::number_or_off")]
    pub noise_gate: Option<f64>,
    pub buffer: usize,
    pub propensity_power: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curriculum {
    Fixed,
    Paper,
    Ess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftTest {
    Off,
    PageHinkley,
}

/// `[learner]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learner {
    pub policy: Policy,
    pub hidden: Vec<usize>,
    pub item_dimension: usize,
    /// `None`: learned.
    #[serde(deserialize_with = "read::sigma")]
    pub sigma: Option<f64>,
    pub learning_rate: f64,
    pub batch: usize,
    pub objective: Objective,
    pub tau: f64,
    pub tau_unit: TauUnit,
    pub asymre_share: f64,
    pub crr: Crr,
    pub iql_expectile: f64,
    pub bppo_clip: f64,
    pub bppo_warmup: u64,
    pub remoteness_rate: f64,
    pub remoteness_start: f64,
    pub remoteness_width: f64,
    pub weight_decay: f64,
    pub clip_norm: f64,
    #[serde(deserialize_with = "read::replay_ratio")]
    pub replay_ratio: ReplayRatio,
    #[serde(deserialize_with = "read::tilt")]
    pub tilt: Tilt,
    pub seed: u64,
    pub snapshot_updates: u64,
    pub refused_in_a_row: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    Gaussian,
    Softmax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    Drpo,
    DrpoExp,
    AdaptiveBc,
    Remoteness,
    Bc,
    Apg,
    Asymre,
    Awr,
    Crr,
    Iql,
    Bppo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crr {
    Indicator,
    Exponential,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TauUnit {
    /// Standard deviations of the score over the kept steps.
    Std,
    /// Rewards.
    Raw,
}

/// `[validation]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// In [0, 1].
    pub share: f64,
    pub window: usize,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub directory: PathBuf,
    #[serde(deserialize_with = "read::length_or_off")]
    pub every: Option<Duration>,
    /// `None`: by time alone.
    #[serde(deserialize_with = "read::positive_or_none")]
    pub every_records: Option<u64>,
    pub keep: usize,
}

/// `[dead_letters]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    pub file: Option<PathBuf>,
    pub topic: Option<String>,
    pub max_malformed_share: f64,
    pub min_sample: u64,
}

/// `[decode]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    #[serde(deserialize_with = "read::size")]
    pub max_bytes: u64,
    pub max_depth: usize,
}

/// `[merge]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    pub queue_max: usize,
    #[serde(deserialize_with = "read::span")]
    pub ahead_max: Span,
}

/// `[idle]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    #[serde(deserialize_with = "read::length_or_off")]
    pub after: Option<Duration>,
}

/// `[http]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `None`: nothing is served.
    #[serde(deserialize_with = "read::address_or_off")]
    pub listen: Option<SocketAddr>,
}

/// `[decisions]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    pub file: Option<PathBuf>,
}

/// `[runtime]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// 0: one per processor; see [`Runtime::lane_threads`].
    pub threads: usize,
}

impl Runtime {
    /// Threads that decode and assemble, at least one.
    pub fn lane_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// `[publish]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub dir: Option<PathBuf>,
    /// `None`: only when asked.
    #[serde(deserialize_with = "read::length_or_off")]
    pub every: Option<Duration>,
    pub temperature: f64,
    /// `None`: no gate.
    #[serde(deserialize_with = "read::number_or_off")]
    pub gate: Option<f64>,
    pub keep: usize,
}

/// `[serve]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    pub max_sessions: usize,
    #[serde(deserialize_with = "read::size")]
    pub max_bytes: u64,
}

/// All sections, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub kafka: Kafka,
    /// For the decoder, which knows what a mapping may hold.
    pub mapping: Table,
    pub catalog: Catalog,
    pub state: State,
    pub time: Time,
    pub session: Session,
    pub reward: Reward,
    pub score: Score,
    pub filter: Filter,
    pub learner: Learner,
    pub validation: Validation,
    pub checkpoint: Checkpoint,
    pub dead_letters: DeadLetters,
    pub decode: Decode,
    pub merge: Merge,
    pub idle: Idle,
    pub http: Http,
    pub decisions: Decisions,
    pub runtime: Runtime,
    /// For the simulator.
    pub simulate: Table,
    pub publish: Publish,
    pub serve: Serve,
    /// The same settings as data, without secrets.
    pub effective: super::Effective,
}
