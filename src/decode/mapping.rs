//! The `[mapping]` settings as they are written, before they are checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::source::{ContextSource, OneOrMany, Shorthand, Source, shorthand};

/// Where the fields of an event are in a record.
///
/// As soon as one place is named, the mapping holds only what it names. A mapping that names none reads the native
/// schema (`schemas/interaction-event.v1.schema.json`); dimensions, limits and the reward table may be set for it too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// What a record is; without it every record is a decision.
    pub kind: Option<KindSetting>,
    /// Integer milliseconds or RFC 3339; without it the record's own timestamp is used.
    pub time: Option<Source>,
    pub user: Option<Source>,
    pub session: Option<Source>,
    pub event_id: Option<Source>,
    /// Several places are joined into one id.
    pub decision_id: Option<OneOrMany<Source>>,
    pub item: Option<Source>,
    /// The item's vector, `embedding_dimension` numbers.
    pub embedding: Option<Source>,
    /// Context features in this order, `context_dimension` numbers together.
    pub context: Option<OneOrMany<ContextSource>>,
    /// A list of the items that could have been shown.
    pub candidates: Option<Source>,
    pub propensity: Option<Source>,
    /// Natural logarithm of the propensity, for logs that lack the propensity itself.
    pub log_prob: Option<Source>,
    /// Where on the page the item was shown, a whole number from 0; in a slate the element's index where absent.
    pub position: Option<Source>,
    /// Reward that is known with the decision (joined logs); 0 where absent.
    pub reward: Option<Source>,
    /// A list in a decision's record: each element is a decision of its own (a slate).
    pub each: Option<String>,
    pub context_dimension: Option<u32>,
    pub embedding_dimension: Option<u32>,
    pub feedback: FeedbackMapping,
    pub limits: Limits,
}

/// How a record says what it is: `"/type"` when it uses our words, otherwise with a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KindSetting {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    pub constant: Option<KindName>,
    /// From the record's word to ours; empty means that the record uses ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub table: BTreeMap<String, KindName>,
    /// The record's word where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    pub others: Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    Decision,
    Feedback,
    /// A feedback that carries its reward as a number instead of a kind.
    Reward,
    SessionEnd,
    Watermark,
    Ignore,
}

/// What a word that no table knows means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    Ignore,
    /// The default: a word that nobody has thought of should be seen.
    #[default]
    Malformed,
}

/// Which decision a feedback is for, and what it is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackMapping {
    /// By default `decision_id` when the mapping has one, otherwise `latest_item`.
    pub join: Option<Join>,
    /// The decision's id where a feedback record keeps it elsewhere than a decision does.
    pub decision_id: Option<OneOrMany<Source>>,
    /// The item where a feedback record keeps it elsewhere than a decision does.
    pub item: Option<Source>,
    /// What happened; by default the record's own kind.
    pub kind: Option<Source>,
    /// How much of it happened, for scaled rewards.
    pub value: Option<Source>,
    /// From what happened to its reward.
    pub rewards: BTreeMap<String, Points>,
    /// Kinds that are not in `rewards`.
    pub others: Others,
    /// The reward as a number in the record, when there is no table.
    pub reward: Option<Source>,
    /// Kinds after which nothing more comes for the decision.
    #[serde(rename = "final")]
    pub final_kinds: Vec<String>,
    /// A boolean in the record that says the same.
    pub is_final: Option<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    DecisionId,
    LatestItem,
}

/// What one kind of feedback is worth: `1.0`, or `{ per = 1000, weight = 0.01, max = 60000 }` for
/// `min(value, max) / per * weight`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Points {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// What a single record may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub bytes: Size,
    /// Arrays and objects inside each other.
    pub depth: u32,
    /// Decisions of one slate.
    pub events: u32,
    /// Bytes of one user, session or item id.
    pub id_bytes: u32,
}

/// A number of bytes: `65536` or `"1MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Size(pub u64);

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: Size(1 << 20), depth: 32, events: 1000, id_bytes: 1024 }
    }
}

impl Mapping {
    /// The mapping of the native schema.
    pub fn native() -> Mapping {
        let at = |pointer| Some(Source::at(pointer));
        Mapping {
            kind: KindSetting::from_text("/type"),
            time: at("/ts"),
            user: at("/user"),
            session: at("/session"),
            event_id: at("/event_id"),
            decision_id: Some(OneOrMany(vec![Source::at("/decision_id")])),
            item: at("/item"),
            embedding: at("/embedding"),
            context: ContextSource::from_text("/context").map(|context| OneOrMany(vec![context])),
            candidates: at("/candidates"),
            propensity: at("/propensity"),
            log_prob: at("/log_prob"),
            position: at("/position"),
            reward: at("/reward"),
            feedback: FeedbackMapping {
                kind: at("/kind"),
                value: at("/value"),
                reward: at("/value"),
                is_final: at("/final"),
                rewards: native_rewards(),
                ..FeedbackMapping::default()
            },
            ..Mapping::default()
        }
    }

    /// Whether any place is named, so that the mapping is the user's own.
    pub fn names_places(&self) -> bool {
        let Mapping { kind, time, user, session, event_id, decision_id, item, embedding, context, .. } = self;
        let Mapping { candidates, propensity, log_prob, position, reward, each, .. } = self;
        let sources =
            [time, user, session, event_id, item, embedding, candidates, propensity, log_prob, position, reward];
        sources.iter().any(|source| source.is_some())
            || kind.is_some()
            || decision_id.is_some()
            || context.is_some()
            || each.is_some()
            || self.feedback.names_places()
    }

    /// The mapping with the native schema filled in if it names no place of its own.
    pub fn resolved(&self) -> Mapping {
        if self.names_places() {
            return self.clone();
        }
        let mut native = Mapping::native();
        native.context_dimension = self.context_dimension;
        native.embedding_dimension = self.embedding_dimension;
        native.limits = self.limits;
        native.feedback.join = self.feedback.join;
        native.feedback.others = self.feedback.others;
        native.feedback.final_kinds.clone_from(&self.feedback.final_kinds);
        if !self.feedback.rewards.is_empty() {
            native.feedback.rewards.clone_from(&self.feedback.rewards);
        }
        native
    }
}

impl FeedbackMapping {
    fn names_places(&self) -> bool {
        let FeedbackMapping { item, kind, value, reward, is_final, decision_id, .. } = self;
        [item, kind, value, reward, is_final].iter().any(|source| source.is_some()) || decision_id.is_some()
    }
}

/// What the native schema documents; a `[mapping.feedback.rewards]` table replaces it as a whole.
fn native_rewards() -> BTreeMap<String, Points> {
    let dwell = Points { per: Some(1000.0), weight: Some(0.01), max: Some(60_000.0), ..Points::default() };
    let worth = |value| Points { value: Some(value), ..Points::default() };
    [("click", worth(1.0)), ("purchase", worth(10.0)), ("dwell_ms", dwell)]
        .into_iter()
        .map(|(kind, points)| (kind.to_owned(), points))
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindTable {
    pointer: Option<String>,
    #[serde(rename = "const")]
    constant: Option<KindName>,
    #[serde(default)]
    table: BTreeMap<String, KindName>,
    default: Option<String>,
    #[serde(default)]
    others: Others,
}

impl Shorthand for KindSetting {
    type Table = KindTable;
    const EXPECTED: &'static str =
        r#"a JSON Pointer such as "/type" or { pointer = "/type", table = { click = "feedback" }, others = "ignore" }"#;

    fn from_table(table: KindTable) -> KindSetting {
        let KindTable { pointer, constant, table, default, others } = table;
        KindSetting { pointer, constant, table, default, others }
    }

    fn from_text(text: &str) -> Option<KindSetting> {
        Some(KindSetting { pointer: Some(text.to_owned()), ..KindSetting::default() })
    }
}

impl<'de> Deserialize<'de> for KindSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KindSetting, D::Error> {
        shorthand(deserializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointsTable {
    value: Option<f64>,
    per: Option<f64>,
    weight: Option<f64>,
    max: Option<f64>,
    #[serde(rename = "final", default)]
    is_final: bool,
}

impl Shorthand for Points {
    type Table = PointsTable;
    const EXPECTED: &'static str =
        "a number, { value = 1.0, final = true } or { per = 1000, weight = 0.01, max = 60000 }";

    fn from_table(table: PointsTable) -> Points {
        let PointsTable { value, per, weight, max, is_final } = table;
        Points { value, per, weight, max, is_final }
    }

    fn from_number(value: f64) -> Option<Points> {
        Some(Points { value: Some(value), ..Points::default() })
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Points, D::Error> {
        shorthand(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of bytes or a size such as \"1MiB\"")]
        enum Written {
            Count(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Count(count) => Ok(Size(count)),
            Written::Text(text) => {
                text.parse::<bytesize::ByteSize>().map(|size| Size(size.as_u64())).map_err(|reason| {
                    serde::de::Error::custom(format!("{text:?} is not a size such as \"1MiB\": {reason}"))
                })
            }
        }
    }
}
