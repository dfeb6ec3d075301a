//! Which of the right words somebody may have meant.

/// The word that takes the fewest changes to get to, if they are few enough to be a slip.
pub(super) fn nearest<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let written = bare(written);
    let slip = (written.chars().count() / 3).min(3);
    words
        .into_iter()
        .map(|word| (distance(&written, &bare(word)), word))
        .filter(|(changes, _)| *changes <= slip)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, word)| word)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_different_word_none() {
        let words = ["verify", "trash", "retry_for", "filter", "mode"];
        let check = |written: &str, expected: Option<&str>| assert_eq!(nearest(written, words), expected);
        check("verfiy", Some("verify"));
        check("trahs", Some("trash"));
        check("retry-for", Some("retry_for"));
        check("retryfor", Some("retry_for"));
        check("Filters", Some("filter"));
        check("mdoe", Some("mode"));
        check("compress", None);
        check("x", None);
        check("mod", Some("mode"));
        check("MODE", Some("mode"));
        check(&"x".repeat(10_000), None);
    }
}
