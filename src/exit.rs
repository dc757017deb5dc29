//! How the program ends: one exit code for each kind of ending, and one printer of errors.
//!
//! The codes are those of `sysexits.h`, so that a supervisor can tell "wrong settings, do not restart" (78) from "no
//! broker, try again" (69) without reading a log. Every error reaches the person through [`Failure::print`], which walks
//! the chain of causes; nothing else prints errors.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// What the exit code of the process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// 0: done as asked.
    Success,
    /// 1: the command worked and its answer is no (`verify-resume`: the digests differ; `check`: the sample is malformed).
    Refuted,
    /// 64 (`EX_USAGE`): the command line is wrong.
    Usage,
    /// 65 (`EX_DATAERR`): the input is wrong: too many malformed records, another log under the same offsets, a rotten state.
    Data,
    /// 69 (`EX_UNAVAILABLE`): something outside is missing: no broker, no such topic, the port is taken.
    Unavailable,
    /// 70 (`EX_SOFTWARE`): a bug in sluicebox; please report it.
    Bug,
    /// 74 (`EX_IOERR`): the disk refused: full, not writable, a failed sync. What was sealed before is intact.
    Io,
    /// 75 (`EX_TEMPFAIL`): busy: another process holds the state directory, or a stop took longer than its limit.
    Busy,
    /// 78 (`EX_CONFIG`): the settings are wrong, or contradict the state.
    Config,
}

impl Exit {
    pub const ALL: [Exit; 9] = [
        Exit::Success,
        Exit::Refuted,
        Exit::Usage,
        Exit::Data,
        Exit::Unavailable,
        Exit::Bug,
        Exit::Io,
        Exit::Busy,
        Exit::Config,
    ];

    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Refuted => 1,
            Exit::Usage => 64,
            Exit::Data => 65,
            Exit::Unavailable => 69,
            Exit::Bug => 70,
            Exit::Io => 74,
            Exit::Busy => 75,
            Exit::Config => 78,
        }
    }

    /// One line for `--help` and the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "done",
            Exit::Refuted => "the answer is no: digests differ, or the sample is malformed",
            Exit::Usage => "wrong command line",
            Exit::Data => "wrong input: too much of it malformed, another log, a rotten state",
            Exit::Unavailable => "something outside is missing: broker, topic, port",
            Exit::Bug => "a bug in sluicebox",
            Exit::Io => "the disk refused; what was sealed is intact",
            Exit::Busy => "busy: the state is in use by another process, or stopping took too long",
            Exit::Config => "wrong settings, or settings that contradict the state",
        }
    }

    /// The exit that has this code; what nobody knows is a bug.
    pub fn from_code(code: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Bug)
    }

    /// Ends the command with this code because of `error`.
    pub fn because(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure { exit: self, error: error.into() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command ended early, and with which code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Writes the error and its causes to stderr and gives the exit code back.
    pub fn print(&self) -> ExitCode {
        eprintln!("{self}");
        self.exit.into()
    }
}

/// The error and its causes, one a line. A cause whose text its parent already quotes is left out.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.error.to_string();
        write!(f, "error: {said}")?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, "\n  caused by: {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// Makes a panic of any thread end the process with [`Exit::Bug`].
///
/// A stage that dies alone would leave the others waiting for ever; a crash, however, is always safe here, because the
/// last seal is all that counts.
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        eprintln!("error: this is a bug in sluicebox; the state is as it was at the last seal");
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not seal checkpoint 42")]
    struct Outer {
        #[source]
        source: Inner,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("could not write policy")]
    struct Inner {
        #[source]
        source: std::io::Error,
    }

    #[test]
    fn every_cause_is_printed_once_and_in_order() {
        let disk = std::io::Error::other("no space left");
        let failure = Exit::Io.because(Outer { source: Inner { source: disk } });
        assert_eq!(
            failure.to_string(),
            "error: could not seal checkpoint 42\n  caused by: could not write policy\n  caused by: no space left"
        );
    }

    #[test]
    fn a_cause_that_its_parent_quotes_is_not_printed_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not read: {0}")]
        struct Quoting(#[source] std::io::Error);

        let failure = Exit::Io.because(Quoting(std::io::Error::other("rotten")));
        assert_eq!(failure.to_string(), "error: could not read: rotten");
    }

    #[test]
    fn no_two_endings_share_a_code() {
        let codes: BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
