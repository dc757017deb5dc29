//! The commands around the job, and the schemas of everything that is printed with `--json`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::binary::{Running, failure_of, json_of, parse, repository, sluicebox, told, wait_until};
use crate::broker;
use crate::topics;

const RECSIM: &str = "tests/data/recsim_iev_mix_200.jsonl.gz";

/// Panics with every breach of `schemas/{name}.v1.schema.json`.
pub fn check_schema(name: &str, report: &Value) {
    check_against(&format!("{name}.v1.schema.json"), report);
}

fn check_against(name: &str, report: &Value) {
    let path = repository(&format!("schemas/{name}"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let breaches: Vec<String> =
        validator.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(breaches.is_empty(), "{name}:\n{}\n{report:#}", breaches.join("\n"));
}

fn temporary() -> (tempfile::TempDir, impl Fn(&str) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_path_buf();
    (directory, move |name: &str| path.join(name).to_string_lossy().into_owned())
}

#[test]
fn every_report_schema_is_a_valid_schema() {
    for entry in fs::read_dir(repository("schemas")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn simulated_events_are_loaded_checked_and_refused_as_they_should() {
    let (_kept, place) = temporary();
    let bootstrap = format!("kafka.brokers={}", broker::shared().bootstrap());
    let (file, catalog) = (place("events.jsonl.zst"), format!("catalog.file={}", place("new/items.jsonl")));
    let demo = ["-c", "configs/demo.toml", "--set", &catalog, "--set", &bootstrap, "--json"];
    let written = json_of([&["simulate", "--file", &file, "--events", "3000", "--seed", "5"][..], &demo].concat());
    check_schema("simulate-report", &written);
    assert_eq!(written["events"], 3_000);
    assert!(written["bad_records"].as_u64() > Some(0), "{written:#}");
    let items = fs::read_to_string(place("new/items.jsonl")).unwrap();
    assert_eq!(items.lines().count(), 5_000);
    let other = ["simulate", "--file", &place("other.jsonl"), "--events", "10", "--seed", "6", "--set", &catalog];
    assert!(failure_of(other, 74).contains("another world or seed"), "the items of another seed are other items");

    let topic = broker::unique("tools");
    let load = [&["load", &file, "--topic", &topic, "--partitions", "3"][..], &demo].concat();
    let loaded = json_of(&load);
    check_schema("load-report", &loaded);
    assert_eq!((&loaded["records"], &loaded["topic_was_created"]), (&written["records"], &true.into()));
    assert_eq!(loaded["records_by_partition"].as_array().unwrap().len(), 3);
    let said = failure_of(&load, 64);
    assert!(said.contains("--append"), "{said}");
    let appended = json_of([&load[..], &["--append"]].concat());
    assert_eq!(appended["topic_was_created"], false);

    // Without the mapping nobody is found, and all would lie in one partition in silence.
    let (nameless, named, log) = (broker::unique("nameless"), broker::unique("named"), repository(RECSIM));
    let unmapped = ["load", &log, "--topic", &nameless, "--partitions", "3", "--set", &bootstrap];
    let said = told(&sluicebox(unmapped).output().unwrap());
    assert!(said.contains("name no user under this mapping"), "{said}");
    let mapped = [&unmapped[..3], &[&*named], &unmapped[4..], &["-c", "configs/recsim.toml"]].concat();
    let said = told(&sluicebox(mapped).output().unwrap());
    assert!(!said.contains("name no user"), "{said}");

    let topics = format!("kafka.topics={topic}");
    let from_topic = json_of([&["check", "--sample", "topic", "--set", &topics][..], &demo].concat());
    check_schema("check-report", &from_topic);
    assert_eq!(from_topic["records"].as_u64(), written["records"].as_u64().map(|records| 2 * records));
    assert_eq!(from_topic["users_in_several_partitions"], 0);
    let from_file = json_of([&["check", "--sample", &file][..], &demo].concat());
    check_schema("check-report", &from_file);
    assert_eq!((&from_file["malformed"], &from_file["events"]), (&written["bad_records"], &written["events"]));
    assert_eq!(from_file["ok"], true);
    assert!(from_topic["first_errors"][0]["line"].is_null(), "{from_topic:#}");

    let output =
        sluicebox([&["check", "--sample", &file, "--set", "dead_letters.max_malformed_share=0"][..], &demo].concat())
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert_eq!(parse(&output)["ok"], false);
}

/// What the help promises of the simulated log, looked up in the log itself.
#[test]
fn the_simulators_options_say_who_serves_and_the_same_seed_writes_the_same_bytes() {
    let (_kept, place) = temporary();
    let write = |name: &str, more: &[&str]| {
        let file = place(name);
        let mut arguments = vec!["simulate", "--file", &file, "--events", "4000", "--seed", "3", "--json"];
        arguments.extend(["--set", "simulate.items=200", "--set", "simulate.clusters=20"]);
        arguments.extend(more);
        let report = json_of(&arguments);
        (
            report,
            fs::read_to_string(&file).unwrap_or_else(|_| String::from_utf8_lossy(&fs::read(&file).unwrap()).into()),
        )
    };
    let fields = |text: &str, field: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line[field].as_f64()).collect()
    };
    let clean = ["--bad-records", "0"];
    let (_, medium) = write("medium", &[&["--regime", "medium"][..], &clean].concat());
    let (_, again) = write("again", &[&["--regime", "medium"][..], &clean].concat());
    assert!(medium == again, "the same seed and settings");

    // The random recommender gives every item one chance in 200; the others nearly never exactly that.
    let random = |text: &str| {
        let propensities = fields(text, "propensity");
        propensities.iter().filter(|p| **p == 0.005).count() as f64 / propensities.len() as f64
    };
    let (_, extreme) = write("extreme", &[&["--regime", "extreme"][..], &clean].concat());
    let (_, noisy) = write("noisy", &[&["--regime", "medium", "--noise", "0.8"][..], &clean].concat());
    for (text, expected) in [(&medium, 0.3), (&extreme, 0.9), (&noisy, 0.3 + 0.7 * 0.8)] {
        assert!((random(text) - expected).abs() < 0.08, "{} and not {expected}", random(text));
    }

    let at_the_ends = |text: &str| {
        let rewards = fields(text, "value");
        rewards.iter().filter(|reward| **reward == 0.0 || **reward == 1.0).count() as f64 / rewards.len() as f64
    };
    let (_, lucky) = write("lucky", &[&["--reward-noise", "1"][..], &clean].concat());
    assert!(at_the_ends(&medium) < 0.3 && at_the_ends(&lucky) > 0.5, "noise of 1 is clipped at both ends");

    let (report, broken) = write("broken", &["--bad-records", "0.2"]);
    let unreadable = broken.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    assert!(report["bad_records"].as_u64() > Some(200) && unreadable > 50, "{report:#}");
    assert!(failure_of(["simulate", "--file", &place("x"), "--noise", "1.5"], 78).contains("noise_share"));
    check_schema("simulate-report", &report);
}

/// C-U1 from the command line: read by the mapping that its help names, and learned from.
#[test]
fn the_log_of_cu1_is_read_checked_and_learned_from() {
    let (_kept, place) = temporary();
    let (file, again) = (place("cu1.jsonl"), place("again.jsonl.gz"));
    let write = |file: &str| json_of(["simulate", "--world", "cu1", "--events", "12000", "--json", "--file", file]);
    let report = write(&file);
    check_schema("simulate-report", &report);
    assert_eq!((&report["events"], &write(&again)["records"]), (&12_000.into(), &report["records"]));

    let mapping = ["--set", "mapping.context_dimension=6", "--set", "mapping.embedding_dimension=2"];
    let checked = json_of([&["check", "--sample", &file, "--records", "20000", "--json"][..], &mapping].concat());
    assert_eq!((&checked["malformed"], &checked["events"]), (&report["bad_records"], &report["events"]));
    let state = place("state");
    let learner = ["--set", "learner.policy=gaussian", "--set", "filter.unit=step", "--set", "learner.batch=64"];
    let replay = ["replay", "--file", &file, "--state", &state, "--json"];
    let learned = json_of([&replay[..], &mapping, &learner].concat());
    assert!(learned["updates"].as_u64() > Some(20), "{learned:#}");

    let refused = |more: &[&str]| failure_of([&["simulate", "--world", "cu1", "--file", &file][..], more].concat(), 78);
    assert!(refused(&["--regime", "extreme"]).contains("--regime"));
    assert!(refused(&["--noise", "0.2"]).contains("simulate.noise_share"));
    assert!(refused(&["--set", "catalog.file=items.jsonl"]).contains("catalog.file"));
}

#[test]
fn what_is_shown_and_refused_of_a_file_is_named_by_its_line() {
    let (_kept, place) = temporary();
    let good = r#"{"type":"decision","event_id":"e","ts":1700000000000,"user":"u","item":"i","context":[]}"#;
    fs::write(place("sample.jsonl"), format!("\n{good}\n\n{{\"type\":\"decision\"\n{good}\n")).unwrap();
    let check = ["check", "--sample", &place("sample.jsonl"), "--set", "dead_letters.max_malformed_share=1"];
    let report = json_of([&check[..], &["--json"]].concat());
    check_schema("check-report", &report);
    assert_eq!((&report["examples"][0]["line"], &report["first_errors"][0]["line"]), (&2.into(), &4.into()));
    let said = told(&sluicebox(check).output().unwrap());
    assert!(said.contains("decision, field by field (line 2)") && said.contains("\n  line 4: "), "{said}");
    assert!(said.contains(" at column ") && !said.contains("at line 1"), "{said}");
}

#[test]
fn a_topic_that_is_not_keyed_by_user_is_warned_of() {
    let bootstrap = broker::shared().bootstrap();
    let topic = broker::unique("unkeyed");
    crate::topics::create(&bootstrap, &topic, 2);
    let line = |number: u32| {
        format!(
            r#"{{"type":"decision","event_id":"e{number}","ts":{},"user":"u","item":"i","reward":{number}}}"#,
            1_700_000_000_000_u64 + u64::from(number)
        )
    };
    for partition in 0..2 {
        crate::topics::produce(&bootstrap, &topic, partition, 1_700_000_000_000, &[line(partition as u32)]);
    }
    let (brokers, topics) = (format!("kafka.brokers={bootstrap}"), format!("kafka.topics={topic}"));
    let report = json_of(["check", "--json", "--set", &brokers, "--set", &topics]);
    assert_eq!(report["users_in_several_partitions"], 1, "{report:#}");
    assert!(report["warnings"].to_string().contains("not keyed by user"), "{report:#}");
}

#[test]
fn a_score_that_only_counts_the_steps_left_is_warned_of() {
    let (_kept, place) = temporary();
    let mut lines = String::new();
    for session in 0..20_u64 {
        for step in 0..10 {
            let ts = 1_700_000_000_000 + session * 1_000_000 + step;
            lines.push_str(&format!(
                "{{\"type\":\"decision\",\"event_id\":\"e{step}\",\"ts\":{ts},\"user\":\"u{session}\",\"item\":\"i{step}\",\"reward\":{}}}\n",
                1.0 + 0.01 * ((session + step) % 3) as f64
            ));
        }
    }
    fs::write(place("steps.jsonl"), lines).unwrap();
    let check = |kind: &str| {
        let kind = format!("score.kind={kind}");
        let unit = ["--set", "filter.unit=step", "--set", "score.discount=1", "--set", "score.baseline=none"];
        json_of([&["check", "--json", "--sample", &place("steps.jsonl"), "--set", &kind][..], &unit].concat())
    };
    let (to_go, immediate) = (check("return"), check("reward"));
    assert!(to_go["score_step_correlation"].as_f64() < Some(-0.99), "{to_go:#}");
    assert!(to_go["warnings"].to_string().contains("step number"), "{to_go:#}");
    assert!(!immediate["warnings"].to_string().contains("step number"), "{immediate:#}");
}

#[test]
fn a_checkpoint_is_described_and_a_broken_one_named() {
    let (_kept, place) = temporary();
    let (state, log) = (place("state"), repository(RECSIM));
    let replay = ["replay", "-c", "configs/recsim.toml", "--file", &log, "--state", &state, "--json"];
    let replayed = json_of([&replay[..], &["--set", "checkpoint.every_records=8000"]].concat());
    check_schema("replay-report", &replayed);
    let inspected = json_of(["inspect", &state, "--json"]);
    check_schema("inspect-report", &inspected);
    assert_eq!(inspected["digest"], replayed["digest"]);
    assert_eq!(inspected["filter"]["threshold"], replayed["threshold"]);
    assert_eq!(inspected["lanes"][0]["watermark"], "end");
    let words = sluicebox(["inspect", &state]).output().unwrap();
    assert!(told(&words).contains(replayed["digest"].as_str().unwrap()));

    // One broken bit: the checkpoint before it is shown and the broken one named; by its own name it is refused.
    let newest = inspected["checkpoint"].as_str().unwrap();
    let part = format!("{newest}/state");
    let mut bytes = fs::read(&part).unwrap();
    bytes[100] ^= 1;
    fs::write(&part, bytes).unwrap();
    let older = json_of(["inspect", &state, "--json"]);
    assert!(older["sequence"].as_u64() < inspected["sequence"].as_u64());
    assert!(older["passed_over"].to_string().contains("checksum"), "{older:#}");
    assert!(failure_of(["inspect", newest], 65).contains("checksum"));
    let one = json_of(["inspect", older["checkpoint"].as_str().unwrap(), "--json"]);
    assert_eq!(one["sequence"], older["sequence"]);
    failure_of(["inspect", &place("nothing")], 65);
}

#[test]
fn an_embedded_broker_serves_a_simulator_that_stops_when_asked() {
    let mut command = sluicebox(["demo-broker", "--topic", "events", "--partitions", "3"]);
    command.stdin(Stdio::piped());
    let mut server = Running::start(command);
    let mut address = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let brokers = format!("kafka.brokers={}", address.trim());
    let live = ["--set", "simulate.start=now", "--set", "simulate.sessions=0", "--set", "simulate.watermark_every=1s"];
    let arguments =
        [&["simulate", "--topic", "events", "--rate", "2000", "--set", &brokers, "--json"][..], &live].concat();
    let simulator = Running::start(sluicebox(arguments));
    let counted = || {
        json_of([
            "check",
            "--set",
            &brokers,
            "--set",
            "kafka.topics=events",
            "--set",
            "mapping.context_dimension=16",
            "--json",
        ])
    };
    wait_until("events arrive", Duration::from_secs(180), || counted()["kinds"]["watermark"].as_u64() > Some(0));
    simulator.signal(libc::SIGTERM);
    let output = simulator.end(Duration::from_secs(180));
    let report = parse(&output);
    assert!(output.status.success() && report["stopped"] == true, "{}", told(&output));
    let found = json_of([
        "check",
        "--records",
        "10000000",
        "--set",
        &brokers,
        "--set",
        "kafka.topics=events",
        "--set",
        "mapping.context_dimension=16",
        "--json",
    ]);
    assert_eq!(found["records"], report["records"], "what was counted is what the topic holds");
    drop(server.0.stdin.take());
    assert!(server.end(Duration::from_secs(180)).status.success());
}

#[test]
fn settings_are_shown_with_their_origin_and_limits_have_one_home() {
    let output = sluicebox(["config", "show", "-c", "configs/demo.toml", "--set", "filter.kappa=0.2", "--json"])
        .env("SLUICEBOX__FILTER__WINDOW", "700")
        .output()
        .unwrap();
    let shown = parse(&output);
    check_schema("config-report", &shown);
    let document = shown.as_object().unwrap().iter().fold(serde_json::json!({}), |mut document, (name, setting)| {
        let place = name.split('.').fold(&mut document, |place, key| &mut place[key]);
        *place = setting["value"].clone();
        document
    });
    check_against("config.schema.json", &document);
    assert_eq!((&shown["filter.kappa"]["value"], &shown["filter.window"]["value"]), (&0.2.into(), &700.into()));
    assert!(shown["filter.kappa"]["from"].as_str().unwrap().contains("--set"), "{}", shown["filter.kappa"]);
    assert!(shown["filter.window"]["from"].as_str().unwrap().contains("SLUICEBOX__FILTER__WINDOW"));
    assert_eq!(shown["session.max_steps"]["from"], "default");
    let published: Value =
        serde_json::from_str(&fs::read_to_string(repository("schemas/config.schema.json")).unwrap()).unwrap();
    assert_eq!(json_of(["config", "schema"]), published);
    let log = repository(RECSIM);
    let said = failure_of(["check", "--sample", &log, "--set", "mapping.limits.depth=3"], 78);
    assert!(said.contains("decode.max_depth"), "{said}");
    for (wrong, expected) in [
        ("mapping.context_dimension=-1", "mapping.context_dimension: invalid value: integer `-1`"),
        ("mapping.item=5", "mapping.item: "),
        ("mapping.feedback.jion=latest_item", "mapping.feedback.jion: unknown field `jion`, expected one of `join`"),
        ("mapping.candidate=/x", "did you mean candidates? (docs/mapping.md)"),
    ] {
        // What is shown must be right, as what is used.
        let said = failure_of(["config", "show", "-c", "configs/recsim.toml", "--set", wrong], 78);
        assert!(said.contains(expected), "{said}");
    }
    let said = told(&sluicebox(["replay", "--log", "wran", "--file", &log]).output().unwrap());
    assert!(said.contains("--log wran is not a log level"), "{said}");
    let mut rotten = sluicebox(["config", "show"]);
    rotten.env("SLUICEBOX__FILTER__KAPPA", std::ffi::OsStr::from_bytes(b"\xff"));
    let output = rotten.output().unwrap();
    assert!(told(&output).contains("SLUICEBOX__FILTER__KAPPA is not UTF-8"), "{}", told(&output));
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_bug() {
    let mut child = sluicebox(["config", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_replay_says_when_its_range_had_been_read_before_and_when_its_state_is_gone() {
    let (_kept, place) = temporary();
    let (state, log) = (place("state"), repository("tests/data/otto20.jsonl.gz"));
    let replay = |more: &[&str]| {
        let output = sluicebox(["replay", "-c", "configs/otto.toml", "--file", &log]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    };
    let kept = replay(&["--state", &state]);
    assert!(!kept.contains("read to its end before") && !kept.contains("gone with this command"), "{kept}");
    let again = replay(&["--state", &state]);
    assert!(again.contains("nothing was read") && again.contains("another --state"), "{again}");
    assert!(replay(&[]).contains("gone with this command"));
}

#[test]
fn a_replay_that_reads_no_session_points_to_check() {
    let log = repository("tests/data/otto20.jsonl.gz");
    let replay = |config: &str| told(&sluicebox(["replay", "-c", config, "--file", &log]).output().unwrap());
    let hint = "nothing was learned; `sluicebox check`";
    let (wrong, right) = (replay("configs/recsim.toml"), replay("configs/otto.toml"));
    assert!(wrong.contains(hint) && !right.contains(hint), "{wrong}\n{right}");
    // Twenty sessions are no generation of a baseline.
    let short = ["replay", "-c", "configs/otto.toml", "--file", &log, "--set", "score.baseline=linear"];
    let short = told(&sluicebox(short).args(["--set", "score.kind=advantage"]).output().unwrap());
    assert!(short.contains("every unit was held back"), "{short}");
    let (_kept, place) = temporary();
    let empty = place("empty.jsonl");
    fs::write(&empty, "").unwrap();
    let empty = told(&sluicebox(["replay", "-c", "configs/otto.toml", "--file", &empty]).output().unwrap());
    assert!(empty.contains("the range holds no record"), "{empty}");
}

#[test]
fn a_complete_state_reports_again_and_refuses_what_needs_another_reading() {
    let (_kept, place) = temporary();
    let (state, log) = (place("state"), repository("tests/data/otto20.jsonl.gz"));
    let command = ["replay", "-c", "configs/otto.toml", "--file", &log, "--state", &state, "--json"];
    let spool = std::path::Path::new(&state).join("spool");
    let killed = sluicebox([&command[..], &["--kill-at", "record:400"]].concat()).output().unwrap();
    assert!(killed.status.code().is_none() && spool.exists(), "a start that goes on needs it: {}", told(&killed));
    let first = json_of(command);
    check_schema("replay-report", &first);
    assert!(!spool.exists(), "nothing goes on from a complete state");

    let again = json_of(command);
    check_schema("replay-report", &again);
    assert_eq!((&first["already_complete"], &again["already_complete"]), (&false.into(), &true.into()));
    assert_eq!((&again["digest"], &again["checkpoint"]), (&first["digest"], &first["checkpoint"]));
    assert!(!spool.exists());
    let decisions = place("decisions.jsonl");
    for (more, code, reason) in [
        (["--set", "filter.kappa=.2"], 78, "with other settings: filter.kappa"),
        (["--decisions", &decisions], 78, "without the decision log"),
        (["--partitions", "3"], 65, "it was file of"),
        (["--until", "offset=100"], 65, "--until now"),
    ] {
        let said = failure_of([&command[..], &more].concat(), code);
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_small_bench_measures_every_stage_in_the_shape_that_it_promises() {
    let brokers = broker::shared().bootstrap();
    let size = ["--events", "20000", "--sessions", "2000", "--window", "5000", "--seconds", "2"];
    let more = ["--brokers", &brokers, "--set", "learner.batch=128", "--set", "filter.kappa=.2"];
    let report = json_of([&["bench", "--quick", "--json"][..], &size, &more].concat());
    check_schema("bench-report", &report);
    assert_eq!(report["set"].as_array().map(Vec::len), Some(2));
    assert_eq!((&report["events"], &report["brokers"]["events"]), (&20_000.into(), &100_000.into()));
    let left = topics::names(&brokers).into_iter().filter(|name| name.starts_with("bench-"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
    let cpu = |stage: &str| report[stage]["cpu_us_per_event"].as_f64().unwrap();
    // What a stage adds is far more than what a busy machine disturbs.
    assert!(cpu("consume") < cpu("filter") && cpu("decode") < cpu("job"), "{report:#}");
    assert_eq!(report["checkpoint"]["open_sessions"], 2_000);
    assert!(report["window"]["ns_per_op"].as_f64() < report["window"]["sorted_vec_ns"].as_f64(), "{report:#}");
}

/// Linking decides whether it does, and a program whose malloc is another one only runs slower.
#[cfg(target_os = "linux")]
#[test]
fn mimalloc_stands_in_the_place_of_malloc() {
    let output = sluicebox(["config", "schema"]).env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let pages = said.lines().find_map(|line| line.trim().strip_prefix("pages     :"));
    // Peak, total, current. Without it mimalloc is there and has nothing to do.
    let total = pages.and_then(|figures| figures.split_whitespace().nth(1)?.parse::<u32>().ok());
    assert!(total.is_some_and(|total| total > 10), "{said}");
}
