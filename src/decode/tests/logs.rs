//! Three logs in the shapes of others, through the mappings that are published with the product.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::super::{Decoder, Mapping, RecordPlace, Sample, SampleReport};
use crate::position::{Offset, Partition};

/// The part of a settings file that is ours.
#[derive(Deserialize)]
struct Settings {
    mapping: Mapping,
}

fn published(name: &str) -> Decoder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let settings: Settings = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    Decoder::new(&settings.mapping).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn sample(config: &str, log: &str) -> SampleReport {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(log);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{log}: {error}"));
    let mut sample = Sample::new(published(config));
    for (index, line) in BufReader::new(GzDecoder::new(file)).lines().enumerate() {
        let line = line.unwrap_or_else(|error| panic!("{log}: {error}"));
        let place = RecordPlace { partition: Partition(0), offset: Offset::from_count(index as u64), line: None };
        sample.observe(place, None, Some(line.as_bytes()));
    }
    let report = sample.report();
    assert_eq!(report.first_errors, [], "{log}");
    assert_eq!(report.records, report.decoded, "{log}");
    report
}

#[test]
fn recsim_is_decisions_clicks_and_session_ends() {
    let report = sample("recsim.toml", "recsim_iev_mix_200.jsonl.gz");
    assert_eq!(report.kinds, BTreeMap::from([("decision", 24_198), ("feedback", 7_759), ("session_end", 200)]));
    assert_eq!((report.items, report.decisions_without_propensity), (50, 0));
    assert_eq!(report.propensity_min, Some(0.000_104_45));
    assert_eq!((report.reward_min, report.reward_max), (Some(0.0), Some(4.0)));
    assert_eq!(report.warnings, [""; 0]);
}

#[test]
fn a_joined_log_is_decisions_with_their_rewards() {
    let report = sample("cb_synth.toml", "cb_synth_5k.jsonl.gz");
    assert_eq!(report.kinds, BTreeMap::from([("decision", 5_000)]));
    assert_eq!((report.items, report.decisions_without_propensity), (10, 0));
    assert_eq!((report.reward_min, report.reward_max), (Some(0.0), Some(1.0)));
}

#[test]
fn otto_has_neither_propensities_nor_features() {
    let report = sample("otto.toml", "otto20.jsonl.gz");
    assert_eq!(report.kinds, BTreeMap::from([("decision", 862)]));
    assert_eq!((report.users, report.decisions_without_propensity), (20, 862));
    assert_eq!((report.reward_min, report.reward_max), (Some(0.1), Some(1.0)));
}

#[test]
fn the_native_settings_are_accepted() {
    assert_eq!(published("native.toml").context_dimension(), 4);
}
