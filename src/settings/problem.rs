//! What is wrong with the settings, said so that the person can put it right without reading code.

use std::fmt;
use std::path::PathBuf;

use toml::Value;

use crate::exit::Exit;

/// Where a value came from. Later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment { variable: String },
    CommandLine { flag: Flag },
}

/// What sets a setting on the command line. A sweep's values win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    Set,
    Sweep,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flag::Set => "--set",
            Flag::Sweep => "--sweep",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Environment { variable } => write!(f, "environment variable {variable}"),
            Origin::CommandLine { flag } => write!(f, "{flag}"),
        }
    }
}

/// One refused setting: which, what it was, what is accepted, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub name: String,
    /// As written; masked when it is or looks like a secret.
    pub value: String,
    pub origin: Origin,
    pub accepted: String,
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { name, value, origin, accepted, fix } = self;
        write!(f, "{name} = {value} ({origin})\n    accepted: {accepted}\n    fix: {fix}")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("could not read the settings file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not TOML: line {line}: {message}", path.display())]
    NotToml { path: PathBuf, line: usize, message: String },
    #[error("the environment variable {variable} is not UTF-8: set it anew, or unset it")]
    NotUnicode { variable: String },
    #[error("{flag} {written} is not of the form section.key=value, as in {flag} filter.kappa=0.05")]
    NotAssignment { flag: Flag, written: String },
    /// All that is wrong at once, so that it takes one round to repair.
    #[error("{}", listed(.0))]
    Wrong(Vec<Problem>),
}

impl SettingsError {
    pub fn exit(&self) -> Exit {
        match self {
            SettingsError::NotAssignment { .. } => Exit::Usage,
            SettingsError::Unreadable { .. }
            | SettingsError::NotToml { .. }
            | SettingsError::NotUnicode { .. }
            | SettingsError::Wrong(_) => Exit::Config,
        }
    }

    pub fn problems(&self) -> &[Problem] {
        match self {
            SettingsError::Wrong(problems) => problems,
            SettingsError::Unreadable { .. }
            | SettingsError::NotToml { .. }
            | SettingsError::NotUnicode { .. }
            | SettingsError::NotAssignment { .. } => &[],
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "a setting is wrong".to_owned(),
        several => format!("{several} settings are wrong"),
    };
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

/// A value as it stands in a message: on one line, and not endlessly long.
pub fn shown(value: &Value) -> String {
    const LETTERS_MAX: usize = 80;
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(LETTERS_MAX) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
