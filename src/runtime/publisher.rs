//! The thread that publishes what `run` has sealed, and serves what is published.
//!
//! The writer leaves the policy of each seal here and never waits: while one is being published, later ones are passed
//! over, and the next seal brings a newer one. A publication that fails is told and counted; the learner goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::publication::{Checkpointed, PublishPlan};
use crate::checkpoint::{Checksum, RealDisk};
use crate::clock::Stopwatch;
use crate::publish::{self, Draft, Gate, Outcome, Publications, PublishError};
use crate::serve::{Live, Recommender};
use crate::telemetry::declared;

/// How soon a rollback, or somebody else's publication, is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The writer's side.
#[derive(Debug, Clone)]
pub struct Announce {
    pub plan: PublishPlan,
    pub to: Sender<Draft>,
}

/// The publisher's side.
pub struct Publisher {
    pub drafts: Receiver<Draft>,
    /// `None`: what is sealed is served, and nothing is published.
    pub standing: Option<Standing>,
    pub live: Arc<Live>,
}

/// Where and how often to publish.
pub struct Standing {
    pub publications: Publications,
    pub directory: Box<Path>,
    pub gate: Option<Gate>,
    /// `None`: only by hand.
    pub every: Option<Duration>,
}

impl Announce {
    /// Offers the policy of a seal; one that has learned nothing is nobody's business.
    pub fn offer(&self, checkpoint: &Checkpointed<'_>) {
        if checkpoint.facts.counters.get("updates").copied().unwrap_or_default() == 0 || self.to.is_full() {
            return;
        }
        match self.plan.draft(checkpoint) {
            // Full or gone: there will be another seal, or no more at all.
            Ok(draft) => drop(self.to.try_send(draft)),
            Err(error) => tracing::error!(%error, "the sealed policy cannot be published"),
        }
    }
}

impl Publisher {
    /// Until the writer has gone.
    pub fn run(self) {
        let mut since_last: Option<Stopwatch> = None;
        let mut served: Option<Checksum> = None;
        let mut served_name = None;
        loop {
            match (self.drafts.recv_timeout(LOOK_EVERY), &self.standing) {
                (Ok(draft), Some(standing)) => {
                    if standing.is_due(since_last.as_ref()) {
                        since_last = Some(Stopwatch::start());
                        standing.publish(&draft);
                    }
                    served_name = standing.publications.current_name();
                    self.follow_loudly(standing, &mut served);
                }
                (Ok(draft), None) => self.serve(Recommender::from_draft(draft, self.live.shape())),
                // Whoever rolls back does not wait for the next seal.
                (Err(RecvTimeoutError::Timeout), Some(standing)) => {
                    let name = standing.publications.current_name();
                    if name != served_name {
                        served_name = name;
                        self.follow_loudly(standing, &mut served);
                    }
                }
                (Err(RecvTimeoutError::Timeout), None) => {}
                (Err(RecvTimeoutError::Disconnected), _) => return,
            }
        }
    }

    fn follow_loudly(&self, standing: &Standing, served: &mut Option<Checksum>) {
        if let Err(error) = self.follow(standing, served) {
            tracing::error!(%error, "could not read the current publication");
        }
    }

    /// Serves what is current, also when somebody else has published or rolled back.
    fn follow(&self, standing: &Standing, served: &mut Option<Checksum>) -> Result<(), PublishError> {
        let content = standing.publications.current()?.map(|current| current.manifest.content);
        if content.is_none() || content == *served {
            return Ok(());
        }
        let publication = publish::read(&RealDisk, &standing.directory)?;
        self.serve(Recommender::new(publication, self.live.shape(), None));
        *served = content;
        Ok(())
    }

    fn serve(&self, recommender: Result<Recommender, crate::serve::UnfitError>) {
        match recommender {
            Ok(recommender) => {
                declared::SERVED_VERSION.set(recommender.version() as f64);
                self.live.swap(recommender);
            }
            Err(error) => tracing::error!(%error, "this policy cannot be served"),
        }
    }
}

impl Standing {
    fn is_due(&self, since_last: Option<&Stopwatch>) -> bool {
        self.every.is_some_and(|every| since_last.is_none_or(|watch| watch.elapsed() >= every))
    }

    fn publish(&self, draft: &Draft) {
        let outcome = match self.publications.publish(draft, self.gate, false) {
            Ok(Outcome::Published(published)) => {
                tracing::info!(name = published.name, version = published.manifest.version, "published");
                "published"
            }
            Ok(Outcome::Unchanged(_)) => "unchanged",
            Ok(Outcome::Refused(reason)) => {
                tracing::warn!(version = draft.version, reason, "not published: the gate objects");
                "refused"
            }
            Ok(Outcome::Held) => {
                tracing::warn!(version = draft.version, "not published: held after a rollback");
                "held"
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "could not publish");
                "failed"
            }
        };
        declared::PUBLICATIONS.add(outcome, 1);
    }
}
