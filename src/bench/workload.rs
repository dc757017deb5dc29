//! The log that the benchmarks read: half decisions with 64 context features and an item, half feedback, in JSON. The
//! embeddings of the items come from a catalog.
//!
//! Many users act in turn, decision and feedback one after the other; after some decisions a user leaves for good and a new
//! one comes. What is clicked depends on context and item, so that there is something to learn.

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub const CONTEXT: usize = 64;
pub const EMBEDDING: usize = 32;
pub const ITEMS: usize = 1_000;
/// Decisions of one session.
pub const STEPS: u32 = 16;

/// Contexts that are drawn beforehand: the generator is not what is measured.
const CONTEXTS: usize = 4_096;
/// 2026-01-01T00:00:00Z
const BEGIN_MS: u64 = 1_767_225_600_000;

/// How the log looks.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub seed: u64,
    /// Users that act in turn.
    pub users: usize,
    pub partitions: u32,
    /// Events per second of event time.
    pub rate: u64,
    /// Ends every session by an event of its own, instead of by silence.
    pub ends: bool,
}

/// Writes the events one after the other, without an end.
pub struct Workload {
    shape: Shape,
    random: Xoshiro256PlusPlus,
    /// The numbers as text, and how much they speak for a click.
    contexts: Vec<(String, f64)>,
    users: Vec<User>,
    turn: usize,
    people: u64,
    events: u64,
    line: String,
}

struct User {
    number: u64,
    decisions: u32,
    /// The probability of a click on what was shown last; `None` before the next decision.
    shown: Option<f64>,
}

/// One record of the log.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub partition: u32,
    pub timestamp: i64,
    pub value: &'a str,
}

impl Workload {
    pub fn new(shape: Shape) -> Workload {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(shape.seed);
        let contexts = (0..CONTEXTS).map(|_| context(&mut random)).collect();
        // The first sessions are of all lengths, else all would end at once for ever.
        let user = |number: usize| User { number: number as u64, decisions: number as u32 % STEPS, shown: None };
        let users = (0..shape.users).map(user).collect();
        let people = shape.users as u64;
        Workload { shape, random, contexts, users, turn: 0, people, events: 0, line: String::new() }
    }

    /// The next event.
    pub fn next_line(&mut self) -> Line<'_> {
        let time = BEGIN_MS + self.events * 1000 / self.shape.rate.max(1);
        self.events += 1;
        let turn = self.turn;
        let is_over = {
            let user = &self.users[turn];
            user.shown.is_none() && user.decisions == STEPS
        };
        let number = self.users[turn].number;
        self.line.clear();
        if is_over && self.shape.ends {
            write_head(&mut self.line, "session_end", time, number, STEPS);
            self.line.push('}');
            self.replace_user(turn);
            self.turn = (turn + 1) % self.users.len();
        } else {
            if is_over {
                self.replace_user(turn);
            }
            self.act(turn, time);
        }
        let number = if is_over && !self.shape.ends { self.users[turn].number } else { number };
        let partition = (number % u64::from(self.shape.partitions.max(1))) as u32;
        Line { partition, timestamp: time as i64, value: &self.line }
    }

    /// A decision of a user who has not been seen before and is not seen again.
    pub fn lone_decision(&mut self, number: u64, time_ms: u64) -> &str {
        self.line.clear();
        write_decision(&mut self.line, BEGIN_MS + time_ms, number, 1, &mut self.random, &self.contexts);
        &self.line
    }

    /// A feedback to the decision of such a user.
    pub fn lone_feedback(&mut self, number: u64, time_ms: u64, event: u64) -> &str {
        self.line.clear();
        write_feedback(&mut self.line, BEGIN_MS + time_ms, number, 1, "dwell_ms");
        let _ = write!(self.line, r#","event_id":"f-{event}","value":1200}}"#);
        &self.line
    }

    fn act(&mut self, turn: usize, time: u64) {
        let user = &mut self.users[turn];
        match user.shown.take() {
            None => {
                user.decisions += 1;
                let (number, step) = (user.number, user.decisions);
                let chance = write_decision(&mut self.line, time, number, step, &mut self.random, &self.contexts);
                self.users[turn].shown = Some(chance);
            }
            Some(chance) => {
                let (kind, value) = match self.random.random_bool(chance) {
                    true => ("click", 1),
                    false => ("dwell_ms", 800),
                };
                write_feedback(&mut self.line, time, user.number, user.decisions, kind);
                let _ =
                    write!(self.line, r#","event_id":"f-{:08}-{:03}","value":{value}}}"#, user.number, user.decisions);
            }
        }
        self.turn = (turn + 1) % self.users.len();
    }

    fn replace_user(&mut self, turn: usize) {
        self.users[turn] = User { number: self.people, decisions: 0, shown: None };
        self.people += 1;
    }
}

/// The items with their embeddings, one JSON line each.
pub fn catalog(seed: u64) -> String {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x00ca_7a10);
    let mut text = String::new();
    for item in 0..ITEMS {
        let _ = write!(text, r#"{{"item":"item-{item}","embedding":["#);
        numbers(&mut text, EMBEDDING, &mut random);
        text.push_str("]}\n");
    }
    text
}

fn context(random: &mut Xoshiro256PlusPlus) -> (String, f64) {
    let mut text = String::with_capacity(CONTEXT * 9);
    let sum = numbers(&mut text, CONTEXT, random);
    (text, sum)
}

/// Five decimals, as loggers like to write features. Returns the sum of the first eight.
fn numbers(text: &mut String, count: usize, random: &mut Xoshiro256PlusPlus) -> f64 {
    let mut sum = 0.0;
    for index in 0..count {
        let number = random.random_range(-1.0..1.0_f64);
        sum += if index < 8 { number } else { 0.0 };
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{number:.5}");
    }
    sum
}

fn write_head(line: &mut String, kind: &str, time: u64, number: u64, step: u32) {
    let _ = write!(
        line,
        r#"{{"type":"{kind}","ts":{time},"user":"u-{number:08}","session":"s-{number:08}","decision_id":"d-{number:08}-{step:03}""#
    );
}

fn write_decision(
    line: &mut String,
    time: u64,
    number: u64,
    step: u32,
    random: &mut Xoshiro256PlusPlus,
    contexts: &[(String, f64)],
) -> f64 {
    let (context, appeal) = &contexts[random.random_range(0..contexts.len())];
    let item = random.random_range(0..ITEMS);
    write_head(line, "decision", time, number, step);
    let _ = write!(
        line,
        r#","event_id":"e-{number:08}-{step:03}","item":"item-{item}","propensity":0.001,"context":[{context}]}}"#
    );
    // A third of the items suits everybody, the others depend on the context.
    let liking = if item % 3 == 0 { 0.5 } else { *appeal / 2.0 };
    1.0 / (1.0 + (-liking).exp())
}

fn write_feedback(line: &mut String, time: u64, number: u64, step: u32, kind: &str) {
    write_head(line, "feedback", time, number, step);
    let _ = write!(line, r#","kind":"{kind}""#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoded, Decoder, Mapping};
    use crate::event::{Body, EventKind};
    use crate::position::Offset;

    #[test]
    fn half_of_the_log_is_decisions_half_feedback_and_every_record_decodes() {
        let mapping = Mapping { context_dimension: Some(CONTEXT as u32), ..Mapping::default() };
        let decoder = Decoder::new(&mapping).unwrap();
        let shape = Shape { seed: 1, users: 10, partitions: 3, rate: 1000, ends: false };
        let mut workload = Workload::new(shape);
        let (mut decisions, mut feedback, mut events) = (0, 0, Vec::new());
        for offset in 0..2_000 {
            let line = workload.next_line();
            let decoded = decoder.decode(Offset::from_count(offset), None, Some(line.value.as_bytes()), &mut events);
            assert_eq!(decoded, Ok(Decoded::Events(1)), "{}", line.value);
            match events.pop().map(|event| event.kind) {
                Some(EventKind::Interaction(interaction)) => match interaction.body {
                    Body::Decision(_) => decisions += 1,
                    Body::Feedback(_) => feedback += 1,
                    Body::SessionEnd => panic!("not asked for"),
                },
                _ => panic!("no interaction"),
            }
        }
        assert_eq!((decisions, feedback), (1_000, 1_000));
    }
}
