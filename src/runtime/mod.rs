//! The shell around the pure parts: threads, channels, disk, and the order in which they start and stop.
//!
//! ```text
//! feeder -> lane workers -> core -> trainer
//!   ^                         |        |
//!   +------ writer <----------+--------+
//! ```
//!
//! Every channel is bounded. A cut travels the whole path as a barrier; when the writer has made it durable, it tells the
//! feeder. Whoever fails first closes its channels, and the others follow.

mod beginning;
mod board;
mod shown;
mod content;
mod counts;
mod core;
mod error;
mod feeder;
mod gauges;
mod idle;
mod job;
mod journal;
mod kill;
mod lanes;
mod messages;
mod publication;
mod publisher;
mod trainer;
mod writer;
#[cfg(test)]
mod world;

pub use beginning::{
    Outcome, Restored, WarmStart, open_store, read_outcome, read_unclosed, read_warm_start, restore, tell_passed_over,
};
pub use board::{Board, Figures};
pub use content::{Content, Meta, Sealing, decode as decode_state, describe as describe_log};
pub use counts::Counts;
pub use error::JobError;
pub use feeder::SealPlan;
pub use gauges::Limits;
pub use job::{Job, JobSpec, Mode};
pub use journal::JournalEntry;
pub use kill::{KillMark, kill_self};
pub use publication::{Checkpointed, PublishPlan};
pub use publisher::{Announce, Publisher, Standing};
pub use writer::{DEAD_LETTERS, DECISIONS};

/// The thread at the other end of a channel has gone; it says itself why.
#[derive(Debug)]
struct Stopped;
