//! `load`: a file of JSON lines into a topic, as if Java producers had written it.

use serde::Serialize;

use super::args;
use super::plan::{self, job_failure};
use super::replay::line_keys;
use super::tally::Tally;
use super::{print_json, print_text, settings_from};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::kafka::{Compression, LoadSettings};
use crate::runtime::JobError;

/// What `load --json` prints; `schemas/load-report.v1.schema.json`.
#[derive(Debug, Serialize)]
struct LoadReport {
    topic: String,
    partitions: u32,
    records: u64,
    bytes: u64,
    records_by_partition: Vec<u64>,
    topic_was_created: bool,
    elapsed_seconds: f64,
}

pub fn load(arguments: &args::Load) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let topic = match &arguments.topic {
        Some(topic) => topic.clone(),
        None => settings.kafka.topic().map_err(|error| error.exit().because(error))?.to_owned(),
    };
    let decoder = plan::decoder(&settings)?;
    let watch = Stopwatch::start();
    let mut tally = Tally::new("records");
    let target = LoadSettings {
        connection: plan::connection(&settings),
        topic: topic.clone(),
        partitions: arguments.partitions,
        append: arguments.append,
        compression: Compression::default(),
    };
    let loaded = crate::kafka::load(&target, &arguments.file, &line_keys(&decoder), &mut |records| tally.show(records));
    drop(tally);
    let loaded = loaded.map_err(|error| job_failure(JobError::Load(error.into())))?;
    if loaded.without_user > 0 {
        tracing::warn!(
            records = loaded.without_user,
            of = loaded.records,
            "these records name no user under this mapping, so they are all in partition 0; -c FILE names the mapping"
        );
    }
    let report = LoadReport {
        topic,
        partitions: arguments.partitions,
        records: loaded.records,
        bytes: loaded.bytes,
        records_by_partition: loaded.records_by_partition,
        topic_was_created: loaded.topic_was_created,
        elapsed_seconds: watch.seconds(),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&format!(
            "{} records ({} bytes) in {} partitions of {}: {:?}",
            report.records, report.bytes, report.partitions, report.topic, report.records_by_partition
        ))?;
    }
    Ok(Exit::Success)
}
