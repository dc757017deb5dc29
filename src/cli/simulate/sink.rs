//! Where simulated records go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{args, plan};
use crate::exit::{Exit, Failure};
use crate::kafka::{Compression, KafkaError, Outgoing, Producer, ensure_topic};
use crate::position::Partition;
use crate::runtime::JobError;
use crate::settings::Settings;
use crate::simulate::{Audience, Record};
use crate::source::partitioner::partition_of;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

pub enum Sink {
    File { path: PathBuf, output: Lines },
    Topic { producer: Box<Producer>, partitions: u32 },
}

/// A file of lines, compressed as its name says.
pub enum Lines {
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Sink {
    pub fn open(arguments: &args::Simulate, settings: &Settings) -> Result<Sink, Failure> {
        if let Some(path) = &arguments.file {
            let output = Lines::create(path).map_err(|error| file_failure(path, &error))?;
            return Ok(Sink::File { path: path.clone(), output });
        }
        let topic = match &arguments.topic {
            Some(topic) => topic.clone(),
            None => settings.kafka.topic().map_err(|error| error.exit().because(error))?.to_owned(),
        };
        let connection = plan::connection(settings);
        let partitions = ensure_topic(&connection, &topic, arguments.partitions).map_err(topic_failure)?;
        let producer = Producer::new(&connection, &topic, Compression::default()).map_err(topic_failure)?;
        Ok(Sink::Topic { producer: Box::new(producer), partitions })
    }

    /// How many records that made: one, or one for every partition.
    pub fn write(&mut self, record: &Record) -> Result<u64, Failure> {
        match self {
            Sink::File { path, output } => {
                let written = output.write_line(&record.json);
                written.map_err(|error| file_failure(path, &error))?;
                Ok(1)
            }
            Sink::Topic { producer, partitions } => {
                let (user, places) = match &record.audience {
                    Audience::User(user) => {
                        let home = partition_of(Some(user.as_bytes()), *partitions);
                        (Some(user.as_bytes()), home.0..home.0 + 1)
                    }
                    Audience::EveryPartition => (None, 0..*partitions),
                };
                let count = places.len() as u64;
                for place in places {
                    let outgoing = Outgoing {
                        partition: Some(Partition(place)),
                        timestamp: Some(record.time.millis()),
                        key: user,
                        value: Some(&record.json),
                        headers: None,
                    };
                    producer.send(outgoing).map_err(topic_failure)?;
                }
                Ok(count)
            }
        }
    }

    /// Lets the client work while nothing is sent.
    pub fn serve(&self) {
        match self {
            Sink::File { .. } => {}
            Sink::Topic { producer, .. } => producer.serve(),
        }
    }

    /// Returns when everything is where it belongs.
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Sink::File { path, output } => output.finish().map_err(|error| file_failure(&path, &error)),
            Sink::Topic { mut producer, .. } => producer.flush(FLUSH_TIMEOUT).map_err(topic_failure),
        }
    }
}

impl Lines {
    fn create(path: &Path) -> io::Result<Lines> {
        let file = BufWriter::new(File::create(path)?);
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Lines::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Some("zst") => Lines::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Some(_) | None => Lines::Plain(file),
        })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let output: &mut dyn Write = match self {
            Lines::Plain(output) => output,
            Lines::Gzip(output) => output,
            Lines::Zstd(output) => output,
        };
        output.write_all(line)?;
        output.write_all(b"\n")
    }

    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Lines::Plain(file) => file,
            Lines::Gzip(output) => output.finish()?,
            Lines::Zstd(output) => output.finish()?,
        };
        file.flush()
    }
}

fn file_failure(path: &Path, error: &io::Error) -> Failure {
    Exit::Io.because(format!("could not write {}: {error}", path.display()))
}

fn topic_failure(error: KafkaError) -> Failure {
    plan::job_failure(JobError::Source(error.into()))
}
