//! `run`: always on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::plan::{self, Paths, job_failure};
use super::progress::Progress;
use super::recommend::histories;
use super::replay::{check_log, check_settings, warm_start};
use super::settings_from;
use super::{args, publish as publishing};
use crate::checkpoint::{Purpose, RealDisk, StateDirectory, replace_file};
use crate::clock::{self, Stopwatch};
use crate::exit::{Exit, Failure};
use crate::http::{Limits, Server, Shown};
use crate::position::NextOffset;
use crate::publish::Gate;
use crate::runtime::{self, Announce, Board, Checkpointed, Job, JobError, Mode, Outcome, Publisher, Standing};
use crate::serve::Live;
use crate::settings::{Settings, Start};
use crate::source::{Bounds, Range, Source};
use crate::telemetry::{self, Health, Phase};

/// A stop that takes longer than this has gone wrong; what was sealed before is safe.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Beside the checkpoints: the idle decisions so far, for `replay --journal`.
const JOURNAL_FILE: &str = "idle-journal.jsonl";

pub fn run(arguments: &args::Run) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let state = arguments.state.clone().unwrap_or_else(|| settings.checkpoint.directory.clone());
    let metrics = telemetry::install_metrics().map_err(|error| Exit::Bug.because(error))?;
    let starting = Arc::new(AtomicBool::new(true));
    let stop = stop_signals(Arc::clone(&starting))?;
    let purpose = if arguments.adopt { Purpose::Continue } else { Purpose::Run };
    let claim = StateDirectory::claim(&RealDisk, &state, purpose);
    let _claim = claim.map_err(|error| job_failure(JobError::Checkpoint(error)))?;
    let topic = settings.kafka.topic().map_err(|error| error.exit().because(error))?.to_owned();
    let paths = Paths {
        state: state.clone(),
        decisions: arguments.decisions.clone(),
        kill: None,
        mode: Mode::Live { idle_after: settings.idle.after },
    };
    let mut spec = plan::job(&settings, &topic, paths)?;
    let (histories, shape) = histories(&settings)?;
    let live = Arc::new(Live::new(histories, shape, Arc::clone(&spec.live)));
    let health = Arc::new(Health::new());
    // Nobody who asks early should have to do without the names.
    health
        .publish(telemetry::Status { counters: runtime::Counts::default().by_name(), ..telemetry::Status::default() });
    let sessions = Arc::clone(&spec.live);
    let shown = Shown { health: Arc::clone(&health), metrics, sessions, live: Arc::clone(&live) };
    let server = serve(&settings, shown)?;
    let (store, restored) = runtime::open_store(&spec).map_err(job_failure)?;
    spec.warm_start = warm_start(&arguments.begin, restored.as_ref())?;
    let restored = match (restored, &arguments.continue_from) {
        (None, Some(replayed)) => Some(unclosed(replayed)?),
        (restored, _) => restored,
    };
    if let Some(restored) = &restored {
        if restored.sealed.manifest.facts.complete {
            return Err(Exit::Config.because(
                "this checkpoint was made after its range had ended and all sessions were closed; go on from one \
                 before that, or use another --state",
            ));
        }
        check_settings(&spec, restored, &settings)?;
    }
    let mut source: Box<dyn Source> = Box::new(plan::topic_source(&settings)?);
    if let Some(restored) = &restored {
        check_log(&mut *source, restored)?;
    }
    let range = live_range(&mut *source, &settings, restored.as_ref())?;
    let (announce, publisher) = publisher(&settings, live)?;
    if let Some(restored) = &restored {
        announce.offer(&Checkpointed::from(restored));
    }
    spec.announce = Some(announce);
    let job = Job::start(spec, store, restored, source, range).map_err(job_failure)?;
    starting.store(false, Ordering::Relaxed);
    tracing::info!(topic, state = %state.display(), "running");
    let ended = watch(job, &stop, &health, &settings);
    if let Some(server) = server {
        server.stop();
    }
    ended?;
    // The job has gone, so nothing more comes; what is under way is finished.
    let _ = publisher.join();
    write_journal(&state)?;
    Ok(Exit::Success)
}

/// Publishes and serves what is sealed, on a thread of its own.
fn publisher(settings: &Settings, live: Arc<Live>) -> Result<(Announce, JoinHandle<()>), Failure> {
    let standing = match &settings.publish.dir {
        Some(directory) => Some(Standing {
            publications: publishing::publications(settings, directory)?,
            directory: directory.as_path().into(),
            gate: settings.publish.gate.map(|margin| Gate { margin }),
            every: settings.publish.every,
        }),
        None => {
            tracing::info!("nothing is published: publish.dir is not set; what is sealed is served");
            None
        }
    };
    let (to, drafts) = bounded(1);
    let publisher = Publisher { drafts, standing, live };
    let thread = std::thread::Builder::new().name("publisher".to_owned()).spawn(move || publisher.run());
    let thread = thread.map_err(|error| Exit::Bug.because(error))?;
    Ok((Announce { plan: publishing::publish_plan(settings)?, to }, thread))
}

/// What a replay has left of its range before it closed what was open.
fn unclosed(state: &Path) -> Result<Outcome, Failure> {
    let found = runtime::read_unclosed(state).map_err(job_failure)?;
    found.ok_or_else(|| {
        Exit::Config.because(format!(
            "--continue-from {}: no checkpoint in it was made before its range ended; a replay with checkpoint.keep of \
             at least 2 leaves one",
            state.display()
        ))
    })
}

/// No end; the start is that of the settings only where no checkpoint says otherwise.
fn live_range(source: &mut dyn Source, settings: &Settings, restored: Option<&Outcome>) -> Result<Range, Failure> {
    let failed = |error| job_failure(JobError::Source(error));
    let starts = match settings.kafka.start {
        Start::Earliest => source.start_offsets().map_err(failed)?,
        Start::Latest => source.end_offsets().map_err(failed)?,
    };
    let known = restored.map(|restored| restored.content.position());
    let start = |partition, fallback: NextOffset| {
        known.as_ref().and_then(|known| known.get(&partition).copied()).unwrap_or(fallback)
    };
    if let Some(known) = &known
        && known.len() != starts.len()
    {
        let (was, now) = (known.len(), starts.len());
        return Err(job_failure(match now > was {
            true => JobError::Grown { was, now },
            false => JobError::AnotherLog { difference: format!("it had {was} partitions, now there are {now}") },
        }));
    }
    Ok(starts
        .into_iter()
        .map(|(partition, first)| (partition, Bounds { start: start(partition, first), end: None }))
        .collect())
}

fn serve(settings: &Settings, shown: Shown) -> Result<Option<Server>, Failure> {
    let Some(address) = settings.http.listen else { return Ok(None) };
    let server = Server::start(address, shown, Limits::default()).map_err(|error| Exit::Unavailable.because(error))?;
    tracing::info!(address = %server.address, "serving /livez /readyz /metrics /version /status /v1/recommend");
    Ok(Some(server))
}

/// The first signal asks for a last seal; the second ends the process at once, which is safe at any moment. So does the
/// first one while the process is `starting`: there is nothing to seal, and a broker that does not answer would be
/// waited for.
fn stop_signals(starting: Arc<AtomicBool>) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exit::Bug.because(error))?;
    let listen = move || {
        let received = AtomicU8::new(0);
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if starting.load(Ordering::Relaxed) {
                    tracing::info!("stopped before anything was read");
                    std::process::exit(i32::from(Exit::Success.code()));
                }
                if received.fetch_add(1, Ordering::Relaxed) > 0 {
                    std::process::exit(i32::from(Exit::Busy.code()));
                }
                tracing::info!("stopping: finishing, sealing, committing; a second signal stops at once");
                told.store(true, Ordering::Relaxed);
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(|error| Exit::Bug.because(error))?;
    Ok(stop)
}

fn watch(job: Job, stop: &AtomicBool, health: &Health, settings: &Settings) -> Result<(), Failure> {
    let mut progress = Progress::new(false);
    let asked = job.stop_flag();
    let mut stopping: Option<Stopwatch> = None;
    let digest = settings.structural_digest().to_hex().to_string();
    while !job.is_finished() {
        std::thread::park_timeout(LOOK_EVERY);
        if stop.load(Ordering::Relaxed) && stopping.is_none() {
            asked.store(true, Ordering::Relaxed);
            stopping = Some(Stopwatch::start());
        }
        if stopping.as_ref().is_some_and(|watch| watch.elapsed() > STOP_LIMIT) {
            return Err(Exit::Busy.because("stopping took longer than 60 s; what was sealed is safe"));
        }
        publish(job.board(), health, &digest, stopping.is_some());
        progress.show(&job.board().figures());
    }
    progress.finish();
    health.publish(telemetry::Status { phase: Phase::Stopping, ..job.board().shown(&digest) });
    job.join().map_err(job_failure)
}

fn publish(board: &Board, health: &Health, digest: &str, stopping: bool) {
    let mut shown = board.shown(digest);
    if stopping {
        shown.phase = Phase::Stopping;
    }
    board.publish_metrics(clock::wall().millis());
    telemetry::declared::UPTIME.set(health.uptime().as_secs_f64());
    health.publish(shown);
}

/// Leaves the idle decisions where `replay --journal` can read them.
fn write_journal(state: &Path) -> Result<(), Failure> {
    let Some(outcome) = runtime::read_outcome(state).map_err(job_failure)? else { return Ok(()) };
    let mut lines = String::new();
    for entry in &outcome.meta.journal {
        let line = serde_json::to_string(entry).map_err(|error| Exit::Bug.because(error))?;
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{line}");
    }
    let path: PathBuf = state.join(JOURNAL_FILE);
    replace_file(&RealDisk, &path, lines.as_bytes()).map_err(|error| job_failure(JobError::Checkpoint(error)))
}
