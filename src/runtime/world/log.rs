//! A random log: what each record is, as bytes and as the event that they stand for.

use std::fmt::Write as _;

use super::dice::Dice;
use super::setup::Setup;
use crate::event::{Body, Decision, Event, EventKind, Feedback, Fingerprint, Id, Interaction, Target};
use crate::position::{Offset, Partition, Place};
use crate::time::EventTime;

const EPOCH: i64 = 1_700_000_000_000;

pub struct Entry {
    pub offset: Offset,
    pub timestamp: Option<i64>,
    pub value: Option<Vec<u8>>,
    pub meaning: Meaning,
}

#[derive(Clone)]
pub enum Meaning {
    Event(Event),
    Ignored,
    Tombstone,
    Malformed,
}

/// One partition's records, with the gaps that transactions leave in the offsets.
pub fn draw(dice: &mut Dice, setup: &Setup, partition: Partition) -> Vec<Entry> {
    let count = if dice.chance(10) { dice.below(4) } else { 8 + dice.below(60) };
    let mut writer =
        Writer { partition, by_item: setup.by_item, now: EPOCH + dice.between(0, 100), entries: Vec::new() };
    let mut offset = if dice.chance(80) { 0 } else { dice.below(1000) };
    for _ in 0..count {
        writer.push(dice, Offset::from_count(offset));
        offset += if dice.chance(95) { 1 } else { 2 + dice.below(3) };
    }
    writer.entries
}

struct Writer {
    partition: Partition,
    by_item: bool,
    now: i64,
    entries: Vec<Entry>,
}

impl Writer {
    fn push(&mut self, dice: &mut Dice, offset: Offset) {
        let timestamp = dice.chance(90).then_some(self.now);
        let (value, meaning) = match dice.below(100) {
            0..4 => (None, Meaning::Tombstone),
            4..8 => (Some(br#"{"k":"i"}"#.to_vec()), Meaning::Ignored),
            8..12 => (Some(self.rubbish(dice)), Meaning::Malformed),
            12..18 if !self.entries.is_empty() => self.repetition(dice, offset),
            _ => {
                let event = self.event(dice, offset);
                (Some(json(&event)), Meaning::Event(event))
            }
        };
        self.entries.push(Entry { offset, timestamp, value, meaning });
    }

    fn rubbish(&self, dice: &mut Dice) -> Vec<u8> {
        let kinds: [&[u8]; 5] =
            [b"", b"{", b"{\"k\":\"d\",\"k\":\"d\"}", b"\xff\xfe", b"{\"k\":\"d\",\"u\":\"ann\",\"i\":\"x\"}"];
        dice.pick(&kinds).to_vec()
    }

    /// A producer that retried: the same bytes at a later offset.
    fn repetition(&self, dice: &mut Dice, offset: Offset) -> (Option<Vec<u8>>, Meaning) {
        let from = &self.entries[self.entries.len() - 1 - dice.below(self.entries.len().min(4) as u64) as usize];
        let meaning = match from.meaning.clone() {
            Meaning::Event(event) => Meaning::Event(Event { place: Place { offset, index: 0 }, ..event }),
            other => other,
        };
        (from.value.clone(), meaning)
    }

    fn event(&mut self, dice: &mut Dice, offset: Offset) -> Event {
        self.now += match dice.below(10) {
            0..6 => dice.between(0, 15),
            6..9 => dice.between(0, 2),
            _ => dice.between(50, 400),
        };
        // Late by a little, late by a lot, or by a clock that is far ahead.
        let back = match dice.below(20) {
            0..9 => 0,
            9..16 => dice.between(0, 40),
            16..19 => dice.between(0, 200),
            _ => dice.between(-1500, -900),
        };
        let time = EventTime::new(self.now - back).unwrap();
        let place = Place { offset, index: 0 };
        if dice.chance(5) {
            return Event { place, time, kind: EventKind::Watermark };
        }
        let interaction = Interaction {
            id: dice.chance(60).then(|| Fingerprint::of(&dice.below(60).to_string())),
            user: format!("{}{}", dice.pick(&["ann", "bob", "eve", "zoe"]), self.partition).into(),
            session: dice.pick(&[None, Some("s"), Some("t")]).map(Into::into),
            body: self.body(dice),
        };
        Event { place, time, kind: EventKind::Interaction(Box::new(interaction)) }
    }

    fn body(&self, dice: &mut Dice) -> Body {
        let item: Id = dice.pick(&["x", "y", "z"]).into();
        let decision_id = Fingerprint::of(&dice.below(8).to_string());
        let reward = dice.between(-3, 6) as f64 / 8.0;
        match dice.below(20) {
            0..11 => Body::Decision(Decision {
                id: dice.chance(80).then_some(decision_id),
                item,
                embedding: None,
                context: [dice.between(-4, 4) as f32 / 4.0].into(),
                candidates: None,
                propensity: None,
                position: None,
                reward,
            }),
            11..18 => {
                let target = if self.by_item { Target::LatestItem(item) } else { Target::Decision(decision_id) };
                Body::Feedback(Feedback { target, reward, is_final: dice.chance(20) })
            }
            _ => Body::SessionEnd,
        }
    }
}

/// What an event looks like in the log. Fingerprints came from small numbers, which are found again by trying.
fn json(event: &Event) -> Vec<u8> {
    let id_of = |print: Fingerprint| (0..60).find(|id: &u64| Fingerprint::of(&id.to_string()) == print).unwrap();
    let mut text = format!("{{\"t\":{}", event.time.millis());
    let mut member = |name: &str, value: String| write!(text, ",\"{name}\":{value}").unwrap();
    let kind = match &event.kind {
        EventKind::Watermark => "w",
        EventKind::Interaction(interaction) => {
            member("u", format!("\"{}\"", interaction.user));
            if let Some(session) = &interaction.session {
                member("s", format!("\"{session}\""));
            }
            if let Some(id) = interaction.id {
                member("id", id_of(id).to_string());
            }
            match &interaction.body {
                Body::Decision(decision) => {
                    member("i", format!("\"{}\"", decision.item));
                    member("x", format!("[{}]", decision.context[0]));
                    member("r", decision.reward.to_string());
                    if let Some(id) = decision.id {
                        member("d", format!("\"{}\"", id_of(id)));
                    }
                    "d"
                }
                Body::Feedback(feedback) => {
                    match &feedback.target {
                        Target::Decision(id) => member("d", format!("\"{}\"", id_of(*id))),
                        Target::LatestItem(item) => member("i", format!("\"{item}\"")),
                    }
                    member("r", feedback.reward.to_string());
                    member("final", feedback.is_final.to_string());
                    "f"
                }
                Body::SessionEnd => "e",
            }
        }
    };
    member("k", format!("\"{kind}\""));
    text.push('}');
    text.into_bytes()
}
