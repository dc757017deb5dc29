//! `run`: always on.
use super::args;
use crate::exit::{Exit, Failure};
pub fn run(_arguments: &args::Run) -> Result<Exit, Failure> {
    Err(Exit::Bug.because("not yet"))
}
