//! The core thread: one order for the trajectories of all lanes, and everything that depends on that order.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Select, Sender};

use super::board::Board;
use super::gauges::Gauges;
use super::messages::{Barrier, Draft, Flow, LearnerInput, Purpose, WriterInput};
use super::{JobError, Stopped};
use crate::pipeline::{IntakeState, Outputs, Pipeline, RecordCounters};
use crate::position::Partition;

pub struct Core {
    pub pipeline: Pipeline,
    pub lanes: Vec<Receiver<Flow>>,
    pub learner: Sender<LearnerInput>,
    pub writer: Sender<WriterInput>,
    pub gauges: Arc<Gauges>,
    pub board: Arc<Board>,
}

/// One worker's side of the barrier that is being aligned.
type Arrived = Option<Vec<(Partition, IntakeState)>>;

impl Core {
    pub fn run(mut self) -> Result<(), JobError> {
        let mut arrived: Vec<Arrived> = self.lanes.iter().map(|_| None).collect();
        let mut open: Vec<bool> = vec![true; self.lanes.len()];
        // A lane that has reached the barrier is not read until all have: nothing after the cut may come before it.
        while let Some((lane, flow)) = receive(&self.lanes, &arrived, &open) {
            let passed_on = match flow {
                None => {
                    open[lane] = false;
                    Ok(())
                }
                Some(Flow::Barrier { barrier, intakes }) => {
                    arrived[lane] = Some(intakes);
                    if arrived.iter().all(Option::is_some) {
                        let intakes = arrived.iter_mut().filter_map(Option::take).flatten().collect();
                        self.cut(barrier, intakes)?
                    } else {
                        Ok(())
                    }
                }
                Some(flow) => self.handle(flow)?,
            };
            if passed_on.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn handle(&mut self, flow: Flow) -> Result<Result<(), Stopped>, JobError> {
        match flow {
            Flow::Progress { partition, closed, watermark, dead_letters } => {
                if !dead_letters.is_empty() && self.write(WriterInput::DeadLetters(dead_letters)).is_err() {
                    return Ok(Err(Stopped));
                }
                let merge = self.pipeline.merge_mut();
                for trajectory in closed {
                    merge.offer(trajectory)?;
                }
                merge.watermark(partition, watermark)?;
            }
            Flow::Ended(partition) => self.pipeline.merge_mut().end(partition)?,
            Flow::Barrier { .. } => {}
        }
        Ok(self.drain())
    }

    fn drain(&mut self) -> Result<(), Stopped> {
        let mut outputs = Outputs::default();
        self.pipeline.drain(&mut outputs);
        self.gauges.publish(&self.pipeline);
        self.board.judged(&mut self.pipeline);
        if !outputs.judged.is_empty() {
            let mut lines = Vec::with_capacity(outputs.judged.len() * 320);
            for judged in &outputs.judged {
                // Writing plain data to memory cannot fail.
                let _ = serde_json::to_writer(&mut lines, judged);
                lines.push(b'\n');
            }
            self.write(WriterInput::Decisions(lines))?;
        }
        for batch in outputs.critic_batches {
            self.learner.send(LearnerInput::Critic(batch)).map_err(|_| Stopped)?;
        }
        for batch in outputs.batches {
            self.learner.send(LearnerInput::Batch(batch)).map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// All lanes stand at the barrier: hand over what the checkpoint will hold, and go on.
    fn cut(
        &mut self,
        barrier: Arc<Barrier>,
        intakes: Vec<(Partition, IntakeState)>,
    ) -> Result<Result<(), Stopped>, JobError> {
        for change in &barrier.idle {
            match change.idle {
                true => self.pipeline.merge_mut().set_idle(change.partition)?,
                false => self.pipeline.merge_mut().set_active(change.partition)?,
            }
        }
        if self.drain().is_err() {
            return Ok(Err(Stopped));
        }
        self.check_conservation(&barrier, &intakes)?;
        let number = barrier.number;
        let draft = Draft { barrier, intakes, pipeline: self.pipeline.snapshot() };
        let sent = self.learner.send(LearnerInput::Barrier(number)).map_err(|_| Stopped);
        Ok(sent.and_then(|()| self.write(WriterInput::Seal(Box::new(draft)))))
    }

    /// Nothing may be lost silently: every record, event and unit has exactly one fate.
    fn check_conservation(&mut self, barrier: &Barrier, intakes: &[(Partition, IntakeState)]) -> Result<(), JobError> {
        let mut records = RecordCounters::default();
        let mut closed = 0;
        for (partition, intake) in intakes {
            records.add(&intake.progress.counters);
            let counters = intake.lane.counters();
            counters
                .check_conservation()
                .map_err(|imbalance| JobError::Conservation(format!("partition {partition}: {imbalance}")))?;
            closed += counters.trajectories;
        }
        let totals = *self.pipeline.totals();
        let queued = self.pipeline.merge().queued() as u64;
        if !records.is_conserved() {
            return Err(JobError::Conservation(format!("records: {records:?}")));
        }
        if closed != totals.trajectories + queued || !totals.is_conserved(self.pipeline.filter().totals()) {
            let filter = self.pipeline.filter().totals();
            return Err(JobError::Conservation(format!(
                "units: {closed} trajectories closed, {queued} in the merge, {totals:?}, {filter:?}"
            )));
        }
        if barrier.purpose == Purpose::Complete && queued > 0 {
            return Err(JobError::Conservation(format!("{queued} trajectories left in the merge at the end")));
        }
        Ok(())
    }

    fn write(&self, input: WriterInput) -> Result<(), Stopped> {
        self.writer.send(input).map_err(|_| Stopped)
    }
}

/// The next message of a lane that is open and not waiting at the barrier; the lane alone when it has closed its channel.
fn receive(lanes: &[Receiver<Flow>], arrived: &[Arrived], open: &[bool]) -> Option<(usize, Option<Flow>)> {
    let waiting: Vec<usize> = (0..lanes.len()).filter(|lane| open[*lane] && arrived[*lane].is_none()).collect();
    if waiting.is_empty() {
        return None;
    }
    let mut select = Select::new();
    waiting.iter().for_each(|lane| {
        select.recv(&lanes[*lane]);
    });
    let operation = select.select();
    let lane = waiting[operation.index()];
    Some((lane, operation.recv(&lanes[lane]).ok()))
}
