//! The same records with the same journal, read by a process to which nothing ever happens: one loop, no threads' turns,
//! no barriers, no checkpoints, and the partitions one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::broker::Broker;
use super::setup::Setup;
use super::student::Student;
use crate::checkpoint::Digest;
use crate::pipeline::{Intake, Observed, Outputs, Pipeline};
use crate::position::{NextOffset, Partition, Position};
use crate::runtime::JournalEntry;
use crate::runtime::content::{self, Content};
use crate::score::NetworkFit;

/// What a process has been given up to a cut, kept on the broker's side.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Where the first process began.
    pub start: Position,
    /// Numbers of the log's entries.
    pub consumed: BTreeMap<Partition, Vec<usize>>,
    pub journal: Vec<JournalEntry>,
    /// Was the range ended and everything closed?
    pub is_finished: bool,
}

impl Account {
    pub fn position(&self, broker: &Broker) -> Position {
        let next = |(partition, start): (&Partition, &NextOffset)| {
            let last = self.consumed.get(partition).and_then(|consumed| consumed.last());
            (*partition, last.map_or(*start, |last| broker.topic(*partition).entries[*last].offset.next()))
        };
        self.start.iter().map(next).collect()
    }

    /// Where a partition goes on, when what comes next is not entry `number` of the log because that was deleted.
    pub fn gap_before(&self, broker: &Broker, partition: Partition, number: usize) -> Option<NextOffset> {
        let topic = broker.topic(partition);
        let last = self.consumed.get(&partition).and_then(|consumed| consumed.last());
        let due = last.map_or_else(|| topic.index_of(self.start[&partition]), |last| last + 1);
        (number > due).then(|| NextOffset::boundary(topic.entries[number].offset.raw()))
    }
}

pub fn digest(setup: &Setup, broker: &Broker, account: &Account) -> Digest {
    let mut process = Process {
        intakes: account
            .start
            .iter()
            .map(|(partition, start)| {
                let decoder = Arc::clone(&setup.decoder);
                (*partition, Intake::new(*partition, *start, decoder, setup.sessions))
            })
            .collect(),
        pipeline: setup.new_pipeline(),
        student: Student::new(setup),
        fits: VecDeque::new(),
        read: BTreeMap::new(),
    };
    for entry in &account.journal {
        process.read(broker, account, |partition| entry.position[&partition]);
        for change in &entry.changes {
            let merge = process.pipeline.merge_mut();
            match change.idle {
                true => merge.set_idle(change.partition).unwrap(),
                false => merge.set_active(change.partition).unwrap(),
            }
        }
        process.drain();
    }
    process.read(broker, account, |_| NextOffset::boundary(u64::MAX));
    if account.is_finished {
        process.finish();
    }
    process.digest()
}

struct Process {
    intakes: BTreeMap<Partition, Intake>,
    pipeline: Pipeline,
    student: Student,
    fits: VecDeque<NetworkFit>,
    read: BTreeMap<Partition, usize>,
}

impl Process {
    fn read(&mut self, broker: &Broker, account: &Account, until: impl Fn(Partition) -> NextOffset) {
        for (partition, consumed) in &account.consumed {
            let intake = self.intakes.get_mut(partition).unwrap();
            let read = self.read.entry(*partition).or_default();
            let (mut closed, topic) = (Vec::new(), broker.topic(*partition));
            let mut due =
                read.checked_sub(1).map_or_else(|| topic.index_of(account.start[partition]), |last| consumed[last] + 1);
            for number in &consumed[*read..] {
                let entry = &topic.entries[*number];
                if !until(*partition).is_past(entry.offset) {
                    break;
                }
                if *number > due {
                    intake.skip_to(NextOffset::boundary(entry.offset.raw()));
                }
                due = number + 1;
                let value = entry.value.as_deref();
                let observed = intake.observe(entry.offset, entry.timestamp, value, &mut |_| (), &mut closed);
                assert!(!matches!(observed, Observed::Broken { .. }));
                intake.remember(entry.offset, entry.timestamp, value);
                *read += 1;
            }
            closed.into_iter().for_each(|trajectory| self.pipeline.merge_mut().offer(trajectory).unwrap());
            self.pipeline.merge_mut().watermark(*partition, intake.watermark()).unwrap();
        }
        self.drain();
    }

    fn finish(&mut self) {
        // Who closes must be active: at the end all wait for each other again.
        self.pipeline.merge_mut().rejoin();
        for (partition, intake) in &mut self.intakes {
            let mut closed = Vec::new();
            intake.finish(&mut closed);
            closed.into_iter().for_each(|trajectory| self.pipeline.merge_mut().offer(trajectory).unwrap());
            self.pipeline.merge_mut().end(*partition).unwrap();
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut outputs = Outputs::default();
            self.pipeline.drain(&mut outputs);
            outputs.batches.iter().for_each(|batch| self.student.update(batch));
            self.fits.extend(outputs.baseline_batches.iter().map(|batch| self.student.learn_baseline(batch)));
            if !self.pipeline.is_waiting() {
                return;
            }
            let fit = self.fits.pop_front().expect("what is waited for has been asked for");
            assert!(self.pipeline.accept(fit), "fits come in the order in which they are wanted");
        }
    }

    fn digest(&mut self) -> Digest {
        let intakes = self.intakes.iter_mut().map(|(partition, intake)| (*partition, intake.snapshot())).collect();
        let content = Content { intakes, pipeline: self.pipeline.snapshot(), validation: Default::default() };
        content::encode(&content, &super::life::meta(), &self.student.export(), &mut std::io::sink()).unwrap()
    }
}
