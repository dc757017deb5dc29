//! Whatever the bytes are: a verdict, never a panic, and nothing left behind by a refusal.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::super::{Decoded, Decoder, MalformedReason, Mapping};
use super::{TIME, decoder};
use crate::position::Offset;

const SEEDS: [&str; 4] = [
    r#"{"type":"decision","ts":1767225600000,"user":"u","session":"s","event_id":"e","decision_id":"d","item":"i","context":[0.25,-1.5],"candidates":["i",2],"propensity":0.125,"slate":[{"x":1},{"x":"\u00e9"}]}"#,
    r#"{"type":"feedback","ts":"2026-01-01T00:00:00Z","user":18,"decision_id":"d","kind":"dwell_ms","value":31500,"final":null}"#,
    r#"{"type":"session_end","ts":1767225605000,"user":"\ud83d\ude00"}"#,
    r#"[{"a":{"b":[[],{},""," ",-0.0,1e-5,true,false,null]}}]"#,
];

fn decoders() -> Vec<Decoder> {
    let native = Mapping { context_dimension: Some(2), ..Mapping::default() };
    let slate = decoder(
        "user = \"/user\"\neach = \"/slate\"\nitem = \"./x\"\ncontext = [\"/context/1\", \".\"]\ncontext_dimension = 2",
    );
    let list = decoder("user = \"/0/a\"\nitem = { const = 1 }\ncontext = \"/0/a/b\"\ncontext_dimension = 9");
    vec![Decoder::new(&native).unwrap_or_else(|error| panic!("{error}")), slate, list]
}

fn check_verdict(bytes: &[u8]) {
    for decoder in decoders() {
        let mut events = Vec::new();
        match decoder.decode(Offset::from_count(1), Some(TIME), Some(bytes), &mut events) {
            Ok(Decoded::Events(count)) => assert_eq!(events.len(), count),
            Ok(Decoded::Ignored | Decoded::Tombstone) | Err(_) => assert!(events.is_empty()),
        }
        decoder.key(None, Some(bytes));
        decoder.explain(Offset::from_count(1), None, Some(bytes));
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(u8),
    Insert(u8),
    Remove,
    Cut,
    Double,
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Edit)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[],:\"\\0-1e.nutf \xff".to_vec())];
    let edit = prop_oneof![
        byte.clone().prop_map(Edit::Replace),
        byte.prop_map(Edit::Insert),
        Just(Edit::Remove),
        Just(Edit::Cut),
        Just(Edit::Double),
    ];
    vec((any::<prop::sample::Index>(), edit), 1..6)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((".{0,3}", inner), 0..20).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_a_verdict(bytes in vec(any::<u8>(), 0..200)) {
        check_verdict(&bytes);
    }

    #[test]
    fn damaged_documents_get_a_verdict(seed in 0..SEEDS.len(), edits in edits()) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (at, edit) in edits {
            let at = at.index(bytes.len().max(1));
            match edit {
                Edit::Replace(byte) if at < bytes.len() => bytes[at] = byte,
                Edit::Remove if at < bytes.len() => { bytes.remove(at); }
                Edit::Replace(byte) | Edit::Insert(byte) => bytes.insert(at.min(bytes.len()), byte),
                Edit::Remove => {}
                Edit::Cut => bytes.truncate(at),
                Edit::Double => bytes.extend_from_within(at.min(bytes.len())..),
            }
        }
        check_verdict(&bytes);
    }

    #[test]
    fn every_document_that_a_serializer_writes_is_strict(value in json()) {
        let decoder = decoder("user = { const = 1 }\nitem = { const = 1 }");
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap_or_default()] {
            let decoded = decoder.decode(Offset::from_count(0), Some(TIME), Some(text.as_bytes()), &mut Vec::new());
            prop_assert_eq!(decoded, Ok(Decoded::Events(1)), "{}", text);
        }
    }

    #[test]
    fn a_member_written_twice_is_always_found(
        names in prop::collection::hash_set("[a-c]{0,4}", 1..40),
        twice in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
    ) {
        let decoder = decoder("user = { const = 1 }\nitem = { const = 1 }");
        let mut names: Vec<String> = names.into_iter().collect();
        let verdict = |names: &[String]| {
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":[]")).collect();
            let document = format!("[{{{}}}]", members.join(","));
            decoder.decode(Offset::from_count(0), Some(TIME), Some(document.as_bytes()), &mut Vec::new())
        };
        prop_assert_eq!(verdict(&names), Ok(Decoded::Events(1)));
        let name = names[twice.index(names.len())].clone();
        names.insert(place.index(names.len() + 1), name);
        let refused = verdict(&names).map_err(|malformed| malformed.reason);
        prop_assert_eq!(refused, Err(MalformedReason::DuplicateKey));
    }
}
