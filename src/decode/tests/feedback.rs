//! What feedback is worth and what it is for.

use super::super::MalformedReason;
use super::{BASE, TIME, check_refused, decision, decode, decoder, feedback};
use crate::event::{Fingerprint, Target};

const KINDS: &str = r#"kind = { pointer = "/t", table = { show = "decision", click = "feedback", buy = "feedback", dwell = "feedback", direct = "reward" } }"#;

#[test]
fn a_table_says_what_each_kind_of_feedback_is_worth() {
    let decoder = decoder(&format!(
        r#"{BASE}
           {KINDS}
           decision_id = "/d"
           [feedback]
           value = "/v"
           reward = "/r"
           rewards = {{ click = 1, buy = {{ value = 10.0, final = true }}, dwell = {{ per = 1000, weight = 0.01, max = 60000 }} }}"#
    ));
    let document = |rest: &str| format!(r#"{{"ts":{TIME},"user":"u","d":"d1",{rest}}}"#);
    for (rest, reward, is_final) in [
        (r#""t":"click""#, 1.0, false),
        (r#""t":"click","r":5"#, 1.0, false),
        (r#""t":"buy""#, 10.0, true),
        (r#""t":"dwell","v":30000"#, 0.3, false),
        (r#""t":"dwell","v":1e300"#, 0.6, false),
        (r#""t":"direct","r":-2.5"#, -2.5, false),
    ] {
        let feedback = feedback(&decoder, &document(rest));
        assert_eq!((feedback.reward, feedback.is_final), (reward, is_final), "{rest}");
        assert_eq!(feedback.target, Target::Decision(Fingerprint::of("d1")));
    }
    let missing = MalformedReason::MissingField;
    check_refused(&decoder, &document(r#""t":"dwell""#), missing, Some("feedback.value"));
    check_refused(&decoder, &document(r#""t":"direct""#), missing, Some("feedback.reward"));
    check_refused(&decoder, &document(r#""t":"dwell","v":"3""#), MalformedReason::WrongType, Some("feedback.value"));
    check_refused(
        &decoder,
        &document(r#""t":"dwell","v":-1.7e308"#).replace("1.7e308", "1e999"),
        MalformedReason::NumberOutOfRange,
        None,
    );
    check_refused(
        &decoder,
        &format!(r#"{{"ts":{TIME},"user":"u","t":"click"}}"#),
        missing,
        Some("feedback.decision_id"),
    );
}

#[test]
fn feedback_names_its_decision_by_the_same_joined_id() {
    let decoder = decoder(&format!(
        r#"{BASE}
           kind = "/type"
           decision_id = ["/request", "/item"]
           [feedback]
           decision_id = ["/of/request", "/of/item"]
           reward = "/value"
           is_final = "/last""#
    ));
    let shown = decision(&decoder, &format!(r#"{{"type":"decision","ts":{TIME},"user":"u","request":"r","item":4}}"#));
    let document = format!(
        r#"{{"type":"feedback","ts":{TIME},"user":"u","of":{{"request":"r","item":"4"}},"value":true,"last":true}}"#
    );
    let feedback = feedback(&decoder, &document);
    assert_eq!(shown.id.map(Target::Decision), Some(feedback.target));
    assert_eq!((feedback.reward, feedback.is_final), (1.0, true));

    let other =
        decision(&decoder, &format!(r#"{{"type":"decision","ts":{TIME},"user":"u","request":"r1:","item":4}}"#));
    assert_ne!(shown.id, other.id);
    let unnamed = decision(&decoder, &format!(r#"{{"type":"decision","ts":{TIME},"user":"u","item":4}}"#));
    assert_eq!(unnamed.id, None, "half an id is none");
}

#[test]
fn the_parts_of_a_joined_id_do_not_run_together() {
    let decoder = decoder(&format!("{BASE}\ndecision_id = [\"/a\", \"/b\"]"));
    let id = |a: &str, b: &str| {
        decision(&decoder, &format!(r#"{{"ts":{TIME},"user":"u","item":1,"a":"{a}","b":"{b}"}}"#)).id
    };
    assert_ne!(id("x", "yz"), id("xy", "z"));
    assert_ne!(id("1:x", "y"), id("1", "x1:y"));
    assert_eq!(id("x", "y"), id("x", "y"));
}

#[test]
fn without_decision_ids_feedback_names_its_item() {
    let decoder = decoder(&format!("{BASE}\n{KINDS}\n[feedback]\nreward = \"/r\"\nitem = \"/clicked\""));
    let feedback = feedback(&decoder, &format!(r#"{{"ts":{TIME},"user":"u","t":"click","clicked":18.0,"r":4}}"#));
    assert_eq!(feedback.target, Target::LatestItem("18".into()));
    assert_eq!(feedback.reward, 4.0);
    let document = format!(r#"{{"ts":{TIME},"user":"u","t":"click","item":18,"r":4}}"#);
    check_refused(&decoder, &document, MalformedReason::MissingField, Some("feedback.item"));
}

#[test]
fn feedback_that_no_table_knows_is_seen_unless_it_is_left_out_on_purpose() {
    let document = format!(r#"{{"ts":{TIME},"user":"u","item":"i","t":"buy"}}"#);
    let toml = format!("{BASE}\n{KINDS}\n[feedback]\nreward = \"/r\"\nrewards = {{ click = 1 }}\n");
    check_refused(&decoder(&toml), &document, MalformedReason::UnknownFeedback, Some("feedback.kind"));
    assert_eq!(decode(&decoder(&format!("{toml}others = \"ignore\"")), &document), Ok(vec![]));
}

#[test]
fn final_kinds_can_be_listed() {
    let toml =
        format!("{BASE}\n{KINDS}\n[feedback]\nreward = \"/r\"\nrewards = {{ click = 1, buy = 2 }}\nfinal = [\"buy\"]");
    let decoder = decoder(&toml);
    for (kind, is_final) in [("click", false), ("buy", true)] {
        let document = format!(r#"{{"ts":{TIME},"user":"u","item":"i","t":"{kind}"}}"#);
        assert_eq!(feedback(&decoder, &document).is_final, is_final, "{kind}");
    }
}
