//! The core thread: one order for the trajectories of all lanes, and everything that depends on that order.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, SelectedOperation, Sender};

use super::board::Board;
use super::gauges::Gauges;
use super::messages::{Barrier, Draft, Flow, LearnerInput, Purpose, WriterInput};
use super::{JobError, Stopped};
use crate::clock::{self, Stopwatch};
use crate::pipeline::{IntakeState, Outputs, Pipeline, RecordCounters};
use crate::position::Partition;
use crate::score::NetworkFit;
use crate::telemetry::declared;
use crate::validation::Probe;

pub struct Core {
    pub pipeline: Pipeline,
    pub lanes: Vec<Receiver<Flow>>,
    pub learner: Sender<LearnerInput>,
    /// Fits of the baseline, in the order in which they were asked for.
    pub fits: Receiver<NetworkFit>,
    pub writer: Sender<WriterInput>,
    pub gauges: Arc<Gauges>,
    pub board: Arc<Board>,
    /// All lanes stand at it, and what comes before it waits for a fit.
    pub cut: Option<Cut>,
}

/// How often others hear of the core's figures while there is always a next message.
const TELL_EVERY: Duration = Duration::from_millis(10);

/// A barrier that all lanes have reached, with their sides of it.
pub struct Cut {
    barrier: Arc<Barrier>,
    intakes: Vec<(Partition, IntakeState)>,
}

/// How far each lane worker is: its side of the barrier that is being aligned, and whether it still sends.
pub(super) struct Alignment {
    arrived: Vec<Option<Vec<(Partition, IntakeState)>>>,
    open: Vec<bool>,
}

impl Core {
    pub fn run(mut self) -> Result<(), JobError> {
        let outcome = self.work();
        self.tell();
        outcome
    }

    fn work(&mut self) -> Result<(), JobError> {
        let mut alignment = Alignment::new(self.lanes.len());
        let mut told = clock::instant();
        loop {
            if told.elapsed() > TELL_EVERY {
                self.tell();
                told = clock::instant();
            }
            let heard = if self.is_waiting() {
                let stopwatch = Stopwatch::start();
                let Ok(fit) = self.fits.recv() else { return Ok(()) };
                declared::BASELINE_WAIT.record(stopwatch.seconds());
                self.accept(fit)?
            } else if let Some((lane, flow)) = receive(&self.lanes, &alignment, |select| select.try_select().ok()) {
                self.step(&mut alignment, lane, flow)?
            } else if alignment.is_awaiting() {
                // There is time now, and nobody should have to wait for the next message to see what the last one did.
                self.tell();
                let next = receive(&self.lanes, &alignment, |select| Some(select.select()));
                let Some((lane, flow)) = next else { return Ok(()) };
                self.step(&mut alignment, lane, flow)?
            } else {
                return Ok(());
            };
            if heard.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether nothing can be judged before a fit comes. Then no lane is read either: back-pressure holds them.
    pub(super) fn is_waiting(&self) -> bool {
        self.pipeline.is_waiting()
    }

    /// Goes on with a fit for which judging has waited.
    pub(super) fn accept(&mut self, fit: NetworkFit) -> Result<Result<(), Stopped>, JobError> {
        // A fit that nobody waits for would be a bug of the learner's; waiting for the next one tells it from a crash.
        self.pipeline.accept(fit);
        self.advance()
    }

    /// Takes one message of a lane that [`Alignment::is_awaited`]; `None` when it has closed its channel.
    pub(super) fn step(
        &mut self,
        alignment: &mut Alignment,
        lane: usize,
        flow: Option<Flow>,
    ) -> Result<Result<(), Stopped>, JobError> {
        match flow {
            None => {
                alignment.open[lane] = false;
                Ok(Ok(()))
            }
            Some(Flow::Barrier { barrier, intakes }) => match alignment.arrive(lane, intakes) {
                Some(intakes) => self.reach(barrier, intakes),
                None => Ok(Ok(())),
            },
            Some(flow) => self.handle(flow),
        }
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
            Flow::Read(partition) => self.pipeline.merge_mut().stand_aside(partition)?,
            Flow::Ended(partition) => self.pipeline.merge_mut().end(partition)?,
            Flow::Barrier { .. } => {}
        }
        self.advance()
    }

    /// Judges what can be judged, and then makes the cut for which that was waited.
    fn advance(&mut self) -> Result<Result<(), Stopped>, JobError> {
        if self.drain().is_err() {
            return Ok(Err(Stopped));
        }
        match self.cut.take_if(|_| !self.pipeline.is_waiting()) {
            Some(cut) => self.hand_over(cut),
            None => Ok(Ok(())),
        }
    }

    fn drain(&mut self) -> Result<(), Stopped> {
        let mut outputs = Outputs::default();
        self.pipeline.drain(&mut outputs);
        if !outputs.judged.is_empty() {
            let mut lines = Vec::with_capacity(outputs.judged.len() * 320);
            for judged in &outputs.judged {
                // Writing plain data to memory cannot fail.
                let _ = serde_json::to_writer(&mut lines, judged);
                lines.push(b'\n');
            }
            self.write(WriterInput::Decisions(lines))?;
        }
        // Policy and critic never look at each other, but a probe asks both: it comes after what was made before it, whatever
        // was handed over together.
        let mut probes = outputs.probes.into_iter().peekable();
        let mut critic = outputs.critic_batches.into_iter().peekable();
        let mut ask = |core: &Core, probe: Probe| {
            while let Some(batch) = critic.next_if(|batch| batch.number < probe.critic_batches_before) {
                core.teach(LearnerInput::Critic(batch))?;
            }
            core.teach(LearnerInput::Probe(probe))
        };
        for batch in outputs.batches {
            while let Some(probe) = probes.next_if(|probe| probe.batches_before <= batch.number) {
                ask(self, probe)?;
            }
            self.teach(LearnerInput::Batch(batch))?;
        }
        for probe in probes {
            ask(self, probe)?;
        }
        critic.try_for_each(|batch| self.teach(LearnerInput::Critic(batch)))?;
        outputs.baseline_batches.into_iter().try_for_each(|batch| self.teach(LearnerInput::Baseline(batch)))
    }

    /// How the merge and the filter stand: each partition costs something, so this is not told after every message.
    fn tell(&mut self) {
        self.gauges.publish(&self.pipeline);
        self.board.judged(&mut self.pipeline);
    }

    fn teach(&self, input: LearnerInput) -> Result<(), Stopped> {
        self.learner.send(input).map_err(|_| Stopped)
    }

    /// All lanes stand at the barrier.
    fn reach(
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
        self.cut = Some(Cut { barrier, intakes });
        self.advance()
    }

    /// All before the cut is judged: hand over what the checkpoint will hold, and go on.
    fn hand_over(&mut self, cut: Cut) -> Result<Result<(), Stopped>, JobError> {
        let Cut { barrier, intakes } = cut;
        self.check_conservation(&barrier, &intakes)?;
        let number = barrier.number;
        let is_range_read = barrier.purpose == Purpose::RangeRead;
        let stall = Stopwatch::start();
        let draft = Draft { barrier, intakes, pipeline: self.pipeline.snapshot() };
        declared::HANDOVER_SECONDS.record(stall.seconds());
        if is_range_read {
            // Idle or not, all close now what they still have open, and wait for each other in that.
            self.pipeline.merge_mut().rejoin();
        }
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

impl Alignment {
    pub(super) fn new(lanes: usize) -> Alignment {
        Alignment { arrived: (0..lanes).map(|_| None).collect(), open: vec![true; lanes] }
    }

    /// A lane that has reached the barrier is not read until all have: nothing after the cut may come before it.
    pub(super) fn is_awaited(&self, lane: usize) -> bool {
        self.open[lane] && self.arrived[lane].is_none()
    }

    fn is_awaiting(&self) -> bool {
        (0..self.open.len()).any(|lane| self.is_awaited(lane))
    }

    /// The sides of all workers, once the last one has come.
    fn arrive(&mut self, lane: usize, intakes: Vec<(Partition, IntakeState)>) -> Option<Vec<(Partition, IntakeState)>> {
        self.arrived[lane] = Some(intakes);
        let is_complete = self.arrived.iter().all(Option::is_some);
        is_complete.then(|| self.arrived.iter_mut().filter_map(Option::take).flatten().collect())
    }
}

/// The next message of an awaited lane, if `choose` finds one; the lane alone when it has closed its channel.
fn receive<'a>(
    lanes: &'a [Receiver<Flow>],
    alignment: &Alignment,
    choose: impl FnOnce(&mut Select<'a>) -> Option<SelectedOperation<'a>>,
) -> Option<(usize, Option<Flow>)> {
    let waiting: Vec<usize> = (0..lanes.len()).filter(|lane| alignment.is_awaited(*lane)).collect();
    if waiting.is_empty() {
        return None;
    }
    let mut select = Select::new();
    waiting.iter().for_each(|lane| {
        select.recv(&lanes[*lane]);
    });
    let operation = choose(&mut select)?;
    let lane = waiting[operation.index()];
    Some((lane, operation.recv(&lanes[lane]).ok()))
}
