//! The learner's thread: batches in, updates done, and its parts of the checkpoint when a barrier comes by.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::JobError;
use super::board::Board;
use super::messages::LearnerInput;
use crate::learner::{Learner, Parts};

pub struct Trainer {
    pub learner: Learner,
    pub input: Receiver<LearnerInput>,
    pub parts: Sender<(u64, Parts)>,
    pub board: Arc<Board>,
}

impl Trainer {
    pub fn run(mut self) -> Result<(), JobError> {
        while let Ok(input) = self.input.recv() {
            match input {
                LearnerInput::Batch(batch) => {
                    let report = self.learner.update(&batch).map_err(JobError::Learner)?;
                    self.board.updated(&report, self.learner.counters());
                }
                LearnerInput::Barrier(number) => {
                    if self.parts.send((number, self.learner.export())).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
