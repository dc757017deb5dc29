//! One stage of `bench`, alone in its process; its answer is one JSON value on standard output.

use std::path::Path;

use super::report::Stage;
use super::{CATALOG, PARTITIONS, checkpoint, latency, topic};
use crate::bench::workload::Shape;
use crate::bench::{step, usage, window};
use crate::cli::args::{BenchStage, StageName};
use crate::cli::print_json;
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::settings::{self, Settings};

pub fn bench_stage(arguments: &BenchStage) -> Result<Exit, Failure> {
    let arguments_for = |ratio: &str| settings_of(arguments, ratio);
    match arguments.stage {
        StageName::Write => {
            print_json(&topic::write(&arguments_for("1")?, shape(arguments), arguments.events, arguments.rate)?)
        }
        StageName::Consume => print_json(&topic::consume(&arguments_for("1")?, arguments.events)?),
        StageName::Decode => print_json(&topic::decode(&arguments_for("1")?, arguments.events)?),
        StageName::Filter => print_json(&topic::filter(&arguments_for("1")?, arguments.events)?),
        StageName::Job => print_json(&topic::job(&arguments_for("1")?, arguments.events)?),
        StageName::JobDefaultRatio => print_json(&topic::job(&arguments_for("auto")?, arguments.events)?),
        StageName::Latency => print_json(&latency::measure(&arguments_for("auto")?, arguments)?),
        StageName::Window => {
            let (window, operations) = (arguments.window as usize, arguments.operations as usize);
            print_json(&window::measure(window, arguments.kappa, operations, arguments.seed))
        }
        StageName::Step => {
            let measured = step::measure(arguments.turns as usize, arguments.seed);
            print_json(&measured.map_err(|error| Exit::Bug.because(error))?)
        }
        StageName::Checkpoint => print_json(&checkpoint::measure(&arguments_for("1")?, arguments)?),
    }?;
    Ok(Exit::Success)
}

fn shape(arguments: &BenchStage) -> Shape {
    Shape { seed: arguments.seed, users: 2_048, partitions: PARTITIONS, rate: 1_000, ends: false }
}

/// The settings that the figures are for; everything else has its default.
fn settings_of(arguments: &BenchStage, replay_ratio: &str) -> Result<Settings, Failure> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let directory = &arguments.directory;
    let mut set = vec![
        format!("kafka.brokers={}", arguments.brokers),
        format!("kafka.topics={}", arguments.topic),
        format!("mapping.context_dimension={}", crate::bench::workload::CONTEXT),
        format!("catalog.file={}", path(&directory.join(CATALOG))),
        format!("learner.hidden=[{}, {}]", step::HIDDEN[0], step::HIDDEN[1]),
        format!("learner.batch={}", step::ROWS),
        format!("learner.replay_ratio={replay_ratio}"),
        "filter.kappa=0.1".to_owned(),
    ];
    match arguments.stage {
        // Sessions end by an event, so what the clock of the log waits for is nothing but the next event.
        StageName::Latency => set.extend(["time.lateness=0s".to_owned(), "checkpoint.every=1s".to_owned()]),
        StageName::Checkpoint => set.extend([
            "time.lateness=0s".to_owned(),
            "session.max_open_per_partition=10000000".to_owned(),
            "session.max_bytes_per_partition=64GiB".to_owned(),
        ]),
        // A log of minutes, in which sessions end all the time.
        StageName::Write
        | StageName::Consume
        | StageName::Decode
        | StageName::Filter
        | StageName::Job
        | StageName::JobDefaultRatio
        | StageName::Window
        | StageName::Step => set.extend(["time.lateness=2s".to_owned(), "session.gap=20s".to_owned()]),
    }
    settings::load(None, &set).map_err(|error| error.exit().because(error))
}

/// What `work` over so many events costs.
pub(super) fn measured(events: u64, work: impl FnOnce() -> Result<u64, Failure>) -> Result<Stage, Failure> {
    let (watch, before) = (Stopwatch::start(), usage::cpu_time());
    let seen = work()?;
    let (seconds, cpu) = (watch.seconds(), usage::cpu_time() - before);
    if seen != events {
        return Err(Exit::Data.because(format!("{events} events were written, and {seen} found")));
    }
    let count = (events as f64).max(1.0);
    Ok(Stage {
        events_per_second: count / seconds.max(1e-9),
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / count,
        peak_rss_bytes: usage::peak_resident_bytes(),
    })
}
