//! The records of one session: sound ones in the native schema, repeated ones, and broken ones.

use std::time::Duration;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use super::session::{Session, SimulatedStep};
use super::settings::SimulateSettings;
use super::world::item_id;
use crate::time::{EventTime, Span};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// When it reaches the log; never decreases along the stream.
    pub arrival: EventTime,
    /// Event time, as its text says (a broken record: as it should have said).
    pub time: EventTime,
    pub audience: Audience,
    pub json: Vec<u8>,
    /// Damaged on purpose: nobody may read it as an event.
    pub is_broken: bool,
}

/// Which partitions get the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// The one that owns this user: the record's key.
    User(String),
    /// Each of them: a watermark speaks for the whole producer.
    EveryPartition,
}

/// The native schema, in the order in which the fields are written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written<'a> {
    Decision {
        event_id: String,
        ts: i64,
        user: &'a str,
        session: &'a str,
        decision_id: &'a str,
        item: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        embedding: Option<[f32; 2]>,
        context: &'a [f32],
        propensity: f64,
    },
    Reward {
        event_id: String,
        ts: i64,
        user: &'a str,
        session: &'a str,
        decision_id: &'a str,
        value: f64,
        /// Each decision is paid once: its step need not wait for more.
        r#final: bool,
    },
    SessionEnd {
        event_id: String,
        ts: i64,
        user: &'a str,
        session: &'a str,
    },
    Watermark {
        ts: i64,
    },
}

/// A promise to every partition that nothing older follows, beyond the disorder that the settings allow.
pub(super) fn watermark(time: EventTime) -> Record {
    let json = text(&Written::Watermark { ts: time.millis() });
    Record { arrival: time, time, audience: Audience::EveryPartition, json, is_broken: false }
}

/// All records of one session, in no particular order.
pub(super) fn records(settings: &SimulateSettings, session: &Session, random: &mut Xoshiro256PlusPlus) -> Vec<Record> {
    let raw = settings.raw();
    let number = session.number;
    let (user, name) = (format!("u{}", session.user), format!("s{number}"));
    let mut events = Vec::with_capacity(2 * session.steps.len() + 1);
    let mut records = Vec::with_capacity(2 * session.steps.len() + 2);
    for (index, step) in session.steps.iter().enumerate() {
        let decision_id = format!("d{number}-{index}");
        let decision = text(&decision(&user, &name, &decision_id, step));
        if random.random_bool(raw.bad_record_share) {
            let json = Damage::draw(random).done_to(decision.clone());
            let audience = Audience::User(user.clone());
            records.push(Record { arrival: step.time, time: step.time, audience, json, is_broken: true });
        }
        events.push((step.time, decision));
        let reward = Written::Reward {
            event_id: format!("f{number}-{index}"),
            ts: step.feedback_time.millis(),
            user: &user,
            session: &name,
            decision_id: &decision_id,
            value: step.reward,
            r#final: true,
        };
        events.push((step.feedback_time, text(&reward)));
    }
    if let Some(time) = session.ended {
        let end =
            Written::SessionEnd { event_id: format!("x{number}"), ts: time.millis(), user: &user, session: &name };
        events.push((time, text(&end)));
    }
    for (time, json) in events {
        let delay = if random.random_bool(raw.disorder_share) { disorder(settings, random) } else { Span::ZERO };
        let audience = Audience::User(user.clone());
        if random.random_bool(raw.duplicate_share) {
            let again = disorder(settings, random);
            let (audience, json) = (audience.clone(), json.clone());
            records.push(Record { arrival: time.plus(again), time, audience, json, is_broken: false });
        }
        records.push(Record { arrival: time.plus(delay), time, audience, json, is_broken: false });
    }
    records
}

/// Any delay up to the allowed one.
fn disorder(settings: &SimulateSettings, random: &mut Xoshiro256PlusPlus) -> Span {
    let share: f64 = random.random();
    let most: Duration = settings.raw().disorder_max;
    Span::from_duration(most.mul_f64(share))
}

fn decision<'a>(user: &'a str, session: &'a str, decision_id: &'a str, step: &'a SimulatedStep) -> Written<'a> {
    Written::Decision {
        event_id: decision_id.replacen('d', "e", 1),
        ts: step.time.millis(),
        user,
        session,
        decision_id,
        item: step.action.map_or_else(|| item_id(step.item), |action| action.name.to_owned()),
        embedding: step.action.map(|action| action.embedding),
        context: &step.context,
        propensity: step.propensity,
    }
}

/// Plain data with string keys always has a JSON text; an empty record would be counted as malformed downstream.
fn text(written: &Written<'_>) -> Vec<u8> {
    serde_json::to_vec(written).unwrap_or_default()
}

/// What a buggy producer or a torn write makes of a decision. None of these may be read as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    CutOff,
    NotUtf8,
    NoUser,
    ContextTooShort,
    ImpossiblePropensity,
    WildTime,
    DuplicateKey,
    TrailingText,
}

impl Damage {
    pub(super) const ALL: [Damage; 8] = [
        Damage::CutOff,
        Damage::NotUtf8,
        Damage::NoUser,
        Damage::ContextTooShort,
        Damage::ImpossiblePropensity,
        Damage::WildTime,
        Damage::DuplicateKey,
        Damage::TrailingText,
    ];

    fn draw(random: &mut Xoshiro256PlusPlus) -> Damage {
        Damage::ALL[random.random_range(0..Damage::ALL.len())]
    }

    pub(super) fn done_to(self, mut json: Vec<u8>) -> Vec<u8> {
        match self {
            Damage::CutOff => json.truncate(json.len() / 2),
            Damage::NotUtf8 => {
                let middle = json.len() / 2;
                json.splice(middle..middle, [0xff, 0xfe]);
            }
            Damage::NoUser => json = replaced(&json, "\"user\":", "\"usr\":"),
            Damage::ContextTooShort => json = replaced(&json, "\"context\":[", "\"context\":[],\"was\":["),
            Damage::ImpossiblePropensity => json = replaced(&json, "\"propensity\":", "\"propensity\":1.5,\"was\":"),
            Damage::WildTime => json = replaced(&json, "\"ts\":", "\"ts\":-"),
            Damage::DuplicateKey => json = replaced(&json, "\"user\":", "\"user\":\"somebody\",\"user\":"),
            Damage::TrailingText => json.extend_from_slice(b" {\"type\":"),
        }
        json
    }
}

/// Only for texts that this file has written: ids are plain, so a key's text occurs once.
fn replaced(json: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(json).replacen(from, to, 1).into_bytes()
}
