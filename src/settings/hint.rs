//! "Did you mean ...?": the name that a person most likely wanted to write.

/// The candidate that takes the fewest edits, if it takes few enough to be a slip of the fingers.
pub fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(written, candidate), candidate))
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

/// Letters to insert, delete or replace, and neighbors to swap, between two texts (optimal string alignment distance).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replace = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_swapped_neighbors_once() {
        assert_eq!(edits("kappa", "kappa"), 0);
        assert_eq!(edits("kapap", "kappa"), 1);
        assert_eq!(edits("kapa", "kappa"), 1);
        assert_eq!(edits("", "abc"), 3);
    }

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = ["filter.kappa", "filter.window", "session.gap"];
        assert_eq!(nearest_setting("filter.kapa", &names), Some("filter.kappa"));
        assert_eq!(nearest_setting("fliter.window", &names), Some("filter.window"));
        assert_eq!(nearest_setting("learner.kappa", &names), Some("filter.kappa"));
        assert_eq!(nearest_setting("quite.different", &names), None);
    }
}
