//! What the process tells about itself: metrics, logs, and the status that people read.
//!
//! Every metric is declared once, in [`declared`], with its name, its kind and its help text; other modules use those
//! constants and never write a name. Logs go to stderr, because stdout belongs to `--json`.

pub mod declared;
mod metric;
mod status;

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use metric::{Counter, CounterBy, Declared, Gauge, GaugeBy, Histogram, Metric};
pub use status::{CheckpointStatus, FilterStatus, Flow, Health, LearnerStatus, PartitionStatus, Phase, Report, Status};

/// Why the process could not be made observable.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("could not set up the metrics")]
    Buckets(#[source] BuildError),
    #[error("metrics were set up twice in one process")]
    Twice,
    #[error(
        "--log {level} is not a log level: use error, warn, info, debug, trace, or \"info,sluicebox::kafka=debug\""
    )]
    Level { level: String },
    #[error("logging was set up twice in one process")]
    LoggingTwice,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    Text,
    Json,
}

/// Makes this process's metrics go to one place and gives back what renders them. Once in a process.
pub fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::Twice)?;
    declare();
    Ok(handle)
}

/// A recorder of its own, for tests.
pub fn recorder() -> Result<PrometheusRecorder, TelemetryError> {
    let mut builder = PrometheusBuilder::new();
    for metric in declared::ALL {
        if let Metric::Histogram { buckets } = metric.metric {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .map_err(TelemetryError::Buckets)?;
        }
    }
    Ok(builder.build_recorder())
}

/// Describes every metric, and starts those without labels at zero: a counter that never counted is then told apart
/// from one that does not exist.
pub fn declare() {
    for metric in declared::ALL {
        metric.describe();
    }
}

/// Sends log lines to stderr. `level` may name modules, as in `info,sluicebox::kafka=debug`. Once in a process.
pub fn install_logs(level: &str, form: LogForm) -> Result<(), TelemetryError> {
    let wrong = || TelemetryError::Level { level: level.to_owned() };
    // Without a level a word names a module, and alone it silences all others: more likely it is a slip.
    let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    let filter = EnvFilter::try_new(level).ok().filter(|_| level.split(',').all(is_level)).ok_or_else(wrong)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match form {
        LogForm::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogForm::Json => lines.json().flatten_event(true).try_init(),
    };
    installed.map_err(|_| TelemetryError::LoggingTwice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the last word before `_total` may be.
    const UNITS: [&str; 26] = [
        "records",
        "events",
        "trajectories",
        "units",
        "steps",
        "batches",
        "updates",
        "sessions",
        "partitions",
        "checkpoints",
        "publications",
        "requests",
        "bytes",
        "seconds",
        "ratio",
        "score",
        "reward",
        "loss",
        "nats",
        "norm",
        "alarms",
        "jumps",
        "rollbacks",
        "draws",
        "info",
        "decisions",
    ];

    #[test]
    fn every_name_is_declared_once_and_follows_the_pattern() {
        let mut names = BTreeSet::new();
        for metric in declared::ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is declared twice");
            let is_counter = matches!(metric.metric, Metric::Counter | Metric::CounterBy { .. });
            assert_eq!(is_counter, name.ends_with("_total"), "{name}: counters, and only they, end in _total");
            let words: Vec<&str> = name.trim_end_matches("_total").split('_').collect();
            assert_eq!(words[0], "sluicebox", "{name}");
            assert!(words.len() >= 3, "{name} lacks a noun or a unit");
            assert!(words.iter().all(|word| word.chars().all(|letter| letter.is_ascii_lowercase())), "{name}");
            assert!(UNITS.contains(&words[words.len() - 1]), "{name} does not end in a unit");
            assert!(metric.help.ends_with('.'), "{name}: the help is not a sentence");
        }
    }

    #[test]
    fn no_other_module_writes_a_metric_name_or_calls_the_metrics_macros() {
        fn visit(directory: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).expect("source directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    visit(&path, found);
                } else if !path.to_string_lossy().contains("telemetry") {
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    let calls = ["metrics::counter!", "metrics::gauge!", "metrics::histogram!"];
                    if calls.iter().any(|call| text.contains(call)) {
                        found.push(path.display().to_string());
                    }
                }
            }
        }
        let mut found = Vec::new();
        visit(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "use the constants of telemetry::declared in {found:?}");
    }

    #[test]
    fn every_declared_metric_is_rendered_with_its_help_before_anything_was_counted() {
        let recorder = recorder().expect("recorder");
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, declare);
        let page = handle.render();
        for metric in declared::ALL.iter().filter(|metric| metric.label().is_none()) {
            assert!(
                page.contains(&format!("# HELP {} {}", metric.name, metric.help)),
                "{} is not on {page}",
                metric.name
            );
        }
    }

    #[test]
    fn values_arrive_under_their_names_and_labels() {
        let recorder = recorder().expect("recorder");
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            declare();
            declared::APPLIED_EVENTS.add(3);
            declared::APPLIED_EVENTS.add(4);
            declared::MALFORMED_RECORDS.add("invalid_json", 2);
            declared::KAPPA.set(0.1);
            declared::LAG_RECORDS.set("3", 17.0);
            declared::SEAL_SECONDS.record(0.02);
        });
        let page = handle.render();
        for line in [
            "sluicebox_applied_events_total 7",
            "sluicebox_malformed_records_total{reason=\"invalid_json\"} 2",
            "sluicebox_kappa_ratio 0.1",
            "sluicebox_lag_records{partition=\"3\"} 17",
            "sluicebox_seal_seconds_count 1",
            "sluicebox_seal_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not on the page:\n{page}");
        }
    }

    #[test]
    fn a_counter_of_the_state_is_shown_as_restored_and_never_goes_back() {
        let recorder = recorder().expect("recorder");
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            declared::DECODED_RECORDS.reach(1_000);
            declared::DECODED_RECORDS.reach(400);
        });
        assert!(handle.render().contains("sluicebox_decoded_records_total 1000"));
    }

    #[test]
    fn a_wrong_level_is_explained() {
        let error = install_logs("sluicebox=loud", LogForm::Text).expect_err("no such level");
        assert!(error.to_string().contains("sluicebox=loud is not a log level"), "{error}");
    }
}
