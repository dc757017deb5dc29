//! What goes wrong outside: each case ends with its own exit code and words that name the cause, or is survived.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use sluicebox::checkpoint::{Purpose, RealDisk, StateDirectory};

use crate::binary::{Running, failure_of, json_of, parse, repository, sluicebox, told, wait_until};
use crate::broker::{Broker, free_port, shared, unique};
use crate::crash::{LOG, RECORDS, recsim_topic};

const OTTO: &str = "tests/data/otto20.jsonl.gz";
const OTTO_RECORDS: u64 = 862;

/// `replay` of a small log from its file into `state`, sealing every 100 records.
fn otto(state: &Path, more: &[&str]) -> Vec<String> {
    let log = repository(OTTO);
    let state = state.to_string_lossy();
    let mut arguments = vec!["replay", "-c", "configs/otto.toml", "--file", &log, "--partitions", "2", "--json"];
    arguments.extend(["--state", &state, "--set", "checkpoint.every=off", "--set", "checkpoint.every_records=100"]);
    arguments.extend(more);
    arguments.into_iter().map(str::to_owned).collect()
}

fn untroubled_digest() -> Value {
    let directory = tempfile::tempdir().unwrap();
    json_of(otto(&directory.path().join("state"), &[]))["digest"].clone()
}

/// The checkpoints of a state directory, oldest first.
fn checkpoints(state: &Path) -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let entries = fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Stops in the middle, with seals behind it.
fn half_way(state: &Path) {
    let output = sluicebox(otto(state, &["--kill-at", "record:500"])).output().unwrap();
    assert_eq!(output.status.code(), None, "{}", told(&output));
    assert!(!checkpoints(state).is_empty(), "{}", told(&output));
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

/// No file may grow beyond `kilobytes`: what a full disk looks like to one who is not root.
fn limited(mut command: Command, kilobytes: u64) -> Command {
    // SAFETY: setrlimit and signal are async-signal-safe and touch nothing but the new process.
    #[expect(unsafe_code, reason = "there is no safe way to run something between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: kilobytes << 10, rlim_max: kilobytes << 10 };
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            // Without this the kernel kills the process instead of refusing the write.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        });
    }
    command
}

fn mount(arguments: &[&str], place: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg("tmpfs").arg(place).output();
    status.is_ok_and(|output| output.status.success())
}

/// Unmounted at the end, however the test ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_the_process_with_74_and_room_on_it_is_enough_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    fs::create_dir(&place).unwrap();
    // Only root can mount a disk that is really full.
    let mounted = mount(&["-t", "tmpfs", "-o", "size=900k"], &place).then(|| Mounted(place.clone()));
    let state = place.join("state");
    let command = sluicebox(otto(&state, &[]));
    let output = match &mounted {
        Some(_) => { command }.output().unwrap(),
        None => limited(command, 128).output().unwrap(),
    };
    assert_eq!(output.status.code(), Some(74), "{}", told(&output));
    assert_says(&String::from_utf8_lossy(&output.stderr), &["could not", &state.to_string_lossy()]);
    assert!(mounted.is_none() || mount(&["-o", "remount,size=64m"], &place));
    assert_eq!(json_of(otto(&state, &[]))["digest"], untroubled_digest());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Not even root can make one there.
    let said = failure_of(otto(Path::new("/proc/sluicebox-state"), &[]), 74);
    assert_says(&said, &["could not keep the state", "/proc/sluicebox-state"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = failure_of(otto(&file.path().join("state"), &[]), 74);
    assert_says(&said, &[&file.path().to_string_lossy(), "ot a directory"]);
}

/// Rewrites the manifest as a later version would, checksum included.
fn make_newer(checkpoint: &Path) {
    let path = checkpoint.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap().replacen("\"format\": 1", "\"format\": 2", 1);
    let at = text.rfind("\"checksum\": \"").unwrap() + "\"checksum\": \"".len();
    let zeros = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
    let checksum = blake3::hash(zeros.as_bytes()).to_hex();
    fs::write(&path, format!("{}{checksum}{}", &text[..at], &text[at + 64..])).unwrap();
}

#[test]
fn a_checkpoint_of_a_newer_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    half_way(&state);
    let newest = checkpoints(&state).pop().unwrap();
    make_newer(&newest);
    let said = failure_of(otto(&state, &[]), 65);
    assert_says(&said, &["newer version", "format 2", "up to 1"]);
    assert!(newest.exists(), "it is not ours to move");
}

#[test]
fn a_rotten_newest_checkpoint_is_passed_over_and_the_end_is_the_same() {
    for part in ["state", "policy", "manifest.json"] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        half_way(&state);
        let seals = checkpoints(&state);
        assert!(seals.len() > 1, "{seals:?}");
        let path = seals.last().unwrap().join(part);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let output = sluicebox(otto(&state, &[])).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(parse(&output)["digest"], untroubled_digest(), "{part}");
        assert_says(&String::from_utf8_lossy(&output.stderr), &["is broken and was passed over"]);
        let entries = fs::read_dir(&state).unwrap().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert!(names.any(|name| name.starts_with("broken-")), "it is kept to be looked at");
    }
}

#[test]
fn a_state_without_one_intact_checkpoint_is_never_taken_for_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    half_way(&state);
    checkpoints(&state).iter().for_each(|checkpoint| fs::write(checkpoint.join("state"), "rotten").unwrap());
    assert_says(&failure_of(otto(&state, &[]), 65), &["no checkpoint in", "is intact", "move the directory away"]);
}

#[test]
fn the_second_process_on_a_state_directory_is_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let claim = StateDirectory::claim(&RealDisk, &state, Purpose::Replay).unwrap();
    let said = failure_of(otto(&state, &[]), 75);
    assert_says(&said, &["in use by process", &std::process::id().to_string(), &state.to_string_lossy()]);
    drop(claim);
    json_of(otto(&state, &[]));
}

#[test]
fn the_state_of_a_run_is_refused_to_a_replay() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    drop(StateDirectory::claim(&RealDisk, &state, Purpose::Run).unwrap());
    assert_says(&failure_of(otto(&state, &[]), 78), &["belongs to `run`", "`replay`"]);
}

#[test]
fn structural_settings_are_refused_by_name_and_tunable_ones_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    half_way(&state);
    let said = failure_of(otto(&state, &["--set", "session.gap=7m", "--set", "learner.batch=32"]), 78);
    assert_says(&said, &["session.gap", "learner.batch", "another --state"]);
    assert!(!said.contains("checkpoint.every"), "{said}");
    // Operational ones are nobody's business, tunable ones are noted.
    let output =
        sluicebox(otto(&state, &["--set", "filter.kappa=.25", "--set", "runtime.threads=3"])).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_says(&String::from_utf8_lossy(&output.stderr), &["filter.kappa"]);
    let report = parse(&output);
    assert_eq!((&report["kappa"], &report["records"]), (&0.25.into(), &OTTO_RECORDS.into()));
    assert_ne!(report["digest"], untroubled_digest());
}

#[test]
fn a_warm_start_takes_the_policy_over_a_structural_change_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new, cold) = (directory.path().join("old"), directory.path().join("new"), directory.path().join("cold"));
    let before = json_of(otto(&old, &[]));
    let changed = ["--set", "session.gap=1h"];
    let said = failure_of(otto(&old, &changed), 78);
    assert_says(&said, &["session.gap", "--warm-start", "checkpoint-"]);

    let from = old.to_string_lossy().into_owned();
    let warm = |state: &Path| otto(state, &[&changed[..], &["--warm-start", &from]].concat());
    let begun = json_of(warm(&new));
    let without = json_of(otto(&cold, &changed));
    for count in ["records", "trajectories", "admitted", "filtered", "held", "updates"] {
        assert_eq!(begun[count], without[count], "{count}: all but the policy begins anew");
    }
    assert_ne!(begun["digest"], without["digest"], "the policy is another than that of a cold start");
    assert_eq!(json_of(warm(&new))["digest"], begun["digest"], "a second start goes on from its own state");
    let again = json_of(warm(&directory.path().join("again")));
    assert_eq!(again["digest"], begun["digest"], "and a warm start is as repeatable as a cold one");
    assert_ne!(before["digest"], begun["digest"]);

    // Another shape of network cannot take the policy over, and says why.
    let said =
        failure_of(otto(&directory.path().join("wide"), &["--set", "learner.hidden=[7]", "--warm-start", &from]), 78);
    assert_says(&said, &["hidden"]);
    let said =
        failure_of(otto(&directory.path().join("none"), &["--warm-start", &cold.join("x").to_string_lossy()]), 78);
    assert_says(&said, &["no checkpoint"]);
}

#[test]
fn another_file_under_the_same_state_is_another_log() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    half_way(&state);
    let log = repository(LOG);
    let arguments = otto(&state, &[]).into_iter().map(|word| if word.ends_with(OTTO) { log.clone() } else { word });
    assert_says(&failure_of(arguments, 65), &["another log", "--state"]);
}

fn load(brokers: &str, topic: &str, file: &str) -> Value {
    json_of([
        "load",
        file,
        "-c",
        "configs/recsim.toml",
        "--topic",
        topic,
        "--partitions",
        "4",
        "--set",
        brokers,
        "--json",
    ])
}

fn recsim(brokers: &str, topic: &str, state: &Path, more: &[&str]) -> Vec<String> {
    let (topic, state) = (format!("kafka.topics={topic}"), state.to_string_lossy());
    let mut arguments = vec!["replay", "-c", "configs/recsim.toml", "--json", "--state", &state];
    arguments.extend(["--set", brokers, "--set", &topic, "--set", "learner.replay_ratio=0.1"]);
    arguments.extend(["--set", "checkpoint.every=off", "--set", "checkpoint.every_records=1000"]);
    arguments.extend(more);
    arguments.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_topic_that_was_made_anew_is_another_log() {
    let brokers = format!("kafka.brokers={}", shared().bootstrap());
    let directory = tempfile::tempdir().unwrap();
    let (topic, state, file) = (unique("anew"), directory.path().join("state"), directory.path().join("log"));
    let lines = |first: u32| -> String {
        let line = |n: u32| {
            let time = 1_700_000_000_000 + u64::from(first + n) * 1000;
            format!(
                r#"{{"type":"session_end","ts_ms":{time},"user_id":"u{}","session_id":"s{n}","event_id":"e{n}"}}"#,
                n % 50
            )
        };
        (0..4000).map(line).collect::<Vec<_>>().join("\n")
    };
    fs::write(&file, lines(0)).unwrap();
    load(&brokers, &topic, &file.to_string_lossy());
    let output = sluicebox(recsim(&brokers, &topic, &state, &["--kill-at", "record:3500"])).output().unwrap();
    assert!(!checkpoints(&state).is_empty(), "{}", told(&output));
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", shared().bootstrap()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    // The same keys, so the same offsets; other times.
    fs::write(&file, lines(1)).unwrap();
    wait_until("the topic is gone and made again", Duration::from_secs(180), || {
        let again =
            ["load", &file.to_string_lossy(), "-c", "configs/recsim.toml", "--topic", &topic, "--set", &brokers]
                .map(str::to_owned);
        sluicebox(again).output().unwrap().status.success()
    });
    let said = failure_of(recsim(&brokers, &topic, &state, &[]), 65);
    assert_says(&said, &["made from another log", "partition", "offset", "another --state"]);
}

#[test]
fn no_broker_at_the_start_ends_with_69_and_its_address() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let brokers = format!("kafka.brokers={address}");
    let more = ["--set", "kafka.connect_timeout=2s"];
    let said = failure_of(recsim(&brokers, "any", &directory.path().join("state"), &more), 69);
    assert_says(&said, &[&address, "within 2 s", "refused"]);
}

#[test]
fn a_missing_topic_ends_with_69_and_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let topic = unique("missing");
    let brokers = format!("kafka.brokers={}", shared().bootstrap());
    assert_says(&failure_of(recsim(&brokers, &topic, &directory.path().join("state"), &[]), 69), &[&topic]);
    let said = failure_of(["replay", "-c", "configs/recsim.toml", "--set", &brokers], 78);
    assert_says(&said, &["kafka.topics"]);
}

#[test]
fn a_broker_that_is_restarted_in_the_middle_is_survived() {
    let mut broker = Broker::start();
    let (brokers, topic) = (format!("kafka.brokers={}", broker.bootstrap()), unique("middle"));
    assert_eq!(load(&brokers, &topic, &repository(LOG))["records"], RECORDS);
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    // Small fetches, so that most of the log is still with the broker when it goes.
    let fetches = "kafka.properties={\"max.partition.fetch.bytes\"=\"2000\", \"queued.max.messages.kbytes\"=\"8\", \"queued.min.messages\"=\"1\"}";
    let mut running = Running::start(sluicebox(recsim(&brokers, &topic, &state, &["--set", fetches])));
    wait_until("a first seal", Duration::from_secs(180), || !checkpoints(&state).is_empty());
    broker.kill();
    assert!(running.0.try_wait().unwrap().is_none(), "the log was read before the broker went");
    broker.restart();
    let output = running.end(Duration::from_secs(120));
    assert!(output.status.success(), "{}", told(&output));
    let [shared_brokers, shared_topic] = recsim_topic();
    let shared_topic = shared_topic.trim_start_matches("kafka.topics=");
    let reference = json_of(recsim(&shared_brokers, shared_topic, &directory.path().join("reference"), &[]));
    assert_eq!(parse(&output)["digest"], reference["digest"]);
}

#[test]
fn a_wrong_setting_ends_with_78_and_the_likely_name() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let said = failure_of(otto(&state, &["--set", "filter.kapa=.1", "--set", "learner.batch=no"]), 78);
    assert_says(&said, &["filter.kapa", "did you mean filter.kappa?", "learner.batch", "accepted", "fix"]);
    assert!(!state.exists(), "nothing begins with wrong settings");
}

#[test]
fn a_wrong_range_ends_with_64_and_the_accepted_forms() {
    let cases = [
        (["yesterday", "now"], "--from yesterday"),
        (["offset=x", "now"], "--from offset=x"),
        (["ts=2026-13-01", "now"], "--from ts=2026-13-01"),
        (["earliest", "soon"], "--until soon"),
        (["earliest", "last=1d"], "can only be where a range begins"),
    ];
    for ([from, until], words) in cases {
        let directory = tempfile::tempdir().unwrap();
        let said = failure_of(otto(&directory.path().join("state"), &["--from", from, "--until", until]), 64);
        assert_says(&said, &[words]);
    }
}

#[test]
fn a_restart_with_another_range_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    half_way(&state);
    assert_says(&failure_of(otto(&state, &["--from", "offset=5"]), 65), &["--from earliest", "range.json"]);
}

#[test]
fn a_flood_of_malformed_records_trips_the_breaker() {
    let directory = tempfile::tempdir().unwrap();
    let (state, log) = (directory.path().join("state"), directory.path().join("flood"));
    fs::write(&log, "rubbish\n".repeat(3000)).unwrap();
    let log = log.to_string_lossy().into_owned();
    let arguments = || otto(&state, &[]).into_iter().map(|word| if word.ends_with(OTTO) { log.clone() } else { word });
    let said = failure_of(arguments(), 65);
    assert_says(&said, &["malformed", "not_json", "sluicebox check", "dead_letters.max_malformed_share"]);
    // A restart sees the same records and ends the same way: it does not creep past them.
    assert_eq!(failure_of(arguments(), 65), said);
}
