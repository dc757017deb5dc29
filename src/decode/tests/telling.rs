//! What a person is told about a record and about a sample.

use super::super::{FieldReading, RecordPlace, Sample};
use super::{BASE, TIME, decoder};
use crate::position::{Offset, Partition};

fn field<'a>(fields: &'a [FieldReading], name: &str) -> &'a FieldReading {
    fields.iter().find(|field| field.field == name).unwrap_or_else(|| panic!("{name} is not told"))
}

#[test]
fn a_record_is_told_field_by_field() {
    let decoder = decoder(&format!(
        "{BASE}\ncontext = \"/x\"\ncontext_dimension = 6\nreward = {{ pointer = \"/r\", default = 0.5 }}\nsession = {{ const = 1 }}"
    ));
    let document = format!(r#"{{"ts":{TIME},"user":"{}","item":3,"x":[1,2,3,4,5,6]}}"#, "é".repeat(30));
    let told = decoder.explain(Offset::from_count(0), None, Some(document.as_bytes()));
    assert_eq!((told.outcome, told.kind, told.events.len(), &told.error), ("decoded", Some("decision"), 1, &None));
    assert_eq!(told.events[0].time, "2026-01-01T00:00:00Z");
    assert_eq!(told.events[0].reward, Some(0.5));
    let user = field(&told.fields, "user");
    assert_eq!((user.source.as_str(), user.found.as_str()), ("/user", format!("{:?}...", "é".repeat(20)).as_str()));
    assert_eq!(field(&told.fields, "context").found, "6 numbers, first [1.0, 2.0, 3.0, 4.0]");
    let reward = field(&told.fields, "reward");
    assert_eq!((reward.found.as_str(), reward.is_default), ("0.5", true));
    assert_eq!(field(&told.fields, "session").source, "constant");
}

#[test]
fn a_refused_record_is_told_too_as_far_as_it_can_be_read() {
    let decoder = decoder(BASE);
    let told = decoder.explain(Offset::from_count(0), None, Some(br#"{"ts":1,"user":"u"}"#));
    assert_eq!(told.outcome, "malformed");
    assert_eq!(told.error.and_then(|error| error.field), Some("time"));
    assert_eq!(field(&told.fields, "item").found, "nothing");
    let told = decoder.explain(Offset::from_count(0), None, Some(b"{"));
    assert_eq!((told.outcome, told.fields.len()), ("malformed", 0));
    assert_eq!(decoder.explain(Offset::from_count(0), None, None).outcome, "tombstone");
}

#[test]
fn a_sample_counts_every_record_once_and_keeps_the_first_errors() {
    let mut sample = Sample::new(decoder(&format!(
        "{BASE}\nkind = {{ pointer = \"/t\", table = {{ a = \"decision\", b = \"ignore\" }} }}\npropensity = \"/p\""
    )));
    let mut offset = 0;
    let mut observe = |partition: u32, value: Option<String>| {
        let place = RecordPlace { partition: Partition(partition), offset: Offset::from_count(offset), line: None };
        sample.observe(place, None, value.as_deref().map(str::as_bytes));
        offset += 1;
    };
    let record = |user: &str, rest: &str| Some(format!(r#"{{"t":"a","ts":{TIME},"user":"{user}","item":1{rest}}}"#));
    observe(0, record("alice", r#","p":0.5"#));
    observe(1, record("alice", ""));
    observe(1, record("bob", r#","p":0.25"#));
    observe(1, Some(r#"{"t":"b"}"#.to_owned()));
    observe(1, None);
    for _ in 0..5 {
        observe(0, record("carol", r#","p":0"#));
    }
    let report = sample.report();
    let counts = (report.records, report.decoded, report.ignored, report.tombstones, report.malformed);
    assert_eq!(counts, (10, 3, 1, 1, 5));
    assert_eq!((report.users, report.users_in_several_partitions, report.items), (2, 1, 1));
    assert_eq!((report.propensity_min, report.decisions_without_propensity), (Some(0.25), 1));
    assert_eq!(report.reasons.get("bad_propensity"), Some(&5));
    let places: Vec<_> = report.first_errors.iter().map(|error| error.place.to_string()).collect();
    assert_eq!(places, [5, 6, 7].map(|offset| format!("partition 0, offset {offset}")));
    assert_eq!(report.examples.len(), 1);
    for part in ["more than one partition", "have no propensity", "are malformed", "all rewards are equal"] {
        assert!(report.warnings.iter().any(|warning| warning.contains(part)), "{part}: {:?}", report.warnings);
    }
    assert!(serde_json::to_string(&report).is_ok());
}
