//! The settings in force, as data: what a checkpoint remembers, what `config show` prints, what two runs compare.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::kind::Kind;
use super::secret::{MASK, is_secret_property};
use super::table::{Class, Setting, TABLE};

/// Every setting that has a value, by name, in canonical form as JSON. Contains no secret, only where secrets are kept.
///
/// Tables that another module reads are taken apart down to their leaves, so that a difference names the field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effective(BTreeMap<String, String>);

/// One setting that differs between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub name: String,
    pub class: Class,
    /// `None` where it had no value.
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Effective {
    /// From canonical values by setting name.
    pub(super) fn of(values: &BTreeMap<&'static str, Value>) -> Effective {
        let mut flat = BTreeMap::new();
        for setting in TABLE {
            match (setting.kind, values.get(setting.name)) {
                (Kind::Open, Some(Value::Table(table))) => flatten(table, setting.name, &mut flat),
                (Kind::Properties, Some(Value::Table(table))) => {
                    for (key, value) in table {
                        let value = if is_secret_property(key) { Value::from(MASK) } else { value.clone() };
                        flat.insert(format!("{}.{key}", setting.name), json(&value));
                    }
                }
                (_, Some(value)) => {
                    flat.insert(setting.name.to_owned(), json(value));
                }
                (_, None) => {}
            }
        }
        Effective(flat)
    }

    /// A list that was kept with a state.
    pub fn from_list(list: BTreeMap<String, String>) -> Effective {
        Effective(list)
    }

    /// Name and value of every setting, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Equal for two runs whose states mean the same.
    pub fn structural_digest(&self) -> blake3::Hash {
        self.digest_of(|class| class == Class::Structural)
    }

    /// Equal for two runs that learn the same from the same log.
    pub fn learning_digest(&self) -> blake3::Hash {
        self.digest_of(|class| class != Class::Operational)
    }

    fn digest_of(&self, counts: impl Fn(Class) -> bool) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (name, value) in self.iter().filter(|(name, _)| counts(class_of(name))) {
            // Lengths first: no choice of texts can then imitate another list of settings.
            for text in [name, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.finalize()
    }
}

/// What changed from `old` to `new`, by name.
///
/// A setting that one side does not have counts as its default: a newer version may know more settings than the one that
/// wrote `old`.
pub fn differences(old: &Effective, new: &Effective) -> Vec<Difference> {
    let names: BTreeSet<&str> = old.iter().chain(new.iter()).map(|(name, _)| name).collect();
    let value = |side: &Effective, name: &str| side.value(name).map(str::to_owned).or_else(|| default_of(name));
    names
        .into_iter()
        .map(|name| (name, value(old, name), value(new, name)))
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| Difference { name: name.to_owned(), class: class_of(name), before, after })
        .collect()
}

/// The class of a setting, or of a field inside one. What is not known any more is taken seriously.
fn class_of(name: &str) -> Class {
    let inside = |setting: &Setting| {
        name.strip_prefix(setting.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    TABLE.iter().find(|setting| inside(setting)).map_or(Class::Structural, |setting| setting.class)
}

fn default_of(name: &str) -> Option<String> {
    let setting = Setting::named(name)?;
    let table: Table = toml::from_str(&format!("value = {}", setting.default?)).ok()?;
    setting.kind.canonical(table.get("value")?).ok().map(|value| json(&value))
}

fn flatten(table: &Table, prefix: &str, flat: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        // A key with a dot in it is quoted, or it could be taken for two.
        let key = if key.contains('.') { format!("{key:?}") } else { key.clone() };
        let name = format!("{prefix}.{key}");
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(inner, &name, flat),
            Value::Table(_)
            | Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => {
                flat.insert(name, json(value));
            }
        }
    }
}

/// The keys of a name as [`flatten`] joined them: one that holds a dot stands in quotes.
pub(super) fn path_of(name: &str) -> Vec<String> {
    let (mut path, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let quoted = rest
            .strip_prefix('"')
            .and_then(|inside| inside.split_once("\".").or(inside.strip_suffix('"').map(|key| (key, ""))));
        let (key, after) = quoted.or(rest.split_once('.')).unwrap_or((rest, ""));
        path.push(key.replace("\\\"", "\"").replace("\\\\", "\\"));
        rest = after;
    }
    path
}

/// JSON text of a canonical value. `toml` and `serde_json` keep tables in the order of their keys; a test notices if a
/// feature of either ever changes that.
fn json(value: &Value) -> String {
    to_json(value).to_string()
}

/// TOML as JSON. Numbers that JSON cannot hold (`inf`, `nan`) become texts.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(number) => number.to_string().into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
    }
}
