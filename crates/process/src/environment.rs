//! What a process says of itself in its environment: `QPOINT_STRATEGY`, `QPOINT_TAGS`, configured tags.
//!
//! Environments hold secrets, so nothing but the wanted variables ever leaves [`Environment::select`].

use regex::RegexBuilder;

use crate::Strategy;

/// Longest value that is taken over; beyond it a value is cut.
const MAX_VALUE_BYTES: usize = 4096;
/// Most tags of one process.
const MAX_TAGS: usize = 64;
/// Bound on the compiled size of a pattern that an observed process chose.
const MAX_REGEX_BYTES: usize = 256 << 10;

const STRATEGY: &str = "QPOINT_STRATEGY";
const TAGS: &str = "QPOINT_TAGS";

/// The wanted variables of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    strategy: Option<String>,
    tags: Option<String>,
    /// Tag key and value, in the order of the configuration.
    configured: Vec<(String, String)>,
}

impl Environment {
    /// Picks the wanted variables out of NUL-separated `KEY=value` strings. `wanted` is pairs of tag key and
    /// variable. The first occurrence of a variable counts, as for `getenv(3)`.
    pub(crate) fn select(block: &[u8], wanted: &[(String, String)]) -> Self {
        let value_of = |name: &str| {
            block.split(|byte| *byte == 0).find_map(|entry| {
                let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                let kept = value.get(..MAX_VALUE_BYTES).unwrap_or(value);
                Some(String::from_utf8_lossy(kept).into_owned())
            })
        };
        Self {
            strategy: value_of(STRATEGY),
            tags: value_of(TAGS),
            configured: wanted
                .iter()
                .filter_map(|(key, variable)| Some((key.clone(), value_of(variable)?)))
                .collect(),
        }
    }

    /// Takes the `QPOINT_…` variables of `event` (what exec was given) over those of `self` (what /proc shows).
    pub(crate) fn overruled_by(mut self, event: Self) -> Self {
        self.strategy = event.strategy;
        self.tags = event.tags;
        self
    }

    /// The strategy for a process whose executable is `exe` (`surface.md` §2.10).
    pub(crate) fn strategy_for(&self, exe: &str) -> Strategy {
        self.strategy
            .as_deref()
            .map_or_else(Strategy::default, |text| parse_strategy(text, exe))
    }

    /// `QPOINT_TAGS` first, then the configured ones.
    pub(crate) fn into_tags(self) -> Vec<(String, String)> {
        let mut tags = parse_tags(self.tags.as_deref().unwrap_or_default());
        tags.extend(self.configured);
        tags.truncate(MAX_TAGS);
        tags
    }
}

/// `strategy[,filter…]`; with filters, it holds only if one of them matches.
fn parse_strategy(text: &str, exe: &str) -> Strategy {
    let mut parts = text.split(',').map(str::trim);
    let strategy = match parts.next().unwrap_or_default() {
        "ignore" => Strategy::Ignore,
        "audit" => Strategy::Audit,
        "forward" => Strategy::Forward,
        "proxy" => Strategy::Proxy,
        "observe" | "" => Strategy::Observe,
        unknown => {
            tracing::debug!(
                strategy = unknown,
                exe,
                "unknown strategy in the environment, observing"
            );
            Strategy::Observe
        }
    };
    let mut filters = parts.filter(|filter| !filter.is_empty()).peekable();
    let limited = filters.peek().is_some();
    if limited && !filters.any(|filter| filter_matches(filter, exe)) {
        return Strategy::Observe;
    }
    strategy
}

/// `[exe.]<exact|prefix|suffix|contains|regex>:<text>`. A filter that cannot be read matches nothing.
fn filter_matches(filter: &str, exe: &str) -> bool {
    let bare = filter.strip_prefix("exe.").unwrap_or(filter);
    let Some((kind, text)) = bare.split_once(':') else {
        tracing::debug!(filter, exe, "strategy filter without a kind matches nothing");
        return false;
    };
    match kind.trim() {
        "exact" => exe == text,
        "prefix" => exe.starts_with(text),
        "suffix" => exe.ends_with(text),
        "contains" => exe.contains(text),
        "regex" => match RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build() {
            Ok(regex) => regex.is_match(exe),
            Err(error) => {
                tracing::debug!(filter, exe, %error, "strategy filter with a bad pattern matches nothing");
                false
            }
        },
        unknown => {
            tracing::debug!(
                kind = unknown,
                exe,
                "unknown kind of strategy filter matches nothing"
            );
            false
        }
    }
}

/// Comma-separated `key:value`; what has no key or no colon is left out.
fn parse_tags(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|tag| {
            let (key, value) = tag.split_once(':')?;
            let (key, value) = (key.trim(), value.trim());
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .take(MAX_TAGS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_limited_by_its_filters() {
        let curl = "/usr/bin/curl";
        for (text, expected) in [
            ("observe", Strategy::Observe),
            ("ignore", Strategy::Ignore),
            (" audit ", Strategy::Audit),
            ("forward", Strategy::Forward),
            ("proxy", Strategy::Proxy),
            ("", Strategy::Observe),
            ("nonsense", Strategy::Observe),
            ("ignore,", Strategy::Ignore),
            ("ignore,exact:/usr/bin/curl", Strategy::Ignore),
            ("ignore,exe.exact:/usr/bin/curl", Strategy::Ignore),
            ("ignore,exact:curl", Strategy::Observe),
            ("ignore,prefix:/usr/", Strategy::Ignore),
            ("ignore,exe.suffix:/curl", Strategy::Ignore),
            ("ignore,contains:bin/c", Strategy::Ignore),
            ("ignore,contains:wget", Strategy::Observe),
            ("ignore,regex:^/usr/.*/cur[kl]$", Strategy::Ignore),
            ("ignore,regex:(", Strategy::Observe),
            ("ignore,regex:(a{1000}){1000}", Strategy::Observe),
            ("ignore,exact:/bin/sh,suffix:curl", Strategy::Ignore),
            ("audit,glob:*", Strategy::Observe),
            ("audit,curl", Strategy::Observe),
        ] {
            assert_eq!(parse_strategy(text, curl), expected, "{text:?}");
        }
    }

    #[test]
    fn only_wanted_variables_are_kept_and_the_first_one_counts() {
        let block =
            b"PASSWORD=hunter2\0QPOINT_STRATEGY=ignore\0QPOINT_STRATEGY=audit\0TEAM=blue\0QPOINT_TAGS=a:b\0";
        let environment = Environment::select(block, &[("team".into(), "TEAM".into())]);
        assert_eq!(environment.strategy.as_deref(), Some("ignore"));
        assert!(!format!("{environment:?}").contains("hunter2"));
        let expected = [("a".into(), "b".into()), ("team".into(), "blue".into())];
        assert_eq!(environment.into_tags(), expected);
    }

    #[test]
    fn a_variable_whose_name_only_begins_alike_is_another_one() {
        let environment = Environment::select(b"QPOINT_STRATEGY_OLD=ignore\0XQPOINT_TAGS=a:b", &[]);
        assert_eq!(environment, Environment::default());
    }

    #[test]
    fn tags_without_a_key_are_left_out() {
        let expected = [("team", "blue"), ("url", "http://x"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parse_tags("team:blue, url:http://x,:v,bare,,empty:"), expected);
    }

    #[test]
    fn the_event_overrules_what_proc_shows_but_not_the_configured_tags() {
        let wanted = [("team".to_owned(), "TEAM".to_owned())];
        let shown = Environment::select(b"TEAM=blue\0QPOINT_STRATEGY=ignore", &wanted);
        let given = Environment::select(b"QPOINT_STRATEGY=audit", &[]);
        let merged = shown.overruled_by(given);
        assert_eq!(merged.strategy_for("/x"), Strategy::Audit);
        assert_eq!(merged.into_tags(), [("team".to_owned(), "blue".to_owned())]);
    }
}
