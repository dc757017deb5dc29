//! The settings as a JSON Schema, for editors and for checking files without running anything.

use serde_json::{Map, Value as Json, json};
use toml::Table;

use super::effective::to_json;
use super::kind::{Bounds, Kind, OFF};
use super::table::{Setting, TABLE};

/// JSON Schema (2020-12) of a settings file.
pub fn schema() -> Json {
    let mut root = section("Settings of sluicebox, as in its TOML file.");
    for setting in TABLE {
        place(&mut root, setting.name, of_setting(setting));
    }
    let mut document = Map::new();
    document.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    document.insert("title".into(), "sluicebox settings".into());
    document.append(&mut root);
    Json::Object(document)
}

fn section(description: &str) -> Map<String, Json> {
    let mut section = Map::new();
    section.insert("type".into(), "object".into());
    if !description.is_empty() {
        section.insert("description".into(), description.into());
    }
    section.insert("additionalProperties".into(), false.into());
    section.insert("properties".into(), Json::Object(Map::new()));
    section
}

fn place(section_above: &mut Map<String, Json>, name: &str, schema: Json) {
    let Some(Json::Object(properties)) = section_above.get_mut("properties") else { return };
    match name.split_once('.') {
        None => {
            properties.insert(name.to_owned(), schema);
        }
        Some((first, rest)) => {
            let below = properties.entry(first).or_insert_with(|| Json::Object(section("")));
            if let Json::Object(below) = below {
                place(below, rest, schema);
            }
        }
    }
}

fn of_setting(setting: &Setting) -> Json {
    let mut schema = of_kind(&setting.kind);
    schema.insert("description".into(), format!("{} Accepted: {}.", setting.purpose, setting.kind.accepts()).into());
    schema.insert("x-class".into(), json!(setting.class));
    let default = setting.default.and_then(|text| toml::from_str::<Table>(&format!("value = {text}")).ok());
    if let Some(value) = default.as_ref().and_then(|table| table.get("value")) {
        schema.insert("default".into(), to_json(value));
    }
    Json::Object(schema)
}

fn of_kind(kind: &Kind) -> Map<String, Json> {
    let schema = match kind {
        Kind::Flag => json!({ "enum": [true, false, "on", "off"] }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Counts { min, max, len_max } => json!({
            "type": "array", "minItems": 1, "maxItems": len_max,
            "items": { "type": "integer", "minimum": min, "maximum": max },
        }),
        Kind::Number { bounds } => number(bounds),
        Kind::NumberOr { bounds, word } => json!({ "anyOf": [{ "const": word }, number(bounds)] }),
        Kind::Pair => json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": { "type": "number" } }),
        // The exact grammar is the reader's; a schema only keeps the obvious slips out.
        Kind::Length { .. } => json!({ "anyOf": [{ "type": "string" }, { "const": 0 }] }),
        Kind::Size { min, max } => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": min, "maximum": max }] })
        }
        Kind::Text | Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Words => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string", "minLength": 1 } }] })
        }
        Kind::Address => json!({ "type": "string", "pattern": format!("^({OFF}|.+:[0-9]{{1,5}})$") }),
        Kind::Choice(names) => json!({ "enum": names }),
        Kind::Secret => json!({
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        }),
        Kind::Properties | Kind::Open => json!({ "type": "object" }),
    };
    match schema {
        Json::Object(schema) => schema,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Map::new(),
    }
}

fn number(bounds: &Bounds) -> Json {
    let low = if bounds.low_is_open { "exclusiveMinimum" } else { "minimum" };
    json!({ "type": "number", low: bounds.low, "maximum": bounds.high })
}
