//! A state whose range has been read to its end. Nothing is read again: the same command reports once more, and a command
//! that would need another reading is refused.

use std::path::Path;

use super::{check_log, kept_range, log_of_file, refuse_structural};
use crate::cli::{args, plan};
use crate::exit::{Exit, Failure};
use crate::files::remove_spool;
use crate::runtime::{JobSpec, Outcome};
use crate::settings::{Class, Settings};
use crate::source::Source;

pub const SPOOL: &str = "spool";

/// Refuses what the state was not made by.
pub fn check(
    settings: &Settings,
    arguments: &args::Replay,
    spec: &JobSpec,
    restored: &Outcome,
    state: &Path,
) -> Result<(), Failure> {
    refuse_structural(spec, restored, settings)?;
    refuse_other_settings(spec, restored, state)?;
    if let Some(decisions) = spec.decisions.as_ref().filter(|path| !path.exists()) {
        return Err(another_reading(state, &format!("without the decision log {}", decisions.display())));
    }
    let identity = match &arguments.source.file {
        Some(file) => log_of_file(settings, &arguments.source, file)?,
        None => {
            let mut source = plan::topic_source(settings)?;
            check_log(&mut source, restored)?;
            source.identity()
        }
    };
    kept_range(&identity, arguments, state).map(drop)
}

/// What is learned under other settings is another result.
pub fn refuse_other_settings(spec: &JobSpec, restored: &Outcome, state: &Path) -> Result<(), Failure> {
    let changes = plan::structural_changes(&restored.meta.settings, &spec.settings);
    let names: Vec<String> = changes
        .into_iter()
        .filter(|change| matches!(change.class, Class::Structural | Class::Tunable))
        .map(|change| change.name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(another_reading(state, &format!("with other settings: {}", names.join(", "))))
}

fn another_reading(state: &Path, made: &str) -> Failure {
    Exit::Config.because(format!(
        "{} was read to its end before, {made}; name another --state directory to read the range again",
        state.display()
    ))
}

/// The copy of the file is for starts that go on, and after the last seal there is nothing to go on with. A crash on the way
/// leaves a part of it, which the next start removes.
pub fn tidy_up(source: &args::FileSource, state: &Path) {
    if source.file.is_some()
        && let Err(error) = remove_spool(&state.join(SPOOL))
    {
        tracing::warn!(%error, "the copy of the file in the state directory could not be removed");
    }
}
