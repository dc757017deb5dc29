//! One record, several decisions.

use super::super::{Decoded, MalformedReason};
use super::{check_refused, decode, decoder, interactions};
use crate::event::{Body, Fingerprint};
use crate::position::Offset;

const SLATE: &str = r#"
    user = "/user"
    event_id = "/id"
    decision_id = ["/id", "./sku"]
    each = "/impressions"
    item = "./sku"
    propensity = "./p"
    context = ["/mood", "./rank"]
    context_dimension = 2
    candidates = "/pool"
"#;

#[test]
fn each_element_is_a_decision_of_its_own() {
    let decoder = decoder(SLATE);
    let document = r#"{"impressions":[{"sku":"a","p":0.5,"rank":0},{"rank":1,"sku":"b","p":0.25}],"mood":0.75,"user":"u","id":"e"}"#;
    let interactions = interactions(&decoder, document);
    let read: Vec<_> = interactions
        .iter()
        .map(|interaction| match &interaction.body {
            Body::Decision(decision) => (&*decision.item, decision.propensity, decision.context.to_vec(), decision.id),
            other => panic!("{other:?}"),
        })
        .collect();
    let id = |sku: &str| Some(Fingerprint::of(&format!("1:e1:{sku}")));
    assert_eq!(read, [("a", Some(0.5), vec![0.75, 0.0], id("a")), ("b", Some(0.25), vec![0.75, 1.0], id("b"))]);
    assert_ne!(interactions[0].id, interactions[1].id, "they are not duplicates of each other");
    let positions = interactions.iter().map(|interaction| match &interaction.body {
        Body::Decision(decision) => decision.position,
        other => panic!("{other:?}"),
    });
    assert_eq!(positions.collect::<Vec<_>>(), [Some(0), Some(1)], "the place on the page is the element's");
    let places: Vec<_> = decode(&decoder, document).unwrap_or_default().iter().map(|event| event.place.index).collect();
    assert_eq!(places, [0, 1]);
}

#[test]
fn a_slate_is_read_as_a_whole_or_not_at_all() {
    let decoder = decoder(SLATE);
    let mut events = Vec::new();
    let good = br#"{"user":"u","mood":1,"impressions":[{"sku":"a","rank":0}]}"#;
    let bad = br#"{"user":"u","mood":1,"impressions":[{"sku":"a","rank":0},{"sku":"b","rank":1,"p":2}]}"#;
    assert_eq!(
        decoder.decode(Offset::from_count(0), Some(super::TIME), Some(good), &mut events),
        Ok(Decoded::Events(1))
    );
    let before = events.clone();
    assert!(decoder.decode(Offset::from_count(1), Some(super::TIME), Some(bad), &mut events).is_err());
    assert_eq!(events, before);
}

#[test]
fn a_list_of_plain_items_is_a_slate_too() {
    let decoder = decoder("user = \"/u\"\neach = \"/shown/items\"\nitem = \".\"\nreward = \"/r\"");
    let interactions = interactions(&decoder, r#"{"u":1,"shown":{"items":["x",2,"x"]},"r":3}"#);
    let items: Vec<_> = interactions
        .iter()
        .map(|interaction| match &interaction.body {
            Body::Decision(decision) => (&*decision.item, decision.reward),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(items, [("x", 3.0), ("2", 3.0), ("x", 3.0)]);
}

#[test]
fn slates_are_bounded_and_must_be_lists() {
    let decoder = decoder("user = \"/u\"\neach = \"/s\"\nitem = \".\"\n[limits]\nevents = 3");
    assert_eq!(decode(&decoder, r#"{"u":1,"s":[]}"#), Ok(vec![]));
    assert_eq!(interactions(&decoder, r#"{"u":1,"s":[1,2,3]}"#).len(), 3);
    check_refused(&decoder, r#"{"u":1,"s":[1,2,3,4]}"#, MalformedReason::TooManyEvents, Some("each"));
    check_refused(&decoder, r#"{"u":1,"s":{"0":1}}"#, MalformedReason::WrongType, Some("each"));
    check_refused(&decoder, r#"{"u":1,"s":"x"}"#, MalformedReason::WrongType, Some("each"));
    check_refused(&decoder, r#"{"u":1,"s":null}"#, MalformedReason::MissingField, Some("each"));
    check_refused(&decoder, r#"{"u":1}"#, MalformedReason::MissingField, Some("each"));
    check_refused(&decoder, r#"{"u":1,"s":[1,null]}"#, MalformedReason::MissingField, Some("item"));
}

#[test]
fn feedback_is_no_slate() {
    let decoder = decoder(
        r#"kind = { pointer = "/t", table = { show = "decision", click = "feedback" } }
           user = "/u"
           each = "/s"
           item = "./sku"
           [feedback]
           item = "/sku"
           rewards = { click = 1 }"#,
    );
    assert_eq!(interactions(&decoder, r#"{"t":"show","u":1,"s":[{"sku":1},{"sku":2}]}"#).len(), 2);
    assert_eq!(interactions(&decoder, r#"{"t":"click","u":1,"sku":2,"s":[{},{}]}"#).len(), 1);
}
