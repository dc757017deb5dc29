//! One question a line, one answer a line.
//!
//! ```text
//! {"session": "s1", "events": [..], "decision": {..}, "top": 1}  ->  {"items": [..], "scores": [..], "propensities": [..], "policy_version": 7}
//! {"session": "s1", "end": true}                                 ->  {"items": [], ..}
//! anything else                                                  ->  {"error": ".."}
//! ```
//!
//! `events` are the raw events of this session since its last line, as they stand in the topic; `decision` is the raw
//! event of the decision to be made, without item and propensity. Without `session`, `events` is the whole history.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Choice, Draw, Histories, Recommender, ServeError};
use crate::event::Id;
use crate::live::Sessions;

/// A line as it is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question<'a> {
    #[serde(borrow, default)]
    session: Option<&'a RawValue>,
    #[serde(borrow, default)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    decision: Option<&'a RawValue>,
    #[serde(default = "one")]
    top: usize,
    #[serde(default)]
    end: bool,
}

/// Who asks, and what they get beside the items.
#[derive(Debug, Clone, Copy)]
pub enum Asking<'a> {
    /// A line on standard input; `explain` shows the state vector.
    Line { explain: bool },
    /// A running learner's users: a question with neither session nor events is about the user's session in the topic.
    Live(&'a Sessions),
}

/// A line as it is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub items: Vec<Id>,
    pub scores: Vec<f32>,
    pub propensities: Vec<f64>,
    pub policy_version: u64,
    /// The state vector, when asked to explain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Vec<f32>>,
}

/// A question without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub error: String,
}

fn one() -> usize {
    1
}

impl<'a> Question<'a> {
    pub fn parse(line: &'a [u8]) -> Result<Question<'a>, ServeError> {
        // A list would be taken for the fields in their order.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(ServeError::NotAQuestion("it is no JSON object".to_owned()));
        }
        serde_json::from_slice(line).map_err(|error| ServeError::NotAQuestion(error.to_string()))
    }

    /// Strings and numbers name sessions, as they name users: 7 and "7" are one.
    fn session(&self) -> Result<Option<String>, ServeError> {
        let Some(session) = self.session else { return Ok(None) };
        match serde_json::from_str(session.get()) {
            Ok(serde_json::Value::Null) => Ok(None),
            Ok(serde_json::Value::String(name)) => Ok(Some(name)),
            Ok(serde_json::Value::Number(number)) => Ok(Some(number.to_string())),
            Ok(_) | Err(_) => Err(ServeError::NotAQuestion("session is neither a string nor a number".to_owned())),
        }
    }
}

/// Answers one line. One that cannot be answered leaves its session as it was, but for an answer that is no number.
pub fn answer(
    histories: &Histories,
    recommender: &Recommender,
    draw: &mut Draw,
    asking: Asking<'_>,
    line: &[u8],
) -> Result<Answer, ServeError> {
    let question = Question::parse(line)?;
    let session = question.session()?;
    let events: Vec<&[u8]> = question.events.iter().flatten().map(|event| event.get().as_bytes()).collect();
    let decision = question.decision.map(|decision| decision.get().as_bytes()).filter(|bytes| *bytes != b"null");
    if question.top == 0 {
        return Err(ServeError::NothingAsked);
    }
    let request = decision.map(|bytes| histories.request(bytes)).transpose()?;
    if let Some(request) = &request {
        recommender.check(request.decision.candidates.as_deref())?;
    }
    let situation = match (asking, &session, &question.events) {
        (Asking::Live(sessions), None, None) => request.map(|request| histories.live_situation(sessions, request)),
        (Asking::Live(_) | Asking::Line { .. }, _, _) => histories.situation(session.as_deref(), &events, request)?,
    };
    let mut answer = Answer::empty(recommender.version());
    if let Some(situation) = situation {
        answer.fill(recommender.choose(&situation, question.top, draw)?);
        answer.state = matches!(asking, Asking::Line { explain: true }).then_some(situation.state);
    }
    if question.end
        && let Some(session) = &session
    {
        histories.end(session);
    }
    Ok(answer)
}

impl Answer {
    fn empty(policy_version: u64) -> Answer {
        Answer { items: Vec::new(), scores: Vec::new(), propensities: Vec::new(), policy_version, state: None }
    }

    fn fill(&mut self, choices: Vec<Choice>) {
        for Choice { item, score, propensity } in choices {
            self.items.push(item);
            self.scores.push(score);
            self.propensities.push(propensity);
        }
    }
}
