//! Apache Kafka: reading a topic, committing offsets for dashboards, producing, dead letters, and a small broker inside
//! the process for the demo. The only place that knows rdkafka.
//!
//! A learner owns all partitions of its topic by plain assignment, at positions that it brings itself. The consumer group
//! is a name under which next offsets are shown, nothing more.
//!
//! Invariant: nothing here decides anything about an event.

mod admin;
mod client;
mod consumer;
mod cursor;
mod dead_letters;
pub mod embedded;
mod error;
mod load;
mod lookup;
mod producer;
mod reader;

pub use admin::{create_topic, delete_topic, ensure_topic};
pub use client::{Connection, check_properties};
pub use consumer::TopicSource;
pub use dead_letters::{DeadLetter, DeadLetterTopic};
pub use error::KafkaError;
pub use load::{LoadReport, LoadSettings, load};
pub use producer::{Compression, Outgoing, Producer};
pub use reader::{ConsumerSettings, RetentionGap};
