//! `verify-resume`: the proof that crashes change nothing, by the user's own log and settings.
//!
//! The range is read twice by the real program: once straight through, once killed with SIGKILL at seeded marks of
//! progress and started again each time. Then everything that must not differ is compared: the digests, the decision
//! logs and the dead letters byte by byte.
//!
//! A kill before the first seal, or with nothing unsealed, proves little. So the seals come by record count, several of
//! them between two kills, and a run in which fewer than 80 % of the kills were worth something fails by itself.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use super::args;
use super::plan::job_failure;
use super::replay::RANGE_FILE;
use super::{print_json, print_text, settings_from};
use crate::checkpoint::{RealDisk, Sealed, ensure_directory, platform, read_newest};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::runtime::{JobError, KillMark};

/// Seals that fit between two kills on average.
const SEALS_PER_KILL: u64 = 4;
/// Changes to the disk that stay below what three seals make, so that a kill by them costs a known share of the range.
const DISK_MARK_MAX: u64 = 48;
/// Below this a mark can fall into the start of the process, when nothing has been read yet.
const DISK_MARK_STARTED: u64 = 18;
/// The share of the kills that must have fallen after a first seal with progress not yet sealed.
const SHARE_MIN: f64 = 0.8;
/// What the process says last before a seeded death.
const KILL_PREFIX: &str = "sluicebox-kill ";
/// Lines of a failed process that are passed on.
const LINES_KEPT: usize = 30;
/// Plain progress lines come after this many kills.
const KILLS_PER_LINE: u32 = 10;

/// What `verify-resume --json` prints.
#[derive(Debug, Serialize)]
struct VerifyReport {
    kills: u32,
    identical: bool,
    digest: String,
    digest_after_kills: String,
    /// Sections of the digest that differ; empty when it is the same.
    differing: Vec<String>,
    decisions_identical: bool,
    dead_letters_identical: bool,
    /// Kills after a first seal with progress not yet sealed: those that prove something.
    after_first_seal: u32,
    share_after_first_seal: f64,
    kills_by_record: u32,
    kills_by_disk: u32,
    /// Starts after the first one.
    restarts: u32,
    records: u64,
    seal_every_records: u64,
    seed: u64,
    platform: String,
    elapsed_seconds: f64,
}

pub fn verify(arguments: &args::VerifyResume) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    // A wrong setting is told here, in this command's name.
    settings_from(&arguments.settings)?;
    let temporary;
    let directory = match &arguments.state {
        Some(state) => state.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(|error| Exit::Io.because(error))?;
            temporary.path().join("verify")
        }
    };
    refuse_used(&directory)?;
    let (straight, killed) = (Run::new(arguments, &directory, "straight")?, Run::new(arguments, &directory, "killed")?);
    eprintln!("reading the range straight through");
    straight.to_the_end(None)?;
    let reference = straight.newest()?.ok_or_else(|| Exit::Bug.because("the straight run left no checkpoint"))?;
    let records = records_of(&reference);
    let every = seal_every(records, arguments.kills)?;
    // "Now" is decided once: a live topic has grown since.
    fs::copy(straight.state().join(RANGE_FILE), killed.state().join(RANGE_FILE))
        .map_err(|error| Exit::Io.because(error))?;
    let tally = kill_on_the_way(&killed, arguments, records, every)?;
    killed.to_the_end(Some(every))?;
    let resumed = killed.newest()?.ok_or_else(|| Exit::Bug.because("the killed run left no checkpoint"))?;
    let report = compare(arguments, (&straight, &reference), (&killed, &resumed), (&tally, records, every))?;
    let report = VerifyReport { elapsed_seconds: watch.seconds(), ..report };
    if arguments.json {
        print_json(&report)?;
    } else {
        print_text(&report.in_words())?;
    }
    Ok(report.verdict(arguments.kills))
}

/// How the kills went.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    by_record: u32,
    by_disk: u32,
    worth_something: u32,
}

/// Kills until as many as asked for have happened.
fn kill_on_the_way(run: &Run<'_>, arguments: &args::VerifyResume, records: u64, every: u64) -> Result<Tally, Failure> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(arguments.seed);
    let mut tally = Tally::default();
    let bar = ProgressBar::new(u64::from(arguments.kills));
    while tally.kills < arguments.kills {
        let newest = run.newest()?;
        let left = records.saturating_sub(newest.as_ref().map_or(0, records_of));
        let share = left / u64::from(arguments.kills - tally.kills);
        let mark = draw(&mut generator, share, every, newest.is_some());
        let Ended::Killed { checkpoint, unsealed } = run.once(Some(every), Some(mark))? else {
            // The range was over before the mark: no more kills fit. The verdict says so.
            break;
        };
        tally.kills += 1;
        tally.worth_something += u32::from(checkpoint > 0 && unsealed > 0);
        match mark {
            KillMark::Record(_) => tally.by_record += 1,
            KillMark::Disk(_) => tally.by_disk += 1,
        }
        bar.inc(1);
        if bar.is_hidden() && tally.kills % KILLS_PER_LINE == 0 {
            eprintln!("{} of {} kills, checkpoint {checkpoint}", tally.kills, arguments.kills);
        }
    }
    bar.finish_and_clear();
    Ok(tally)
}

/// The next mark. A kill must not use up more than its `share` of the records that are left, else later kills would find
/// the range read; that also bounds what is done twice.
fn draw(generator: &mut Xoshiro256PlusPlus, share: u64, every: u64, has_seal: bool) -> KillMark {
    // Two cuts at most lie between what is sealed and what is read: beyond that, a first seal must be there.
    let least = if has_seal { every / 2 } else { 2 * every };
    if has_seal && share >= (SEALS_PER_KILL - 1) * every && generator.random_bool(0.5) {
        // Also the start of a process changes the disk; a few kills try that.
        let from = if generator.random_bool(0.1) { 1 } else { DISK_MARK_STARTED };
        return KillMark::Disk(generator.random_range(from..=DISK_MARK_MAX));
    }
    let most = share.max(1);
    KillMark::Record(generator.random_range((least + 1).min(most)..=most))
}

/// Records between two seals, so that the kills fit into the range with seals between them.
fn seal_every(records: u64, kills: u32) -> Result<u64, Failure> {
    let every = records / (SEALS_PER_KILL * u64::from(kills));
    if every > 0 {
        return Ok(every);
    }
    let fit = records / SEALS_PER_KILL;
    Err(Exit::Usage.because(format!("--kills {kills} is too many: {records} records have room for {fit}")))
}

fn records_of(sealed: &Sealed) -> u64 {
    sealed.manifest.facts.counters.get("records").copied().unwrap_or_default()
}

/// An earlier proof in the same place would be mistaken for a part of this one.
fn refuse_used(directory: &Path) -> Result<(), Failure> {
    let is_used = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    match is_used {
        false => Ok(()),
        true => Err(Exit::Config.because(format!(
            "--state {} is not empty: name a new directory, for both runs begin from nothing",
            directory.display()
        ))),
    }
}

/// One of the two runs: its directory, and the command line that works in it.
struct Run<'a> {
    arguments: &'a args::VerifyResume,
    directory: PathBuf,
}

/// How a process of ours ended, if not by a failure.
enum Ended {
    Complete,
    Killed { checkpoint: u64, unsealed: u64 },
}

const DECISIONS_FILE: &str = "decisions.jsonl";
const DEAD_LETTERS_FILE: &str = "dead-letters.jsonl";

impl<'a> Run<'a> {
    fn new(arguments: &'a args::VerifyResume, parent: &Path, name: &str) -> Result<Run<'a>, Failure> {
        let run = Run { arguments, directory: parent.join(name) };
        ensure_directory(&RealDisk, &run.state()).map_err(|error| job_failure(JobError::Checkpoint(error)))?;
        Ok(run)
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn newest(&self) -> Result<Option<Sealed>, Failure> {
        let loaded = read_newest(&RealDisk, &self.state()).map_err(|error| job_failure(JobError::Checkpoint(error)))?;
        Ok(loaded.newest.map(|(sealed, _)| sealed))
    }

    fn to_the_end(&self, every: Option<u64>) -> Result<(), Failure> {
        match self.once(every, None)? {
            Ended::Complete => Ok(()),
            Ended::Killed { .. } => Err(Exit::Bug.because("the process was killed without having been asked to die")),
        }
    }

    /// Starts the real program and waits for its end, whichever that is.
    fn once(&self, every: Option<u64>, mark: Option<KillMark>) -> Result<Ended, Failure> {
        let failed = |error: io::Error| Exit::Io.because(format!("could not run sluicebox replay: {error}"));
        let mut child = self.command(every, mark)?.spawn().map_err(failed)?;
        let mut last_lines = VecDeque::new();
        let mut announced = None;
        if let Some(errors) = child.stderr.take() {
            for line in BufReader::new(errors).split(b'\n') {
                let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
                announced = line.strip_prefix(KILL_PREFIX).and_then(announcement).or(announced);
                if last_lines.len() == LINES_KEPT {
                    last_lines.pop_front();
                }
                last_lines.push_back(line);
            }
        }
        let status = child.wait().map_err(failed)?;
        match (status.signal(), mark, announced) {
            (Some(libc::SIGKILL), Some(_), Some((checkpoint, unsealed))) => Ok(Ended::Killed { checkpoint, unsealed }),
            _ if status.success() => Ok(Ended::Complete),
            _ => Err(failure(status, last_lines)),
        }
    }

    fn command(&self, every: Option<u64>, mark: Option<KillMark>) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|error| Exit::Io.because(error))?;
        let given = self.arguments;
        let mut command = Command::new(program);
        command.args(["--log", "warn", "replay", "--json", "--from", &given.from, "--until", &given.until]);
        if let Some(config) = &given.settings.config {
            command.arg("-c").arg(config);
        }
        given.settings.set.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        if let Some(file) = &given.source.file {
            command.arg("--file").arg(file).args(["--partitions", &given.source.partitions.to_string()]);
        }
        command.arg("--state").arg(self.state()).arg("--decisions").arg(self.directory.join(DECISIONS_FILE));
        // Without these both runs would write to the one file of the settings, and the clock would choose the seals.
        let dead_letters = toml::Value::String(self.directory.join(DEAD_LETTERS_FILE).to_string_lossy().into_owned());
        command.arg("--set").arg(format!("dead_letters.file={dead_letters}"));
        command.args(["--set", "checkpoint.every=off", "--set"]);
        command.arg(format!("checkpoint.every_records={}", every.unwrap_or(0)));
        match mark {
            Some(KillMark::Record(count)) => command.args(["--kill-at", &format!("record:{count}")]),
            Some(KillMark::Disk(count)) => command.args(["--kill-at", &format!("disk:{count}")]),
            None => &mut command,
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// `checkpoint=N unsealed=M`
fn announcement(words: &str) -> Option<(u64, u64)> {
    let field = |name: &str| words.split(' ').find_map(|word| word.strip_prefix(name)?.parse().ok());
    Some((field("checkpoint=")?, field("unsealed=")?))
}

/// The process has said why; its code says what kind of ending it was.
fn failure(status: ExitStatus, lines: VecDeque<String>) -> Failure {
    let exit = status.code().and_then(|code| u8::try_from(code).ok()).map_or(Exit::Bug, Exit::from_code);
    let said = Vec::from(lines).join("\n  ");
    exit.because(format!("sluicebox replay ended with {status}; it said\n  {said}"))
}

fn compare(
    arguments: &args::VerifyResume,
    (straight, reference): (&Run<'_>, &Sealed),
    (killed, resumed): (&Run<'_>, &Sealed),
    (tally, records, every): (&Tally, u64, u64),
) -> Result<VerifyReport, Failure> {
    let (digest, after) = (&reference.manifest.facts.digest, &resumed.manifest.facts.digest);
    let differing: Vec<String> = digest.differing(after).into_iter().map(str::to_owned).collect();
    let same = |name: &str| {
        let same = same_side_files(&straight.directory, &killed.directory, name);
        same.map_err(|error| Exit::Io.because(format!("could not compare {name}: {error}")))
    };
    let (decisions_identical, dead_letters_identical) = (same(DECISIONS_FILE)?, same(DEAD_LETTERS_FILE)?);
    let share = f64::from(tally.worth_something) / f64::from(tally.kills.max(1));
    Ok(VerifyReport {
        kills: tally.kills,
        identical: digest == after && decisions_identical && dead_letters_identical,
        digest: digest.to_string(),
        digest_after_kills: after.to_string(),
        differing,
        decisions_identical,
        dead_letters_identical,
        after_first_seal: tally.worth_something,
        share_after_first_seal: share,
        kills_by_record: tally.by_record,
        kills_by_disk: tally.by_disk,
        restarts: tally.kills,
        records,
        seal_every_records: every,
        seed: arguments.seed,
        platform: platform::fingerprint(),
        elapsed_seconds: 0.0,
    })
}

/// Side files rotate, so there may be several with the same beginning.
fn same_side_files(left: &Path, right: &Path, name: &str) -> io::Result<bool> {
    let names = |directory: &Path| -> io::Result<Vec<_>> {
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        let mut names: Vec<_> = names.into_iter().filter(|file| file.to_string_lossy().starts_with(name)).collect();
        names.sort();
        Ok(names)
    };
    let names_left = names(left)?;
    if names_left != names(right)? {
        return Ok(false);
    }
    for file in names_left {
        if !same_content(&left.join(&file), &right.join(&file))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_content(left: &Path, right: &Path) -> io::Result<bool> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (BufReader::new(left).bytes(), BufReader::new(right).bytes());
    loop {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one != other => return Ok(false),
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

impl VerifyReport {
    fn verdict(&self, kills: u32) -> Exit {
        let is_proof = self.kills == kills && self.share_after_first_seal >= SHARE_MIN;
        if self.identical && is_proof { Exit::Success } else { Exit::Refuted }
    }

    fn in_words(&self) -> String {
        let differing = match self.differing.is_empty() {
            true => String::new(),
            false => format!(" (differing: {})", self.differing.join(", ")),
        };
        let same = |same: bool| if same { "the same" } else { "DIFFERENT" };
        format!(
            "kills        {} ({} by record, {} by disk), {} after a first seal with progress not yet sealed ({:.0} %)\n\
             digest       {}\n\
             after kills  {}{differing}\n\
             decisions    {}\n\
             dead letters {}\n\
             platform     {}\n\
             took         {:.1} s\n\
             {}",
            self.kills,
            self.kills_by_record,
            self.kills_by_disk,
            self.after_first_seal,
            100.0 * self.share_after_first_seal,
            self.digest,
            self.digest_after_kills,
            same(self.decisions_identical),
            same(self.dead_letters_identical),
            self.platform,
            self.elapsed_seconds,
            match self.identical {
                true => "identical",
                false => "NOT IDENTICAL: please report it with the settings",
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_uses_more_than_its_share_of_the_range() {
        for seed in 0..200 {
            let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
            for share in 1..60 {
                for has_seal in [false, true] {
                    match draw(&mut generator, share, 10, has_seal) {
                        KillMark::Record(count) => assert!((1..=share).contains(&count), "seed {seed}, share {share}"),
                        KillMark::Disk(count) => assert!(has_seal && share >= 30 && count > 0, "seed {seed}"),
                    }
                }
            }
        }
    }

    #[test]
    fn kills_that_do_not_fit_are_refused_with_what_fits() {
        assert_eq!(seal_every(4_000, 10).ok(), Some(100));
        let refused = seal_every(39, 10).err().map(|failure| (failure.exit, failure.to_string()));
        assert_eq!(
            refused,
            Some((Exit::Usage, "error: --kills 10 is too many: 39 records have room for 9".to_owned()))
        );
    }

    #[test]
    fn side_files_that_differ_in_one_byte_or_in_number_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (left, right) = (directory.path().join("left"), directory.path().join("right"));
        for side in [&left, &right] {
            fs::create_dir(side).unwrap();
            fs::write(side.join("a"), "one\n").unwrap();
        }
        assert!(same_side_files(&left, &right, "a").unwrap());
        fs::write(right.join("a"), "ond\n").unwrap();
        assert!(!same_side_files(&left, &right, "a").unwrap());
        fs::write(right.join("a"), "one\n").unwrap();
        fs::write(right.join("a.1"), "").unwrap();
        assert!(!same_side_files(&left, &right, "a").unwrap());
    }
}
