//! What fields of a decision are read as.

use super::super::{Decoded, MalformedReason, RecordKey};
use super::{BASE, TIME, check_refused, decision, decode, decoder, interactions};
use crate::event::{EventKind, Fingerprint};
use crate::position::{Offset, Place};
use crate::time::EventTime;

#[test]
fn a_decision_has_all_that_the_mapping_names() {
    let decoder = decoder(
        r#"time = "/meta/at"
           user = "/who/id"
           session = "/who/visit"
           event_id = "/meta/id"
           decision_id = ["/meta/request", "/rank"]
           item = "/shown/0/sku"
           propensity = "/p"
           reward = "/gain"
           context = ["/age", { pointer = "/traits", keys = ["b", "a"] }, "/is_new"]
           context_dimension = 4
           embedding = "/vector"
           embedding_dimension = 2
           candidates = "/pool""#,
    );
    let document = r#"{"meta":{"id":"e","request":"r","at":1767225600000},"rank":2,"who":{"visit":"v","id":"alice"},
        "shown":[{"sku":"x"}],"p":0.25,"gain":-2.5,"age":31,"traits":{"a":1.5,"b":-1},"is_new":true,
        "vector":[0.5,1],"pool":["y","x",7],"extra":[{"x":null}]}"#;
    let interaction = interactions(&decoder, document).remove(0);
    assert_eq!(&*interaction.user, "alice");
    assert_eq!(interaction.session.as_deref(), Some("v"));
    assert_eq!(interaction.id, Some(Fingerprint::of("e")));
    let decision = decision(&decoder, document);
    assert_eq!(decision.id, Some(Fingerprint::of("1:r1:2")));
    assert_eq!(&*decision.item, "x");
    assert_eq!((decision.propensity, decision.reward), (Some(0.25), -2.5));
    assert_eq!(&*decision.context, &[31.0, -1.0, 1.5, 1.0]);
    assert_eq!(decision.embedding.as_deref(), Some(&[0.5, 1.0][..]));
    let candidates = decision.candidates.unwrap_or_default();
    assert_eq!(candidates.iter().map(|id| &**id).collect::<Vec<_>>(), ["y", "x", "7"]);
    let event = decode(&decoder, document).map(|mut events| events.remove(0));
    let event = event.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(event.place, Place { offset: Offset::from_count(7), index: 0 });
    assert_eq!(event.time, EventTime::new(TIME).unwrap_or(EventTime::START));
}

#[test]
fn the_order_of_members_does_not_matter() {
    let decoder = decoder(&format!("{BASE}\ncontext = [\"/a\", \"/b\"]\ncontext_dimension = 3"));
    let one = decision(&decoder, r#"{"ts":1767225600000,"user":"u","item":"i","a":[1,2],"b":3}"#);
    let other = decision(&decoder, r#"{"b":3,"a":[1,2],"item":"i","user":"u","ts":1767225600000}"#);
    assert_eq!(one, other);
    assert_eq!(&*one.context, &[1.0, 2.0, 3.0]);
}

#[test]
fn escapes_in_pointers_and_documents_meet() {
    let decoder = decoder(
        r#"user = "/a~1b/~01"
           item = "/h\u00e9""#,
    );
    let document = r#"{"a/b":{"~1":"\u0061\n"},"h\u00e9":"\ud83d\ude00"}"#;
    assert_eq!(&*interactions(&decoder, document)[0].user, "a\n");
    assert_eq!(&*decision(&decoder, document).item, "😀");
}

#[test]
fn one_number_is_one_id_however_it_is_written() {
    let decoder = decoder(BASE);
    let item =
        |written: &str| decision(&decoder, &format!(r#"{{"ts":{TIME},"user":"u","item":{written}}}"#)).item.to_string();
    for written in ["18", "18.0", "1.8e1", "180E-1", "\"18\""] {
        assert_eq!(item(written), "18", "{written}");
    }
    for (written, id) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("-3", "-3"),
        ("0.5", "0.5"),
        ("1e-7", "0.0000001"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9007199254740991.0", "9007199254740991"),
    ] {
        assert_eq!(item(written), id, "{written}");
    }
    for written in ["18446744073709551616", "1e300", "9007199254740993.0", "\"\"", &format!("\"{}\"", "x".repeat(1025))]
    {
        let document = format!(r#"{{"ts":{TIME},"user":"u","item":{written}}}"#);
        check_refused(&decoder, &document, MalformedReason::BadId, Some("item"));
    }
    for written in ["true", "[]", "{}"] {
        let document = format!(r#"{{"ts":{TIME},"user":"u","item":{written}}}"#);
        check_refused(&decoder, &document, MalformedReason::WrongType, Some("item"));
    }
}

#[test]
fn times_are_milliseconds_or_rfc_3339_in_this_century() {
    let decoder = decoder(BASE);
    let document = |ts: &str| format!(r#"{{"ts":{ts},"user":"u","item":"i"}}"#);
    let millis = |ts: &str| match decode(&decoder, &document(ts)) {
        Ok(events) => events[0].time.millis(),
        Err(error) => panic!("{ts}: {error}"),
    };
    for ts in [
        "1767225600000",
        "1767225600000.0",
        "1.7672256e12",
        "\"2026-01-01T00:00:00Z\"",
        "\"2026-01-01t02:00:00+02:00\"",
    ] {
        assert_eq!(millis(ts), TIME, "{ts}");
    }
    assert_eq!(millis("\"2026-01-01T00:00:00.9999999Z\""), TIME + 999);
    assert_eq!(millis("946684800000"), 946_684_800_000);
    assert_eq!(millis("4102444799999"), 4_102_444_799_999);
    for ts in [
        "946684799999",
        "4102444800000",
        "1767225600",
        "1767225600000000",
        "-1",
        "18446744073709551615",
        "1e300",
        "\"2100-01-01T00:00:00Z\"",
        "\"1999-12-31T23:59:59.999Z\"",
        "\"2026-01-01T00:00:00\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"yesterday\"",
        "\"\"",
    ] {
        check_refused(&decoder, &document(ts), MalformedReason::BadTime, Some("time"));
    }
    for ts in ["1767225600000.5", "true", "[1767225600000]"] {
        check_refused(&decoder, &document(ts), MalformedReason::WrongType, Some("time"));
    }
    check_refused(&decoder, r#"{"user":"u","item":"i"}"#, MalformedReason::MissingField, Some("time"));
}

#[test]
fn without_a_place_the_time_is_the_records_own() {
    let decoder = decoder("user = \"/u\"\nitem = \"/i\"");
    let mut events = Vec::new();
    let value = Some(&br#"{"u":1,"i":2}"#[..]);
    assert_eq!(decoder.decode(Offset::from_count(0), Some(TIME), value, &mut events), Ok(Decoded::Events(1)));
    assert_eq!(events[0].time.millis(), TIME);
    for (timestamp, reason) in [(None, MalformedReason::MissingField), (Some(-1), MalformedReason::BadTime)] {
        let refused = decoder.decode(Offset::from_count(0), timestamp, value, &mut events);
        assert_eq!(refused.map_err(|malformed| malformed.reason), Err(reason));
    }
}

#[test]
fn probabilities_are_above_zero_and_not_above_one() {
    let decoder = decoder(&format!("{BASE}\npropensity = \"/p\"\nlog_prob = \"/log_p\""));
    let document = |rest: &str| format!(r#"{{"ts":{TIME},"user":"u","item":"i"{rest}}}"#);
    for (rest, propensity) in [
        ("", None),
        (r#","p":null,"log_p":null"#, None),
        (r#","p":1"#, Some(1.0)),
        (r#","p":5e-324"#, Some(5e-324)),
        (r#","log_p":0"#, Some(1.0)),
        (r#","log_p":-1"#, Some((-1f64).exp())),
        (r#","p":0.5,"log_p":-1"#, Some(0.5)),
    ] {
        assert_eq!(decision(&decoder, &document(rest)).propensity, propensity, "{rest}");
    }
    for p in ["0", "-0.0", "-0.5", "1.0000000000000002", "2"] {
        check_refused(&decoder, &document(&format!(r#","p":{p}"#)), MalformedReason::BadPropensity, Some("propensity"));
    }
    for log_p in ["1e-9", "-1e5"] {
        let document = document(&format!(r#","log_p":{log_p}"#));
        check_refused(&decoder, &document, MalformedReason::BadPropensity, Some("log_prob"));
    }
    check_refused(&decoder, &document(r#","p":"0.5""#), MalformedReason::WrongType, Some("propensity"));
}

#[test]
fn features_are_finite_numbers_of_the_length_that_was_set() {
    let decoder = decoder(&format!("{BASE}\ncontext = \"/x\"\ncontext_dimension = 2"));
    let document = |x: &str| format!(r#"{{"ts":{TIME},"user":"u","item":"i","x":{x}}}"#);
    assert_eq!(&*decision(&decoder, &document("[1e38, false]")).context, &[1e38, 0.0]);
    for x in ["[]", "[1]", "[1,2,3]", "1"] {
        check_refused(&decoder, &document(x), MalformedReason::WrongDimension, Some("context"));
    }
    for x in ["[1,1e39]", "[1,-4e38]"] {
        check_refused(&decoder, &document(x), MalformedReason::NumberOutOfRange, Some("context"));
    }
    for x in ["[1,null]", "[1,\"2\"]", "[[1],[2]]", "[1,{}]", "[1,[2]]", "{}", "\"1,2\""] {
        check_refused(&decoder, &document(x), MalformedReason::WrongType, Some("context"));
    }
    check_refused(&decoder, &document("null"), MalformedReason::MissingField, Some("context"));
}

#[test]
fn a_default_stands_in_for_what_is_absent_or_null_but_not_for_what_is_wrong() {
    let decoder = decoder(
        r#"user = "/user"
           item = { pointer = "/item", default = 0 }
           session = { const = "the only one" }
           propensity = { pointer = "/p", default = 0.5 }
           context = { pointer = "/f", keys = ["a", "b/c"], default = -1 }
           context_dimension = 2"#,
    );
    for document in
        [r#"{"user":"u"}"#, r#"{"user":"u","item":null,"p":null,"f":{"a":null}}"#, r#"{"user":"u","f":null}"#]
    {
        let decision = decision(&decoder, document);
        assert_eq!((&*decision.item, decision.propensity), ("0", Some(0.5)), "{document}");
        assert_eq!(&*decision.context, &[-1.0, -1.0], "{document}");
        assert_eq!(interactions(&decoder, document)[0].session.as_deref(), Some("the only one"));
    }
    assert_eq!(&*decision(&decoder, r#"{"user":"u","f":{"b/c":2,"a":1}}"#).context, &[1.0, 2.0]);
    check_refused(&decoder, r#"{"user":"u","p":"x"}"#, MalformedReason::WrongType, Some("propensity"));
    check_refused(&decoder, r#"{"user":"u","item":""}"#, MalformedReason::BadId, Some("item"));
    check_refused(&decoder, r#"{"item":1}"#, MalformedReason::MissingField, Some("user"));
}

#[test]
fn candidates_name_the_shown_item_and_each_item_once() {
    let decoder = decoder(&format!("{BASE}\ncandidates = \"/c\""));
    let document = |c: &str| format!(r#"{{"ts":{TIME},"user":"u","item":3,"c":{c}}}"#);
    for c in ["[3]", "[1,2,\"3\"]", "null"] {
        decision(&decoder, &document(c));
    }
    let many: Vec<String> = (0..40).map(|id| id.to_string()).collect();
    assert_eq!(decision(&decoder, &document(&format!("[{}]", many.join(",")))).candidates.map(|c| c.len()), Some(40));
    for c in ["[]", "[1,2]", "[3,3]", "[3,\"3\"]", &format!("[{},39]", many.join(","))] {
        check_refused(&decoder, &document(c), MalformedReason::BadCandidates, Some("candidates"));
    }
    check_refused(&decoder, &document("[3,null]"), MalformedReason::WrongType, Some("candidates"));
    check_refused(&decoder, &document("[3,[4]]"), MalformedReason::WrongType, Some("candidates"));
    check_refused(&decoder, &document("3"), MalformedReason::WrongType, Some("candidates"));
}

#[test]
fn one_place_can_serve_several_fields() {
    let decoder = decoder(
        r#"user = "/user"
           item = "/n"
           session = "/n"
           reward = "/n"
           context = ["/n", "/list", "/list/1"]
           context_dimension = 4"#,
    );
    let decision = decision(&decoder, r#"{"user":"u","n":5,"list":[1,2]}"#);
    assert_eq!((&*decision.item, decision.reward), ("5", 5.0));
    assert_eq!(&*decision.context, &[5.0, 1.0, 2.0, 2.0]);
}

#[test]
fn words_decide_what_a_record_is() {
    let own = decoder(&format!(
        r#"{BASE}
           kind = {{ pointer = "/t", table = {{ show = "decision", 7 = "session_end", tick = "watermark", noise = "ignore" }} }}"#
    ));
    let document = |kind: &str| format!(r#"{{"ts":{TIME},"user":"u","item":"i","t":{kind}}}"#);
    decision(&own, &document("\"show\""));
    assert_eq!(interactions(&own, &document("7"))[0].body, crate::event::Body::SessionEnd);
    assert_eq!(decode(&own, &document("\"noise\"")), Ok(vec![]));
    let tick = decode(&own, &format!(r#"{{"ts":{TIME},"t":"tick"}}"#)).unwrap_or_default();
    assert_eq!(tick[0].kind, EventKind::Watermark);
    check_refused(&own, &document("\"decision\""), MalformedReason::UnknownKind, Some("kind"));
    check_refused(&own, &document("null"), MalformedReason::MissingField, Some("kind"));
    check_refused(&own, &document("[]"), MalformedReason::WrongType, Some("kind"));

    let lenient = decoder(&format!(
        "{BASE}\nkind = {{ pointer = \"/t\", table = {{ show = \"decision\" }}, others = \"ignore\", default = \"show\" }}"
    ));
    assert_eq!(decode(&lenient, &document("\"something else\"")), Ok(vec![]));
    decision(&lenient, &document("null"));
    check_refused(&lenient, "{", MalformedReason::NotJson, None);
}

#[test]
fn a_record_without_a_value_is_a_tombstone() {
    let mut events = Vec::new();
    assert_eq!(decoder(BASE).decode(Offset::from_count(0), None, None, &mut events), Ok(Decoded::Tombstone));
    check_refused(&decoder(BASE), "", MalformedReason::NotJson, None);
}

#[test]
fn user_and_time_are_found_in_records_that_are_malformed_otherwise() {
    let decoder = decoder(&format!("{BASE}\npropensity = \"/p\"\nkind = \"/t\"\n[feedback]\nreward = \"/r\""));
    let key = |document: &str| decoder.key(None, Some(document.as_bytes()));
    let both = RecordKey { user: Some("u".into()), time: EventTime::new(TIME) };
    assert_eq!(key(&format!(r#"{{"t":"nobody knows","p":9,"user":"u","ts":{TIME}}}"#)), both);
    assert_eq!(key(r#"{"user":"u","ts":"?"}"#), RecordKey { time: None, ..both.clone() });
    assert_eq!(key(&format!(r#"{{"user":[],"ts":{TIME}}}"#)), RecordKey { user: None, ..both.clone() });
    for nothing in [format!(r#"{{"user":"u","ts":{TIME}"#), format!(r#"{{"user":"u","ts":{TIME},"a":1,"a":1}}"#)] {
        assert_eq!(key(&nothing), RecordKey::default(), "{nothing}");
    }
    assert_eq!(decoder.key(Some(TIME), None), RecordKey::default());
}

#[test]
fn a_position_is_a_whole_number_or_refused() {
    let decoder = decoder(&format!("{BASE}\nposition = \"/slot\""));
    let with = |slot: &str| format!(r#"{{"ts":1767225600000,"user":"u","item":"i","slot":{slot}}}"#);
    assert_eq!(decision(&decoder, &with("2")).position, Some(2));
    assert_eq!(decision(&decoder, &with("2.0")).position, Some(2));
    assert_eq!(decision(&decoder, &with("null")).position, None);
    for slot in ["-1", "0.5", "4294967296"] {
        check_refused(&decoder, &with(slot), MalformedReason::NumberOutOfRange, Some("position"));
    }
    check_refused(&decoder, &with("\"top\""), MalformedReason::WrongType, Some("position"));
}

#[test]
fn a_reward_that_no_unit_explains_is_out_of_range_wherever_it_stands() {
    let kinds = r#"kind = { pointer = "/t", table = { show = "decision", dwell = "feedback" } }"#;
    let table = r#"{ join = "latest_item", kind = "/what", value = "/v", rewards = { stay = { per = 1.0, weight = 1e10, max = 1e25 } } }"#;
    let decoder = decoder(&format!("{kinds}\nreward = \"/reward\"\nfeedback = {table}\n{BASE}"));
    let document = |more: &str| format!(r#"{{"ts":{TIME},"user":"u","item":"i",{more}}}"#);
    let decision = |reward: &str| document(&format!(r#""t":"show","reward":{reward}"#));
    check_refused(&decoder, &decision("-1e31"), MalformedReason::NumberOutOfRange, Some("reward"));
    assert!(decode(&decoder, &decision("-1e30")).is_ok());
    let stay = document(r#""t":"dwell","what":"stay","v":1e21"#);
    check_refused(&decoder, &stay, MalformedReason::NumberOutOfRange, Some("feedback.value"));
}
