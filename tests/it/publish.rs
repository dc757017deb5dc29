//! From a log to answers: `replay --publish`, `recommend`, `export`, `publish`, and a reader that shares no code with us.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::binary::{failure_of, json_of, python, repository, sluicebox, told};
use crate::tools::check_schema;

const LOG: &str = "tests/data/recsim_iev_mix_200.jsonl.gz";

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// Learns little, so that it is quick; what is served does not depend on how well it was learned.
    fn replay(&self, more: &[&str]) -> Value {
        let (log, state) = (repository(LOG), self.path("state"));
        let mut arguments = vec!["replay", "-c", "configs/recsim.toml", "--file", &log, "--state", &state, "--json"];
        arguments.extend(["--publish", "--set", "learner.replay_ratio=1", "--set", "learner.hidden=[16]"]);
        arguments.extend(more);
        json_of(arguments)
    }
}

/// A process that answers a line for a line.
pub struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Conversation {
    fn start(mut command: Command) -> Conversation {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Conversation { child, input, output }
    }

    pub fn recommend(policy: &str, more: &[&str]) -> Conversation {
        let mut arguments = vec!["recommend", "--policy", policy, "-c", "configs/recsim.toml", "--stdin"];
        arguments.extend(more);
        Conversation::start(sluicebox(arguments))
    }

    /// Waits for the answer, so a server that does not flush hangs here.
    pub fn ask(&mut self, question: &str) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{question}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn end(mut self) -> i32 {
        drop(self.input.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn decision(user: f64) -> Value {
    let features: Vec<f64> = (0..20).map(|place| user * f64::from(place) / 20.0 - 0.3).collect();
    json!({ "type": "impression", "ts_ms": 1_700_000_020_577_i64, "user_id": "u1", "session_id": "s1", "features": { "step": 0, "user": features } })
}

#[test]
fn a_replay_publishes_and_the_policy_answers_line_by_line() {
    let world = World::new();
    let dir = format!("publish.dir={}", world.path("pub"));
    let report = world.replay(&["--set", &dir, "--set", "publish.temperature=0.5"]);
    check_schema("replay-report", &report);
    let version = report["updates"].as_u64().unwrap();
    assert!(version > 0, "{report:#}");
    assert_eq!(
        (&report["published"]["outcome"], &report["published"]["version"]),
        (&"published".into(), &version.into())
    );
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(format!("{}/current/manifest.json", world.path("pub"))).unwrap())
            .unwrap();
    assert_eq!(manifest["lineage"]["digest"], report["digest"]);
    assert_eq!(manifest["items"].as_array().unwrap().len(), 50);

    let mut best = Conversation::recommend(&world.path("pub"), &["--explain"]);
    let question = json!({ "session": "s1", "decision": decision(1.0), "top": 50 }).to_string();
    let answer = best.ask(&question);
    let list = |answer: &Value, name: &str| -> Vec<f64> {
        answer[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (scores, propensities) = (list(&answer, "scores"), list(&answer, "propensities"));
    assert!(scores.is_sorted_by(|one, other| one >= other) && scores.len() == 50, "{scores:?}");
    assert!((propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    // The temperature is that of the manifest.
    let gap = (scores[0] - scores[49]) / 0.5;
    assert!(((propensities[0] / propensities[49]).ln() - gap).abs() < 1e-6);
    assert_eq!(answer["policy_version"], version);
    for wrong in ["{", "[]", "{\"decision\": {\"type\": \"impression\"}}", "\u{7f}"] {
        assert!(best.ask(wrong)["error"].is_string(), "{wrong}");
    }
    assert_eq!(best.ask(&question), answer, "wrong lines change nothing");
    let ended = best.ask(&json!({ "session": "s1", "end": true }).to_string());
    assert_eq!((&ended["items"], &ended["policy_version"]), (&json!([]), &version.into()));
    assert_eq!(best.end(), 0);

    let drawn = |seed: &str| {
        let mut sampled =
            Conversation::recommend(&world.path("pub"), &["--sample", "--seed", seed, "--temperature", "1"]);
        (0..20).map(|_| sampled.ask(&question)["items"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(drawn("5"), drawn("5"));
    assert_ne!(drawn("5"), drawn("6"));
    let said = failure_of(["recommend", "--policy", &world.path("pub"), "-c", "configs/otto.toml", "--stdin"], 78);
    assert!(said.contains("mapping.context_dimension") && said.contains("state.history"), "{said}");
    let said = failure_of(["recommend", "--policy", &world.path("state"), "-c", "configs/recsim.toml", "--stdin"], 65);
    assert!(said.contains("no published policy"), "{said}");
}

#[test]
fn numpy_alone_acts_as_the_server_does() {
    let world = World::new();
    let log = repository("tests/data/otto20.jsonl.gz");
    let state = world.path("state");
    // Item ids alone: the state is the pooled history of hashed items.
    let report = json_of([
        "replay",
        "-c",
        "configs/otto.toml",
        "--file",
        &log,
        "--state",
        &state,
        "--json",
        "--publish",
        "--set",
        "state.history.pooling=decay",
        "--set",
        "filter.warmup=admit",
        "--set",
        "learner.batch=16",
    ]);
    assert_eq!(report["published"]["outcome"], "published", "{report:#}");
    let mut command = Command::new(python());
    command.args([&repository("examples/recommend.py"), &state]);
    let mut theirs = Conversation::start(command);
    let mut ours = Conversation::start(sluicebox([
        "recommend",
        "--policy",
        &state,
        "-c",
        "configs/otto.toml",
        "--stdin",
        "--explain",
        "--set",
        "state.history.pooling=decay",
    ]));
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(format!("{state}/published/current/manifest.json")).unwrap()).unwrap();
    let items: Vec<&str> = manifest["items"].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect();
    for length in 0..25 {
        let history: Vec<&str> = (0..length).map(|step| items[(step * 7) % items.len()]).collect();
        let event = |(step, item): (usize, &&str)| json!({ "type": "click", "user_id": "o1", "session_id": "o1", "event_id": format!("e{step}"), "ts_ms": 1_659_304_800_025_u64 + step as u64, "item_id": item, "reward": 0.1 });
        let mut decision = event((length, &""));
        decision.as_object_mut().unwrap().remove("item_id");
        let events: Vec<Value> = history.iter().enumerate().map(event).collect();
        let our = ours.ask(&json!({ "events": events, "decision": decision, "top": 5 }).to_string());
        let their = theirs.ask(&json!({ "history": history, "top": 5 }).to_string());
        assert_eq!((&our["items"], &our["policy_version"]), (&their["items"], &their["policy_version"]), "{length}");
        for name in ["scores", "propensities"] {
            for (one, other) in our[name].as_array().unwrap().iter().zip(their[name].as_array().unwrap()) {
                let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
                assert!((one - other).abs() <= 1e-5 * (1.0 + one.abs()), "{length} {name}: {our} {their}");
            }
        }
        // Ids are texts, and what is wrong ends nothing.
        assert!(theirs.ask("{\"candidates\": [1]}")["error"].as_str().unwrap().contains("none of the candidates"));
        assert!(theirs.ask("{")["error"].is_string());
        // The state vector that they build is the one that we explain.
        let again = theirs.ask(&json!({ "state": our["state"], "top": 5 }).to_string());
        assert_eq!(again["items"], their["items"]);
    }
}

#[test]
fn a_checkpoint_is_exported_published_and_rolled_back_by_its_own_settings() {
    let world = World::new();
    let state = world.path("state");
    world.replay(&[]);
    let out = world.path("out");
    let exported = json_of(["export", "--state", &state, "--out", &out, "--json"]);
    check_schema("publish-report", &exported);
    assert_eq!(exported["outcome"], "exported");
    let bytes = |directory: &str| fs::read(format!("{directory}/policy.safetensors")).unwrap();
    assert_eq!(bytes(&out), bytes(&format!("{state}/published/current")));

    let publish = |more: &[&str]| {
        let report = json_of([&["publish", "--state", &state, "--json"][..], more].concat());
        check_schema("publish-report", &report);
        report
    };
    assert_eq!(publish(&[])["outcome"], "unchanged");
    let sharper = publish(&["--set", "publish.temperature=0.25"]);
    assert_eq!((&sharper["outcome"], &sharper["temperature"]), (&"published".into(), &0.25.into()));
    let listed = publish(&["--list"]);
    assert_eq!(listed["publications"].as_array().unwrap().len(), 2);
    assert_eq!(listed["name"], sharper["name"]);
    let back = publish(&["--rollback"]);
    assert_eq!((&back["outcome"], &back["name"]), (&"rolled_back".into(), &sharper["parent"]));
    let said = failure_of(["publish", "--state", &state, "--rollback"], 78);
    assert!(said.contains("no parent"), "{said}");
    let said = failure_of(["publish", "--state", &state, "-c", "configs/otto.toml"], 78);
    assert!(said.contains("mapping."), "{said}");

    let manifest = format!("{state}/published/current/manifest.json");
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, "{}").unwrap();
    // What is broken hides nothing else.
    let listed = publish(&["--list"]);
    assert_eq!(listed["publications"].as_array().unwrap().len(), 1, "{listed:#}");
    assert!(listed["reason"].as_str().unwrap().contains("torn or rotten"), "{listed:#}");
    fs::write(&manifest, whole).unwrap();

    let policy = format!("{state}/published/current/policy.safetensors");
    let mut rotten = fs::read(&policy).unwrap();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    fs::write(&policy, rotten).unwrap();
    let output = sluicebox(["recommend", "--policy", &state, "-c", "configs/recsim.toml", "--stdin"]).output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("checksum"), "{}", told(&output));
    let output = sluicebox(["publish", "--state", "nowhere", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));

    // A broken newest checkpoint is passed over, but not in silence.
    let newest = world.replay(&[])["checkpoint"].as_str().unwrap().to_owned();
    fs::write(format!("{newest}/policy"), "").unwrap();
    let said = told(&sluicebox(["export", "--state", &state, "--out", &world.path("older")]).output().unwrap());
    assert!(said.contains("checkpoint is broken and was passed over"), "{said}");
    let said = told(&sluicebox(["publish", "--state", &state]).output().unwrap());
    assert!(said.contains("checkpoint is broken and was passed over"), "{said}");
}

/// Each decision of a log is played through `recommend`; the probabilities that it answers with are a table like any other.
#[test]
fn a_publication_is_evaluated_by_the_probabilities_with_which_it_is_served() {
    let world = World::new();
    world.replay(&["--set", &format!("publish.dir={}", world.path("pub"))]);
    let own = ["evaluate", "-c", "configs/recsim.toml", "--policy", &world.path("pub"), "--json", "--resamples", "100"];
    let own = json_of([&own[..], &["--file", &repository(LOG)]].concat());
    assert!(
        own["warnings"].to_string().contains("may have learned from up to 32157 of these offsets"),
        "{}",
        own["warnings"]
    );
    let mut served = Conversation::recommend(&world.path("pub"), &[]);
    let mut whole = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(repository(LOG)).unwrap()).read_to_string(&mut whole).unwrap();
    let (mut log, mut rows) = (String::new(), "session,step,item,probability\n".to_owned());
    let mut sessions: HashMap<String, (usize, Vec<Value>)> = HashMap::new();
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let Some(session) = event["session_id"].as_str().filter(|session| session.ends_with('7')) else { continue };
        let (steps, since) = sessions.entry(session.to_owned()).or_default();
        if *steps == 20 {
            continue;
        }
        log += &format!("{line}\n");
        if event["type"] == "impression" {
            let mut decision = event.clone();
            decision.as_object_mut().unwrap().retain(|field, _| field != "item_id" && field != "propensity");
            let question = json!({ "session": session, "events": since, "decision": decision, "top": 50 });
            let answer = served.ask(&question.to_string());
            let list = |name: &str| answer[name].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
            for (item, probability) in list("items").iter().zip(list("propensities")) {
                rows += &format!("{session},{steps},{},{probability}\n", item.as_str().unwrap());
            }
            *steps += 1;
            since.clear();
        }
        since.push(event);
    }
    fs::write(world.path("log.jsonl"), log).unwrap();
    fs::write(world.path("table.csv"), rows).unwrap();
    let evaluated = |target: [&str; 2]| {
        let file = world.path("log.jsonl");
        let report = json_of(
            [&["evaluate", "-c", "configs/recsim.toml", "--file", &file, "--resamples", "100", "--json"][..], &target]
                .concat(),
        );
        check_schema("evaluate-report", &report);
        report["estimates"].clone()
    };
    let (by_policy, by_table) =
        (evaluated(["--policy", &world.path("pub")]), evaluated(["--policy-table", &world.path("table.csv")]));
    let estimates = by_policy.as_array().unwrap();
    assert!(estimates.len() > 10 && sessions.len() > 10, "{by_policy:#}");
    for (one, other) in estimates.iter().zip(by_table.as_array().unwrap()) {
        for figure in ["value", "variance", "ess", "mean_weight"] {
            let (one_figure, other_figure) = (one[figure].as_f64().unwrap(), other[figure].as_f64().unwrap());
            let gap = (one_figure - other_figure).abs();
            assert!(gap <= 1e-9 * other_figure.abs().max(1.0), "{figure}: {one:#} {other:#}");
        }
        assert_eq!(one["estimator"], other["estimator"]);
    }
}
