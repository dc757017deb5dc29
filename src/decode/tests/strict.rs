//! RFC 8259, case by case: `y_` must be accepted, `n_` must be refused.

use super::super::{Decoded, Decoder, MalformedReason};
use super::decoder;
use crate::position::Offset;

/// Every strict document is a decision: nothing is read from it.
fn anything() -> Decoder {
    decoder(
        r#"user = { const = "u" }
               item = { const = "i" }"#,
    )
}

fn verdict(decoder: &Decoder, bytes: &[u8]) -> Result<(), MalformedReason> {
    let mut events = Vec::new();
    match decoder.decode(Offset::from_count(0), Some(super::TIME), Some(bytes), &mut events) {
        Ok(Decoded::Events(1)) => Ok(()),
        Ok(other) => panic!("{}: {other:?}", bytes.escape_ascii()),
        Err(malformed) => {
            assert!(events.is_empty());
            Err(malformed.reason)
        }
    }
}

const ACCEPTED: &[(&str, &[u8])] = &[
    ("y_empty_object", b"{}"),
    ("y_empty_array", b"[]"),
    ("y_string_at_top", b"\"a\""),
    ("y_number_at_top", b"0"),
    ("y_literal_at_top", b"null"),
    ("y_white_space_around", b" \t\r\n{} \t\r\n"),
    ("y_white_space_inside", b"{ \"a\" : [ 1 , 2 ] }"),
    ("y_negative_zero", b"[-0, -0.0]"),
    ("y_exponents", b"[1e5, 1E5, 1e+5, 1e-5, 1.5e05, 0e0]"),
    ("y_underflow_is_zero", b"[1e-999]"),
    ("y_long_integer", b"[123456789012345678901234567890]"),
    ("y_long_fraction", b"[0.1000000000000000055511151231257827]"),
    ("y_short_escapes", br#"["\"\\\/\b\f\n\r\t"]"#),
    ("y_unicode_escapes", br#"["\u0041\u00e9\u2028\uFFFF"]"#),
    ("y_surrogate_pair", br#"["\ud83d\ude00"]"#),
    ("y_nul_as_escape", br#"["\u0000"]"#),
    ("y_utf8", "[\"é€😀\"]".as_bytes()),
    ("y_utf8_noncharacter", "[\"\u{ffff}\u{10ffff}\"]".as_bytes()),
    ("y_delete_is_no_control", b"[\"\x7f\"]"),
    ("y_empty_key", br#"{"":0}"#),
    ("y_same_key_in_other_objects", br#"{"a":{"a":{"a":1}},"b":{"a":1}}"#),
    ("y_same_key_in_array_of_objects", br#"[{"a":1},{"a":1}]"#),
    ("y_keys_that_differ_in_case", br#"{"a":1,"A":2}"#),
    ("y_keys_that_differ_in_normal_form", "{\"\u{e9}\":1,\"e\u{301}\":2}".as_bytes()),
    ("y_byte_order_mark_in_string", "[\"\u{feff}\"]".as_bytes()),
];

use MalformedReason::{DuplicateKey, NotJson, NotUtf8, NumberOutOfRange};

const REFUSED: &[(&str, &[u8], MalformedReason)] = &[
    ("n_nothing", b"", NotJson),
    ("n_only_white_space", b" \n", NotJson),
    ("n_byte_order_mark", b"\xef\xbb\xbf{}", NotJson),
    ("n_utf16", b"\xff\xfe{\0}\0", NotUtf8),
    ("n_trailing_text", b"{}x", NotJson),
    ("n_trailing_document", b"{} {}", NotJson),
    ("n_trailing_brace", b"{}}", NotJson),
    ("n_trailing_comma_after_document", b"{},", NotJson),
    ("n_trailing_nul", b"{}\0", NotJson),
    ("n_form_feed_is_no_white_space", b"\x0c{}", NotJson),
    ("n_no_break_space_is_no_white_space", "\u{a0}{}".as_bytes(), NotJson),
    ("n_open_object", b"{", NotJson),
    ("n_open_array", b"[1", NotJson),
    ("n_open_string", b"[\"a", NotJson),
    ("n_mismatched_brackets", b"[}", NotJson),
    ("n_comma_before_end_of_array", b"[1,]", NotJson),
    ("n_comma_before_end_of_object", br#"{"a":1,}"#, NotJson),
    ("n_comma_at_start", b"[,1]", NotJson),
    ("n_two_commas", b"[1,,2]", NotJson),
    ("n_no_comma", b"[1 2]", NotJson),
    ("n_no_colon", br#"{"a" 1}"#, NotJson),
    ("n_no_value", br#"{"a":}"#, NotJson),
    ("n_key_without_quotes", b"{a:1}", NotJson),
    ("n_key_in_single_quotes", b"{'a':1}", NotJson),
    ("n_key_is_number", b"{1:1}", NotJson),
    ("n_key_is_null", b"{null:1}", NotJson),
    ("n_comment", b"{}/**/", NotJson),
    ("n_line_comment", b"[1] // one", NotJson),
    ("n_literal_in_capitals", b"[True]", NotJson),
    ("n_literal_cut", b"[nul]", NotJson),
    ("n_literal_with_tail", b"[nullx]", NotJson),
    ("n_nan", b"[NaN]", NotJson),
    ("n_infinity", b"[Infinity]", NotJson),
    ("n_minus_infinity", b"[-Infinity]", NotJson),
    ("n_plus_sign", b"[+1]", NotJson),
    ("n_minus_alone", b"[-]", NotJson),
    ("n_two_minuses", b"[--1]", NotJson),
    ("n_leading_zero", b"[01]", NotJson),
    ("n_negative_leading_zero", b"[-01]", NotJson),
    ("n_no_digit_before_point", b"[.5]", NotJson),
    ("n_no_digit_after_point", b"[1.]", NotJson),
    ("n_no_digit_between_point_and_exponent", b"[1.e5]", NotJson),
    ("n_no_digit_in_exponent", b"[1e]", NotJson),
    ("n_no_digit_in_signed_exponent", b"[1e+]", NotJson),
    ("n_hexadecimal", b"[0x1]", NotJson),
    ("n_digits_with_underscore", b"[1_000]", NotJson),
    ("n_full_width_digit", "[１]".as_bytes(), NotJson),
    ("n_overflow", b"[1e999]", NumberOutOfRange),
    ("n_negative_overflow", b"[-1e999]", NumberOutOfRange),
    ("n_unknown_escape", br#"["\a"]"#, NotJson),
    ("n_escaped_single_quote", br#"["\'"]"#, NotJson),
    ("n_short_unicode_escape", br#"["\u00e"]"#, NotJson),
    ("n_bad_unicode_escape", br#"["\u00eg"]"#, NotJson),
    ("n_unicode_escape_in_capital", br#"["\U00e9"]"#, NotJson),
    ("n_lone_high_surrogate", br#"["\ud83d"]"#, NotJson),
    ("n_lone_low_surrogate", br#"["\ude00"]"#, NotJson),
    ("n_swapped_surrogates", br#"["\ude00\ud83d"]"#, NotJson),
    ("n_high_surrogate_and_letter", br#"["\ud83d\u0041"]"#, NotJson),
    ("n_high_surrogate_and_text", br#"["\ud83dx"]"#, NotJson),
    ("n_lone_surrogate_in_key", br#"{"\ud83d":1}"#, NotJson),
    ("n_control_in_string", b"[\"\n\"]", NotJson),
    ("n_nul_in_string", b"[\"\0\"]", NotJson),
    ("n_tab_in_key", b"{\"\t\":1}", NotJson),
    ("n_utf8_cut", b"[\"\xe2\x82\"]", NotUtf8),
    ("n_utf8_overlong", b"[\"\xc0\xaf\"]", NotUtf8),
    ("n_utf8_surrogate", b"[\"\xed\xa0\x80\"]", NotUtf8),
    ("n_utf8_beyond_unicode", b"[\"\xf4\x90\x80\x80\"]", NotUtf8),
    ("n_latin_1", b"[\"\xe9\"]", NotUtf8),
    ("n_invalid_utf8_in_key", b"{\"\xff\":1}", NotUtf8),
    ("n_invalid_utf8_after_document", b"{}\xff", NotUtf8),
    ("n_duplicate", br#"{"a":1,"a":1}"#, DuplicateKey),
    ("n_duplicate_empty_key", br#"{"":1,"":2}"#, DuplicateKey),
    ("n_duplicate_far_apart", br#"{"a":1,"b":{"c":[1,2]},"d":"","a":null}"#, DuplicateKey),
    ("n_duplicate_deep_inside", br#"[[{"x":[{"k":1,"k":2}]}]]"#, DuplicateKey),
    ("n_duplicate_by_escape", br#"{"a":1,"\u0061":2}"#, DuplicateKey),
    ("n_duplicate_of_an_escape", br#"{"\u0061":1,"a":2}"#, DuplicateKey),
    ("n_duplicate_by_escaped_slash", br#"{"\/":1,"/":2}"#, DuplicateKey),
    ("n_duplicate_object", br#"{"a":{},"a":{}}"#, DuplicateKey),
];

#[test]
fn strict_documents_are_accepted() {
    let decoder = anything();
    for (name, document) in ACCEPTED {
        assert_eq!(verdict(&decoder, document), Ok(()), "{name}");
    }
}

#[test]
fn everything_else_is_refused_for_its_own_reason() {
    let decoder = anything();
    for (name, document, reason) in REFUSED {
        assert_eq!(verdict(&decoder, document), Err(*reason), "{name}");
    }
}

#[test]
fn the_same_holds_below_every_place_of_a_mapping() {
    let decoder = decoder(
        r#"user = { const = "u" }
           item = { const = "i" }
           context = { pointer = "/deep", default = 0.0 }
           context_dimension = 1"#,
    );
    for (name, document, reason) in REFUSED.iter().filter(|(_, document, _)| !document.trim_ascii().is_empty()) {
        for (before, after) in [("{\"deep\":", "}"), ("[0,{\"a\":[", "]}]")] {
            let nested = [before.as_bytes(), document, after.as_bytes()].concat();
            let refused = verdict(&decoder, &nested);
            // Inside another document, text after this one is an error of syntax whatever it is.
            assert!(refused == Err(*reason) || refused == Err(NotJson), "{name}: {refused:?}");
        }
    }
}

#[test]
fn duplicates_are_found_among_many_keys() {
    let decoder = anything();
    for count in [1, 2, 15, 16, 17, 18, 40, 1000] {
        let members: Vec<String> = (0..count).map(|index| format!("\"key{index}\":{index}")).collect();
        let document = format!("{{{}}}", members.join(","));
        assert_eq!(verdict(&decoder, document.as_bytes()), Ok(()), "{count} keys");
        for twice in [0, count / 2, count - 1] {
            let document = format!("{{{},\"key{twice}\":0}}", members.join(","));
            assert_eq!(verdict(&decoder, document.as_bytes()), Err(DuplicateKey), "{twice} of {count} keys");
        }
    }
}

#[test]
fn depth_and_size_are_limited_exactly() {
    let strict = "user = { const = \"u\" }\nitem = { const = \"i\" }\n[limits]\n";
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}0{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for depth in [1, 2, 32, 100] {
        let decoder = decoder(&format!("{strict}depth = {depth}"));
        for document in [nested(depth), objects(depth)] {
            assert_eq!(verdict(&decoder, document.as_bytes()), Ok(()), "{depth}");
        }
        for document in [nested(depth + 1), objects(depth + 1)] {
            assert_eq!(verdict(&decoder, document.as_bytes()), Err(MalformedReason::TooDeep), "{depth}");
        }
    }
    let default = anything();
    assert_eq!(verdict(&default, nested(32).as_bytes()), Ok(()));
    assert_eq!(verdict(&default, nested(33).as_bytes()), Err(MalformedReason::TooDeep));
    assert_eq!(verdict(&default, nested(500_000).as_bytes()), Err(MalformedReason::TooDeep), "no stack is used up");

    let decoder = decoder(&format!("{strict}bytes = 10"));
    assert_eq!(verdict(&decoder, b"[1,2,3, 4]"), Ok(()));
    assert_eq!(verdict(&decoder, b"[1,2,3,  4]"), Err(MalformedReason::TooLarge));
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(verdict(&default, text(1 << 20).as_bytes()), Ok(()));
    assert_eq!(verdict(&default, text((1 << 20) + 1).as_bytes()), Err(MalformedReason::TooLarge));
}
