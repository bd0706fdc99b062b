//! What a misspelt name was meant to be.
//!
//! The nearest candidate by the number of single slips (optimal string alignment: a letter too many, too few, wrong, or two swapped), if it
//! is near enough to be one.
//!
//! Left out: the layout of keyboards, sounds.
//!
//! Cost: O(letters of the word x letters of all candidates).

/// The candidate nearest to `word`, if it is near enough to be what was meant: the same but for case, hyphens and
/// underscores, or at most a third of the letters wrong. Ties go to the first candidate.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain =
        |s: &str| s.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect();
    if word.chars().count() > 64 {
        return None;
    }
    let wanted: Vec<char> = plain(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = plain(candidate);
        let distance = edit_distance(&wanted, &letters);
        let allowed = (wanted.len().max(letters.len()) / 3).max(1);
        let longer_form = wanted.len() >= 3 && letters.starts_with(&wanted);
        if (distance <= allowed && distance < letters.len() || longer_form)
            && best.is_none_or(|(found, _)| distance < found)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. O(|a| |b|).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = cost;
        }
    }
    rows[a.len()][b.len()]
}
