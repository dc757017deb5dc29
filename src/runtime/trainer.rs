//! The learner's thread: batches in, updates done, and its parts of the checkpoint when a barrier comes by.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::JobError;
use super::board::Board;
use super::messages::{Learned, LearnerInput};
use crate::clock::Stopwatch;
use crate::learner::Learner;
use crate::score::NetworkFit;
use crate::telemetry::declared;
use crate::validation::Validation;

pub struct Trainer {
    pub learner: Learner,
    pub validation: Validation,
    pub input: Receiver<LearnerInput>,
    pub parts: Sender<Learned>,
    pub fits: Sender<NetworkFit>,
    pub board: Arc<Board>,
}

impl Trainer {
    pub fn run(mut self) -> Result<(), JobError> {
        while let Ok(input) = self.input.recv() {
            match input {
                LearnerInput::Batch(batch) => {
                    let report = self.learner.update(&batch).map_err(JobError::Learner)?;
                    self.board.updated(&report, &self.learner.counters());
                }
                LearnerInput::Probe(probe) => {
                    self.validation.score(self.learner.policy(), &probe);
                    self.board.validated(&self.validation);
                }
                LearnerInput::Critic(batch) => {
                    self.learner.learn_critic(&batch).map_err(JobError::Learner)?;
                }
                LearnerInput::Baseline(batch) => {
                    let fit = self.learner.learn_baseline(&batch).map_err(JobError::Learner)?;
                    if self.fits.send(fit).is_err() {
                        return Ok(());
                    }
                }
                LearnerInput::Barrier(number) => {
                    let stall = Stopwatch::start();
                    let (parts, counters) = (self.learner.export(), self.learner.counters());
                    let validation = self.validation.snapshot();
                    declared::HANDOVER_SECONDS.record(stall.seconds());
                    if self.parts.send(Learned { barrier: number, parts, counters, validation }).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
