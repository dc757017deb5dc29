//! The writer thread: the only one that touches the disk while a job runs.
//!
//! Side files and seals come through one channel, so that when a seal arrives, all lines before its cut have been written
//! and none after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::JobError;
use super::board::Board;
use super::content::{Content, Meta, Sealing};
use super::messages::{Draft, Learned, Purpose, Sealed, WriterInput};
use super::publication::Checkpointed;
use super::publisher::Announce;
use crate::checkpoint::{Appendix, Digest, End, Facts, Hold, Sequence, SettingsDigests, Store, platform};
use crate::clock;
use crate::decode::{Bytes, DeadLetter};
use crate::kafka::{DeadLetter as RefusedRecord, DeadLetterTopic, KafkaError};
use crate::source::Run;

pub struct Writer {
    pub store: Store,
    pub parent: Option<Sequence>,
    pub decisions: Option<Appendix>,
    pub dead_letters: DeadLetters,
    pub settings: SettingsDigests,
    /// What is in every checkpoint, but not in the digest.
    pub meta: Meta,
    pub input: Receiver<WriterInput>,
    pub learner: Receiver<Learned>,
    pub sealed: Sender<Sealed>,
    /// Who hears of the sealed policies.
    pub announce: Option<Announce>,
    pub board: Arc<Board>,
}

/// Where malformed records go.
pub enum DeadLetters {
    /// Exactly once: the file is cut back to its sealed length at a restart.
    File(Appendix),
    /// At least once: a repeat carries the same topic, partition and offset.
    Topic(Box<DeadLetterTopic>),
}

impl Writer {
    pub fn run(mut self) -> Result<(), JobError> {
        let mut in_use = self.hold();
        while let Ok(input) = self.input.recv() {
            if !self.step(input, &mut in_use)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps the checkpoint that this process goes on from from being pruned.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.parent.map(|sequence| self.store.holds().hold(sequence))
    }

    /// `false` when nobody listens any more.
    pub(super) fn step(&mut self, input: WriterInput, in_use: &mut Option<Hold>) -> Result<bool, JobError> {
        match input {
            WriterInput::Decisions(lines) => {
                if let Some(decisions) = &mut self.decisions {
                    decisions.append(&lines).map_err(JobError::Checkpoint)?;
                }
            }
            WriterInput::DeadLetters(letters) => self.dead_letters.write(&letters)?,
            WriterInput::Seal(draft) => {
                let Ok(learned) = self.learner.recv() else { return Ok(false) };
                debug_assert_eq!(learned.barrier, draft.barrier.number, "the learner answers barriers in order");
                let is_heard = self.seal(*draft, learned)?;
                *in_use = self.hold();
                return Ok(is_heard);
            }
        }
        Ok(true)
    }

    /// `false` when nobody listens any more.
    fn seal(&mut self, draft: Draft, learned: Learned) -> Result<bool, JobError> {
        let stopwatch = clock::Stopwatch::start();
        let side_files = self.sync_side_files()?;
        let sequence = self.parent.map_or(Sequence::FIRST, Sequence::next);
        self.meta.note_idle(&draft);
        let content = Content {
            intakes: draft.intakes.into_iter().collect(),
            pipeline: draft.pipeline,
            validation: learned.validation,
        };
        let position = content.position();
        let facts = Facts {
            parent: self.parent,
            sealed_at_ms: u64::try_from(clock::wall().millis()).ok(),
            digest: Digest::default(),
            platform: platform::fingerprint(),
            position: position.clone(),
            counters: content.counters(&learned.counters),
            settings: self.settings.clone(),
            log: content.log_identity(&self.meta),
            complete: draft.barrier.purpose == Purpose::Complete,
            side_files,
        };
        let mut sealing = Sealing { content: &content, meta: &self.meta, learned: &learned.parts, facts };
        let sealed = self.store.seal(sequence, &mut sealing).map_err(JobError::Checkpoint)?;
        let facts = &sealed.manifest.facts;
        self.parent = Some(sequence);
        self.board.sealed(sequence, facts, stopwatch.elapsed());
        if let Some(announce) = &self.announce {
            let (meta, policy) = (&self.meta, learned.parts.policy.as_slice());
            announce.offer(&Checkpointed { sequence, facts, content: &content, meta, policy });
        }
        let sealed = Sealed { barrier: draft.barrier, position };
        Ok(self.sealed.send(sealed).is_ok())
    }

    fn sync_side_files(&mut self) -> Result<BTreeMap<String, End>, JobError> {
        let mut ends = BTreeMap::new();
        if let Some(decisions) = &mut self.decisions {
            ends.insert(DECISIONS.to_owned(), decisions.sync().map_err(JobError::Checkpoint)?);
        }
        match &mut self.dead_letters {
            DeadLetters::File(file) => {
                ends.insert(DEAD_LETTERS.to_owned(), file.sync().map_err(JobError::Checkpoint)?);
            }
            // A record may only count as read once its dead letter is with the broker.
            DeadLetters::Topic(topic) => topic.flush(FLUSH_LIMIT).map_err(|error| JobError::Source(error.into()))?,
        }
        Ok(ends)
    }
}

/// How long a seal waits for the broker to take the dead letters before it.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

fn send(topic: &mut DeadLetterTopic, letter: &DeadLetter) -> Result<(), KafkaError> {
    let mut run = Run::new(letter.partition);
    let bytes = |bytes: &'_ Option<Bytes>| bytes.as_ref().map(|bytes| bytes.0.clone());
    let (key, value) = (bytes(&letter.key), bytes(&letter.value));
    let headers =
        letter.headers.iter().map(|header| (header.name.as_str(), header.value.as_ref().map(|value| &*value.0)));
    run.push((letter.offset, letter.timestamp), key.as_deref(), value.as_deref(), headers);
    match run.get(0) {
        Some(record) => topic.send(&RefusedRecord { record, topic: &letter.topic, reason: letter.reason.name() }),
        None => Ok(()),
    }
}

/// Names of the side files in a manifest.
pub const DECISIONS: &str = "decisions";
pub const DEAD_LETTERS: &str = "dead_letters";

impl DeadLetters {
    fn write(&mut self, letters: &[DeadLetter]) -> Result<(), JobError> {
        match self {
            DeadLetters::File(file) => {
                let mut lines = Vec::new();
                for letter in letters {
                    // Plain data to memory: cannot fail.
                    let _ = serde_json::to_writer(&mut lines, letter);
                    lines.push(b'\n');
                }
                file.append(&lines).map_err(JobError::Checkpoint)
            }
            DeadLetters::Topic(topic) => letters
                .iter()
                .try_for_each(|letter| send(topic, letter))
                .map_err(|error| JobError::Source(error.into())),
        }
    }
}
