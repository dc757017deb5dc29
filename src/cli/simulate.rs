//! `simulate`: the events of the simulated world, into a topic or a file.

mod sink;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use self::sink::Sink;
use super::tally::Tally;
use super::{args, print_json, print_text, settings_from};
use crate::clock::{self, Stopwatch};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::simulate::{Audience, Cu1, Events, RawSimulateSettings, Regime, SimulateSettings, World, WorldKind};
use crate::time::EventTime;

/// What `simulate --json` prints; `schemas/simulate-report.v1.schema.json`.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Sound records of people, repeated ones included.
    events: u64,
    bad_records: u64,
    watermarks: u64,
    /// Lines of the file, or records of the topic: a watermark goes to every partition.
    records: u64,
    /// Sessions that have begun.
    sessions: u64,
    seed: u64,
    /// A signal ended it before its own end.
    stopped: bool,
    elapsed_seconds: f64,
}

/// So long nothing may look whether it shall stop.
const PATIENCE: Duration = Duration::from_millis(50);

pub fn simulate(arguments: &args::Simulate) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let of_world = world_settings(arguments, &settings)?;
    let mut sink = Sink::open(arguments, &settings)?;
    let stop = stop_on_signals()?;
    let events_max = arguments.events.unwrap_or(u64::MAX);
    let report = match Cu1::new(of_world.clone()) {
        Some(world) => write(world.events(), &of_world, &mut sink, events_max, &stop)?,
        None => {
            let world = World::new(of_world.clone());
            if let Some(catalog) = &settings.catalog.file {
                // Whoever reads the first event may look its items up.
                write_catalog(&world, catalog).map_err(|error| {
                    Exit::Io.because(format!("could not write the catalog {}: {error}", catalog.display()))
                })?;
            }
            write(world.events(), &of_world, &mut sink, events_max, &stop)?
        }
    };
    sink.finish()?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&format!(
            "{} events and {} bad records of {} sessions in {:.1} s",
            report.events, report.bad_records, report.sessions, report.elapsed_seconds
        ))?;
    }
    Ok(Exit::Success)
}

fn world_settings(arguments: &args::Simulate, settings: &Settings) -> Result<SimulateSettings, Failure> {
    let raw = settings.simulate.clone().try_into();
    let mut raw: RawSimulateSettings =
        raw.map_err(|error: toml::de::Error| Exit::Config.because(format!("[simulate]: {}", error.message())))?;
    raw.seed = arguments.seed.unwrap_or(raw.seed);
    raw.rate = arguments.rate.unwrap_or(raw.rate);
    raw.noise_share = arguments.noise.unwrap_or(raw.noise_share);
    raw.reward_noise = arguments.reward_noise.unwrap_or(raw.reward_noise);
    raw.bad_record_share = arguments.bad_records.unwrap_or(raw.bad_record_share);
    raw.regime = match arguments.regime {
        Some(args::Regime::Medium) => Regime::Medium,
        Some(args::Regime::Extreme) => Regime::Extreme,
        None => raw.regime,
    };
    raw.world = match arguments.world {
        Some(args::World::Taste) => WorldKind::Taste,
        Some(args::World::Cu1) => WorldKind::Cu1,
        None => raw.world,
    };
    if raw.world == WorldKind::Cu1 && (arguments.regime.is_some() || settings.catalog.file.is_some()) {
        let asked = if arguments.regime.is_some() { "--regime" } else { "catalog.file" };
        return Err(Exit::Config.because(format!("{asked} is for the world taste; leave it out in the world cu1")));
    }
    if arguments.events.is_some() {
        // The count decides where the log ends.
        raw.sessions = 0;
    }
    let now = EventTime::new(clock::wall().millis());
    let now = now.ok_or_else(|| Exit::Config.because("the machine's clock stands outside the years 2000 to 2099"))?;
    SimulateSettings::new(raw, now).map_err(|error| Exit::Config.because(error))
}

fn write(
    mut events: Events<'_>,
    settings: &SimulateSettings,
    sink: &mut Sink,
    events_max: u64,
    stop: &AtomicBool,
) -> Result<Report, Failure> {
    let watch = Stopwatch::start();
    let rate = settings.rate();
    let mut report = Report { seed: settings.raw().seed, ..Report::default() };
    let mut tally = Tally::new("events");
    while report.events < events_max {
        let Some(record) = events.next() else { break };
        let due = rate.map(|rate| Duration::from_secs_f64(report.records as f64 / rate));
        while let Some(wait) = due.and_then(|due| due.checked_sub(watch.elapsed())).filter(|wait| !wait.is_zero()) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            sink.serve();
            std::thread::park_timeout(wait.min(PATIENCE));
        }
        if stop.load(Ordering::Relaxed) {
            report.stopped = true;
            break;
        }
        report.records += sink.write(&record)?;
        match record.audience {
            Audience::EveryPartition => report.watermarks += 1,
            Audience::User(_) if record.is_broken => report.bad_records += 1,
            Audience::User(_) => report.events += 1,
        }
        tally.show(report.events);
    }
    report.sessions = events.sessions_begun();
    report.elapsed_seconds = watch.seconds();
    Ok(report)
}

/// Never half a file under its name: a learner that starts meanwhile reads it.
fn write_catalog(world: &World, path: &Path) -> io::Result<()> {
    let mut catalog = Vec::new();
    world.write_catalogue(&mut catalog)?;
    match fs::read(path) {
        Ok(there) if there == catalog => return Ok(()),
        Ok(_) => {
            let other =
                "it is there already, with items of another world or seed; move it away or name another catalog.file";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, other));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut builder = tempfile::Builder::new();
    // A learner of another user reads it too.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut draft = builder.tempfile_in(directory)?;
    draft.write_all(&catalog)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The first SIGTERM or SIGINT asks for an end, the second one does not ask.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exit::Bug.because(error))?;
    let (mut terminate, mut interrupt) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        let caught = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
        caught.map_err(|error| Exit::Bug.because(error))?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if asked.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(Exit::Busy.code()));
                }
            }
        });
    });
    Ok(stop)
}
