//! The valid name a wrong one was probably meant to be.

/// Names longer than this are not compared: nothing valid is near, and the comparison is quadratic.
const MAX_LENGTH: usize = 64;

/// The candidate nearest to `found` by edit distance, if one is near enough to be worth naming.
///
/// ```
/// assert_eq!(qtap_config::nearest("directon", ["direction", "http"]), Some("direction"));
/// assert_eq!(qtap_config::nearest("zebra", ["direction", "http"]), None);
/// ```
pub fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.chars().nth(MAX_LENGTH).is_some() {
        return None;
    }
    let found = found.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&found, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(found.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
