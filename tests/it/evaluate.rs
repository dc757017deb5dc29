//! `evaluate` on real logs, against numbers that other packages computed.

use std::fs;
use std::io::Read;

use serde_json::Value;

use crate::binary::{failure_of, json_of, repository, sluicebox, told};
use crate::broker;
use crate::tools::check_schema;

fn reference(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(repository(&format!("tests/data/{file}"))).unwrap()).unwrap()
}

fn evaluated(config: &str, log: &str, table: &str, more: &[&str]) -> Value {
    let (log, config) = (repository(&format!("tests/data/{log}")), format!("configs/{config}.toml"));
    let arguments = ["evaluate", "-c", &config, "--file", &log, "--policy-table", table, "--json"];
    let report = json_of([&arguments[..], more].concat());
    check_schema("evaluate-report", &report);
    report
}

/// The entry of this name; there is one at most.
fn entry<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let mut found = report["estimates"].as_array().unwrap().iter().filter(|entry| entry["estimator"] == name);
    let entry = found.next();
    assert!(found.next().is_none(), "{name} twice");
    entry
}

fn close(name: &str, found: &Value, wanted: &Value, slack: f64) {
    let (found, wanted) = (found.as_f64().unwrap_or(f64::NAN), wanted.as_f64().unwrap());
    assert!((found - wanted).abs() <= slack, "{name}: {found} instead of {wanted}");
}

/// Everything that the reference names, in the report's own entry of that name.
fn compare_decisions(report: &Value, wanted: &Value) {
    let ips = entry(report, "ips").unwrap();
    let n = ips["n"].as_f64().unwrap();
    for (name, value) in wanted.as_object().unwrap() {
        match name.as_str() {
            "n" => assert_eq!(&ips["n"], value),
            "mean_reward_on_log" => close(name, &report["mean_reward"], value, 1e-12),
            "w_mean" => close(name, &ips["mean_weight"], value, 1e-9),
            "w_max" => close(name, &ips["max_weight"], value, 1e-9),
            "ess" => close(name, &ips["ess"], value, 1e-6),
            "ips_se" => {
                let error = (ips["variance"].as_f64().unwrap() / (n - 1.0)).sqrt();
                close(name, &error.into(), value, 1e-9);
            }
            "ips_bootstrap_ci95" => {
                let entry = entry(report, name).unwrap();
                for (side, value) in [("interval_low", &value[0]), ("interval_high", &value[1])] {
                    close(name, &entry[side], value, 0.03 * value.as_f64().unwrap());
                    assert_eq!(entry[side], ips[side], "the bootstrap is what is shown unless asked otherwise");
                }
            }
            "on_policy_bts_sample_ctr" | "on_policy_random_sample_ctr" | "note" => {}
            estimator => {
                let entry = entry(report, estimator).unwrap_or_else(|| panic!("no {estimator}"));
                close(estimator, &entry["value"], value, 1e-9);
            }
        }
    }
}

#[test]
fn estimates_on_the_open_bandit_dataset_equal_the_reference() {
    let references = reference("obd_men_reference.json");
    let kept = tempfile::tempdir().unwrap();
    let table = |name: &str, row: &dyn Fn(usize) -> String| {
        let path = kept.path().join(name);
        fs::write(&path, (0..34).map(row).collect::<String>()).unwrap();
        path.to_string_lossy().into_owned()
    };
    let uniform = table("uniform.csv", &|_| "0.029411764705882353\n".to_owned());
    let fixed = table("fixed.csv", &|item| {
        let of = |position| u8::from(item == position);
        format!("{},{},{}\n", of(0), of(1), of(2))
    });
    let bts = repository("tests/data/bts_men_action_dist.csv");
    for (scenario, log, table, lambdas) in [
        ("random/men -> bts", "obd_random_men", &bts, "1,5,20"),
        ("random/men -> det(item=pos)", "obd_random_men", &fixed, "1,5,20"),
        ("bts/men -> uniform", "obd_bts_men", &uniform, "1,10,100"),
        ("bts/men -> bts(mc)", "obd_bts_men", &bts, "1,5,20"),
    ] {
        let report = evaluated("obd", &format!("{log}.jsonl.gz"), table, &["--lambda", lambdas]);
        assert_eq!((&report["late"], &report["orphan"]), (&0.into(), &0.into()), "{scenario}");
        compare_decisions(&report, &references[scenario]);
    }
}

#[test]
fn estimates_of_sessions_equal_the_reference() {
    let wanted = reference("traj_reference_mild.json");
    let table = repository("tests/data/traj_iex_h8_mild_policy.csv");
    let report = evaluated("traj_iex", "traj_iex_h8_mild.jsonl.gz", &table, &["--gamma", "1,0.9"]);
    close("behaviour_mean_return", &report["mean_return"], &wanted["behaviour_mean_return"], 1e-12);
    let tis = entry(&report, "tis_g1.0").unwrap();
    close("w_traj_max", &tis["max_weight"], &wanted["w_traj_max"], 1e-9);
    close("ess_traj", &tis["ess"], &wanted["ess_traj"], 1e-6);
    let mut compared = 0;
    for (name, value) in wanted.as_object().unwrap() {
        if ["obp_", "scope_", "numpy_"].iter().any(|package| name.starts_with(package)) {
            let entry = entry(&report, name).unwrap_or_else(|| panic!("no {name}"));
            close(name, &entry["value"], value, 1e-9);
            compared += 1;
        }
    }
    assert_eq!(compared, 18);
    // What 6,000 sessions under the target earned lies inside the intervals of the estimators that are unbiased.
    let truth = wanted["truth_by_simulation"]["mean_return"].as_f64().unwrap();
    for name in ["tis_g1.0", "pdis_g1.0", "dr_table_g1.0"] {
        let entry = entry(&report, name).unwrap();
        let (low, high) = (entry["interval_low"].as_f64().unwrap(), entry["interval_high"].as_f64().unwrap());
        assert!(low <= truth && truth <= high, "{name}: {truth} is not in [{low}, {high}]");
    }
}

#[test]
fn a_table_by_session_and_step_is_that_of_the_policy_behind_it() {
    let kept = tempfile::tempdir().unwrap();
    let (log, table) = (kept.path().join("log.jsonl"), kept.path().join("table.csv"));
    let (mut lines, mut rows) = (String::new(), "session,step,item,probability\n".to_owned());
    let (mut sum, mut count) = (0.0, 0);
    for session in 0..40 {
        for step in 0..3 {
            let shown = (session + step) % 2;
            let likely = 0.1 + 0.2 * f64::from(step) + 0.01 * f64::from(session);
            lines += &format!(r#"{{"session_id":"s{session}","item_id":{shown},"propensity":0.5,"reward":{step}}}"#);
            lines.push('\n');
            rows += &format!("s{session},{step},0,{likely}\ns{session},{step},1,{}\n", 1.0 - likely);
            sum += if shown == 0 { likely } else { 1.0 - likely } / 0.5 * f64::from(step);
            count += 1;
        }
    }
    fs::write(&log, lines).unwrap();
    fs::write(&table, rows).unwrap();
    let (log, table) = (log.to_string_lossy(), table.to_string_lossy());
    let arguments = ["evaluate", "-c", "configs/traj_iex.toml", "--file", &log, "--policy-table", &table, "--json"];
    let report = json_of(arguments);
    close("ips", &entry(&report, "ips").unwrap()["value"], &(sum / f64::from(count)).into(), 1e-12);
    let warnings = entry(&report, "tis_g1.0").unwrap()["warnings"].to_string();
    assert!(warnings.contains("effective sample size"), "{warnings}");
}

#[test]
fn a_topic_is_evaluated_as_the_file_it_was_loaded_from() {
    let topic = broker::unique("evaluate");
    let bootstrap = format!("kafka.brokers={}", broker::shared().bootstrap());
    let topics = format!("kafka.topics={topic}");
    let log = repository("tests/data/obd_random_men.jsonl.gz");
    let load = ["load", &log, "-c", "configs/obd.toml", "--topic", &topic, "--partitions", "4", "--set", &bootstrap];
    json_of([&load[..], &["--json"]].concat());
    let table = repository("tests/data/bts_men_action_dist.csv");
    let quick = ["--resamples", "200"];
    let from_file = evaluated("obd", "obd_random_men.jsonl.gz", &table, &quick);
    let arguments = ["evaluate", "-c", "configs/obd.toml", "--policy-table", &table, "--json"];
    let from_topic = json_of([&arguments[..], &quick, &["--set", &bootstrap, "--set", &topics]].concat());
    assert_eq!(from_topic, from_file);
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_the_way_out() {
    let (log, table) = (repository("tests/data/otto20.jsonl.gz"), repository("tests/data/bts_men_action_dist.csv"));
    let said = failure_of(["evaluate", "-c", "configs/otto.toml", "--file", &log, "--policy-table", &table], 78);
    assert!(said.contains("mapping.propensity"), "{said}");
    let mapped = "mapping.propensity=/propensity";
    let said = failure_of(
        ["evaluate", "-c", "configs/otto.toml", "--file", &log, "--policy-table", &table, "--set", mapped],
        65,
    );
    assert!(said.contains("no propensity") && said.contains("offset"), "{said}");
    let obd = repository("tests/data/obd_random_men.jsonl.gz");
    let unplaced = repository("tests/data/traj_iex_h8_mild.jsonl.gz");
    let said =
        failure_of(["evaluate", "-c", "configs/traj_iex.toml", "--file", &unplaced, "--policy-table", &table], 65);
    assert!(said.contains("mapping.position"), "{said}");
    let said = failure_of(["evaluate", "-c", "configs/obd.toml", "--file", &obd, "--policy-table", "/nowhere.csv"], 74);
    assert!(said.contains("/nowhere.csv"), "{said}");
    failure_of(["evaluate", "-c", "configs/obd.toml", "--file", &obd, "--policy-table", &table, "--lambda", "0"], 64);
}

#[test]
fn the_table_for_people_shows_what_an_estimate_rests_on() {
    let (log, table) =
        (repository("tests/data/obd_random_men.jsonl.gz"), repository("tests/data/bts_men_action_dist.csv"));
    let arguments = ["evaluate", "-c", "configs/obd.toml", "--file", &log, "--policy-table", &table];
    let output =
        sluicebox([&arguments[..], &["--resamples", "100", "--interval", "student"]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("effective 2467.4") && said.contains("95 % by student"), "{}", told(&output));
    // A bound is no interval, whatever kind of interval was asked for.
    let bound = said.lines().find(|line| line.starts_with("ips_bernstein_lb95")).unwrap();
    assert!(bound.ends_with("a lower bound of its own, 95 %"), "{bound}");
    assert!(!said.contains("could not be read"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let rotten = directory.path().join("rotten.jsonl");
    let mut whole = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(&log).unwrap()).read_to_string(&mut whole).unwrap();
    fs::write(&rotten, format!("{whole}\nno record\n")).unwrap();
    let arguments = ["evaluate", "-c", "configs/obd.toml", "--policy-table", &table, "--resamples", "100", "--file"];
    let said = told(&sluicebox(arguments).arg(&rotten).output().unwrap());
    assert!(said.contains("WARNING    1 of 10047 records could not be read"), "{said}");
}
