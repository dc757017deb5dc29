//! What the core tells the feeder about its queues, so that a partition that reads ahead is paused alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::merge::MergeGauge;
use crate::pipeline::Pipeline;
use crate::position::Partition;

/// Shared numbers; stale ones only delay a pause or a resume.
#[derive(Debug)]
pub struct Gauges {
    partitions: BTreeMap<Partition, Gauge>,
}

#[derive(Debug, Default)]
struct Gauge {
    /// Trajectories that wait in the merge.
    queued: AtomicU64,
    /// Milliseconds of event time by which the partition is ahead of the slowest one.
    lead: AtomicI64,
}

/// Above either limit a partition is paused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub queue_max: u64,
    pub ahead_max: crate::time::Span,
}

impl Gauges {
    pub fn new(partitions: impl IntoIterator<Item = Partition>) -> Gauges {
        Gauges { partitions: partitions.into_iter().map(|partition| (partition, Gauge::default())).collect() }
    }

    pub fn publish(&self, pipeline: &Pipeline) {
        for (partition, gauge) in &self.partitions {
            gauge.set(pipeline.merge().gauge(*partition));
        }
    }

    #[cfg(test)]
    pub fn set(&self, partition: Partition, now: MergeGauge) {
        self.partitions.get(&partition).into_iter().for_each(|gauge| gauge.set(now));
    }

    /// A partition that the merge waits for has nothing queued and no lead, so it is never among these.
    pub fn is_ahead(&self, partition: Partition, limits: &Limits) -> bool {
        self.partitions.get(&partition).is_some_and(|gauge| {
            let queued = gauge.queued.load(Ordering::Relaxed);
            queued > limits.queue_max || (queued > 0 && gauge.lead.load(Ordering::Relaxed) > limits.ahead_max.millis())
        })
    }
}

impl Gauge {
    fn set(&self, now: MergeGauge) {
        self.queued.store(now.queued as u64, Ordering::Relaxed);
        self.lead.store(now.lead.millis(), Ordering::Relaxed);
    }
}
