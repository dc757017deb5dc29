//! Every setting there is: its name, what it may be, what changing it means, its default and its purpose.
//!
//! This table is the one source: reading, defaults, error texts, JSON Schema, digest and comparison are derived from it.
//! A test holds it to the structs of [`super::raw`].

use super::kind::{Bounds, Kind};

/// What changing a setting means for a state that was made with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The state would mean something else: refused.
    Structural,
    /// Accepted, and recorded with the position at which it changed. It changes what is learned from there on.
    Tunable,
    /// Changes how the work is done, never what is learned.
    Operational,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// `section.key`, as in the file.
    pub name: &'static str,
    pub kind: Kind,
    pub class: Class,
    /// In TOML; `None` when the setting may be absent.
    pub default: Option<&'static str>,
    pub purpose: &'static str,
}

impl Setting {
    pub fn named(name: &str) -> Option<&'static Setting> {
        TABLE.iter().find(|setting| setting.name == name)
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn length(min_millis: u64, max_millis: u64) -> Kind {
    Kind::Length { min_millis, max_millis, off: false }
}

const fn length_or_off(min_millis: u64, max_millis: u64) -> Kind {
    Kind::Length { min_millis, max_millis, off: true }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn number(bounds: Bounds) -> Kind {
    Kind::Number { bounds }
}

const fn one_of(names: &'static [&'static str]) -> Kind {
    Kind::Choice(names)
}

const fn structural(name: &'static str, kind: Kind, default: Option<&'static str>, purpose: &'static str) -> Setting {
    Setting { name, kind, class: Class::Structural, default, purpose }
}

const fn tunable(name: &'static str, kind: Kind, default: Option<&'static str>, purpose: &'static str) -> Setting {
    Setting { name, kind, class: Class::Tunable, default, purpose }
}

const fn operational(name: &'static str, kind: Kind, default: Option<&'static str>, purpose: &'static str) -> Setting {
    Setting { name, kind, class: Class::Operational, default, purpose }
}

/// In the order in which the sections stand in a file.
#[rustfmt::skip]
pub const TABLE: &[Setting] = &[
    // Which log is read is not structural: the state knows the log itself, by a hash of each partition's last record.
    operational("kafka.brokers", Kind::Words, Some(r#"["127.0.0.1:9092"]"#), "Brokers to ask first, host:port."),
    operational("kafka.topics", Kind::Words, Some("[]"), "Topic to read; exactly one for now."),
    operational("kafka.group", Kind::Text, Some(r#""sluicebox""#), "Consumer group that `run` commits to, for dashboards."),
    operational("kafka.start", one_of(&["earliest", "latest"]), Some(r#""earliest""#), "Where the very first start begins."),
    operational("kafka.retention_gap", one_of(&["fail", "earliest", "latest"]), Some(r#""fail""#), "What to do when records were deleted before they were read."),
    operational("kafka.connect_timeout", length(SECOND, 10 * MINUTE), Some(r#""30s""#), "How long a start waits for the first broker."),
    operational("kafka.security_protocol", one_of(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]), Some(r#""plaintext""#), "How to talk to the brokers."),
    operational("kafka.sasl_mechanism", one_of(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]), None, "How to log in, with sasl_plaintext and sasl_ssl."),
    operational("kafka.username", Kind::Text, None, "SASL user."),
    operational("kafka.password", Kind::Secret, None, "SASL password."),
    operational("kafka.ca_file", Kind::Path, None, "PEM file of the certificate authorities to trust; the system's if absent."),
    operational("kafka.certificate_file", Kind::Path, None, "PEM file of the client certificate, for mutual TLS."),
    operational("kafka.key_file", Kind::Path, None, "PEM file of the client key."),
    operational("kafka.key_password", Kind::Secret, None, "Password of the client key."),
    operational("kafka.properties", Kind::Properties, Some("{}"), "Further librdkafka properties, passed through."),

    structural("mapping", Kind::Open, Some("{}"), "How records of your topic are read as events; docs/mapping.md explains its keys."),

    structural("catalog.file", Kind::Path, None, "JSON lines of items with embeddings; none if events carry them or the policy needs none."),
    structural("catalog.item", Kind::Text, Some(r#""/item""#), "JSON Pointer to the item id in a catalog line."),
    structural("catalog.embedding", Kind::Text, Some(r#""/embedding""#), "JSON Pointer to the embedding in a catalog line."),
    structural("catalog.max_items", count(1, 10_000_000), Some("1_000_000"), "Most items to know."),

    structural("state.context_dimension", count(0, 65_536), Some("0"), "Length of an event's context; 0 = as long as the mapping makes it."),
    structural("state.item_dimension", count(1, 1_024), Some("16"), "Length of the hashed item vectors that stand for items without an embedding in the history."),
    structural("state.history.length", count(0, 1_000), Some("20"), "How many earlier items of the session the state pools."),
    structural("state.history.pooling", one_of(&["none", "mean", "decay"]), Some(r#""mean""#), "How those items become one vector."),
    structural("state.history.decay", number(Bounds::above(0.0, 1.0)), Some("0.8"), "Weight of an item relative to the one after it, with pooling = \"decay\"."),

    structural("time.lateness", length(0, 30 * DAY), Some(r#""1m""#), "How far behind its partition's newest event an event may be."),
    structural("time.jump_max", length(MINUTE, 3_650 * DAY), Some(r#""1d""#), "How far one event may move time ahead before others must agree."),

    structural("session.gap", length(SECOND, 30 * DAY), Some(r#""30m""#), "Silence that ends a session."),
    structural("session.max_steps", count(1, 100_000), Some("1_000"), "Decisions after which a session is cut."),
    structural("session.max_duration", length_or_off(SECOND, 365 * DAY), Some(r#""1d""#), "Age at which a session is cut."),
    structural("session.max_open_per_partition", count(1, 10_000_000), Some("200_000"), "Open sessions of a partition; beyond, the longest idle is closed."),
    structural("session.max_bytes_per_partition", size(64 * KIB, 256 * GIB), Some(r#""256MiB""#), "Memory of a partition's open sessions; beyond, the longest idle is closed."),
    structural("session.max_waiting_events", count(1, 100_000_000), Some("100_000"), "Events of a partition that wait for their turn in event time."),

    structural("reward.wait", length(0, 365 * DAY), Some(r#""0s""#), "How long after a decision its reward may still come."),
    tunable("reward.clip", Kind::Pair, None, "Bounds [low, high] into which a step's reward is clipped."),

    structural("score.kind", one_of(&["advantage", "session_mean", "return", "reward"]), Some(r#""advantage""#), "What the filter compares; session_mean = the mean advantage of a step's session."),
    structural("score.discount", number(Bounds::from_to(0.0, 1.0)), Some("0.99"), "Discount of the return."),
    structural("score.baseline", one_of(&["none", "mean", "linear", "network"]), Some(r#""linear""#), "What an advantage is measured from; network = learned beside the policy (64-64)."),
    structural("score.scale", one_of(&["global", "context"]), Some(r#""global""#), "What an advantage is divided by: one spread of what the baseline leaves, or the spread to be expected in the step's own context."),
    structural("score.generation", count(1, 10_000_000), Some("1_000"), "Units per generation of the baseline; a unit uses the fit of two generations ago. With baseline = \"network\" a generation is kept until it is full: at most 100_000."),
    tunable("score.ridge", number(Bounds::above(0.0, 1e9)), Some("1.0"), "Regularization of the linear baseline."),

    structural("filter.unit", one_of(&["step", "trajectory"]), Some(r#""step""#), "What is admitted or filtered as a whole."),
    tunable("filter.kappa", number(Bounds::above(0.0, 1.0)), Some("0.1"), "Share of the mass to keep."),
    structural("filter.window", count(30, 10_000_000), Some("20_000"), "Units in the sliding window."),
    tunable("filter.max_age", length_or_off(SECOND, 3_650 * DAY), Some(r#""off""#), "Event-time age at which a unit leaves the window."),
    tunable("filter.level_rate", number(Bounds::from_to(0.0, 0.1)), Some("0.005"), "Step of the level's feedback (gamma); 0 holds the level at kappa."),
    tunable("filter.warmup", one_of(&["hold", "admit"]), Some(r#""hold""#), "Until the window is full enough: hold units back, or admit all."),
    tunable("filter.max_share_per_user", number(Bounds::above(0.0, 1.0)), Some("0.05"), "Largest share of one user among the recently judged units."),
    tunable("filter.max_silence", Kind::Flag, Some("true"), "Shorten the window when nothing has been admitted for 16/kappa units."),
    tunable("filter.curriculum", one_of(&["fixed", "paper", "ess"]), Some(r#""fixed""#), "How kappa moves: not at all, by the paper's rule (from 0.5 on), or towards an effective sample size."),
    tunable("filter.curriculum_ess", number(Bounds::above(0.0, 1.0)), Some("0.05"), "Effective share of 320 units that curriculum = \"ess\" holds."),
    tunable("filter.drift", one_of(&["off", "page-hinkley"]), Some(r#""off""#), "Test on the scores' mean that shortens the window when it has moved."),
    tunable("filter.drift_threshold", number(Bounds::from_to(1.0, 1e6)), Some("50.0"), "Summed deviation, in standard deviations, at which it has."),
    tunable("filter.noise_gate", Kind::NumberOr { bounds: Bounds::from_to(-1e6, 1e6), word: "off" }, Some(r#""off""#), "Least score that is admitted, however few reach it: standard deviations above the baseline, with score.kind = \"advantage\"."),
    structural("filter.buffer", count(1, 10_000_000), Some("20_000"), "Admitted steps that are kept for reuse."),
    tunable("filter.propensity_power", number(Bounds::from_to(-1.0, 1.0)), Some("0.0"), "Admitted steps weigh their logged propensity to this power; 0 = all alike, whatever the log says."),

    structural("learner.policy", one_of(&["gaussian", "softmax"]), Some(r#""gaussian""#), "Over item embeddings, or over item ids."),
    structural("learner.hidden", Kind::Counts { min: 1, max: 4_096, len_max: 8 }, Some("[128, 128]"), "Widths of the hidden layers."),
    structural("learner.item_dimension", count(1, 1_024), Some("32"), "Length of the learned item vectors of the softmax policy."),
    structural("learner.sigma", Kind::NumberOr { bounds: Bounds::from_to(0.01, 7.0), word: "learned" }, Some(r#""learned""#), "Spread of the gaussian policy in every dimension; learned = from 1 on."),
    tunable("learner.learning_rate", number(Bounds::above(0.0, 1.0)), Some("1e-3"), "Step size of Adam."),
    structural("learner.batch", count(1, 65_536), Some("256"), "Steps in a batch."),
    tunable("learner.objective", one_of(&["drpo", "drpo-exp", "adaptive-bc", "remoteness", "bc", "apg", "asymre", "awr", "crr", "iql", "bppo"]), Some(r#""drpo""#), "What is maximized over the admitted steps; the baselines from \"remoteness\" on want filter.kappa = 1."),
    tunable("learner.tau", number(Bounds::above(0.0, 1e6)), Some("1.0"), "Temperature of drpo-exp, awr, iql and of crr with learner.crr = \"exponential\"."),
    tunable("learner.tau_unit", one_of(&["std", "raw"]), Some(r#""std""#), "What tau is measured in: standard deviations over the kept steps, or rewards."),
    tunable("learner.asymre_share", number(Bounds::from_to(0.0, 1.0)), Some("0.1"), "What asymre keeps of a negative advantage."),
    tunable("learner.crr", one_of(&["indicator", "exponential"]), Some(r#""indicator""#), "What crr makes of an advantage over its critic."),
    tunable("learner.iql_expectile", number(Bounds::from_to(0.01, 0.99)), Some("0.7"), "Expectile of the score that iql takes for the value of a state."),
    tunable("learner.bppo_clip", number(Bounds::from_to(0.001, 0.999)), Some("0.2"), "How far from 1 bppo lets the ratio to the behavior go."),
    tunable("learner.bppo_warmup", count(0, 1_000_000_000), Some("500"), "Updates in which bppo only imitates, to know the behavior."),
    tunable("learner.remoteness_rate", number(Bounds::from_to(0.0, 1e6)), Some("1.0"), "How fast remoteness fades repulsion out (lambda)."),
    tunable("learner.remoteness_start", number(Bounds::from_to(0.0, 1e6)), Some("0.0"), "Distance at which that begins: mean squared z, or -log pi for softmax."),
    tunable("learner.remoteness_width", number(Bounds::above(0.0, 1e6)), Some("1.0"), "Distance in which it fades by e^-lambda."),
    tunable("learner.weight_decay", number(Bounds::from_to(0.0, 100.0)), Some("0.3"), "Decoupled weight decay."),
    tunable("learner.clip_norm", number(Bounds::above(0.0, 1e6)), Some("1.0"), "Largest global norm of a gradient."),
    tunable("learner.replay_ratio", Kind::NumberOr { bounds: Bounds::from_to(0.0, 1_024.0), word: "auto" }, Some(r#""auto""#), "Draws per newly admitted step; auto = 256 at first, 16 after 10,000, falling to 1."),
    tunable("learner.tilt", Kind::NumberOr { bounds: Bounds::from_to(0.0, 100.0), word: "auto" }, Some("0.0"), "Beta with which a softmax policy leans towards its critic of whole sessions when it acts; 0 = off, auto = 0 below 50,000 decisions, 1 below 100,000, then 2."),
    structural("learner.seed", count(0, i64::MAX as u64), Some("1"), "Seed of the weights and of the draws."),
    tunable("learner.snapshot_updates", count(1, 1_000_000), Some("100"), "Updates between the copies that a diverged learner goes back to."),
    tunable("learner.refused_in_a_row", count(1, 1_000_000), Some("5"), "Refused updates after which it goes back."),

    tunable("validation.share", number(Bounds::from_to(0.0, 1.0)), Some("0.02"), "Share of all steps that the policy is asked about before it can train on them; 0 turns it off."),
    tunable("validation.window", count(1, 1_000_000), Some("2_000"), "Steps over which progressive validation is counted."),

    operational("checkpoint.directory", Kind::Path, Some(r#""sluicebox-state""#), "Where checkpoints go; --state says otherwise."),
    operational("checkpoint.every", length_or_off(100, 7 * DAY), Some(r#""1m""#), "Time between seals."),
    operational("checkpoint.every_records", count(0, 1_000_000_000_000), Some("0"), "Records between seals; 0 = by time alone."),
    operational("checkpoint.keep", count(1, 1_000), Some("3"), "Checkpoints to keep."),

    operational("dead_letters.file", Kind::Path, None, "File for malformed records."),
    operational("dead_letters.topic", Kind::Text, None, "Topic for malformed records."),
    operational("dead_letters.max_malformed_share", number(Bounds::from_to(0.0, 1.0)), Some("0.05"), "Share of malformed records at which the run stops."),
    operational("dead_letters.min_sample", count(1, 1_000_000_000), Some("1_000"), "Records to see before that share counts."),

    // What is malformed is not learned from, so these two change the result.
    structural("decode.max_bytes", size(64, 64 * MIB), Some(r#""1MiB""#), "Largest record."),
    structural("decode.max_depth", count(1, 100), Some("64"), "Deepest nesting of a record."),

    operational("merge.queue_max", count(1, 10_000_000), Some("10_000"), "Closed trajectories of a partition that wait; beyond, it is paused."),
    operational("merge.ahead_max", length(SECOND, 3_650 * DAY), Some(r#""1d""#), "How far a partition may run ahead in event time before it is paused."),

    // A decision by the clock enters the journal; the setting itself is only when to ask.
    operational("idle.after", length_or_off(100, 30 * DAY), Some(r#""30s""#), "Silence after which `run` no longer waits for a partition."),

    operational("http.listen", Kind::Address, Some(r#""127.0.0.1:8077""#), "Where /livez, /readyz, /metrics, /version and /status are served."),
    operational("decisions.file", Kind::Path, None, "File for one JSON line per judged unit."),
    operational("runtime.threads", count(0, 1_024), Some("0"), "Threads that decode and assemble; 0 = one per processor."),
    operational("simulate", Kind::Open, Some("{}"), "Settings of the simulator; configs/demo.toml writes all of them out."),
    operational("publish.dir", Kind::Path, None, "Where policies are published; without it `run` publishes nothing, and --publish uses `published` in the state directory."),
    operational("publish.every", length_or_off(100, 365 * DAY), Some(r#""10m""#), "Least time between two publications of `run`; off = only when asked."),
    operational("publish.temperature", number(Bounds::above(0.0, 100.0)), Some("1.0"), "Temperature of the served distribution: below 1 it is sharper than the policy."),
    operational("publish.gate", Kind::NumberOr { bounds: Bounds::from_to(0.0, 10.0), word: "off" }, Some("0.1"), "How far a policy's estimate may fall below the published one's, as a share of it."),
    operational("publish.keep", count(2, 10_000), Some("10"), "Publications to keep."),

    operational("serve.max_sessions", count(1, 10_000_000), Some("10_000"), "Sessions that `recommend` remembers; beyond, the one unused for longest is forgotten."),
    operational("serve.max_bytes", size(MIB, 256 * GIB), Some(r#""256MiB""#), "Memory of these sessions; beyond, the one unused for longest is forgotten. One session holds a sixteenth at most."),
];
