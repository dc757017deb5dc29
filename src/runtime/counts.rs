//! The conserved counts of a whole state, by the names that `--json` and `/status` use.

use std::collections::BTreeMap;

use crate::assemble::LaneCounters;
use crate::filter::FilterTotals;
use crate::learner;
use crate::pipeline::{RecordCounters, Totals};

/// Summed over partitions and lanes. A state that has seen nothing has the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub records: RecordCounters,
    pub lanes: LaneCounters,
    pub totals: Totals,
    pub filter: FilterTotals,
    pub queued: u64,
    pub batches: u64,
    pub draws: u64,
    pub stale_draws: u64,
    pub learned: learner::Counters,
}

impl Counts {
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let Counts { records, lanes, totals, filter, learned, .. } = self;
        [
            ("records", records.records),
            ("decoded", records.decoded),
            ("ignored", records.ignored),
            ("tombstones", records.tombstones),
            ("malformed", records.malformed),
            ("lost", records.lost),
            ("events", lanes.events),
            ("applied", lanes.applied),
            ("duplicates", lanes.duplicate),
            ("late", lanes.late),
            ("orphan", lanes.orphan),
            ("parked", lanes.parked),
            ("open_sessions", lanes.open),
            ("immature", lanes.immature_trajectories),
            ("merging", self.queued),
            ("trajectories", totals.trajectories),
            ("steps", totals.steps),
            ("units", totals.units),
            ("admitted", filter.admitted),
            ("filtered", filter.filtered),
            ("filtered_noise", filter.filtered_noise),
            ("filtered_user_share", filter.filtered_user_share),
            ("held", filter.held),
            ("expired", totals.expired),
            ("steps_admitted", filter.steps_admitted),
            ("steps_filtered", filter.steps_filtered),
            ("steps_held", filter.steps_held),
            ("steps_expired", totals.steps_expired),
            ("steps_without_action", totals.steps_without_action),
            ("judged", filter.judged),
            ("alarms", filter.alarms),
            ("drifts", filter.drifts),
            ("batches", self.batches),
            ("draws", self.draws),
            ("stale_draws", self.stale_draws),
            ("updates", learned.updates),
            ("refused_updates", learned.refused()),
            ("rollbacks", learned.rollbacks),
            ("critic_updates", learned.critic_updates),
            ("refused_critic_updates", learned.critic_refused),
            ("baseline_updates", learned.baseline_updates),
            ("refused_baseline_updates", learned.baseline_refused),
            ("uniform_fallbacks", learned.uniform_fallbacks),
            ("negatives_dropped", learned.negatives_dropped),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
    }
}
