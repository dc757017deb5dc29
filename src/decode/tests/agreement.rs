//! The short way and the strict scan, side by side.

use proptest::prelude::*;

use super::super::agreement::reads_quickly;
use super::*;

fn everything() -> [Decoder; 2] {
    [
        decoder(&format!(
            "{BASE}\ncontext = [\"/a\", \"/b/0\", \"/b/2/c\"]\ncontext_dimension = 3\ncandidates = \"/ids\""
        )),
        decoder(
            "each = \"/list\"\ntime = \"/ts\"\nuser = \"/user\"\nitem = \"./item\"\nlimits = { depth = 4, events = 3 }",
        ),
    ]
}

/// Text that is nearly JSON: pieces that belong together more often than not.
fn nearly_json() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<f64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<f32>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        "-?[0-9]{0,3}\\.?[0-9]{0,3}[eE]?[+-]?[0-9]{0,2}",
    ];
    let leaf = prop_oneof![
        4 => number,
        2 => "\"[a-zé\u{1f600}\\\\n\"u0\u{0}-\u{3f}]{0,6}\"",
        1 => "\"[a-z]{0,6}\"",
        1 => prop_oneof![Just("true"), Just("false"), Just("null"), Just("nul"), Just("NaN"), Just("+1")].prop_map(String::from),
    ];
    let key = prop_oneof![
        Just("ts"),
        Just("user"),
        Just("item"),
        Just("a"),
        Just("b"),
        Just("c"),
        Just("ids"),
        Just("list"),
        Just("\\u0061")
    ];
    let space = prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\u{b}")];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        let array =
            (prop::collection::vec(inner.clone(), 0..5), space.clone(), prop_oneof![9 => Just(","), 1 => Just(",,")])
                .prop_map(|(elements, space, comma)| format!("[{space}{}{space}]", elements.join(comma)));
        let members = prop::collection::vec((key.clone(), inner), 0..6);
        let object = (members, space.clone()).prop_map(|(members, space)| {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("\"{key}\"{space}:{space}{value}")).collect();
            format!("{space}{{{}{space}}}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_the_short_way_accepts_the_strict_scan_accepts_alike(text in nearly_json(), tail in "[ \\n}\\],]{0,2}") {
        for decoder in everything() {
            reads_quickly(&decoder, &text);
            reads_quickly(&decoder, &format!("{text}{tail}"));
        }
    }

    #[test]
    fn numbers_have_the_bits_that_the_strict_scan_gives_them(
        text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?",
        any in any::<f64>().prop_filter("JSON has no other numbers", |number| number.is_finite()),
    ) {
        let [decoder, _] = everything();
        for number in [text, any.to_string(), format!("{any:e}"), (any as f32).to_string()] {
            reads_quickly(&decoder, &format!("{{\"a\":{number},\"b\":[{number}]}}"));
        }
    }
}

#[test]
fn hand_made_documents_are_read_alike() {
    let documents = [
        "",
        " ",
        "{",
        "{}",
        "{} x",
        "[]",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "01",
        "-",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-0",
        "-0.0",
        "0e999999",
        "1e400",
        "1e-400",
        "123456789012345678",
        "1234567890123456789",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "9007199254740993.0",
        "0.1",
        "5e-324",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "tru",
        "true",
        "truefalse",
        "nullx",
        "\"",
        "\"a",
        "\"\u{7f}\"",
        "\"\t\"",
        "\"\\u00e9\"",
        "{\"a\":[1,\"x\"]}",
        "{\"a\":[true,2.5]}",
        "{\"ids\":[\"x\",1,1.5,null]}",
        "{\"ids\":[[1]]}",
        "{\"b\":[7,8,{\"c\":9}]}",
        "{\"a\":1,\"a\":2}",
        "{\"z\":1,\"z\":2}",
        "{\"list\":null}",
        "{\"list\":7}",
        "{\"list\":[]}",
        "{\"list\":[{\"item\":1},2,null]}",
        "{\"list\":[1,2,3,4]}",
        "[[[[1]]]]",
        "[[[[[1]]]]]",
        "\u{feff}{}",
    ];
    let read: usize = documents
        .iter()
        .flat_map(|document| everything().map(|decoder| usize::from(reads_quickly(&decoder, document))))
        .sum();
    assert!(read > 40, "the short way reads only {read} of them");
}

#[test]
fn the_records_of_logs_take_the_short_way() {
    let [decoder, _] = everything();
    let native = super::decoder("context_dimension = 2");
    let documents = [
        r#"{"type":"decision","ts":1767225600000,"user":"u","session":"s","event_id":"e","decision_id":"d","item":"i","context":[0.25,-1.5e-3],"propensity":0.07232664,"extra":{"a":[true,null,"x"]}}"#,
        r#"{"type": "feedback", "ts": 1767225601000, "user": "u", "event_id": "f", "decision_id": "d", "kind": "click"}"#,
        r#"{"context":[0.84375219345092773,-0.0000001234567890123456],"é":"ü"}"#,
    ];
    for document in documents {
        assert!(reads_quickly(&native, document) && reads_quickly(&decoder, document), "{document}");
    }
}
