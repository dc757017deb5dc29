//! Everything that a lane knows, as it is sealed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Interaction;
use crate::position::{Partition, Place};
use crate::time::{EventTime, Span};

use super::Lane;
use super::agenda::{Agenda, Lists};
use super::chunks::Chunks;
use super::counters::{Imbalance, LaneCounters};
use super::rules::SessionRules;
use super::session::{Parked, SessionKey, Visit, footprint};
use super::watermark::Watermark;

/// Equal states encode to equal bytes, however they came about. A clone of a snapshot shares everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaneState {
    pub(super) partition: Partition,
    pub(super) watermark: Watermark,
    /// Accepted events that the watermark has not passed.
    pub(super) waiting: Chunks<(EventTime, Place), Box<Interaction>>,
    pub(super) visits: Chunks<SessionKey, Arc<Visit>>,
    /// Feedback that came before its decision, by the hash of its user.
    pub(super) parked: Chunks<(u64, EventTime, Place), Parked>,
    pub(super) counters: LaneCounters,
}

/// Why a stored state cannot be gone on with. A checksum has been compared before, so this is a bug and not decay.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the lane of partition {partition} does not add up")]
    Imbalance { partition: Partition, source: Imbalance },
    #[error("the lane of partition {partition} holds {found} {what}, but has counted {counted}")]
    Miscounted { partition: Partition, what: &'static str, found: u64, counted: u64 },
    #[error("the lane of partition {partition} holds a session without a step")]
    EmptySession { partition: Partition },
}

impl LaneState {
    pub(super) fn new(partition: Partition) -> LaneState {
        LaneState {
            partition,
            watermark: Watermark::new(),
            waiting: Chunks::default(),
            visits: Chunks::default(),
            parked: Chunks::default(),
            counters: LaneCounters::default(),
        }
    }

    /// What it holds now, shared with it.
    pub(super) fn snapshot(&mut self) -> LaneState {
        LaneState {
            partition: self.partition,
            watermark: self.watermark.clone(),
            waiting: self.waiting.snapshot(),
            visits: self.visits.snapshot(),
            parked: self.parked.snapshot(),
            counters: self.counters,
        }
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn counters(&self) -> &LaneCounters {
        &self.counters
    }

    /// Events before it are late.
    pub fn watermark(&self, lateness: Span) -> EventTime {
        self.watermark.behind(lateness)
    }

    /// Do the gauges say what is really there?
    fn check(&self) -> Result<(), RestoreError> {
        let partition = self.partition;
        self.counters.check_conservation().map_err(|source| RestoreError::Imbalance { partition, source })?;
        let (mut open, mut immature) = (0, 0);
        for (_, visit) in self.visits.iter() {
            open += u64::from(visit.open.is_some());
            immature += visit.closing.len() as u64;
            if visit.sessions().any(|session| session.steps.is_empty()) {
                return Err(RestoreError::EmptySession { partition });
            }
        }
        let parked = (self.waiting.len() + self.parked.len()) as u64;
        let gauges = [
            ("parked events", parked, self.counters.parked),
            ("open sessions", open, self.counters.open),
            ("immature sessions", immature, self.counters.immature_trajectories),
        ];
        match gauges.into_iter().find(|(_, found, counted)| found != counted) {
            Some((what, found, counted)) => Err(RestoreError::Miscounted { partition, what, found, counted }),
            None => Ok(()),
        }
    }
}

impl Lane {
    /// Goes on where `state` was taken, under the same rules.
    pub fn restore(mut state: LaneState, rules: SessionRules) -> Result<Lane, RestoreError> {
        state.check()?;
        let mut agenda = Agenda::default();
        let mut session_bytes = 0;
        state.visits.for_each_mut(|key, visit| {
            let visit = Arc::make_mut(visit);
            if let Some(session) = &mut visit.open {
                session.listed = session.last_activity;
            }
            for session in visit.open.iter_mut().chain(visit.closing.iter_mut().map(|closing| &mut closing.session)) {
                session.bytes = footprint::of_session(key.text(), session);
            }
            session_bytes += list_visit(agenda.change(), key, visit);
        });
        agenda.change().parked = state.parked.iter().map(|((hash, time, place), _)| (*time, *place, *hash)).collect();
        let waiting_bytes = state.waiting.iter().map(|(_, interaction)| footprint::of_event(interaction)).sum();
        Ok(Lane { rules, state, agenda, session_bytes, waiting_bytes })
    }
}

/// Enters what falls due for one key, and returns the footprint of its sessions.
fn list_visit(agenda: &mut Lists, key: &SessionKey, visit: &Visit) -> u64 {
    let text = key.text();
    if let Some(session) = &visit.open {
        agenda.idle.insert((session.listed, Arc::clone(text)));
        agenda.started.insert((session.started_at(), Arc::clone(text)));
    }
    for closing in &visit.closing {
        agenda.emissions.insert((closing.emit_at, Arc::clone(text), closing.session.opened()));
    }
    if let Some(remembered) = visit.remembered {
        agenda.remembered.insert((remembered.until, Arc::clone(text)));
    }
    visit.sessions().map(|session| session.bytes).sum()
}
