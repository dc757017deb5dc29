//! The published schemas, their examples and the decoder say the same.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Bytes, DeadLetter, Decoded, Decoder, Header, Malformed, MalformedReason, Mapping};
use crate::position::{Offset, Partition};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(folder("schemas").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(jsonschema::meta::is_valid(&schema), "{name}");
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn examples(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut examples: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), bytes)
        })
        .collect();
    examples.sort();
    assert!(examples.len() > 8, "{name}");
    examples
}

fn native() -> Decoder {
    let mapping = Mapping { context_dimension: Some(4), embedding_dimension: Some(4), ..Mapping::default() };
    Decoder::new(&mapping).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn valid_examples_satisfy_the_schema_and_are_decoded() {
    let (schema, decoder) = (schema("interaction-event.v1.schema.json"), native());
    for (name, bytes) in examples("schemas/examples") {
        let document = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(error) = schema.validate(&document) {
            panic!("{name}: {error}");
        }
        let decoded = decoder.decode(Offset::from_count(0), None, Some(&bytes), &mut Vec::new());
        assert_eq!(decoded, Ok(Decoded::Events(1)), "{name}");
    }
}

#[test]
fn invalid_examples_are_refused_by_both() {
    let (schema, decoder) = (schema("interaction-event.v1.schema.json"), native());
    for (name, bytes) in examples("schemas/examples/invalid") {
        let document = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!schema.is_valid(&document), "{name}");
        let decoded = decoder.decode(Offset::from_count(0), None, Some(&bytes), &mut Vec::new());
        assert!(decoded.is_err(), "{name}: {decoded:?}");
    }
}

fn letter() -> DeadLetter {
    let malformed = Malformed { reason: MalformedReason::NotJson, field: Some("kind"), detail: "a \"detail\"".into() };
    DeadLetter {
        timestamp: Some(-1),
        key: Some(Bytes(b"\xff\0key".to_vec())),
        headers: vec![
            Header { name: "trace".into(), value: Some(Bytes(b"\xc3\xa9\n\"".to_vec())) },
            Header { name: "empty".into(), value: Some(Bytes(Vec::new())) },
            Header { name: "none".into(), value: None },
        ],
        value: Some(Bytes(b"{\"a\":\r\n1".to_vec())),
        ..DeadLetter::new(malformed, "events", Partition(3), Offset::from_count(9))
    }
}

#[test]
fn a_dead_letter_is_one_line_and_gives_the_bytes_back() {
    let schema = schema("dead-letter.v1.schema.json");
    let tombstone = DeadLetter { key: None, value: None, field: None, ..letter() };
    let every_byte = DeadLetter { value: Some(Bytes((0..=255).collect())), ..letter() };
    for letter in [letter(), tombstone, every_byte] {
        let line = serde_json::to_string(&letter).unwrap_or_else(|error| panic!("{error}"));
        assert!(!line.contains('\n'));
        let document = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}"));
        if let Err(error) = schema.validate(&document) {
            panic!("{line}: {error}");
        }
        let again: DeadLetter = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(again, letter);
    }
}

#[test]
fn the_schema_of_dead_letters_knows_every_reason() {
    let schema = schema("dead-letter.v1.schema.json");
    for reason in MalformedReason::ALL {
        let letter = DeadLetter { reason, ..letter() };
        let document = serde_json::to_value(&letter).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(document["reason"], reason.name());
        assert!(schema.is_valid(&document), "{}", reason.name());
    }
}
