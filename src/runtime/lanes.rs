//! A lane worker: decodes and assembles the partitions that it owns, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::messages::{Flow, LaneInput, Records};
use super::{JobError, Stopped};
use crate::decode::DeadLetter;
use crate::live::Sessions;
use crate::pipeline::{Intake, Observed};
use crate::position::Partition;

pub struct LaneWorker {
    pub topic: Arc<str>,
    pub intakes: BTreeMap<Partition, Intake>,
    pub input: Receiver<LaneInput>,
    pub output: Sender<Flow>,
    /// What `/status` and serving look at; never read here.
    pub live: Arc<Sessions>,
}

impl LaneWorker {
    pub fn run(mut self) -> Result<(), JobError> {
        while let Ok(input) = self.input.recv() {
            let passed_on = match input {
                LaneInput::Records(records) => self.observe(&records)?,
                LaneInput::Barrier(barrier) => {
                    let intakes = self.intakes.iter().map(|(p, intake)| (*p, intake.snapshot())).collect();
                    self.send(Flow::Barrier { barrier, intakes })
                }
                LaneInput::Finish => self.finish(),
            };
            if passed_on.is_err() {
                // The core has gone: it failed or was told to stop, and says so itself.
                return Ok(());
            }
        }
        Ok(())
    }

    fn observe(&mut self, records: &Records) -> Result<Result<(), Stopped>, JobError> {
        let partition = records.partition();
        let Some(intake) = self.intakes.get_mut(&partition) else { return Ok(Ok(())) };
        let (mut closed, mut dead_letters) = (Vec::new(), Vec::new());
        for record in records.iter() {
            match intake.observe(record.offset, record.timestamp, record.value, &mut closed) {
                Observed::Taken => {}
                Observed::Rejected(malformed) => {
                    dead_letters.push(DeadLetter::new(&self.topic, partition, &record, &malformed));
                }
                Observed::Broken { malformed, sample, last } => {
                    return Err(JobError::Breaker { partition, malformed, sample, last });
                }
            }
        }
        self.live.observe(partition, intake.lane());
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
        self.output.send(flow).map_err(|_| Stopped)
    }
}
