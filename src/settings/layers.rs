//! Where settings come from: defaults, one TOML file, environment variables, `--set`. Later layers win.
//!
//! Each layer is read into a tree, and the tree is laid over the table of settings; what fits no row is a problem with a
//! hint. Tables that belong to other programs or modules (`kafka.properties`, `mapping`, `simulate`) are merged key by
//! key, everything else is replaced as a whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::hint;
use super::kind::Kind;
use super::problem::{Flag, Origin, Problem, SettingsError, shown};
use super::secret::MASK;
use super::table::{Setting, TABLE};

/// Prefix of the environment variables that are settings: `SLUICEBOX__FILTER__KAPPA=0.05`.
pub const PREFIX: &str = "SLUICEBOX__";

/// All that settings are made of. Reading is a function of this (and of the files that secrets are kept in).
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's path and text.
    pub file: Option<(PathBuf, String)>,
    /// The whole environment: settings and secrets.
    pub environment: BTreeMap<String, String>,
    /// `section.key=value`, in the order given.
    pub assignments: Vec<String>,
    /// The same, of one variant of a sweep.
    pub swept: Vec<String>,
}

impl Sources {
    /// Collects what the process was started with.
    pub fn of_process(file: Option<&Path>, assignments: &[String]) -> Result<Sources, SettingsError> {
        let file = match file {
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => Some((path.to_owned(), text)),
                Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
            },
            None => None,
        };
        let mut environment = BTreeMap::new();
        for (name, text) in std::env::vars_os() {
            match (name.into_string(), text.into_string()) {
                (Ok(name), Ok(text)) => drop(environment.insert(name, text)),
                (Ok(variable), Err(_)) if variable.starts_with(PREFIX) => {
                    return Err(SettingsError::NotUnicode { variable });
                }
                // Other variables that are not Unicode can be neither a setting nor a secret.
                (Ok(_) | Err(_), Ok(_) | Err(_)) => {}
            }
        }
        Ok(Sources { file, environment, assignments: assignments.to_vec(), swept: Vec::new() })
    }
}

/// A setting's value and where it was written last.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    pub value: Value,
    pub origin: Origin,
}

/// The settings that were given, by name, before anything was checked but their names.
#[derive(Debug, Default)]
pub struct Leaves {
    pub by_name: BTreeMap<&'static str, Leaf>,
    pub problems: Vec<Problem>,
}

impl Leaves {
    pub fn gather(sources: &Sources) -> Result<Leaves, SettingsError> {
        let mut leaves = Leaves::default();
        if let Some((path, text)) = &sources.file {
            leaves.lay_file(path, text)?;
        }
        let mut variables: BTreeMap<String, &String> = BTreeMap::new();
        for (variable, text) in &sources.environment {
            if let Some(rest) = variable.strip_prefix(PREFIX) {
                let (path, origin) = (path_of_variable(rest), Origin::Environment { variable: variable.clone() });
                leaves.lay_override(&path, text, &origin);
                let name = match &path[..] {
                    [kafka, properties, key @ ..] if (&**kafka, &**properties) == ("kafka", "properties") => {
                        format!("kafka.properties.{}", property_key(key, &origin))
                    }
                    _ => path.join("."),
                };
                if let Some(other) = variables.insert(name.clone(), variable) {
                    leaves.problems.push(Problem {
                        name,
                        // It may be a secret, and does not matter here.
                        value: MASK.to_owned(),
                        origin,
                        accepted: "one variable: case does not count in their names".to_owned(),
                        fix: format!("unset {other} or {variable}"),
                    });
                }
            }
        }
        for (flag, assignments) in [(Flag::Set, &sources.assignments), (Flag::Sweep, &sources.swept)] {
            for written in assignments {
                let (path, text) = assignment(flag, written)?;
                leaves.lay_override(&path, text, &Origin::CommandLine { flag });
            }
        }
        leaves.lay_defaults();
        Ok(leaves)
    }

    fn lay_file(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let not_toml = |error: toml::de::Error| SettingsError::NotToml {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_at(text, &span)),
            message: error.message().to_owned(),
        };
        let table: Table = toml::from_str(text).map_err(not_toml)?;
        let spanned = DeTable::parse(text).map_err(not_toml)?;
        let mut lines = BTreeMap::new();
        note_lines(spanned.get_ref(), "", text, &mut lines);
        let origin = |name: &str| Origin::File { path: path.to_owned(), line: lines.get(name).copied().unwrap_or(1) };
        self.lay_table(&table, "", &origin);
        Ok(())
    }

    fn lay_table(&mut self, table: &Table, prefix: &str, origin: &dyn Fn(&str) -> Origin) {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            match (Setting::named(&name), value) {
                (Some(setting), _) => self.put(setting, value.clone(), origin(&name)),
                (None, Value::Table(inner)) if is_section(&name) => {
                    self.lay_table(inner, &format!("{name}."), origin);
                }
                (None, Value::Table(inner)) if !inner.is_empty() => {
                    // An unknown section: name its first key, so that the hint can find the key in another section.
                    let first = inner.keys().next().map_or(String::new(), |key| format!("{name}.{key}"));
                    self.problems.push(unknown(&first, value, origin(&name)));
                }
                (None, _) => self.problems.push(unknown(&name, value, origin(&name))),
            }
        }
    }

    /// `path` may reach into a setting that is itself a table.
    fn lay_override(&mut self, path: &[String], text: &str, origin: &Origin) {
        let found = (1..=path.len()).find_map(|depth| Some((Setting::named(&path[..depth].join("."))?, depth)));
        let Some((setting, depth)) = found else {
            self.problems.push(unknown(&path.join("."), &Value::from(text), origin.clone()));
            return;
        };
        let inner = &path[depth..];
        let value = match (&setting.kind, inner) {
            (Kind::Secret, []) => secret_override(text, origin),
            (Kind::Secret, [key]) => Value::Table([(key.clone(), Value::from(text))].into_iter().collect()),
            (Kind::Properties, [_, ..]) => nested(&[property_key(inner, origin)], Value::from(text)),
            (Kind::Open, [_, ..]) => nested(inner, read_value(text)),
            (_, []) => match read_value(text) {
                // An override without quotes that a text setting expects: the text as it stands.
                value if !setting.kind.is_textual() || value.is_str() || value.is_array() => value,
                _ => Value::from(text),
            },
            (_, [_, ..]) => {
                self.problems.push(unknown(&path.join("."), &Value::from(text), origin.clone()));
                return;
            }
        };
        self.put(setting, value, origin.clone());
    }

    fn lay_defaults(&mut self) {
        for setting in TABLE {
            if let (Some(default), false) = (setting.default, self.by_name.contains_key(setting.name)) {
                self.put(setting, read_value(default), Origin::Default);
            }
        }
    }

    fn put(&mut self, setting: &'static Setting, value: Value, origin: Origin) {
        let value = match (setting.kind, self.by_name.remove(setting.name), value) {
            (Kind::Open | Kind::Properties, Some(Leaf { value: Value::Table(below), .. }), Value::Table(above)) => {
                Value::Table(merged(below, above))
            }
            (_, _, value) => value,
        };
        self.by_name.insert(setting.name, Leaf { value, origin });
    }
}

/// `key=value` texts over a table of another kind, as `--set` lays them over settings. It has the keys `names`.
pub fn lay_over(mut table: Table, assignments: &[String], names: &[&str]) -> Result<Table, SettingsError> {
    let mut problems = Vec::new();
    for written in assignments {
        let (path, text) = assignment(Flag::Set, written)?;
        let (name, value) = (path.join("."), read_value(text));
        if !names.contains(&name.as_str()) {
            let fix = match hint::nearest_setting(&name, names) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("take it out; there are {}", names.join(", ")),
            };
            let origin = Origin::CommandLine { flag: Flag::Set };
            let accepted = "nothing: there is no such key".to_owned();
            problems.push(Problem { name, value: shown(&value), origin, accepted, fix });
        } else if let Value::Table(branch) = nested(&path, value) {
            table = merged(table, branch);
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(SettingsError::Wrong(problems)) }
}

/// Is there a setting below this name?
fn is_section(name: &str) -> bool {
    TABLE.iter().any(|setting| setting.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(name: &str, value: &Value, origin: Origin) -> Problem {
    let names: Vec<&str> = TABLE.iter().map(|setting| setting.name).collect();
    let section = name.rsplit_once('.').map_or(name, |(section, _)| section);
    let fix = match hint::nearest_setting(name, &names) {
        Some(near) => format!("did you mean {near}?"),
        None if is_section(section) => {
            let keys: Vec<&str> =
                names.iter().filter_map(|name| name.strip_prefix(section)?.strip_prefix('.')).collect();
            format!("take it out; [{section}] has {}", keys.join(", "))
        }
        None => "take it out; `sluicebox config schema` lists all settings".to_owned(),
    };
    Problem {
        name: name.to_owned(),
        value: shown(value),
        origin,
        accepted: "nothing: there is no such setting".to_owned(),
        fix,
    }
}

/// The key of `section.key=value` as a path, and the value.
fn assignment(flag: Flag, written: &str) -> Result<(Vec<String>, &str), SettingsError> {
    let refuse = || SettingsError::NotAssignment { flag, written: written.to_owned() };
    let (key, text) = written.split_once('=').ok_or_else(refuse)?;
    Ok((path_of_key(key.trim()).ok_or_else(refuse)?, text.trim()))
}

/// Double underscores divide names, and case does not count: `FILTER__MAX_AGE` is `filter.max_age`.
fn path_of_variable(rest: &str) -> Vec<String> {
    rest.split("__").map(str::to_ascii_lowercase).collect()
}

/// The parts of a dotted key; quotes keep dots together, as in TOML.
fn path_of_key(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '=', '[', '#']) {
        return None;
    }
    let mut table: Table = toml::from_str(&format!("{key} = 0")).ok()?;
    let mut path = Vec::new();
    loop {
        let (part, value) = table.into_iter().next()?;
        path.push(part);
        match value {
            Value::Table(inner) => table = inner,
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => return Some(path),
        }
    }
}

/// The text as a TOML value, or as a plain text when it is none.
fn read_value(text: &str) -> Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        // More than one key means that the text held a line break and an assignment of its own.
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(|| Value::from(text)),
        // TOML wants a digit before the point; people in a hurry do not.
        Err(_) if text.starts_with('.') => text.parse().map_or_else(|_| Value::from(text), Value::Float),
        Ok(_) | Err(_) => Value::from(text),
    }
}

/// A secret in an environment variable stays there: the setting only names the variable.
fn secret_override(text: &str, origin: &Origin) -> Value {
    match (read_value(text), origin) {
        (Value::Table(reference), _) => Value::Table(reference),
        (_, Origin::Environment { variable }) => nested(&["env".to_owned()], Value::from(variable.as_str())),
        (_, Origin::Default | Origin::File { .. } | Origin::CommandLine { .. }) => Value::from(text),
    }
}

/// Names of variables cannot hold dots, names of librdkafka's properties hold nothing else.
fn property_key(parts: &[String], origin: &Origin) -> String {
    match origin {
        Origin::Environment { .. } => parts.join(".").replace('_', "."),
        Origin::Default | Origin::File { .. } | Origin::CommandLine { .. } => parts.join("."),
    }
}

/// A table around the value for each key of the path.
pub(super) fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::Table([(key.clone(), inner)].into_iter().collect()))
}

/// `above` over `below`, key by key.
pub(super) fn merged(mut below: Table, above: Table) -> Table {
    for (key, value) in above {
        let value = match (below.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => Value::Table(merged(below, above)),
            (_, value) => value,
        };
        below.insert(key, value);
    }
    below
}

fn note_lines(table: &DeTable<'_>, prefix: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(inner, &format!("{name}."), text, lines);
        }
        lines.insert(name, line_at(text, &key.span()));
    }
}

fn line_at(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}
