//! The short way and the strict scan side by side, for tests and fuzzers.

use super::Decoder;
use super::quick;
use super::scan::strictly;

/// Did the short way read the text? It may give up on anything; what it accepts, the strict scan accepts with the same
/// findings.
///
/// # Panics
/// If it does not.
pub(crate) fn reads_quickly(decoder: &Decoder, text: &str) -> bool {
    let quickly = quick::scan(text, &decoder.plan, &decoder.limits);
    let strictly = strictly(text, &decoder.plan, &decoder.limits);
    match (quickly, strictly) {
        (Some(quickly), Ok(strictly)) => {
            // Equal is not enough for floats: 0 and -0 are, and differ.
            assert_eq!(format!("{quickly:?}"), format!("{strictly:?}"), "{text}");
            true
        }
        (Some(quickly), Err(malformed)) => panic!("{text}\nis malformed ({malformed}) and was read as {quickly:?}"),
        (None, _) => false,
    }
}
