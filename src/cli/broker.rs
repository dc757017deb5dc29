//! `demo-broker`: an embedded broker, alone in its process, for as long as somebody needs it.

use std::io::{self, Read, Write};

use super::args;
use super::plan::job_failure;
use crate::exit::{Exit, Failure};
use crate::kafka::KafkaError;
use crate::kafka::embedded::{Broker, die_with_parent};
use crate::runtime::JobError;

/// The first line on standard output says where the broker listens.
pub fn demo_broker(arguments: &args::DemoBroker) -> Result<Exit, Failure> {
    #[cfg(unix)]
    if !die_with_parent(std::os::unix::process::parent_id()) {
        tracing::debug!("this system cannot tie the broker to its parent; it ends when its input does");
    }
    let topics: Vec<_> = arguments.topics.iter().map(|topic| (topic.as_str(), arguments.partitions)).collect();
    let kafka_failure = |error: KafkaError| job_failure(JobError::Source(error.into()));
    let broker = Broker::start(&topics).map_err(kafka_failure)?;
    let address = broker.bootstrap_servers().map_err(kafka_failure)?;
    let mut output = io::stdout();
    let told = writeln!(output, "{address}").and_then(|()| output.flush());
    told.map_err(|error| Exit::Io.because(error))?;
    let mut buffer = [0; 512];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => return Ok(Exit::Success),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Exit::Io.because(error)),
        }
    }
}
