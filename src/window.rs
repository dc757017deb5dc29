//! The exact sliding window: the last scores, and at every moment the threshold above which a given share of them lies.
//!
//! It is asked for a quantile after every single unit, at a level that moves a little each time, and must not be wrong
//! even by one rank: what it answers is recomputed by whoever doubts it. So it keeps all scores, in a ring, and beside
//! the ring a *pivot* with a sorted *band* of the few scores near it in rank (`band`); everything else costs two
//! comparisons. No sketch, no histogram, no approximation.
//!
//! Architecture invariant: every answer is a function of the content and the level. The band and the running sums are
//! derived, never stored, and may be thrown away at any moment; a restored window answers with the same bits.
//! The window does not know what its numbers mean.

mod score;
mod cut;
mod tail;
mod ring;
mod block;
mod band;
mod pivot;
mod state;
#[cfg(test)]
mod tests;

use crate::time::{EventTime, Span};

use band::Band;
use pivot::{Pivot, Tuning};
use ring::Ring;
use score::Key;
use tail::TailSums;

pub use cut::{AboveOne, Cut, Level};
pub use score::{NotFinite, Score};
pub use state::{RottenWindow, WindowState};
pub use tail::Tail;

/// The last scores, limited by count and, if wanted, by age.
#[derive(Debug, Clone)]
pub struct Window {
    capacity: usize,
    max_age: Option<Span>,
    /// The checkpointed content. Times never decrease, and are kept only if there is an age limit.
    keys: Ring<Key>,
    times: Option<Ring<i64>>,
    /// Derived: see the invariant above.
    pivot: Pivot,
    /// Derived, and only kept once somebody has asked for it.
    sums: Option<TailSums>,
}

impl Window {
    /// The sums of the tail are exact up to this many elements.
    pub const CAPACITY_MAX: usize = 1 << 31;

    /// An empty window that holds at most `capacity` scores (at least 1, at most [`Window::CAPACITY_MAX`]), none of
    /// them older than `max_age`.
    pub fn new(capacity: usize, max_age: Option<Span>) -> Window {
        Window {
            capacity: capacity.clamp(1, Window::CAPACITY_MAX),
            max_age,
            keys: Ring::new(),
            times: max_age.map(|_| Ring::new()),
            pivot: Pivot::new(Tuning::DEFAULT, Band::empty()),
            sums: None,
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn max_age(&self) -> Option<Span> {
        self.max_age
    }

    /// Takes a score in, and the oldest one out if the window is full. A time before that of the last score counts as
    /// that one: the content ages in the order in which it came.
    pub fn push(&mut self, score: Score, time: EventTime) {
        if self.keys.len() >= self.capacity {
            self.evict();
        }
        let key = score.key();
        self.keys.push(key);
        if let Some(times) = &mut self.times {
            let time = times.last().map_or(time.millis(), |last| last.max(time.millis()));
            times.push(time);
        }
        self.pivot.insert(key, self.keys.len());
        if let Some(sums) = &mut self.sums {
            sums.insert(key);
        }
    }

    /// Drops what is older than the age limit at `now`; exactly as old stays. Without an age limit, nothing.
    pub fn expire(&mut self, now: EventTime) {
        let (Some(max_age), Some(times)) = (self.max_age, &self.times) else { return };
        let oldest = now.minus(max_age).millis();
        if times.first().is_none_or(|first| first >= oldest) {
            return;
        }
        let expired = times.iter().take_while(|&time| time < oldest).count();
        self.drop_oldest(expired);
    }

    /// Drops all but the newest `count` scores.
    pub fn keep_last(&mut self, count: usize) {
        self.drop_oldest(self.keys.len().saturating_sub(count));
    }

    /// The cut at this level; `None` when the window is empty.
    ///
    /// Fast while level and content move little between two calls: the cost does not depend on the window's size.
    /// A level far from the last one costs a pass over the window.
    pub fn quantile(&mut self, level: Level) -> Option<Cut> {
        let len = self.keys.len() as u64;
        if len == 0 {
            return None;
        }
        self.pivot.seek(level.rank(len), &self.keys);
        let Band { threshold, above, equal, .. } = self.pivot.band;
        Some(Cut::new(level, len, Score::from_own_key(threshold), above, equal))
    }

    /// Mean and second moment of what the cut at this level keeps; `None` when it keeps nothing (an empty window, or
    /// level 0). Exact sums, rounded once.
    ///
    /// The first call costs a pass over the window; later ones cost what the threshold has moved since.
    pub fn tail(&mut self, level: Level) -> Option<Tail> {
        let cut = self.quantile(level)?;
        let threshold = cut.threshold.key();
        let band = &self.pivot.band;
        let sums = match self.sums.take() {
            Some(mut sums) if band.covers(sums.floor) => {
                let (low, high) = (sums.floor.min(threshold), sums.floor.max(threshold));
                let sign = if threshold < sums.floor { 1 } else { -1 };
                band.between(low, high).for_each(|(key, count)| sums.add(key, sign * i64::from(count)));
                sums.floor = threshold;
                sums
            }
            Some(_) | None => TailSums::over(self.keys.iter(), threshold),
        };
        let tail = sums.read(&cut);
        self.sums = Some(sums);
        tail
    }

    /// The score with so many older ones before it.
    pub fn score_at(&self, index: usize) -> Option<Score> {
        self.keys.at(index).map(Score::from_own_key)
    }

    /// The content for a checkpoint: shares the chunks, copies at most the last one.
    pub fn save(&self) -> WindowState {
        WindowState { keys: self.keys.clone(), times: self.times.clone() }
    }

    /// A window with this content. Limits that became tighter take effect: the capacity now, the age at the next
    /// [`Window::expire`].
    ///
    /// # Errors
    /// If the state is not one that a window can have been in, or lacks the times that an age limit needs.
    pub fn restore(capacity: usize, max_age: Option<Span>, state: WindowState) -> Result<Window, RottenWindow> {
        let WindowState { keys, times } = state;
        if keys.len() > Window::CAPACITY_MAX {
            return Err(RottenWindow::TooLong);
        }
        if let Some(index) = keys.iter().position(|key| Score::from_key(key).is_none()) {
            return Err(RottenWindow::NotAScore(index));
        }
        // That times never decrease need not be asked: only the steps between them are stored.
        if let Some(times) = times.as_ref().filter(|times| times.len() != keys.len()) {
            return Err(RottenWindow::Uneven { scores: keys.len(), times: times.len() });
        }
        let times = match max_age {
            None => None,
            Some(_) if times.is_none() => return Err(RottenWindow::TimesMissing),
            Some(_) => times,
        };
        let mut window = Window { keys, times, ..Window::new(capacity, max_age) };
        window.pivot.forget(window.keys.len());
        window.keep_last(window.capacity);
        Ok(window)
    }

    /// How often the band had to be built anew: the only part of the cost that grows with the window.
    pub fn rebuilds(&self) -> u64 {
        self.pivot.builds()
    }

    fn evict(&mut self) {
        let Some(key) = self.keys.pop() else { return };
        if let Some(times) = &mut self.times {
            times.pop();
        }
        self.pivot.remove(key);
        if let Some(sums) = &mut self.sums {
            sums.remove(key);
        }
        if self.keys.len() == 0 {
            self.pivot.forget(0);
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        // One by one costs more per element than a pass over what is left.
        if count <= self.keys.len() / 8 {
            (0..count).for_each(|_| self.evict());
            return;
        }
        self.keys.drop_oldest(count);
        if let Some(times) = &mut self.times {
            times.drop_oldest(count);
        }
        self.pivot.forget(self.keys.len());
        self.sums = None;
    }
}
