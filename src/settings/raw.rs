//! The settings as they stand in the file: names and types are right, but nobody has looked at them together yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use super::read;
use super::sections::{
    Catalog, Checkpoint, DeadLetters, Decisions, Decode, Filter, Http, Idle, Learner, Merge, Publish, RetentionGap,
    Reward, Runtime, SaslMechanism, Score, SecurityProtocol, Serve, Session, Start, State, Time, Validation,
};

/// Sections whose rules concern one field at a time are final; [`super::validate`] replaces the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub kafka: Kafka,
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
    // This section has no key with a default, so it is absent when nobody writes one.
    #[serde(default)]
    pub decisions: Option<Decisions>,
    pub runtime: Runtime,
    pub simulate: Table,
    pub publish: Publish,
    pub serve: Serve,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub brokers: Vec<String>,
    pub topics: Vec<String>,
    pub group: String,
    pub start: Start,
    pub retention_gap: RetentionGap,
    #[serde(deserialize_with = "read::length")]
    pub connect_timeout: Duration,
    pub security_protocol: SecurityProtocol,
    pub sasl_mechanism: Option<SaslMechanism>,
    pub username: Option<String>,
    /// Where it is kept, not what it is.
    pub password: Option<Value>,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub key_password: Option<Value>,
    pub properties: BTreeMap<String, String>,
}
