//! Integration tests: the real client, a real broker, real processes.
//!
//! They start and stop what they need by themselves, on ports and in directories of their own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod binary;
mod broker;
mod cluster;
mod container;
mod crash;
mod demo;
mod determinism;
mod docs;
mod evaluate;
mod experiment;
mod failures;
mod format;
mod kafka_cluster;
mod kafka_consumer;
mod kafka_faults;
mod kafka_files;
mod kafka_producer;
mod kafka_ranges;
mod learning;
mod processes;
mod publish;
mod replay;
mod run;
mod sweep;
mod tidy;
mod tools;
mod topics;
mod validation;
