//! sluicebox: keep the best kappa of logged behavior, learn from that alone, and lose nothing on the way.
//!
//! The modules stand in the order in which data passes through them.

pub mod position;
pub mod time;
pub mod event;
pub mod trajectory;
pub mod batch;
pub mod settings;
pub mod telemetry;
pub mod live;
pub mod http;
pub mod clock;
pub mod exit;
pub mod cli;
