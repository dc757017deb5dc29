//! "Did you mean ...?": the name that a person most likely wanted to write.

/// The candidate that takes the fewest edits, if it takes few enough to be a slip of the fingers.
pub fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::osa_distance(written, candidate), candidate))
        // A third of the letters: beyond that it is another word.
        .filter(|(edits, candidate)| *edits <= written.len().max(candidate.len()).div_ceil(3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The setting that `written` most likely means: the same key in another section first, then the fewest edits.
pub fn nearest_setting<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let moved = names.iter().copied().find(|name| last(name) == last(written));
    moved.or_else(|| nearest(written, names.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = ["filter.kappa", "filter.window", "session.gap"];
        assert_eq!(nearest_setting("filter.kapa", &names), Some("filter.kappa"));
        assert_eq!(nearest_setting("fliter.window", &names), Some("filter.window"));
        assert_eq!(nearest_setting("filter.kapap", &names), Some("filter.kappa"));
        assert_eq!(nearest_setting("learner.kappa", &names), Some("filter.kappa"));
        assert_eq!(nearest_setting("quite.different", &names), None);
    }
}
