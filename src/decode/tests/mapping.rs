//! Wrong settings are named, with the way out; the short ones mean what they look like.

use super::super::{Decoder, Limits, Mapping};
use super::{BASE, decision, decode, decoder, feedback, refused_mapping};
use crate::event::Target;

#[track_caller]
fn check_message(toml: &str, parts: &[&str]) {
    let message = refused_mapping(toml);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in the message for {toml}:\n{message}");
    }
}

#[test]
fn ten_lines_read_somebody_elses_topic() {
    let decoder = decoder(
        r#"kind = { pointer = "/type", table = { impression = "decision", click = "feedback", order = "feedback" }, others = "ignore" }
           time = "/ts_ms"
           user = "/user_id"
           session = "/session_id"
           item = "/item_id"
           propensity = "/propensity"
           context = "/features/user"
           context_dimension = 2
           [feedback]
           rewards = { click = 1.0, order = { value = 10.0, final = true } }"#,
    );
    let record = |kind: &str| {
        format!(
            r#"{{"type":"{kind}","ts_ms":1767225600000,"user_id":7,"item_id":"x","propensity":0.5,"features":{{"user":[1,2]}}}}"#
        )
    };
    assert_eq!(&*decision(&decoder, &record("impression")).context, &[1.0, 2.0]);
    let order = feedback(&decoder, &record("order"));
    assert_eq!((order.reward, order.is_final, order.target), (10.0, true, Target::LatestItem("x".into())));
    assert_eq!(decode(&decoder, &record("login")), Ok(vec![]));
}

#[test]
fn an_empty_mapping_is_the_native_schema() {
    let default = Mapping::default();
    assert_eq!(default.resolved(), Mapping::native());
    assert!(Decoder::new(&default).is_ok());
    let tuned: Mapping = toml::from_str(
        "context_dimension = 3\n[feedback]\nrewards = { like = 2 }\nothers = \"ignore\"\n[limits]\nbytes = \"2KiB\"",
    )
    .unwrap_or_default();
    let resolved = tuned.resolved();
    assert_eq!((resolved.user, resolved.context_dimension), (Mapping::native().user, Some(3)));
    assert_eq!(resolved.feedback.rewards.keys().collect::<Vec<_>>(), ["like"]);
    assert_eq!(resolved.limits.bytes.0, 2048);
}

#[test]
fn a_mapping_of_ones_own_has_only_what_it_names() {
    let mapping: Mapping = toml::from_str(BASE).unwrap_or_default();
    assert_eq!(mapping.resolved(), mapping);
    assert_eq!(mapping.session, None);
    assert_eq!(mapping.limits, Limits::default());
}

#[test]
fn settings_survive_being_written_and_read_again() {
    let toml = r#"kind = { pointer = "/t", table = { a = "decision", b = "feedback" }, others = "ignore" }
        user = { pointer = "/u", default = 3 }
        item = { const = "i" }
        decision_id = ["/a", "/b"]
        context = [{ pointer = "/c", keys = ["x"], default = 0.5 }]
        context_dimension = 1
        feedback = { rewards = { b = { per = 2, weight = 3 } }, value = "/v", final = ["b"] }
        limits = { bytes = "1MiB" }"#;
    for mapping in [toml::from_str(toml).unwrap_or_default(), Mapping::native(), Mapping::default()] {
        let written = toml::to_string(&mapping).unwrap_or_else(|error| panic!("{error}"));
        let again: Mapping = toml::from_str(&written).unwrap_or_else(|error| panic!("{written}\n{error}"));
        assert_eq!(again, mapping, "{written}");
    }
}

#[test]
fn unknown_names_are_refused_wherever_they_stand() {
    check_message("usr = \"/u\"", &["unknown field `usr`", "`user`"]);
    check_message("user = { ponter = \"/u\" }", &["unknown field `ponter`", "`pointer`"]);
    check_message("kind = { pointer = \"/t\", tabel = {} }", &["unknown field `tabel`", "`table`"]);
    check_message(
        "kind = { pointer = \"/t\", table = { a = \"desision\" } }",
        &["unknown variant `desision`", "`decision`"],
    );
    check_message("feedback = { joins = \"latest_item\" }", &["unknown field `joins`", "`join`"]);
    check_message("feedback = { rewards = { a = { wait = 1 } } }", &["unknown field `wait`", "`weight`"]);
    check_message("limits = { deep = 1 }", &["unknown field `deep`", "`depth`"]);
    check_message("context = [{ pointer = \"/c\", names = [] }]", &["unknown field `names`", "`keys`"]);
}

#[test]
fn wrong_forms_say_what_was_expected() {
    check_message("user = 3", &["a JSON Pointer such as \"/user/id\""]);
    check_message("kind = 3", &["a JSON Pointer such as \"/type\""]);
    check_message("feedback = { rewards = { a = \"1\" } }", &["a number, { value = 1.0, final = true }"]);
    check_message("decision_id = true", &["one JSON Pointer or a list of them"]);
    check_message("limits = { bytes = \"big\" }", &["\"big\" is not a size such as \"1MiB\""]);
}

#[test]
fn pointers_are_checked() {
    check_message("user = \"user_id\"\nitem = \"/i\"", &["mapping.user", "must start with \"/\""]);
    check_message("user = \"\"\nitem = \"/i\"", &["mapping.user", "must start with \"/\""]);
    check_message("user = \"/a~2\"\nitem = \"/i\"", &["mapping.user", "\"~0\" for \"~\""]);
    check_message("user = \"/a~\"\nitem = \"/i\"", &["mapping.user", "\"~0\" for \"~\""]);
    check_message("user = { default = 1 }\nitem = \"/i\"", &["mapping.user", "either `pointer` or `const`"]);
    check_message(
        "user = { pointer = \"/u\", const = 1 }\nitem = \"/i\"",
        &["mapping.user", "either `pointer` or `const`"],
    );
    check_message("user = \"/u\"\nitem = \"./i\"", &["mapping.item", "set mapping.each"]);
    check_message("user = \"/u\"\nitem = \".i\"\neach = \"/s\"", &["mapping.item", "must start with \"/\""]);
}

#[test]
fn what_is_needed_is_asked_for() {
    check_message("item = \"/i\"", &["mapping.user", "user = \"/user_id\""]);
    check_message("user = \"/u\"", &["mapping.item", "\"/item_id\""]);
    check_message(&format!("{BASE}\ncontext = \"/c\""), &["mapping.context_dimension", "how many numbers"]);
    check_message(&format!("{BASE}\nembedding = \"/e\""), &["mapping.embedding_dimension", "how many numbers"]);
    check_message(
        &format!("{BASE}\ncontext_dimension = 3"),
        &["mapping.context_dimension", "mapping.context does not say"],
    );
    check_message(
        &format!("{BASE}\ncontext = \"/c\"\ncontext_dimension = 70000"),
        &["mapping.context_dimension", "65536"],
    );
    check_message(&format!("{BASE}\nkind = \"/t\""), &["mapping.feedback", "rewards = { click = 1.0 }"]);
    let rewards = "feedback = { rewards = { click = 1 } }";
    check_message(&format!("{BASE}\nkind = \"/t\"\n{rewards}"), &["mapping.feedback.reward", "records of kind reward"]);
}

#[test]
fn joins_and_rewards_must_make_sense() {
    let kind = r#"kind = { pointer = "/t", table = { a = "decision", b = "feedback" } }"#;
    let check =
        |feedback: &str, parts: &[&str]| check_message(&format!("{BASE}\n{kind}\n[feedback]\n{feedback}"), parts);
    check("reward = \"/r\"\njoin = \"decision_id\"", &["mapping.feedback.join", "join = \"latest_item\""]);
    check(
        "rewards = { b = { per = 0, weight = 1 } }\nvalue = \"/v\"",
        &["mapping.feedback.rewards", "greater than zero"],
    );
    check("rewards = { b = { per = 1, weight = 1 } }", &["mapping.feedback.rewards", "set mapping.feedback.value"]);
    check("rewards = { b = { per = 1 } }", &["mapping.feedback.rewards", "b: write a number"]);
    check("rewards = { b = { value = 1, per = 1, weight = 1 } }", &["mapping.feedback.rewards", "b: write a number"]);
    check("rewards = { b = inf }", &["mapping.feedback.rewards", "finite"]);
    check("rewards = { b = 1 }\nfinal = [\"c\"]", &["mapping.feedback.final", "\"c\" is not in"]);
    check_message(&format!("{BASE}\nreward = {{ const = nan }}"), &["mapping.reward", "finite"]);
}

#[test]
fn slates_must_be_told_apart() {
    let slate = "user = \"/u\"\neach = \"/s\"\n";
    check_message(&format!("{slate}item = \"/i\""), &["mapping.item", "begin with \"./\""]);
    check_message(
        &format!("{slate}item = \"./i\"\ndecision_id = \"/d\""),
        &["mapping.decision_id", "[\"/id\", \"./item\"]"],
    );
    check_message(&format!("{slate}item = \"./i\"\nsession = \"./v\""), &["mapping.session", "whole record"]);
    check_message(
        &format!("{slate}item = \"./i\"\nreward = \"/s/0/r\""),
        &["mapping.each", "begin that pointer with \"./\""],
    );
    check_message(
        &format!("{slate}item = \"./i\"\ncandidates = \"/s\""),
        &["mapping.each", "begin that pointer with \"./\""],
    );
    check_message("user = \"/u\"\neach = \"./s\"\nitem = \"./i\"", &["mapping.each", "begin at the record"]);
    let kind = r#"kind = { pointer = "/t", table = { a = "decision", b = "feedback" } }"#;
    check_message(
        &format!("{slate}item = \"./i\"\n{kind}\nfeedback = {{ reward = \"/r\" }}"),
        &["mapping.feedback.item", "no slate"],
    );
}

#[test]
fn limits_are_limited() {
    check_message("limits = { depth = 0 }", &["mapping.limits.depth", "between 1 and 100"]);
    check_message("limits = { depth = 101 }", &["mapping.limits.depth", "between 1 and 100"]);
    check_message("limits = { events = 0 }", &["mapping.limits.events", "greater than zero"]);
    check_message("limits = { bytes = 0 }", &["mapping.limits.bytes", "greater than zero"]);
}

#[test]
fn numbers_and_ids_at_one_place_are_refused() {
    let toml = format!("{BASE}\ncontext = \"/c\"\ncontext_dimension = 2\ncandidates = \"/c\"");
    check_message(&toml, &["mapping.candidates", "numbers and as item ids"]);
}

#[test]
fn a_decoder_tells_the_dimensions_that_it_promises() {
    let decoder = decoder(&format!(
        "{BASE}\ncontext = \"/c\"\ncontext_dimension = 5\nembedding = \"/e\"\nembedding_dimension = 3"
    ));
    assert_eq!((decoder.context_dimension(), decoder.embedding_dimension()), (5, 3));
}
