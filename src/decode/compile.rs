//! From settings to a decoder: everything that can be wrong with a mapping is found here, once.

use std::collections::BTreeMap;

use super::Decoder;
use super::field::{
    Amount, DecisionFields, FeedbackFields, Field, Fields, KindField, Origin, RewardTable, TargetFields, Worth,
};
use super::mapping::{FeedbackMapping, Join, KindName, KindSetting, Limits, Mapping, Points};
use super::plan::{Collect, Plan};
use super::scan::Found;
use super::source::{ContextSource, Literal, OneOrMany, Source};

/// What is wrong with a mapping: the setting's name, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mapping.{field}: {problem}")]
pub struct MappingError {
    pub field: &'static str,
    pub problem: String,
}

/// The JSON reader itself refuses 128 levels.
const DEPTH_MAX: u32 = 100;
const DIMENSION_MAX: u32 = 65_536;

pub(super) fn compile(mapping: &Mapping) -> Result<Decoder, MappingError> {
    let native = !mapping.names_places();
    let mapping = mapping.resolved();
    check_limits(&mapping.limits)?;
    let plan = Plan::new(mapping.each.as_deref()).map_err(|problem| MappingError { field: "each", problem })?;
    let mut compiler = Compiler { plan, native };
    let kind = mapping.kind.as_ref().map(|setting| compiler.kind(setting)).transpose()?;
    let time = compiler.record_field("time", mapping.time.as_ref())?;
    let user = compiler.record_field("user", mapping.user.as_ref())?;
    let user = user.ok_or_else(|| error("user", "is needed: say where the user's id is, as in user = \"/user_id\""))?;
    let session = compiler.record_field("session", mapping.session.as_ref())?;
    let event_id = compiler.field("event_id", mapping.event_id.as_ref(), Collect::Nothing)?;
    let decision = compiler.decision(&mapping)?;
    let feedback = match feedback_kinds(mapping.kind.as_ref()) {
        Possible { feedback: false, reward: false } => None,
        possible => Some(compiler.feedback(&mapping, possible)?),
    };
    compiler.plan.check().map_err(|problem| MappingError { field: "each", problem })?;
    compiler.plan.numbers_expected = decision.context_dimension + decision.embedding_dimension;
    let fields = Fields { kind, time, user, session, event_id, decision, feedback };
    Ok(Decoder { plan: compiler.plan, fields, limits: mapping.limits })
}

fn error(field: &'static str, problem: impl Into<String>) -> MappingError {
    MappingError { field, problem: problem.into() }
}

fn check_limits(limits: &Limits) -> Result<(), MappingError> {
    if limits.depth == 0 || limits.depth > DEPTH_MAX {
        return Err(error("limits.depth", format!("{} is not between 1 and {DEPTH_MAX}", limits.depth)));
    }
    let positive = [
        ("limits.bytes", limits.bytes.0),
        ("limits.events", u64::from(limits.events)),
        ("limits.id_bytes", u64::from(limits.id_bytes)),
    ];
    match positive.iter().find(|(_, limit)| *limit == 0) {
        Some((field, _)) => Err(error(field, "must be greater than zero")),
        None => Ok(()),
    }
}

/// Which kinds of feedback a mapping can meet.
#[derive(Clone, Copy)]
struct Possible {
    feedback: bool,
    reward: bool,
}

fn feedback_kinds(kind: Option<&KindSetting>) -> Possible {
    match kind {
        None => Possible { feedback: false, reward: false },
        Some(KindSetting { constant: Some(name), .. }) => {
            Possible { feedback: *name == KindName::Feedback, reward: *name == KindName::Reward }
        }
        Some(KindSetting { table, .. }) if table.is_empty() => Possible { feedback: true, reward: true },
        Some(KindSetting { table, .. }) => {
            let has = |name| table.values().any(|named| *named == name);
            Possible { feedback: has(KindName::Feedback), reward: has(KindName::Reward) }
        }
    }
}

struct Compiler {
    plan: Plan,
    native: bool,
}

impl Compiler {
    fn field(
        &mut self,
        name: &'static str,
        source: Option<&Source>,
        collect: Collect,
    ) -> Result<Option<Field>, MappingError> {
        let Some(Source { pointer, constant, default }) = source else { return Ok(None) };
        for number in [constant, default].into_iter().flatten() {
            if matches!(number, Literal::Float(number) if !number.is_finite()) {
                return Err(error(name, "a constant must be a finite number"));
            }
        }
        let default = default.as_ref().map_or(Found::Absent, Found::from);
        let origin = match (pointer, constant) {
            (Some(pointer), None) => {
                let slot = self.plan.slot(pointer, collect);
                let (scope, index) = slot.map_err(|problem| MappingError { field: name, problem })?;
                Origin::Slot { pointer: pointer.as_str().into(), scope, index }
            }
            (None, Some(constant)) => Origin::Constant(Found::from(constant)),
            (None, None) | (Some(_), Some(_)) => {
                return Err(error(name, "needs either `pointer` or `const`, as in { pointer = \"/a\", default = 0 }"));
            }
        };
        Ok(Some(Field { name, origin, default }))
    }

    /// A field of the whole record: all decisions of a slate share it.
    fn record_field(&mut self, name: &'static str, source: Option<&Source>) -> Result<Option<Field>, MappingError> {
        let field = self.field(name, source, Collect::Nothing)?;
        match &field {
            Some(field) if field.is_relative() => Err(error(name, "belongs to the whole record: begin with \"/\"")),
            Some(_) | None => Ok(field),
        }
    }

    fn kind(&mut self, setting: &KindSetting) -> Result<KindField, MappingError> {
        let KindSetting { pointer, constant, table, default, others } = setting;
        if constant.is_some() && !table.is_empty() {
            return Err(error("kind", "`const` and `table` exclude each other"));
        }
        let source = Source {
            pointer: pointer.clone(),
            constant: constant.map(|name| Literal::Text(name.name().to_owned())),
            default: default.clone().map(Literal::Text),
        };
        let field = self.record_field("kind", Some(&source))?;
        let field = field.ok_or_else(|| error("kind", "needs a pointer"))?;
        Ok(KindField { field, table: (!table.is_empty()).then(|| table.clone()), others: *others })
    }

    fn decision(&mut self, mapping: &Mapping) -> Result<DecisionFields, MappingError> {
        let item = self.field("item", mapping.item.as_ref(), Collect::Nothing)?;
        let item = item.ok_or_else(|| error("item", "is needed: say where the shown item is, as in \"/item_id\""))?;
        let embedding = self.field("embedding", mapping.embedding.as_ref(), Collect::Numbers)?;
        let context = self.context(mapping.context.as_ref())?;
        let context_dimension =
            self.dimension("context_dimension", mapping.context_dimension, !context.is_empty(), "context")?;
        let embedding_dimension =
            self.dimension("embedding_dimension", mapping.embedding_dimension, embedding.is_some(), "embedding")?;
        let decision = DecisionFields {
            is_slate: mapping.each.is_some(),
            id: self.joined("decision_id", mapping.decision_id.as_ref())?,
            item,
            embedding,
            embedding_dimension,
            context,
            context_dimension,
            candidates: self.field("candidates", mapping.candidates.as_ref(), Collect::Ids)?,
            propensity: self.field("propensity", mapping.propensity.as_ref(), Collect::Nothing)?,
            log_prob: self.field("log_prob", mapping.log_prob.as_ref(), Collect::Nothing)?,
            position: self.field("position", mapping.position.as_ref(), Collect::Nothing)?,
            reward: self.field("reward", mapping.reward.as_ref(), Collect::Nothing)?,
        };
        if decision.is_slate && !decision.item.is_relative() {
            return Err(error(
                "item",
                "with `each` every element shows its own item: begin with \"./\", as in \"./id\"",
            ));
        }
        if decision.is_slate && !decision.id.is_empty() && !decision.id.iter().any(Field::is_relative) {
            let problem =
                "all decisions of a slate would share it: add a place of the element, as in [\"/id\", \"./item\"]";
            return Err(error("decision_id", problem));
        }
        Ok(decision)
    }

    /// In the native schema a length that is not set is zero, so that features cannot be overlooked.
    fn dimension(
        &self,
        field: &'static str,
        set: Option<u32>,
        is_read: bool,
        what: &str,
    ) -> Result<usize, MappingError> {
        match set {
            Some(dimension) if dimension > DIMENSION_MAX => {
                Err(error(field, format!("{dimension} is more than {DIMENSION_MAX}")))
            }
            Some(dimension) if dimension > 0 && !is_read => {
                Err(error(field, format!("is {dimension}, but mapping.{what} does not say where the numbers are")))
            }
            Some(dimension) => Ok(dimension as usize),
            None if is_read && !self.native => {
                Err(error(field, format!("is needed with mapping.{what}: say how many numbers there are")))
            }
            None => Ok(0),
        }
    }

    fn context(&mut self, sources: Option<&OneOrMany<ContextSource>>) -> Result<Vec<Field>, MappingError> {
        let mut fields = Vec::new();
        for ContextSource { pointer, keys, default } in sources.into_iter().flat_map(|OneOrMany(sources)| sources) {
            let places = match keys.as_slice() {
                [] => vec![pointer.clone()],
                keys => keys.iter().map(|key| format!("{pointer}/{}", escape(key))).collect(),
            };
            for place in places {
                let source = Source { pointer: Some(place), constant: None, default: default.map(Literal::Float) };
                fields.extend(self.field("context", Some(&source), Collect::Numbers)?);
            }
        }
        Ok(fields)
    }

    fn joined(&mut self, name: &'static str, sources: Option<&OneOrMany<Source>>) -> Result<Vec<Field>, MappingError> {
        let mut fields = Vec::new();
        for source in sources.into_iter().flat_map(|OneOrMany(sources)| sources) {
            fields.extend(self.field(name, Some(source), Collect::Nothing)?);
        }
        Ok(fields)
    }

    fn feedback(&mut self, mapping: &Mapping, possible: Possible) -> Result<FeedbackFields, MappingError> {
        let feedback = &mapping.feedback;
        let target = self.target(mapping)?;
        let reward = self.record_field("feedback.reward", feedback.reward.as_ref())?;
        let table = if possible.feedback { self.reward_table(mapping)? } else { None };
        if possible.feedback && table.is_none() && reward.is_none() {
            let problem = "say what feedback is worth: rewards = { click = 1.0 }, or reward = \"/reward\" for a number in the record";
            return Err(error("feedback", problem));
        }
        if possible.reward && reward.is_none() {
            return Err(error("feedback.reward", "is needed for records of kind reward, as in reward = \"/value\""));
        }
        let is_final = self.record_field("feedback.is_final", feedback.is_final.as_ref())?;
        Ok(FeedbackFields { target, table, reward, is_final })
    }

    fn target(&mut self, mapping: &Mapping) -> Result<TargetFields, MappingError> {
        let FeedbackMapping { join, decision_id, item, .. } = &mapping.feedback;
        let ids = decision_id.as_ref().or(mapping.decision_id.as_ref());
        let join = join.unwrap_or(if ids.is_some() { Join::DecisionId } else { Join::LatestItem });
        match join {
            Join::DecisionId => {
                let fields = self.joined("feedback.decision_id", ids)?;
                if fields.is_empty() || mapping.decision_id.is_none() {
                    let problem = "needs mapping.decision_id; for logs without such ids set join = \"latest_item\"";
                    return Err(error("feedback.join", problem));
                }
                match fields.iter().find(|field| field.is_relative()) {
                    Some(_) => Err(error("feedback.decision_id", OWN_PLACE)),
                    None => Ok(TargetFields::Decision(fields)),
                }
            }
            Join::LatestItem => {
                let source = item.as_ref().or(mapping.item.as_ref());
                match self.field("feedback.item", source, Collect::Nothing)? {
                    Some(field) if field.is_relative() => Err(error("feedback.item", OWN_PLACE)),
                    Some(field) => Ok(TargetFields::LatestItem(field)),
                    None => Err(error("feedback.item", "is needed to find the decision by its item")),
                }
            }
        }
    }

    fn reward_table(&mut self, mapping: &Mapping) -> Result<Option<RewardTable>, MappingError> {
        let FeedbackMapping { kind, value, rewards, others, final_kinds, .. } = &mapping.feedback;
        if rewards.is_empty() && final_kinds.is_empty() {
            return Ok(None);
        }
        let record_kind = mapping.kind.as_ref().map(|KindSetting { pointer, default, .. }| Source {
            pointer: pointer.clone(),
            constant: None,
            default: default.clone().map(Literal::Text),
        });
        let kind = kind.clone().or(record_kind);
        let kind = self.record_field("feedback.kind", kind.as_ref())?;
        let kind = kind.ok_or_else(|| error("feedback.kind", "is needed: say where the kind of feedback is"))?;
        let value = self.record_field("feedback.value", value.as_ref())?;
        let mut worth = BTreeMap::new();
        for (name, points) in rewards {
            worth.insert(name.clone(), check_points(name, points, value.is_some())?);
        }
        for name in final_kinds {
            let Some(worth) = worth.get_mut(name) else {
                return Err(error("feedback.final", format!("{name:?} is not in mapping.feedback.rewards")));
            };
            worth.is_final = true;
        }
        Ok(Some(RewardTable { kind, value, worth, others: *others }))
    }
}

const OWN_PLACE: &str = "feedback is no slate: say where a feedback record has it, beginning with \"/\"";

fn check_points(name: &str, points: &Points, has_value: bool) -> Result<Worth, MappingError> {
    let bad = |problem: &str| Err(error("feedback.rewards", format!("{name}: {problem}")));
    let Points { value, per, weight, max, is_final } = *points;
    if [value, per, weight, max].into_iter().flatten().any(|number| !number.is_finite()) {
        return bad("numbers must be finite");
    }
    let amount = match (value, per, weight, max) {
        (Some(value), None, None, None) => Amount::Fixed(value),
        (None, Some(per), Some(weight), max) if per > 0.0 => {
            Amount::Scaled { per, weight, max: max.unwrap_or(f64::MAX) }
        }
        (None, Some(_), Some(_), _) => return bad("`per` must be greater than zero"),
        (Some(_) | None, _, _, _) => {
            return bad("write a number, { value = 1.0 } or { per = 1000, weight = 0.01, max = 60000 }");
        }
    };
    match amount {
        Amount::Scaled { .. } if !has_value => bad("set mapping.feedback.value to the place of the amount"),
        Amount::Scaled { .. } | Amount::Fixed(_) => Ok(Worth { amount, is_final }),
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl KindName {
    pub fn name(self) -> &'static str {
        match self {
            KindName::Decision => "decision",
            KindName::Feedback => "feedback",
            KindName::Reward => "reward",
            KindName::SessionEnd => "session_end",
            KindName::Watermark => "watermark",
            KindName::Ignore => "ignore",
        }
    }

    /// The record's own word for itself, where it uses ours.
    pub(super) fn of(word: &str) -> Option<KindName> {
        use KindName::{Decision, Feedback, Reward, SessionEnd, Watermark};
        [Decision, Feedback, Reward, SessionEnd, Watermark].into_iter().find(|kind| kind.name() == word)
    }
}
