//! A lane worker: decodes and assembles the partitions that it owns, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::messages::{Flow, LaneInput, Records};
use super::{JobError, Stopped};
use crate::clock::Stopwatch;
use crate::decode::{Bytes, DeadLetter, Header, Malformed};
use crate::event::Event;
use crate::live::Sessions;
use crate::pipeline::{Intake, Observed};
use crate::position::Partition;
use crate::source::RecordRef;
use crate::telemetry::declared;

pub struct LaneWorker {
    pub topic: Arc<str>,
    pub intakes: BTreeMap<Partition, Intake>,
    pub input: Receiver<LaneInput>,
    /// One for each core that learns from this log.
    pub outputs: Vec<Sender<Flow>>,
    /// What `/status` and serving look at; never read here.
    pub live: Arc<Sessions>,
}

impl LaneWorker {
    pub fn run(mut self) -> Result<(), JobError> {
        while let Ok(input) = self.input.recv() {
            if self.step(input)?.is_err() {
                // The core has gone: it failed or was told to stop, and says so itself.
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, input: LaneInput) -> Result<Result<(), Stopped>, JobError> {
        match input {
            LaneInput::Records(records) => self.observe(&records),
            LaneInput::Gap(partition, to) => {
                if let Some(intake) = self.intakes.get_mut(&partition) {
                    intake.skip_to(to);
                }
                Ok(Ok(()))
            }
            LaneInput::Barrier(barrier) => {
                let stall = Stopwatch::start();
                let intakes = self.intakes.iter_mut().map(|(p, intake)| (*p, intake.snapshot())).collect();
                declared::HANDOVER_SECONDS.record(stall.seconds());
                Ok(self.send(Flow::Barrier { barrier, intakes }))
            }
            LaneInput::RangeEnd(partition) => Ok(self.send(Flow::Read(partition))),
            LaneInput::Finish => Ok(self.finish()),
        }
    }

    fn observe(&mut self, records: &Records) -> Result<Result<(), Stopped>, JobError> {
        let partition = records.partition();
        let Some(intake) = self.intakes.get_mut(&partition) else { return Ok(Ok(())) };
        let (mut closed, mut dead_letters) = (Vec::new(), Vec::new());
        let live = &self.live;
        let mut watch = |event: &Event| live.see(event);
        for record in records.iter() {
            match intake.observe(record.offset, record.timestamp, record.value, &mut watch, &mut closed) {
                Observed::Taken => {}
                Observed::Rejected(malformed) => {
                    declared::MALFORMED_RECORDS.add(malformed.reason.name(), 1);
                    dead_letters.push(dead_letter(malformed, &self.topic, &record));
                }
                Observed::Broken { malformed, sample, last } => {
                    return Err(JobError::Breaker { partition, malformed, sample, last });
                }
            }
        }
        if let Some(last) = records.last() {
            intake.remember(last.offset, last.timestamp, last.value);
        }
        closed.iter().for_each(|trajectory| self.live.close(&trajectory.user, trajectory.steps.len()));
        let watermark = intake.watermark();
        Ok(self.send(Flow::Progress { partition, closed, watermark, dead_letters }))
    }

    fn finish(&mut self) -> Result<(), Stopped> {
        let partitions: Vec<Partition> = self.intakes.keys().copied().collect();
        for partition in partitions {
            let Some(intake) = self.intakes.get_mut(&partition) else { continue };
            let mut closed = Vec::new();
            intake.finish(&mut closed);
            let watermark = intake.watermark();
            self.send(Flow::Progress { partition, closed, watermark, dead_letters: Vec::new() })?;
            self.send(Flow::Ended(partition))?;
        }
        Ok(())
    }

    fn send(&self, flow: Flow) -> Result<(), Stopped> {
        let Some((last, others)) = self.outputs.split_last() else { return Err(Stopped) };
        for output in others {
            output.send(flow.clone()).map_err(|_| Stopped)?;
        }
        last.send(flow).map_err(|_| Stopped)
    }
}

fn dead_letter(malformed: Malformed, topic: &str, record: &RecordRef<'_>) -> DeadLetter {
    let header = |(name, value): (&str, Option<&[u8]>)| Header { name: name.to_owned(), value: value.map(own) };
    DeadLetter {
        timestamp: record.timestamp,
        key: record.key.map(own),
        headers: record.headers().map(header).collect(),
        value: record.value.map(own),
        ..DeadLetter::new(malformed, topic, record.partition, record.offset)
    }
}

fn own(bytes: &[u8]) -> Bytes {
    Bytes(bytes.to_vec())
}
