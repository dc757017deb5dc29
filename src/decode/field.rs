//! A checked mapping: every field with the slot in which the scan leaves its value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::mapping::{KindName, Others};
use super::plan::Scope;
use super::scan::Found;
use super::source::Literal;

#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub kind: Option<KindField>,
    /// Without it the record's own timestamp is the time.
    pub time: Option<Field>,
    pub user: Field,
    pub session: Option<Field>,
    pub event_id: Option<Field>,
    pub decision: DecisionFields,
    /// `None` if no record can be feedback.
    pub feedback: Option<FeedbackFields>,
}

#[derive(Debug, Clone)]
pub(super) struct KindField {
    pub field: Field,
    /// `None` when the record uses our words.
    pub table: Option<BTreeMap<String, KindName>>,
    pub others: Others,
}

#[derive(Debug, Clone)]
pub(super) struct DecisionFields {
    pub is_slate: bool,
    /// Joined to one id; empty if decisions have none.
    pub id: Vec<Field>,
    pub item: Field,
    pub embedding: Option<Field>,
    pub embedding_dimension: usize,
    pub context: Vec<Field>,
    pub context_dimension: usize,
    pub candidates: Option<Field>,
    pub propensity: Option<Field>,
    pub log_prob: Option<Field>,
    pub position: Option<Field>,
    pub reward: Option<Field>,
}

#[derive(Debug, Clone)]
pub(super) struct FeedbackFields {
    pub target: TargetFields,
    /// What happened, and what each of it is worth.
    pub table: Option<RewardTable>,
    /// The reward itself.
    pub reward: Option<Field>,
    pub is_final: Option<Field>,
}

#[derive(Debug, Clone)]
pub(super) enum TargetFields {
    Decision(Vec<Field>),
    LatestItem(Field),
}

#[derive(Debug, Clone)]
pub(super) struct RewardTable {
    pub kind: Field,
    pub value: Option<Field>,
    pub worth: BTreeMap<String, Worth>,
    pub others: Others,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worth {
    pub amount: Amount,
    pub is_final: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    Fixed(f64),
    /// `min(value, max) / per * weight`
    Scaled {
        per: f64,
        weight: f64,
        max: f64,
    },
}

/// One field's place.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// As in the settings, for messages.
    pub name: &'static str,
    pub origin: Origin,
    /// Instead of an absent or null value; [`Found::Absent`] if there is no such default.
    pub default: Found<'static>,
}

#[derive(Debug, Clone)]
pub(super) enum Origin {
    Constant(Found<'static>),
    Slot { pointer: Box<str>, scope: Scope, index: usize },
}

impl Field {
    pub fn is_relative(&self) -> bool {
        matches!(self.origin, Origin::Slot { scope: Scope::Element, .. })
    }
}

impl Fields {
    /// Every field, in the order in which a person would ask for them.
    pub fn all(&self) -> Vec<&Field> {
        let Fields { kind, time, user, session, event_id, decision, feedback } = self;
        let mut all: Vec<&Field> = kind.iter().map(|kind| &kind.field).collect();
        all.extend(time);
        all.push(user);
        all.extend(session.iter().chain(event_id));
        all.extend(decision.all());
        all.extend(feedback.iter().flat_map(FeedbackFields::all));
        all
    }
}

impl DecisionFields {
    pub fn all(&self) -> Vec<&Field> {
        let DecisionFields { id, item, embedding, context, candidates, propensity, log_prob, position, reward, .. } =
            self;
        let mut all: Vec<&Field> = id.iter().collect();
        all.push(item);
        all.extend(embedding.iter().chain(context).chain(candidates));
        all.extend(propensity.iter().chain(log_prob).chain(position).chain(reward));
        all
    }
}

impl FeedbackFields {
    pub fn all(&self) -> Vec<&Field> {
        let mut all: Vec<&Field> = match &self.target {
            TargetFields::Decision(id) => id.iter().collect(),
            TargetFields::LatestItem(item) => vec![item],
        };
        if let Some(RewardTable { kind, value, .. }) = &self.table {
            all.push(kind);
            all.extend(value);
        }
        all.extend(self.reward.iter().chain(&self.is_final));
        all
    }
}

impl From<&Literal> for Found<'static> {
    fn from(literal: &Literal) -> Found<'static> {
        match literal {
            Literal::Boolean(boolean) => Found::Boolean(*boolean),
            Literal::Integer(number) => match u64::try_from(*number) {
                Ok(number) => Found::Unsigned(number),
                Err(_) => Found::Signed(*number),
            },
            Literal::Float(number) => Found::Float(*number),
            Literal::Text(text) => Found::Text(Cow::Owned(text.clone())),
        }
    }
}
