//! A simulated world: a broker, a disk and a clock that obey one seed, and between them the real path of a job.
//!
//! A *history* is a random log and a random life with it: the lane workers, the core, the trainer's place and the writer
//! take their turns in random order, records come twice, partitions fall silent and wake up, retention deletes what was
//! not sealed, the disk tears and refuses, checkpoints rot, the process dies anywhere and the next one goes on. After
//! every seal the state must be the one of an undisturbed process that read the same records with the same journal, and
//! at the end the log must have been judged as the definitions say.
//!
//! What is expected comes from elsewhere: trajectories from the batch oracle of the assembly, their order from a sort, the
//! verdicts from a sorted list, the counts from the generator, the position and the journal from the broker's side.
//!
//! ```text
//! cargo test --release --lib world                                    10,000 histories
//! SLUICEBOX_WORLD_HISTORIES=1000000 cargo test --release --lib world   the long form
//! SLUICEBOX_WORLD_SEED=17 cargo test --release --lib world             one history again, told step by step
//! ```

mod broker;
mod dice;
mod expected;
mod history;
mod life;
mod log;
mod setup;
mod student;
mod undisturbed;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use history::{Tally, history};

const HISTORIES: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Every history up to that seed, or the seed of one that failed; in no order. By threads of their own and not rayon's: the
/// real learner waits in rayon's pool, and who waits there takes up another history on top of the first, and so on.
fn outcomes(histories: u64) -> Vec<Result<Tally, u64>> {
    let outcome = |seed: u64| catch_unwind(AssertUnwindSafe(|| history(seed, false))).map_err(|_| seed);
    let next = AtomicU64::new(0);
    let seeds = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < histories);
    let work = || std::iter::from_fn(seeds).map(outcome).collect::<Vec<_>>();
    let threads = thread::available_parallelism().map_or(1, |count| count.get());
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn no_history_shows_in_the_state() {
    if let Some(seed) = number("SLUICEBOX_WORLD_SEED") {
        let tally = history(seed, true);
        eprintln!("history {seed} holds: {tally:?}");
        return;
    }
    let histories = number("SLUICEBOX_WORLD_HISTORIES").unwrap_or(HISTORIES);
    let outcomes = outcomes(histories);
    let mut failed: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.err()).collect();
    failed.sort_unstable();
    if let Some(seed) = failed.first() {
        let again = format!("SLUICEBOX_WORLD_SEED={seed} cargo test --release --lib world");
        panic!(
            "{} of {histories} histories failed, seeds {:?}..; again: {again}",
            failed.len(),
            &failed[..failed.len().min(20)]
        );
    }
    let tally = outcomes.into_iter().flatten().fold(Tally::default(), Tally::plus);
    eprintln!("{histories} histories: {tally:?}");
    tally.assert_eventful(histories);
}
