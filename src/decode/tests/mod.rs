//! Tests of the decoder. Mappings are written as people write them, in TOML.

mod agreement;
mod arbitrary;
mod feedback;
mod logs;
mod mapping;
mod reading;
mod schemas;
mod slate;
mod strict;
mod telling;

use super::{Decoded, Decoder, Malformed, MalformedReason, Mapping};
use crate::event::{Body, Decision, Event, EventKind, Feedback, Interaction};
use crate::position::Offset;

/// Names the few fields that every decision needs; tests add lines to it.
const BASE: &str = r#"
    time = "/ts"
    user = "/user"
    item = "/item"
"#;

const TIME: i64 = 1_767_225_600_000;

fn decoder(toml: &str) -> Decoder {
    let mapping: Mapping = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}\n{error}"));
    Decoder::new(&mapping).unwrap_or_else(|error| panic!("{toml}\n{error}"))
}

/// The message with which a mapping is refused, by its syntax or by its sense.
fn refused_mapping(toml: &str) -> String {
    match toml::from_str::<Mapping>(toml) {
        Err(error) => error.to_string(),
        Ok(mapping) => match Decoder::new(&mapping) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted: {toml}"),
        },
    }
}

fn decode(decoder: &Decoder, document: &str) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    let decoded = decoder.decode(Offset::from_count(7), Some(TIME), Some(document.as_bytes()), &mut events)?;
    match decoded {
        Decoded::Events(count) => assert_eq!(count, events.len(), "{document}"),
        Decoded::Ignored | Decoded::Tombstone => assert!(events.is_empty(), "{document}"),
    }
    Ok(events)
}

fn interactions(decoder: &Decoder, document: &str) -> Vec<Interaction> {
    let events = decode(decoder, document).unwrap_or_else(|error| panic!("{document}: {error}"));
    let interaction = |event: Event| match event.kind {
        EventKind::Interaction(interaction) => *interaction,
        EventKind::Watermark => panic!("{document} is a watermark"),
    };
    events.into_iter().map(interaction).collect()
}

fn decision(decoder: &Decoder, document: &str) -> Decision {
    match interactions(decoder, document).pop().map(|interaction| interaction.body) {
        Some(Body::Decision(decision)) => decision,
        other => panic!("{document} is no decision but {other:?}"),
    }
}

fn feedback(decoder: &Decoder, document: &str) -> Feedback {
    match interactions(decoder, document).pop().map(|interaction| interaction.body) {
        Some(Body::Feedback(feedback)) => feedback,
        other => panic!("{document} is no feedback but {other:?}"),
    }
}

#[track_caller]
fn check_refused(decoder: &Decoder, document: &str, reason: MalformedReason, field: Option<&str>) {
    match decode(decoder, document) {
        Ok(events) => panic!("accepted {document} as {events:?}"),
        Err(malformed) => {
            assert_eq!((malformed.reason, malformed.field), (reason, field), "{document}: {malformed}");
        }
    }
}
