//! What `sluicebox bench` measures with, and against: a workload, the process's own consumption, and the plain
//! alternatives of the window and of the train step.
//!
//! Nothing of the product uses this module. The statistically careful measurements stand in `benches/`, and take their
//! baselines from here.

pub mod usage;
pub mod workload;
pub mod baselines;
pub mod plain_step;
pub mod window;
pub mod step;
