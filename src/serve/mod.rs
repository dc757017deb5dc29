//! Answering with a published policy: what to show next, and with which probability it is shown.
//!
//! Mapping, sessions and state vectors are the very code of training: the raw events of a session pass through the
//! decoder into a lane of their own, and the state of a decision is what the lane would say of it ([`histories`]). The
//! served distribution is the softmax of the policy's preferences over the temperature ([`recommender`]).
//!
//! Invariant: nothing here learns, and nothing here depends on the clock. Equal policies, equal lines and an equal seed give
//! equal answers.

pub mod histories;
pub mod live;
pub mod protocol;
pub mod recommender;
#[cfg(test)]
pub(crate) mod tests;

use thiserror::Error;

use crate::decode::Malformed;
use crate::policy::PolicyError;

pub use self::histories::{Histories, HistoryLimits, Situation};
pub use self::live::Live;
pub use self::protocol::{Answer, Asking, Question, Refused, answer};
pub use self::recommender::{Choice, Draw, Recommender};

/// Why a question has no answer. The process goes on.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(
        "not a question: {0}; one line is {{\"session\": \"s1\", \"events\": [..], \"decision\": {{..}}, \"top\": 1}}"
    )]
    NotAQuestion(String),
    #[error("events[{index}]: {problem}")]
    Event { index: usize, problem: Malformed },
    #[error("decision: {0}")]
    Decision(Malformed),
    #[error("there is no policy yet: none has been sealed, or none is published")]
    NoPolicy,
    #[error("top must be at least 1")]
    NothingAsked,
    #[error("the policy knows none of the {0} candidates")]
    NoCandidate(usize),
    #[error("the policy knows no item: it has learned from none, or chooses among embeddings without a catalog.file")]
    NoItem,
    #[error(
        "the policy's preferences are no numbers: the state is too large for its arithmetic (largest feature {0:e})"
    )]
    NotFinite(f32),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A publication that cannot be served as asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnfitError {
    #[error("the policy was trained on state vectors that these settings do not build; they differ in {}", .0.join(", "))]
    OtherStates(Vec<&'static str>),
    #[error("the temperature must be a number above 0, and not {0}")]
    Temperature(String),
    #[error("a Gaussian policy of dimension {policy} cannot choose among item embeddings of dimension {items}")]
    Dimension { policy: usize, items: usize },
}
