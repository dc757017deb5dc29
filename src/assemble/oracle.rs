//! What a lane should bring, worked out from the definitions: all events at once, plain lists, loops in loops.
//!
//! Nothing here is shared with the lane but the value types. Sessions are never removed, only marked; every question is
//! answered by looking at all of them.

use std::cmp::Reverse;

use crate::event::{Body, Decision, Event, EventKind, Feedback, Fingerprint, Interaction, Target};
use crate::position::{Offset, Partition, Place};
use crate::time::EventTime;
use crate::trajectory::{ClosingKey, Ending, Step, Trajectory};

use super::counters::LaneCounters;
use super::rules::SessionRules;

type Key = (String, Option<String>);

struct Case {
    key: Key,
    steps: Vec<Step>,
    finals: Vec<bool>,
    ids: Vec<Fingerprint>,
    places: Vec<Place>,
    last: i64,
    closed: Option<(Ending, i64, i64)>,
    /// Time, class (evicted, by time, at the end of the range) and number among the evicted.
    emitted: Option<(i64, u8, usize)>,
    is_forgotten: bool,
}

struct Parking {
    time: i64,
    place: Place,
    key: Key,
    id: Option<Fingerprint>,
    feedback: Feedback,
    is_late: bool,
}

pub(super) struct Oracle {
    rules: SessionRules,
    cases: Vec<Case>,
    parked: Vec<Parking>,
    evictions: usize,
    pub(super) counters: LaneCounters,
}

/// Trajectories and counters at the end of the range.
pub(crate) fn expect(partition: Partition, events: &[Event], rules: &SessionRules) -> (Vec<Trajectory>, LaneCounters) {
    let mut oracle = Oracle {
        rules: *rules,
        cases: Vec::new(),
        parked: Vec::new(),
        evictions: 0,
        counters: LaneCounters { events: events.len() as u64, ..LaneCounters::default() },
    };
    let (accepted, greatest) = oracle.accept(events);
    for (time, place, interaction) in &accepted {
        oracle.pass(*time);
        oracle.take(*time, *place, interaction);
        oracle.limit(*time);
    }
    let now = accepted.iter().map(|(time, _, _)| *time).chain(greatest).max().unwrap_or(0);
    oracle.pass(now);
    oracle.end(now);
    (oracle.trajectories(partition), oracle.counters)
}

impl Oracle {
    /// The interactions that are not late, in the order in which they take effect, and the greatest believed time.
    fn accept<'a>(&mut self, events: &'a [Event]) -> (Vec<(i64, Place, &'a Interaction)>, Option<i64>) {
        let (lateness, jump_max) = (self.rules.lateness.millis(), self.rules.jump_max.millis());
        let mut greatest: Option<i64> = None;
        let mut floor = i64::MIN;
        let mut run: Vec<(i64, Offset, Option<&str>)> = Vec::new();
        let (mut waiting, mut accepted) = (Vec::new(), Vec::new());
        for event in events {
            let time = event.time.millis();
            let before = greatest.map_or(floor, |greatest| floor.max(greatest - lateness));
            let user = match &event.kind {
                EventKind::Watermark => None,
                EventKind::Interaction(interaction) => Some(&*interaction.user),
            };
            if greatest.is_some_and(|greatest| time <= greatest + jump_max) {
                run.clear();
                greatest = greatest.max(Some(time));
            } else {
                self.counters.jumps += u64::from(greatest.is_some());
                if run.last().map(|last| last.1) != Some(event.place.offset) {
                    run.push((time, event.place.offset, user));
                    let last_three = &run[run.len().saturating_sub(3)..];
                    let near: Vec<_> = last_three.iter().filter(|near| (near.0 - time).abs() <= jump_max).collect();
                    let of_two_users = near.iter().any(|one| near.iter().any(|other| one.2 != other.2));
                    let spread = |times: &[i64]| times.iter().max().unwrap() - times.iter().min().unwrap();
                    let times: Vec<i64> = near.iter().map(|near| near.0).collect();
                    let is_believed = match greatest {
                        Some(_) => near.len() == 3 && of_two_users && spread(&times) <= jump_max,
                        None => near.len() == 3 || of_two_users,
                    };
                    if is_believed {
                        greatest = times.into_iter().max();
                        run.clear();
                    }
                }
            }
            match &event.kind {
                EventKind::Watermark => self.counters.applied += 1,
                EventKind::Interaction(_) if time < before => self.counters.late += 1,
                EventKind::Interaction(interaction) => waiting.push((time, event.place, &**interaction)),
            }
            waiting.sort_by_key(|(time, place, _)| (*time, *place));
            while waiting.first().is_some_and(|(time, _, _)| greatest.is_some_and(|most| *time < most - lateness))
                || waiting.first().is_some_and(|(time, _, _)| *time < floor)
            {
                accepted.push(waiting.remove(0));
            }
            while waiting.len() as u64 > self.rules.max_waiting_events {
                self.counters.early_released += 1;
                floor = floor.max(waiting[0].0);
                accepted.push(waiting.remove(0));
            }
        }
        accepted.extend(waiting);
        assert!(accepted.is_sorted_by_key(|(time, place, _)| (*time, *place)), "events took effect out of order");
        (accepted, greatest)
    }

    fn mature_at(&self, case: &Case) -> i64 {
        let waiting = case.steps.iter().zip(&case.finals).filter(|(_, is_final)| !**is_final);
        waiting.map(|(step, _)| step.time.millis() + self.rules.reward_wait.millis()).max().unwrap_or(i64::MIN)
    }

    /// Everything with a deadline before `time`.
    fn pass(&mut self, time: i64) {
        for index in 0..self.cases.len() {
            let case = &self.cases[index];
            if case.closed.is_none() {
                let gap = case.last + self.rules.gap.millis();
                let duration = case.steps[0].time.millis() + self.rules.max_duration.millis();
                if gap.min(duration) < time {
                    self.close(index, if gap <= duration { Ending::Gap } else { Ending::Duration }, gap.min(duration));
                }
            }
            let case = &mut self.cases[index];
            if let (Some((_, _, emit_at)), None) = (case.closed, case.emitted)
                && emit_at < time
            {
                case.emitted = Some((emit_at, 1, 0));
            }
        }
        let lateness = self.rules.lateness.millis();
        while let Some(index) = self.parked.iter().position(|parked| parked.time + lateness < time) {
            self.give_up(index);
        }
    }

    fn give_up(&mut self, index: usize) {
        match self.parked.remove(index).is_late {
            true => self.counters.late += 1,
            false => self.counters.orphan += 1,
        }
    }

    fn close(&mut self, index: usize, ending: Ending, end: i64) {
        let emit_at = end.max(self.mature_at(&self.cases[index]));
        self.cases[index].closed = Some((ending, end, emit_at));
        match ending {
            Ending::SessionEnd => self.counters.closed.session_end += 1,
            Ending::Gap => self.counters.closed.gap += 1,
            Ending::Length => self.counters.closed.length += 1,
            Ending::Duration => self.counters.closed.duration += 1,
            Ending::Evicted => self.counters.closed.evicted += 1,
            Ending::RangeEnd => self.counters.closed.range_end += 1,
        }
    }

    fn is_remembered(&self, case: &Case, time: i64) -> bool {
        let lateness = self.rules.lateness.millis();
        case.key.1.is_some()
            && case.closed.is_some()
            && !case.is_forgotten
            && case.emitted.is_none_or(|(emitted, _, _)| emitted + lateness >= time)
    }

    fn take(&mut self, time: i64, place: Place, interaction: &Interaction) {
        let key: Key = (interaction.user.to_string(), interaction.session.as_deref().map(str::to_string));
        let seen = |case: &&Case| case.emitted.is_none() && interaction.id.is_some_and(|id| case.ids.contains(&id));
        let is_repeated = self.cases.iter().filter(seen).any(|case| case.key == key);
        let remembered: Vec<&Case> =
            self.cases.iter().filter(|case| case.key == key && self.is_remembered(case, time)).collect();
        let is_closed = !remembered.is_empty();
        let is_ended =
            remembered.iter().any(|case| case.closed.is_some_and(|(ending, _, _)| ending == Ending::SessionEnd));
        let open = self.cases.iter().position(|case| case.key == key && case.closed.is_none());
        match &interaction.body {
            Body::Decision(_) | Body::SessionEnd if is_repeated => self.counters.duplicate += 1,
            Body::Decision(_) if is_ended => self.counters.late += 1,
            Body::Decision(decision) => self.decide(open, key, (time, place), interaction.id, decision),
            Body::SessionEnd => match open {
                Some(index) => {
                    self.touch(index, (time, place), interaction.id);
                    self.close(index, Ending::SessionEnd, time);
                    self.counters.applied += 1;
                }
                None if is_closed => self.counters.late += 1,
                None => self.counters.orphan += 1,
            },
            Body::Feedback(feedback) => match self.step_for(&key, &feedback.target) {
                Some((index, step)) => self.join(index, step, (time, place), interaction.id, feedback),
                None => {
                    let (id, feedback) = (interaction.id, feedback.clone());
                    self.parked.push(Parking { time, place, key, id, feedback, is_late: is_closed });
                }
            },
        }
    }

    fn touch(&mut self, index: usize, (time, place): (i64, Place), id: Option<Fingerprint>) {
        let case = &mut self.cases[index];
        case.last = case.last.max(time);
        case.places.push(place);
        case.ids.extend(id);
    }

    fn decide(
        &mut self,
        open: Option<usize>,
        key: Key,
        at: (i64, Place),
        id: Option<Fingerprint>,
        decision: &Decision,
    ) {
        let time = EventTime::new(at.0).unwrap();
        let step = Step { time, place: at.1, decision: decision.clone(), reward: decision.reward };
        let index = open.unwrap_or(self.cases.len());
        if open.is_none() {
            self.counters.opened += 1;
            self.cases.push(Case {
                key,
                steps: Vec::new(),
                finals: Vec::new(),
                ids: Vec::new(),
                places: Vec::new(),
                last: at.0,
                closed: None,
                emitted: None,
                is_forgotten: false,
            });
        }
        self.cases[index].steps.push(step);
        self.cases[index].finals.push(false);
        self.touch(index, at, id);
        self.counters.applied += 1;
        let key = self.cases[index].key.clone();
        let step = self.cases[index].steps.len() - 1;
        while let Some(found) = self.parked.iter().position(|parked| {
            let is_named = match &parked.feedback.target {
                Target::Decision(wanted) => decision.id == Some(*wanted),
                Target::LatestItem(item) => *item == decision.item && (parked.key.1.is_none() || parked.key.1 == key.1),
            };
            parked.key.0 == key.0 && is_named
        }) {
            let parked = self.parked.remove(found);
            self.join(index, step, (parked.time, parked.place), parked.id, &parked.feedback);
        }
        if self.cases[index].steps.len() >= self.rules.max_steps as usize {
            self.close(index, Ending::Length, at.0);
        }
    }

    fn step_for(&self, key: &Key, target: &Target) -> Option<(usize, usize)> {
        let mut found: Vec<(bool, i64, Place, usize, usize)> = Vec::new();
        for (index, case) in self.cases.iter().enumerate().filter(|(_, case)| case.key.0 == key.0) {
            let is_named = key.1.is_some() && case.key.1 == key.1;
            let may_be = match target {
                Target::Decision(_) => true,
                Target::LatestItem(_) => is_named || key.1.is_none(),
            };
            for (number, step) in case.steps.iter().enumerate() {
                let matches = match target {
                    Target::Decision(id) => step.decision.id == Some(*id),
                    Target::LatestItem(item) => step.decision.item == *item,
                };
                if matches && may_be && case.emitted.is_none() {
                    found.push((is_named, case.last, case.steps[0].place, number, index));
                }
            }
        }
        found.into_iter().max().map(|(_, _, _, number, index)| (index, number))
    }

    fn join(&mut self, index: usize, step: usize, at: (i64, Place), id: Option<Fingerprint>, feedback: &Feedback) {
        let case = &mut self.cases[index];
        if id.is_some_and(|id| case.ids.contains(&id)) {
            self.counters.duplicate += 1;
            return;
        }
        if case.finals[step] {
            self.counters.late += 1;
            return;
        }
        case.steps[step].reward += feedback.reward;
        case.finals[step] = feedback.is_final;
        self.touch(index, at, id);
        self.counters.applied += 1;
        let mature_at = self.mature_at(&self.cases[index]);
        if let Some((_, end, emit_at)) = &mut self.cases[index].closed
            && feedback.is_final
        {
            *emit_at = (*end).max(mature_at).max(at.0);
        }
    }

    fn limit(&mut self, now: i64) {
        loop {
            let open: Vec<usize> = (0..self.cases.len()).filter(|index| self.cases[*index].closed.is_none()).collect();
            if open.len() as u64 <= self.rules.max_open {
                break;
            }
            let idle = |index: &&usize| (self.cases[**index].last, self.cases[**index].key.clone());
            let evicted = *open.iter().min_by_key(idle).unwrap();
            self.close(evicted, Ending::Evicted, now);
            self.cases[evicted].emitted = Some((now, 0, self.evictions));
            self.evictions += 1;
        }
        while self.parked.len() as u64 > self.rules.max_waiting_events {
            let first =
                (0..self.parked.len()).min_by_key(|index| (self.parked[*index].time, self.parked[*index].place));
            self.counters.early_released += 1;
            self.give_up(first.unwrap());
        }
        loop {
            let is_kept = |case: &&Case| case.emitted.is_some() && self.is_remembered(case, now);
            let mut kept: Vec<(Reverse<i64>, Key)> = Vec::new();
            for case in self.cases.iter().filter(is_kept) {
                let until = Reverse(case.emitted.unwrap().0);
                match kept.iter_mut().find(|(_, key)| *key == case.key) {
                    Some((latest, _)) => *latest = (*latest).min(until),
                    None => kept.push((until, case.key.clone())),
                }
            }
            if kept.len() as u64 <= self.rules.max_open {
                break;
            }
            let (_, key) = kept.into_iter().min_by_key(|(until, key)| (until.0, key.clone())).unwrap();
            for case in self.cases.iter_mut().filter(|case| case.key == key && case.emitted.is_some()) {
                case.is_forgotten = true;
            }
        }
    }

    fn end(&mut self, now: i64) {
        for index in 0..self.cases.len() {
            if self.cases[index].closed.is_none() {
                self.close(index, Ending::RangeEnd, now);
            }
            self.cases[index].emitted.get_or_insert((now, 2, 0));
        }
        while !self.parked.is_empty() {
            self.give_up(0);
        }
    }

    fn trajectories(&mut self, partition: Partition) -> Vec<Trajectory> {
        let mut cases: Vec<&Case> = self.cases.iter().collect();
        cases.sort_by_key(|case| (case.emitted.unwrap(), case.key.clone(), case.steps[0].place));
        self.counters.trajectories = cases.len() as u64;
        self.counters.steps = cases.iter().map(|case| case.steps.len() as u64).sum();
        let time = |millis: i64| EventTime::new(millis).unwrap();
        let trajectory = |(sequence, case): (usize, &&Case)| Trajectory {
            key: ClosingKey { time: time(case.emitted.unwrap().0), partition, sequence: sequence as u64 },
            user: case.key.0.as_str().into(),
            session: case.key.1.as_deref().map(Into::into),
            ending: case.closed.unwrap().0,
            ended_at: time(case.closed.unwrap().1),
            first: *case.places.iter().min().unwrap(),
            last: *case.places.iter().max().unwrap(),
            steps: case.steps.iter().cloned().collect(),
        };
        cases.iter().enumerate().map(trajectory).collect()
    }
}
