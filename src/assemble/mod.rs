//! From the events of one partition to closed trajectories.
//!
//! A lane is a state machine that sees the events of its own partition in the order of their offsets, and nothing else:
//! no clock, no other lane. In between it does three things. *Waiting*: an event is held until the watermark has passed
//! it, so that all that follows happens in order of event time. *Joining*: decisions become steps of sessions, feedback
//! becomes reward of steps. *Closing*: a session ends, its trajectory is emitted once its rewards can have arrived.
//!
//! Before an event of time t is handled, everything that fell due before t happens first, in the order of (deadline,
//! key). So the trajectories, their order and every count are a function of the partition's content.
//!
//! **Architecture invariant:** a lane does not know other lanes, Kafka or the learner; and only events move its time.

mod agenda;
mod chunks;
mod closing;
mod counters;
mod ids;
mod joining;
mod preview;
mod rules;
mod session;
mod state;
mod watermark;

#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;

use crate::event::{Body, Event, EventKind, Interaction};
use crate::position::{Partition, Place};
use crate::prefetch::prefetch;
use crate::time::EventTime;
use crate::trajectory::Trajectory;

use agenda::Agenda;
use counters::Fate;
use session::{footprint, hash_of};

pub(crate) use chunks::Chunks;
pub use counters::{ClosedSessions, Imbalance, LaneCounters};
pub use preview::Pending;
pub use rules::{SessionRules, ZeroRule};
pub use state::{LaneState, RestoreError};

/// Builds the trajectories of one partition.
#[derive(Debug)]
pub struct Lane {
    rules: SessionRules,
    state: LaneState,
    /// All below follows from `state` and `rules`.
    agenda: Agenda,
    /// Footprint of open and immature sessions.
    session_bytes: u64,
    /// Footprint of the events that wait for the watermark.
    waiting_bytes: u64,
}

impl Lane {
    pub fn new(partition: Partition, rules: SessionRules) -> Lane {
        let state = LaneState::new(partition);
        Lane { rules, state, agenda: Agenda::default(), session_bytes: 0, waiting_bytes: 0 }
    }

    /// Takes the partition's next event, and appends the trajectories that it completes, in nondecreasing order of their
    /// keys' times. None of them lies before the watermark of before the call or after the one of after it.
    pub fn observe(&mut self, event: Event, out: &mut Vec<Trajectory>) {
        let before = self.watermark();
        self.state.counters.events += 1;
        let user = || match &event.kind {
            EventKind::Watermark => None,
            EventKind::Interaction(interaction) => Some(hash_of(&interaction.user)),
        };
        let is_jump = self.state.watermark.observe(event.time, event.place.offset, user, &self.rules);
        self.state.counters.jumps += u64::from(is_jump);
        match event.kind {
            EventKind::Watermark => self.state.counters.count(Fate::Applied),
            EventKind::Interaction(_) if event.time < before => self.state.counters.count(Fate::Late),
            EventKind::Interaction(interaction) => self.wait(event.time, event.place, interaction),
        }
        self.release(out);
    }

    /// Everything with an event time before it has been handled.
    pub fn watermark(&self) -> EventTime {
        self.state.watermark.time(&self.rules)
    }

    /// The end of the range: nothing follows. Handles what waits, then closes and emits all that is left at the lane's
    /// latest event time, ordered by session key.
    pub fn finish(&mut self, out: &mut Vec<Trajectory>) {
        let mut now = self.state.watermark.greatest();
        while let Some(time) = self.release_first(out) {
            now = now.max(time);
        }
        self.fire_before(now, out);
        self.close_all(now, out);
        self.state.watermark.raise_floor(EventTime::END);
    }

    pub fn counters(&self) -> &LaneCounters {
        &self.state.counters
    }

    pub fn partition(&self) -> Partition {
        self.state.partition
    }

    /// Bytes of all that it holds, by the fixed formula of the limits.
    pub fn footprint(&self) -> u64 {
        let parked = self.state.parked.iter().map(|(_, parked)| footprint::of_event(&parked.interaction));
        let keys = self.state.visits.iter().map(|(key, _)| footprint::of_key(key.text()));
        self.session_bytes + self.waiting_bytes + parked.sum::<u64>() + keys.sum::<u64>()
    }

    /// The whole state, in microseconds whatever it holds: what is written to later is copied then.
    pub fn snapshot(&mut self) -> LaneState {
        self.state.snapshot()
    }

    fn wait(&mut self, time: EventTime, place: Place, interaction: Box<Interaction>) {
        self.waiting_bytes += footprint::of_event(&interaction);
        self.state.counters.count(Fate::Parked);
        if let Some(repeated) = self.state.waiting.insert((time, place), interaction) {
            // The same place twice: the source repeats itself, and one of the two goes.
            self.waiting_bytes -= footprint::of_event(&repeated);
            self.state.counters.parked -= 1;
            self.state.counters.count(Fate::Duplicate);
        }
    }

    /// Handles all that the watermark has passed; then, if too much waits, the oldest before its turn.
    fn release(&mut self, out: &mut Vec<Trajectory>) {
        let watermark = self.watermark();
        while self.state.waiting.first().is_some_and(|((time, _), _)| *time < watermark) {
            self.release_first(out);
        }
        while self.waits_too_much()
            && let Some(time) = self.release_first(out)
        {
            // What comes from now on and lies before it would be out of order, so it is late.
            self.state.watermark.raise_floor(time);
            self.state.counters.early_released += 1;
        }
        self.fire_before(self.watermark(), out);
    }

    /// Asks for what is handled next: it was decoded when the first event that it waited for was not yet there.
    fn fetch_ahead(&self) {
        if let Some((_, interaction)) = self.state.waiting.behind_first(2) {
            prefetch(std::slice::from_ref(&**interaction));
        }
        if let Some((_, interaction)) = self.state.waiting.first()
            && let Body::Decision(decision) = &interaction.body
        {
            prefetch(&decision.context);
        }
    }

    fn waits_too_much(&self) -> bool {
        let waiting = u64::try_from(self.state.waiting.len()).unwrap_or(u64::MAX);
        waiting > self.rules.max_waiting_events || self.waiting_bytes > self.rules.max_bytes
    }

    fn release_first(&mut self, out: &mut Vec<Trajectory>) -> Option<EventTime> {
        let ((time, place), interaction) = self.state.waiting.pop_first()?;
        self.fetch_ahead();
        self.waiting_bytes -= footprint::of_event(&interaction);
        self.state.counters.parked -= 1;
        // Judge by what the time before this event has left behind.
        self.fire_before(time, out);
        let fate = self.handle(time, place, interaction);
        self.state.counters.count(fate);
        self.enforce_limits(time, out);
        Some(time)
    }
}
