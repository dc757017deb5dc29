//! The visits of many people as one stream of records, as a topic would show it.
//!
//! Sessions begin one after another and run side by side; their records are put in the order in which they arrive.
//! Arrival is event time for most and up to `disorder_max` later for some. Delayed rewards, repeated events, broken
//! records and watermarks are mixed in as the settings say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cu1::Cu1;
use super::record::{Record, records, watermark};
use super::seed::generator;
use super::session::{Session, waiting_time};
use super::settings::SimulateSettings;
use super::world::World;
use crate::time::{EventTime, Span};

/// The log, record by record; endless if `sessions` is 0.
#[derive(Debug)]
pub struct Events<'a> {
    stage: Stage<'a>,
    next_session: u64,
    next_start: EventTime,
    next_watermark: Option<EventTime>,
    latest_arrival: EventTime,
    /// Records of sessions that have begun, ordered by arrival, session and place in it.
    waiting: BinaryHeap<Reverse<Waiting>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    arrival: EventTime,
    session: u64,
    place: usize,
    record: Record,
}

/// Where the visits are played.
#[derive(Debug, Clone, Copy)]
enum Stage<'a> {
    Taste(&'a World),
    Cu1(&'a Cu1),
}

impl World {
    /// The whole log, from its first record.
    pub fn events(&self) -> Events<'_> {
        Events::on(Stage::Taste(self))
    }
}

impl Cu1 {
    /// The whole log, from its first record.
    pub fn events(&self) -> Events<'_> {
        Events::on(Stage::Cu1(self))
    }
}

impl<'a> Stage<'a> {
    fn settings(self) -> &'a SimulateSettings {
        match self {
            Stage::Taste(world) => world.settings(),
            Stage::Cu1(world) => world.settings(),
        }
    }

    fn play(self, number: u64, start: EventTime) -> Session {
        match self {
            Stage::Taste(world) => Session::play(world, number, start),
            Stage::Cu1(world) => world.play(number, start),
        }
    }
}

impl Iterator for Events<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while !self.is_complete() && self.waiting.peek().is_none_or(|head| head.0.arrival >= self.next_start) {
            self.begin_session();
        }
        let arrival = match self.waiting.peek() {
            Some(head) => head.0.arrival,
            None => return self.last_watermark(),
        };
        if let Some(due) = self.next_watermark.filter(|due| *due <= arrival) {
            let every = Span::from_duration(self.stage.settings().raw().watermark_every);
            self.next_watermark = Some(due.plus(every));
            return Some(watermark(due));
        }
        self.latest_arrival = arrival;
        self.waiting.pop().map(|Reverse(waiting)| waiting.record)
    }
}

impl<'a> Events<'a> {
    fn on(stage: Stage<'a>) -> Events<'a> {
        let start = stage.settings().start();
        let every = Span::from_duration(stage.settings().raw().watermark_every);
        Events {
            stage,
            next_session: 0,
            next_start: start,
            next_watermark: (every > Span::ZERO).then(|| start.plus(every)),
            latest_arrival: start,
            waiting: BinaryHeap::new(),
        }
    }

    /// Sessions that have begun so far.
    pub fn sessions_begun(&self) -> u64 {
        self.next_session
    }

    /// Has the last session begun?
    fn is_complete(&self) -> bool {
        // Event time has an end as well, for logs without one.
        self.stage.settings().sessions().is_some_and(|sessions| self.next_session >= sessions)
            || self.next_start >= EventTime::LIMIT.minus(Span::from_millis(u32::MAX))
    }

    fn begin_session(&mut self) {
        let raw = self.stage.settings().raw();
        let session = self.stage.play(self.next_session, self.next_start);
        let mut random = generator(raw.seed, "arrival", self.next_session);
        self.next_start = self.next_start.plus(waiting_time(raw.session_every, &mut random));
        self.next_session += 1;
        for (place, record) in records(self.stage.settings(), &session, &mut random).into_iter().enumerate() {
            let (arrival, session) = (record.arrival, session.number);
            self.waiting.push(Reverse(Waiting { arrival, session, place, record }));
        }
    }

    /// Behind the last record, so far ahead that every session of the log can be closed; once.
    fn last_watermark(&mut self) -> Option<Record> {
        self.next_watermark.take()?;
        let raw = self.stage.settings().raw();
        let wait = Span::from_duration(raw.delayed_max.saturating_add(raw.watermark_every));
        Some(watermark(self.latest_arrival.plus(wait)))
    }
}
