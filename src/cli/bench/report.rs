//! What `bench` reports, as data and in words; `schemas/bench-report.v1.schema.json`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::bench::step::StepReport;
use crate::bench::window::AtLevel;
use crate::checkpoint::platform;

#[derive(Debug, Serialize)]
pub struct BenchReport {
    pub machine: Machine,
    pub quick: bool,
    pub seed: u64,
    /// Settings that `--set` has overridden.
    pub set: Vec<String>,
    pub partitions: u32,
    #[serde(flatten)]
    pub topic: Topic,
    /// CPU time per event, relative.
    pub ratios: Ratios,
    /// The same on the brokers of `--brokers`.
    pub brokers: Option<Topic>,
    pub window: Window,
    pub step: StepReport,
    pub checkpoint: Checkpoint,
    pub latency_ms: Latency,
}

#[derive(Debug, Serialize)]
pub struct Machine {
    pub processors: usize,
    pub platform: String,
}

/// The stages over one topic.
#[derive(Debug, Serialize)]
pub struct Topic {
    pub events: u64,
    pub consume: Stage,
    pub decode: Stage,
    pub filter: Stage,
    pub job: Stage,
    pub job_default_replay_ratio: Stage,
    /// Of the embedded broker, which is in none of the stages.
    pub broker_cpu_us_per_event: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stage {
    pub events_per_second: f64,
    pub cpu_us_per_event: f64,
    pub peak_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct Ratios {
    pub decode_to_consume: f64,
    pub filter_to_decode: f64,
    pub job_to_decode: f64,
    pub job_default_replay_ratio_to_decode: f64,
}

/// Of the three levels: the worst of ours, the best of the others.
#[derive(Debug, Serialize)]
pub struct Window {
    pub elements: usize,
    pub ns_per_op: f64,
    pub bytes_per_element: Option<f64>,
    pub dual_heap_ns: f64,
    pub sorted_vec_ns: f64,
    pub by_kappa: Vec<AtLevel>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    pub open_sessions: u64,
    /// What a cut holds the data path up for: handing over the state, and the longest of the copies that writing to
    /// shared state costs afterwards. CPU time of the thread.
    pub stall_p50_ms: f64,
    pub stall_p99_ms: f64,
    /// The same by the clock on the wall, which also counts what other processes took.
    pub stall_wall_p99_ms: f64,
    pub bytes: u64,
    pub seal_seconds: f64,
    pub restore_seconds: f64,
    /// What the process has grown by, per session of one step; `None` where the system does not tell.
    pub memory_bytes_per_session: Option<f64>,
    /// Of these, the step's own numbers and texts.
    pub step_bytes: u64,
}

/// From handing an event to the client of the broker to the first update that could draw its unit.
#[derive(Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub events_per_second: f64,
    pub units: u64,
}

impl Machine {
    pub fn this() -> Machine {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Machine { processors, platform: platform::fingerprint() }
    }
}

impl Stage {
    /// The one in the middle by CPU time.
    pub fn middle(mut turns: Vec<Stage>) -> Stage {
        turns.sort_by(|left, right| left.cpu_us_per_event.total_cmp(&right.cpu_us_per_event));
        let middle = turns.len() / 2;
        turns.into_iter().nth(middle).unwrap_or_default()
    }
}

impl Ratios {
    pub fn of(topic: &Topic) -> Ratios {
        let ratio = |above: &Stage, below: &Stage| above.cpu_us_per_event / below.cpu_us_per_event.max(1e-9);
        Ratios {
            decode_to_consume: ratio(&topic.decode, &topic.consume),
            filter_to_decode: ratio(&topic.filter, &topic.decode),
            job_to_decode: ratio(&topic.job, &topic.decode),
            job_default_replay_ratio_to_decode: ratio(&topic.job_default_replay_ratio, &topic.decode),
        }
    }
}

impl Window {
    pub fn of(elements: usize, by_kappa: Vec<AtLevel>) -> Window {
        let greatest = |of: &dyn Fn(&AtLevel) -> f64| by_kappa.iter().map(of).fold(0.0, f64::max);
        let least = |of: &dyn Fn(&AtLevel) -> f64| by_kappa.iter().map(of).fold(f64::INFINITY, f64::min);
        Window {
            elements,
            ns_per_op: greatest(&|level| level.ns_per_op),
            bytes_per_element: by_kappa.iter().filter_map(|level| level.bytes_per_element).reduce(f64::max),
            dual_heap_ns: least(&|level| level.dual_heap_ns),
            sorted_vec_ns: least(&|level| level.sorted_vec_ns),
            by_kappa,
        }
    }
}

impl BenchReport {
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} partitions, {} processors, {}\n",
            self.partitions, self.machine.processors, self.machine.platform
        );
        if !self.set.is_empty() {
            let _ = writeln!(text, "with {}\n", self.set.join(", "));
        }
        self.topic.write(&mut text, "embedded broker");
        if let Some(brokers) = &self.brokers {
            brokers.write(&mut text, "brokers given");
        }
        self.write_window(&mut text);
        let (step, seal, latency) = (&self.step, &self.checkpoint, &self.latency_ms);
        let _ = writeln!(
            text,
            "train step     {:.0} samples/s, {:.2} of the plain one ({:.0})",
            step.samples_per_second, step.ratio_to_plain, step.plain_samples_per_second
        );
        let _ = writeln!(
            text,
            "checkpoint     {} open sessions: stall {:.2} ms (p50) {:.2} ms (p99), {} bytes, seal {:.2} s, restore {:.2} s",
            seal.open_sessions,
            seal.stall_p50_ms,
            seal.stall_p99_ms,
            seal.bytes,
            seal.seal_seconds,
            seal.restore_seconds
        );
        if let Some(bytes) = seal.memory_bytes_per_session {
            let _ = writeln!(text, "open session   {bytes:.0} bytes, of which {} are its step", seal.step_bytes);
        }
        let _ = write!(
            text,
            "latency        {:.0} ms (p50) {:.0} ms (p99) from event to update at {:.0} events/s",
            latency.p50, latency.p99, latency.events_per_second
        );
        text
    }

    fn write_window(&self, text: &mut String) {
        let _ =
            writeln!(text, "{:<14} {:>8} {:>12} {:>12} {:>12}", "window", "ns/op", "bytes/elem", "dual heap", "sorted");
        for level in &self.window.by_kappa {
            let name = format!("  kappa {}", level.kappa);
            let bytes = level.bytes_per_element.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.1}"));
            let _ = writeln!(
                text,
                "{name:<14} {:>8.1} {bytes:>12} {:>12.0} {:>12.0}",
                level.ns_per_op, level.dual_heap_ns, level.sorted_vec_ns
            );
        }
        text.push('\n');
    }
}

impl Topic {
    fn write(&self, text: &mut String, name: &str) {
        let _ = writeln!(
            text,
            "{:<26} {:>10} {:>12} {:>10} {:>12}",
            format!("{name}, {} events", self.events),
            "events/s",
            "CPU us/event",
            "peak MB",
            "to decode"
        );
        let stages = [
            ("  consume", &self.consume),
            ("  + decode", &self.decode),
            ("  + assemble, filter", &self.filter),
            ("  job, replay ratio 1", &self.job),
            ("  job, default ratio", &self.job_default_replay_ratio),
        ];
        for (stage, figures) in stages {
            let _ = writeln!(
                text,
                "{stage:<26} {:>10.0} {:>12.2} {:>10.0} {:>12.2}",
                figures.events_per_second,
                figures.cpu_us_per_event,
                figures.peak_rss_bytes as f64 / 1e6,
                figures.cpu_us_per_event / self.decode.cpu_us_per_event.max(1e-9)
            );
        }
        if let Some(broker) = self.broker_cpu_us_per_event {
            let _ = writeln!(text, "  (the broker itself        {:>10} {broker:>12.2})", "");
        }
        text.push('\n');
    }
}
