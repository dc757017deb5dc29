//! One metric: its kind, and the only way to change its value.

use metrics::SharedString;

/// A metric as declared.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    pub name: &'static str,
    pub metric: Metric,
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    Counter,
    CounterBy {
        label: &'static str,
    },
    Gauge,
    GaugeBy {
        label: &'static str,
    },
    /// Upper bounds, ascending.
    Histogram {
        buckets: &'static [f64],
    },
}

impl Declared {
    pub fn label(&self) -> Option<&'static str> {
        match self.metric {
            Metric::CounterBy { label } | Metric::GaugeBy { label } => Some(label),
            Metric::Counter | Metric::Gauge | Metric::Histogram { .. } => None,
        }
    }

    /// Tells the recorder about it; without labels, also makes it appear.
    pub fn describe(&self) {
        match self.metric {
            Metric::Counter => {
                metrics::describe_counter!(self.name, self.help);
                metrics::counter!(self.name).absolute(0);
            }
            Metric::CounterBy { label: _ } => metrics::describe_counter!(self.name, self.help),
            Metric::Gauge => {
                metrics::describe_gauge!(self.name, self.help);
                metrics::gauge!(self.name).set(0.0);
            }
            Metric::GaugeBy { label: _ } => metrics::describe_gauge!(self.name, self.help),
            Metric::Histogram { buckets: _ } => {
                metrics::describe_histogram!(self.name, self.help);
                // Registering is enough: an empty histogram is shown with a count of 0.
                let _ = metrics::histogram!(self.name);
            }
        }
    }
}

/// Counts what happens.
#[derive(Debug, Clone, Copy)]
pub struct Counter(pub(super) &'static str);

impl Counter {
    pub fn add(&self, count: u64) {
        metrics::counter!(self.0).increment(count);
    }

    /// For a count that the state keeps: shows that count, which a restart restores.
    pub fn reach(&self, total: u64) {
        metrics::counter!(self.0).absolute(total);
    }
}

/// Counts what happens, apart by one label of few values.
#[derive(Debug, Clone, Copy)]
pub struct CounterBy(pub(super) &'static str, pub(super) &'static str);

impl CounterBy {
    pub fn add(&self, value: impl Into<SharedString>, count: u64) {
        metrics::counter!(self.0, self.1 => value.into()).increment(count);
    }

    pub fn reach(&self, value: impl Into<SharedString>, total: u64) {
        metrics::counter!(self.0, self.1 => value.into()).absolute(total);
    }
}

/// Shows how something stands.
#[derive(Debug, Clone, Copy)]
pub struct Gauge(pub(super) &'static str);

impl Gauge {
    pub fn set(&self, value: f64) {
        metrics::gauge!(self.0).set(value);
    }
}

/// Shows how something stands, apart by one label of few values.
#[derive(Debug, Clone, Copy)]
pub struct GaugeBy(pub(super) &'static str, pub(super) &'static str);

impl GaugeBy {
    pub fn set(&self, value: impl Into<SharedString>, to: f64) {
        metrics::gauge!(self.0, self.1 => value.into()).set(to);
    }
}

/// Shows how often something took how long.
#[derive(Debug, Clone, Copy)]
pub struct Histogram(pub(super) &'static str);

impl Histogram {
    pub fn record(&self, value: f64) {
        metrics::histogram!(self.0).record(value);
    }
}
