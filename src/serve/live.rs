//! The policy that a running learner serves: asked by many at once, replaced while they ask.

use std::sync::{Arc, PoisonError, RwLock};

use super::protocol::Asking;
use super::{Answer, Draw, Histories, Recommender, ServeError, answer};
use crate::live::Sessions;
use crate::publish::StateShape;

/// What `/v1/recommend` asks.
#[derive(Debug)]
pub struct Live {
    histories: Histories,
    shape: StateShape,
    /// What the topic says about users right now.
    sessions: Arc<Sessions>,
    /// `None` until there is a policy. Held for one assignment or one copy of the pointer, never while answering.
    serving: RwLock<Option<Arc<Recommender>>>,
}

impl Live {
    /// `shape` is how the histories' settings build state vectors.
    pub fn new(histories: Histories, shape: StateShape, sessions: Arc<Sessions>) -> Live {
        Live { histories, shape, sessions, serving: RwLock::new(None) }
    }

    pub fn shape(&self) -> &StateShape {
        &self.shape
    }

    /// From now on questions go to this policy; those under way are answered by the one they met.
    pub fn swap(&self, recommender: Recommender) {
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(recommender));
    }

    /// The version that is served now.
    pub fn version(&self) -> Option<u64> {
        self.serving().map(|recommender| recommender.version())
    }

    pub fn answer(&self, draw: &mut Draw, line: &[u8]) -> Result<Answer, ServeError> {
        let recommender = self.serving().ok_or(ServeError::NoPolicy)?;
        answer(&self.histories, &recommender, draw, Asking::Live(&self.sessions), line)
    }

    fn serving(&self) -> Option<Arc<Recommender>> {
        // A poisoned lock still holds a whole pointer.
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
