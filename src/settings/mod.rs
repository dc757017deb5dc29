//! Settings: one TOML file, overridden by environment variables, overridden by `--set`.
//!
//! They are read in three steps. [`layers`] finds what was written and where; [`kind`] checks each value alone against
//! the [`table`] and brings it into its one canonical form; [`validate`] checks the whole and makes [`Settings`], the only
//! type that the rest of the program sees. Everything that is wrong is reported at once, each with its place, the value,
//! what is accepted and what to do.
//!
//! Paths are relative to the working directory, wherever they are written.

mod effective;
pub mod hint;
mod kind;
mod layers;
mod problem;
mod raw;
mod read;
mod schema;
mod secret;
mod sections;
mod table;
mod validate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

pub use effective::{Difference, Effective, differences};
pub use kind::{Kind, parse_length};
pub use layers::{PREFIX, Sources, lay_over};
pub use problem::{Origin, Problem, SettingsError};
pub use schema::schema;
pub use secret::Secret;
pub use sections::*;
pub use table::{Class, Setting, TABLE};

use layers::{Leaf, Leaves};
use validate::Checker;

/// Reads the settings that the process was started with.
pub fn load(file: Option<&Path>, assignments: &[String]) -> Result<Settings, SettingsError> {
    read(&Sources::of_process(file, assignments)?)
}

/// The same for one variant of a sweep.
pub fn load_swept(file: Option<&Path>, assignments: &[String], swept: &[String]) -> Result<Settings, SettingsError> {
    read(&Sources { swept: swept.to_vec(), ..Sources::of_process(file, assignments)? })
}

/// Reads settings from `sources`. The same sources give the same settings.
pub fn read(sources: &Sources) -> Result<Settings, SettingsError> {
    let (leaves, values) = canonical(sources)?;
    let effective = Effective::of(&values);
    let raw = raw::Settings::deserialize(tree(&values)).map_err(|error| {
        // The table has accepted every value, so this is a gap between table and structs.
        SettingsError::Wrong(vec![Problem {
            name: "settings".into(),
            value: "(all)".into(),
            origin: Origin::Default,
            accepted: error.to_string(),
            fix: "this is a bug in sluicebox: please report it".into(),
        }])
    })?;
    let mut checker = Checker { leaves: &leaves, environment: &sources.environment, problems: Vec::new() };
    let settings = checker.settings(raw, effective);
    if checker.problems.is_empty() { Ok(settings) } else { Err(SettingsError::Wrong(checker.problems)) }
}

/// The settings that a checkpoint was made with, from the list that it keeps, with `assignments` over them.
///
/// Without `[kafka]`: its secrets are not in a checkpoint, and nobody who has one needs a broker to look at it.
pub fn of_checkpoint(kept: &BTreeMap<String, String>, assignments: &[String]) -> Result<Settings, SettingsError> {
    let table = kept.iter().filter(|(name, _)| !name.starts_with("kafka.")).fold(Table::new(), |root, (name, json)| {
        // What was kept is JSON of a TOML value.
        let value: Option<Value> = serde_json::from_str(json).ok();
        match value.map(|value| layers::nested(&effective::path_of(name), value)) {
            Some(Value::Table(branch)) => layers::merged(root, branch),
            Some(_) | None => root,
        }
    });
    let file = Some((Path::new("the checkpoint's settings").to_owned(), toml::to_string(&table).unwrap_or_default()));
    read(&Sources { file, assignments: assignments.to_vec(), ..Sources::default() })
}

/// The settings in force as a TOML text with a comment on where each came from; secrets are masked.
///
/// It needs no secret to be readable: it is what one looks at when something is not.
pub fn show(sources: &Sources) -> Result<String, SettingsError> {
    let (leaves, values) = canonical(sources)?;
    let mut text = String::new();
    let mut section = "";
    for setting in TABLE {
        let Some(value) = values.get(setting.name) else { continue };
        let value = masked(setting, value);
        if let Value::Table(table) = &value
            && setting.kind != Kind::Secret
        {
            text.push_str(&shown_table(setting.name, table));
            section = "";
            continue;
        }
        let (its_section, key) = setting.name.rsplit_once('.').unwrap_or(("", setting.name));
        if its_section != section {
            text.push_str(&format!("\n[{its_section}]\n"));
            section = its_section;
        }
        let origin = leaves.get(setting.name).map_or(&Origin::Default, |leaf| &leaf.origin);
        text.push_str(&format!("{key} = {value} # {origin}\n"));
    }
    Ok(text.trim_start().to_owned())
}

/// The same as data: `{"section.key": {"value": .., "from": ".."}}`.
pub fn shown(sources: &Sources) -> Result<serde_json::Value, SettingsError> {
    let (leaves, values) = canonical(sources)?;
    let mut shown = serde_json::Map::new();
    for setting in TABLE {
        let Some(value) = values.get(setting.name) else { continue };
        let value = effective::to_json(&masked(setting, value));
        let from = leaves.get(setting.name).map_or(&Origin::Default, |leaf| &leaf.origin).to_string();
        shown.insert(setting.name.to_owned(), serde_json::json!({ "value": value, "from": from }));
    }
    Ok(serde_json::Value::Object(shown))
}

impl Settings {
    /// Equal for two runs whose states mean the same; see [`Class::Structural`].
    pub fn structural_digest(&self) -> blake3::Hash {
        self.effective.structural_digest()
    }
}

impl Kafka {
    /// The topic to read, for a command that needs one.
    pub fn topic(&self) -> Result<&str, SettingsError> {
        self.topics.first().map(String::as_str).ok_or_else(|| {
            SettingsError::Wrong(vec![Problem {
                name: "kafka.topics".into(),
                value: "[]".into(),
                origin: Origin::Default,
                accepted: "the name of a topic".into(),
                fix: "write topics = [\"events\"] under [kafka], or add --set kafka.topics=events".into(),
            }])
        })
    }
}

type Canonical = (BTreeMap<&'static str, Leaf>, BTreeMap<&'static str, Value>);

/// Every setting that has a value: as written, and in canonical form.
fn canonical(sources: &Sources) -> Result<Canonical, SettingsError> {
    let Leaves { by_name, mut problems } = Leaves::gather(sources)?;
    let mut values = BTreeMap::new();
    for setting in TABLE {
        let Some(leaf) = by_name.get(setting.name) else { continue };
        match setting.kind.canonical(&leaf.value) {
            Ok(value) => {
                values.insert(setting.name, value);
            }
            Err(refusal) => problems.push(refused(setting, leaf, refusal)),
        }
    }
    if problems.is_empty() {
        return Ok((by_name, values));
    }
    // In the order of the file, where they will be put right.
    problems.sort_by(|one, other| (&one.origin, &one.name).cmp(&(&other.origin, &other.name)));
    Err(SettingsError::Wrong(problems))
}

fn refused(setting: &Setting, leaf: &Leaf, refusal: kind::Refusal) -> Problem {
    let value = match setting.kind {
        // Somebody may have written the secret itself.
        Kind::Secret => secret::MASK.to_owned(),
        _ => problem::shown(&leaf.value),
    };
    let fix = refusal.fix.unwrap_or_else(|| match setting.default {
        Some(default) => format!("for example {} = {default}, the default", setting.name),
        None => format!("write {}, or take the line out", setting.kind.accepts()),
    });
    Problem { name: setting.name.to_owned(), value, origin: leaf.origin.clone(), accepted: setting.kind.accepts(), fix }
}

/// Values by dotted name as nested tables.
fn tree(values: &BTreeMap<&'static str, Value>) -> Table {
    values.iter().fold(Table::new(), |root, (name, value)| {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        match layers::nested(&path, value.clone()) {
            Value::Table(branch) => layers::merged(root, branch),
            // A path has at least one key, so this is a table.
            _ => root,
        }
    })
}

fn masked(setting: &Setting, value: &Value) -> Value {
    match (setting.kind, value) {
        (Kind::Properties, Value::Table(table)) => {
            let mask = |key: &String, value: &Value| match secret::is_secret_property(key) {
                true => Value::from(secret::MASK),
                false => value.clone(),
            };
            Value::Table(table.iter().map(|(key, value)| (key.clone(), mask(key, value))).collect())
        }
        (_, value) => value.clone(),
    }
}

/// A table as sections of its own; nothing at all when it is empty.
fn shown_table(name: &str, table: &Table) -> String {
    if table.is_empty() {
        return String::new();
    }
    let outer = name
        .rsplit('.')
        .fold(Value::Table(table.clone()), |inner, key| Value::Table([(key.to_owned(), inner)].into_iter().collect()));
    // Without a header for the tables that hold nothing but the next one, this is valid TOML after any other section.
    format!("\n{}", toml::to_string(&outer).unwrap_or_default())
}
