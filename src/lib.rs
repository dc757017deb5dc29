//! sluicebox: keep the best kappa of logged behavior, learn from that alone, and lose nothing on the way.
//!
//! The modules stand in the order in which data passes through them; below them the shell, which has effects and makes
//! no decisions.

pub mod position;
mod prefetch;
pub mod time;
pub mod event;
pub mod trajectory;
pub mod batch;

pub mod source;
pub mod kafka;
pub mod files;
pub mod decode;
pub mod assemble;
pub mod merge;
pub mod catalog;
pub mod state;
pub mod score;
pub mod window;
pub mod filter;
pub mod pipeline;
pub mod policy;
pub mod validation;
pub mod learner;
pub mod checkpoint;
pub mod publish;
pub mod serve;

pub mod clock;
pub mod settings;
pub mod telemetry;
pub mod live;
pub mod http;
pub mod exit;
pub mod runtime;
pub mod cli;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod evaluate;
pub mod simulate;
pub mod experiment;
pub mod report;
pub mod bench;
