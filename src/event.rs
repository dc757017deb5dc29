//! What a record says once it has been decoded: facts about one user, with a place in the log and an event time.

use serde::{Deserialize, Serialize};

use crate::position::Place;
use crate::time::EventTime;

/// The id of a user, a session or an item, as the log writes it. Up to 23 bytes stand in place: an event, a step and a key
/// of that usual size need no allocation for it, and comparing follows no pointer.
pub type Id = smol_str::SmolStr;

/// A decoded fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub place: Place,
    pub time: EventTime,
    pub kind: EventKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// The producer promises that nothing older follows in this partition, beyond the allowed lateness.
    Watermark,
    Interaction(Box<Interaction>),
}

/// Something that happened between a user and the recommender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// `None` when the log has no event ids: such events are never duplicates of each other.
    pub id: Option<Fingerprint>,
    pub user: Id,
    /// `None` when the log has no session ids: then gaps alone divide a user's events.
    pub session: Option<Id>,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    Decision(Decision),
    Feedback(Feedback),
    SessionEnd,
}

/// One recommendation that was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What feedback names; `None` when feedback is joined by item.
    pub id: Option<Fingerprint>,
    pub item: Id,
    /// The shown item's embedding when the event itself carries it.
    pub embedding: Option<Box<[f32]>>,
    /// Context features, of the length that the settings name. All finite.
    pub context: Box<[f32]>,
    /// What could have been shown; `None` when anything could.
    pub candidates: Option<Box<[Id]>>,
    /// Probability under the behavior policy, in (0, 1].
    pub propensity: Option<f64>,
    /// Where on the page it was shown, 0 first; `None` when the mapping does not say. Only evaluation asks for it, and
    /// evaluation reads the log itself: so it is no part of a checkpoint.
    #[serde(skip)]
    pub position: Option<u32>,
    /// Reward known at the decision (already joined logs), otherwise 0.
    pub reward: f64,
}

/// A reward, or a part of one, for an earlier decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    pub target: Target,
    /// After the table from feedback kind to reward. Finite.
    pub reward: f64,
    /// Nothing more will come for the decision: its step is mature.
    pub is_final: bool,
}

/// Which decision a feedback belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    Decision(Fingerprint),
    /// The session's latest decision that showed this item.
    LatestItem(Id),
}

/// A 128-bit fingerprint (XXH3) of an id: constant size whatever producers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    pub fn of(text: &str) -> Fingerprint {
        Fingerprint(xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }
}
