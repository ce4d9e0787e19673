//! Rules of filters, and paths of executables that somebody else chose.
#![allow(clippy::indexing_slicing, clippy::panic, reason = "the fuzzer is a test")]

use qtap_config::{Config, FilterStrategy};

const STRATEGIES: [&str; 5] = ["exact", "prefix", "suffix", "contains", "regex"];
/// Longer ones say nothing new.
const MOST: usize = 4096;

/// One character that chooses the strategy, a rule's pattern, a line feed, a path: whether the rule was taken, if it can be written.
///
/// A rule that is taken matches what its strategy says, whatever the letters are; one that is refused is a regular expression.
pub(crate) fn run(input: &str) -> Option<bool> {
    let (rule, path) = input.split_once('\n')?;
    let mut characters = rule.chars();
    let strategy = STRATEGIES[characters.next()? as usize % STRATEGIES.len()];
    let pattern = characters.as_str();
    let cannot_be_written = |it: char| {
        it.is_control() || matches!(it, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if pattern.trim().is_empty() || pattern.len() > MOST || pattern.contains(cannot_be_written) {
        return None;
    }
    let text = format!(
        "version: 2\ntap:\n  filters:\n    custom:\n      - {{exe: '{}', strategy: {strategy}}}\n",
        pattern.replace('\'', "''")
    );
    let config = match Config::parse("rules.yaml", &text) {
        Ok((config, _)) => config,
        Err(found) => {
            assert_eq!(strategy, "regex", "{found:?}");
            return Some(false);
        }
    };
    let [rule] = &config.tap.filters.rules[..] else {
        panic!("one rule was written: {:?}", config.tap.filters.rules);
    };
    let (wanted, given) = (pattern.to_ascii_lowercase(), path.to_ascii_lowercase());
    let expected = match &rule.exe {
        FilterStrategy::Exact(_) => given == wanted,
        FilterStrategy::Prefix(_) => given.starts_with(&wanted),
        FilterStrategy::Suffix(_) => given.ends_with(&wanted),
        FilterStrategy::Contains(_) => given.contains(&wanted),
        FilterStrategy::Regex(regex) => regex.find(path).is_some(),
    };
    assert_eq!(rule.exe.matches(path), expected, "{rule:?} of {path:?}");
    Some(true)
}
