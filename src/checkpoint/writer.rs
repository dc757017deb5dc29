//! The background thread that seals, so that the data path goes on while the disk works.
//!
//! One seal is in flight at most: a second cut while the first is being written would only add memory.

use std::any::Any;
use std::fmt;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::error::{Attempted, Error};
use super::load::Sealed;
use super::manifest::Facts;
use super::store::Store;
use super::{Parts, Sequence};

/// One cut, handed over. `encode` runs on the writer's thread: give it what is cheap to hand over, and let it turn that
/// into bytes there.
pub struct Seal {
    pub sequence: Sequence,
    pub encode: Box<dyn FnOnce() -> (Parts, Facts) + Send>,
}

/// A seal that was not taken, because another is in flight.
#[derive(Debug)]
pub struct Busy(pub Seal);

/// The thread that owns the store.
#[derive(Debug)]
pub struct Writer {
    seals: Sender<Seal>,
    outcomes: Receiver<Result<Sealed, Error>>,
    in_flight: bool,
    thread: JoinHandle<Store>,
}

impl Writer {
    pub fn spawn(store: Store) -> Result<Writer, Error> {
        let (seals, seals_taken) = bounded::<Seal>(1);
        let (outcomes_given, outcomes) = bounded(1);
        let directory = store.directory().to_path_buf();
        let thread = thread::Builder::new()
            .name(String::from("checkpoint-writer"))
            .spawn(move || serve(store, &seals_taken, &outcomes_given))
            .during("start a thread that writes to", &directory)?;
        Ok(Writer { seals, outcomes, in_flight: false, thread })
    }

    /// Hands over a seal; gives it back when one is in flight, or when its outcome has not been fetched yet.
    pub fn submit(&mut self, seal: Seal) -> Result<(), Busy> {
        if self.in_flight {
            return Err(Busy(seal));
        }
        self.in_flight = true;
        // A thread that is gone shows as `WriterGone` at the next poll.
        let _ = self.seals.send(seal);
        Ok(())
    }

    pub fn is_busy(&self) -> bool {
        self.in_flight
    }

    /// The outcome of the seal in flight, if it has ended. After an error nothing more is written.
    pub fn poll(&mut self) -> Option<Result<Sealed, Error>> {
        if !self.in_flight {
            return None;
        }
        let outcome = match self.outcomes.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(Error::WriterGone),
        };
        self.in_flight = false;
        Some(outcome)
    }

    /// Waits for the seal in flight; `None` when there is none.
    pub fn wait(&mut self) -> Option<Result<Sealed, Error>> {
        if !self.in_flight {
            return None;
        }
        self.in_flight = false;
        Some(self.outcomes.recv().unwrap_or(Err(Error::WriterGone)))
    }

    /// Waits for the seal in flight, ends the thread and gives the store back.
    pub fn finish(mut self) -> Result<(Store, Option<Sealed>), Error> {
        let last = self.wait().transpose()?;
        let Writer { seals, thread, .. } = self;
        drop(seals);
        let store = thread.join().map_err(|_: Box<dyn Any + Send>| Error::WriterGone)?;
        Ok((store, last))
    }
}

fn serve(mut store: Store, seals: &Receiver<Seal>, outcomes: &Sender<Result<Sealed, Error>>) -> Store {
    while let Ok(Seal { sequence, encode }) = seals.recv() {
        let (parts, facts) = encode();
        if outcomes.send(store.seal(sequence, &parts, facts)).is_err() {
            break;
        }
    }
    store
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
