//! What a setting's value may look like: how it is read, what range it has, and its one canonical form.
//!
//! Every meaning has exactly one canonical value: `"1800s"` and `"30m"` become the same text, `1` and `1.0` the same number.
//! So two settings are equal when their canonical values are, which is what comparing and digesting them needs.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::{Table, Value};

/// The word that switches an optional length of time or an address off.
pub const OFF: &str = "off";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`; `"on"` and `"off"` are read too.
    Flag,
    /// A whole number, both ends included.
    Count {
        min: u64,
        max: u64,
    },
    /// A list of whole numbers, at most `len_max` of them.
    Counts {
        min: u64,
        max: u64,
        len_max: usize,
    },
    Number {
        bounds: Bounds,
    },
    /// A number, or one word that stands for a rule.
    NumberOr {
        bounds: Bounds,
        word: &'static str,
    },
    /// `[low, high]` with low < high.
    Pair,
    /// `"30s"`, in whole milliseconds; with `off`, the word `"off"` as well.
    Length {
        min_millis: u64,
        max_millis: u64,
        off: bool,
    },
    /// `"64MiB"`, or a count of bytes.
    Size {
        min: u64,
        max: u64,
    },
    Text,
    Path,
    /// A list of texts; one text with commas is read as such a list.
    Words,
    /// `host:port` to listen on, or `"off"`.
    Address,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// `{ env = "NAME" }` or `{ file = "PATH" }`, never the secret itself.
    Secret,
    /// Free keys with dots in them, and texts: handed to another program as they are.
    Properties,
    /// A table that another module reads.
    Open,
}

/// An interval of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f64,
    pub high: f64,
    /// Is `low` itself outside?
    pub low_is_open: bool,
}

impl Bounds {
    /// `low <= x <= high`
    pub const fn from_to(low: f64, high: f64) -> Bounds {
        Bounds { low, high, low_is_open: false }
    }

    /// `low < x <= high`
    pub const fn above(low: f64, high: f64) -> Bounds {
        Bounds { low, high, low_is_open: true }
    }

    fn contain(&self, x: f64) -> bool {
        let over = if self.low_is_open { x > self.low } else { x >= self.low };
        over && x <= self.high
    }

    fn words(&self) -> String {
        match self.low_is_open {
            true => format!("a number above {} and at most {}", self.low, self.high),
            false => format!("a number from {} to {}", self.low, self.high),
        }
    }
}

/// A value that was refused, with what to do about it where that is more than "see what is accepted".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub fix: Option<String>,
}

const REFUSED: Refusal = Refusal { fix: None };

fn refused<T>(fix: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { fix: Some(fix.into()) })
}

impl Kind {
    /// The canonical form of `value`.
    pub fn canonical(&self, value: &Value) -> Result<Value, Refusal> {
        match self {
            Kind::Flag => flag(value),
            Kind::Count { min, max } => count(value, *min, *max),
            Kind::Counts { min, max, len_max } => {
                let items = value.as_array().ok_or(REFUSED)?;
                if items.is_empty() || items.len() > *len_max {
                    return Err(REFUSED);
                }
                items.iter().map(|item| count(item, *min, *max)).collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Kind::Number { bounds } => number(value, bounds),
            Kind::NumberOr { bounds, word } => match value.as_str() {
                Some(text) if text == *word => Ok(value.clone()),
                Some(_) | None => number(value, bounds),
            },
            Kind::Pair => pair(value),
            Kind::Length { min_millis, max_millis, off } => length(value, *min_millis, *max_millis, *off),
            Kind::Size { min, max } => size(value, *min, *max),
            Kind::Text => match value.as_str() {
                Some(text) if !text.is_empty() => Ok(value.clone()),
                Some(_) => refused("leave the line out, or give a text that is not empty"),
                None => refused("put it in quotes"),
            },
            Kind::Path => match value.as_str() {
                Some(text) if !text.is_empty() => Ok(value.clone()),
                Some(_) | None => Err(REFUSED),
            },
            Kind::Words => words(value),
            Kind::Address => match value.as_str() {
                Some(text) if text == OFF || text.parse::<SocketAddr>().is_ok() => Ok(value.clone()),
                Some(_) | None => refused("write an IP address and a port, as in \"127.0.0.1:8077\", or \"off\""),
            },
            Kind::Choice(names) => choice(value, names),
            Kind::Secret => secret(value),
            Kind::Properties => properties(value),
            Kind::Open => match value.as_table() {
                Some(_) => Ok(value.clone()),
                None => Err(REFUSED),
            },
        }
    }

    /// What is accepted, in words.
    pub fn accepts(&self) -> String {
        match self {
            Kind::Flag => "true or false".into(),
            Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Counts { min, max, len_max } => {
                format!("a list of 1 to {len_max} whole numbers from {min} to {max}")
            }
            Kind::Number { bounds } => bounds.words(),
            Kind::NumberOr { bounds, word } => format!("\"{word}\", or {}", bounds.words()),
            Kind::Pair => "two numbers [low, high] with low < high".into(),
            Kind::Length { min_millis, max_millis, off } => {
                let off = if *off { ", or \"off\"" } else { "" };
                format!("a length of time from {} to {}{off}", spelled(*min_millis), spelled(*max_millis))
            }
            Kind::Size { min, max } => {
                format!("a size from {} to {}", spelled_size(*min), spelled_size(*max))
            }
            Kind::Text => "a text".into(),
            Kind::Path => "a path".into(),
            Kind::Words => "a list of texts".into(),
            Kind::Address => "an address to listen on, or \"off\"".into(),
            Kind::Choice(names) => format!("one of {}", quoted(names)),
            Kind::Secret => "{ env = \"NAME\" } or { file = \"PATH\" }".into(),
            Kind::Properties => "a table of texts, numbers and flags".into(),
            Kind::Open => "a table".into(),
        }
    }

    /// Does an override from the command line or the environment stand for the text itself, even if it reads as a number?
    pub fn is_textual(&self) -> bool {
        match self {
            Kind::Text | Kind::Path | Kind::Words | Kind::Address | Kind::Choice { .. } => true,
            Kind::Flag
            | Kind::Count { .. }
            | Kind::Counts { .. }
            | Kind::Number { .. }
            | Kind::NumberOr { .. }
            | Kind::Pair
            | Kind::Length { .. }
            | Kind::Size { .. }
            | Kind::Secret
            | Kind::Properties
            | Kind::Open => false,
        }
    }
}

/// Reads `"1h 30m"`; `None` for anything that is not a length of time.
pub fn parse_length(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Reads `"64MiB"`.
pub fn parse_size(text: &str) -> Option<u64> {
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

fn flag(value: &Value) -> Result<Value, Refusal> {
    match (value.as_bool(), value.as_str()) {
        (Some(_), _) => Ok(value.clone()),
        (None, Some("on")) => Ok(Value::Boolean(true)),
        (None, Some(OFF)) => Ok(Value::Boolean(false)),
        (None, Some(_) | None) => Err(REFUSED),
    }
}

fn count(value: &Value, min: u64, max: u64) -> Result<Value, Refusal> {
    let within = |number: i64| u64::try_from(number).is_ok_and(|number| min <= number && number <= max);
    match value.as_integer() {
        Some(number) if within(number) => Ok(value.clone()),
        Some(_) => Err(REFUSED),
        None if value.is_float() => refused("write it without a decimal point"),
        None => Err(REFUSED),
    }
}

fn number(value: &Value, bounds: &Bounds) -> Result<Value, Refusal> {
    let number = match value {
        Value::Float(number) => *number,
        Value::Integer(number) => *number as f64,
        // On a command line the quotes are ours: a word there is just not a number.
        Value::String(text) if text.parse::<f64>().is_ok() => return refused("write it without quotes"),
        Value::String(_) => return Err(REFUSED),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => return Err(REFUSED),
    };
    // Adding zero turns -0.0 into 0.0: they mean the same and must digest the same.
    if bounds.contain(number) { Ok(Value::Float(number + 0.0)) } else { Err(REFUSED) }
}

fn pair(value: &Value) -> Result<Value, Refusal> {
    let everything = Bounds::from_to(f64::MIN, f64::MAX);
    let items = value.as_array().ok_or(REFUSED)?;
    let items = items.iter().map(|item| number(item, &everything)).collect::<Result<Vec<_>, _>>()?;
    match items.as_slice() {
        [Value::Float(low), Value::Float(high)] if low < high => Ok(Value::Array(items)),
        [Value::Float(_), Value::Float(_)] => refused("put the lower end first"),
        _ => Err(REFUSED),
    }
}

fn length(value: &Value, min_millis: u64, max_millis: u64, off: bool) -> Result<Value, Refusal> {
    let duration = match value {
        Value::String(text) if text == OFF && off => return Ok(value.clone()),
        Value::String(text) => match parse_length(text) {
            Some(duration) => duration,
            None => return refused("write a number with its unit, as in \"500ms\", \"30s\", \"5m\", \"2h\" or \"7d\""),
        },
        // Nought is the same in every unit.
        Value::Integer(0) => Duration::ZERO,
        Value::Integer(number) => return refused(format!("say the unit, as in \"{number}s\" or \"{number}ms\"")),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            return Err(REFUSED);
        }
    };
    let millis = u64::try_from(duration.as_millis()).map_err(|_| REFUSED)?;
    if Duration::from_millis(millis) != duration {
        return refused("give whole milliseconds");
    }
    if (min_millis..=max_millis).contains(&millis) { Ok(Value::String(spelled(millis))) } else { Err(REFUSED) }
}

fn size(value: &Value, min: u64, max: u64) -> Result<Value, Refusal> {
    let bytes = match value {
        Value::String(text) => parse_size(text),
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    match bytes {
        Some(bytes) if (min..=max).contains(&bytes) => Ok(Value::String(spelled_size(bytes))),
        Some(_) => Err(REFUSED),
        None => refused("write a number with its unit, as in \"512KiB\" or \"64MiB\""),
    }
}

fn words(value: &Value) -> Result<Value, Refusal> {
    let texts: Vec<&str> = match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
        Value::Array(items) => items.iter().map(|item| item.as_str().ok_or(REFUSED)).collect::<Result<_, _>>()?,
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => {
            return Err(REFUSED);
        }
    };
    if texts.iter().any(|text| text.is_empty()) {
        return refused("take the empty text out of the list");
    }
    Ok(Value::Array(texts.into_iter().map(Value::from).collect()))
}

fn choice(value: &Value, names: &[&str]) -> Result<Value, Refusal> {
    let Some(text) = value.as_str() else { return Err(REFUSED) };
    if names.contains(&text) {
        return Ok(value.clone());
    }
    match super::hint::nearest(text, names.iter().copied()) {
        Some(near) => refused(format!("did you mean \"{near}\"?")),
        None => Err(REFUSED),
    }
}

fn secret(value: &Value) -> Result<Value, Refusal> {
    let Some(table) = value.as_table() else {
        return refused("keep secrets out of files and command lines: name a variable or a file that holds it");
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::String(_))), None) if key == "env" || key == "file" => Ok(value.clone()),
        _ => Err(REFUSED),
    }
}

/// Dotted keys without quotes arrive as nested tables; here the dots are part of the key again.
fn properties(value: &Value) -> Result<Value, Refusal> {
    let mut flat = Table::new();
    flatten(value.as_table().ok_or(REFUSED)?, "", &mut flat)?;
    Ok(Value::Table(flat))
}

fn flatten(table: &Table, prefix: &str, flat: &mut Table) -> Result<(), Refusal> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Table(inner) => {
                flatten(inner, &format!("{name}."), flat)?;
                continue;
            }
            Value::Datetime(_) | Value::Array(_) => return refused(format!("give \"{name}\" as a text")),
        };
        flat.insert(name, Value::String(text));
    }
    Ok(())
}

/// The largest unit that leaves no fraction, so that the text reads back to the same length.
fn spelled(millis: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    if millis == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in UNITS {
        if millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

/// The largest unit that leaves no fraction, so that the text reads back to the same number.
fn spelled_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
