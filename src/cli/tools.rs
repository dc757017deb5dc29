//! Commands around the job.
use super::args;
use crate::exit::{Exit, Failure};
pub fn check(_arguments: &args::Check) -> Result<Exit, Failure> {
    Err(Exit::Bug.because("not yet"))
}
pub fn inspect(_arguments: &args::Inspect) -> Result<Exit, Failure> {
    Err(Exit::Bug.because("not yet"))
}
pub fn config(_arguments: &args::Config) -> Result<Exit, Failure> {
    Err(Exit::Bug.because("not yet"))
}
