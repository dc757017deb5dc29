//! The demo's simulator process: plays the whole log, tells how many records each partition will get, and writes them
//! at the pace of `simulate.rate`.

use std::io::{self, Write};
use std::time::Duration;

use super::world_of;
use crate::cli::plan::{self, job_failure};
use crate::cli::{args, settings_from};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::kafka::{Compression, KafkaError, Outgoing, Producer};
use crate::position::Partition;
use crate::runtime::JobError;
use crate::simulate::{Audience, Record};
use crate::source::partitioner::partition_of;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Records between two looks at the clock.
const PACE_EVERY: u64 = 64;

/// The first line on standard output is a JSON list: records by partition.
pub fn demo_simulator(arguments: &args::DemoSimulator) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let world = world_of(&settings)?;
    let log: Vec<Record> = world.events().collect();
    let mut counts = vec![0_u64; arguments.partitions as usize];
    for record in &log {
        targets(record, arguments.partitions).for_each(|partition| counts[partition.0 as usize] += 1);
    }
    let line = serde_json::to_string(&counts).map_err(|error| Exit::Bug.because(error))?;
    let mut output = io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(|error| Exit::Io.because(error))?;

    let failed = |error: KafkaError| job_failure(JobError::Source(error.into()));
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?;
    let mut producer = Producer::new(&plan::connection(&settings), topic, Compression::Lz4).map_err(failed)?;
    let watch = Stopwatch::start();
    for (sent, record) in (0_u64..).zip(&log) {
        if let Some(rate) = world.settings().rate().filter(|_| sent.is_multiple_of(PACE_EVERY)) {
            let early = sent as f64 / rate - watch.seconds();
            if early > 0.0 {
                producer.serve();
                std::thread::sleep(Duration::from_secs_f64(early));
            }
        }
        for partition in targets(record, arguments.partitions) {
            let key = match &record.audience {
                Audience::User(user) => Some(user.as_bytes()),
                Audience::EveryPartition => None,
            };
            let outgoing = Outgoing {
                partition: Some(partition),
                timestamp: Some(record.time.millis()),
                key,
                value: Some(&record.json),
                headers: None,
            };
            producer.send(outgoing).map_err(failed)?;
        }
    }
    producer.flush(FLUSH_TIMEOUT).map_err(failed)?;
    Ok(Exit::Success)
}

/// A user's records go where Java producers would put them; what speaks for all goes everywhere.
fn targets(record: &Record, partitions: u32) -> impl Iterator<Item = Partition> {
    let range = match &record.audience {
        Audience::User(user) => {
            let Partition(number) = partition_of(Some(user.as_bytes()), partitions);
            number..number + 1
        }
        Audience::EveryPartition => 0..partitions,
    };
    range.map(Partition)
}
