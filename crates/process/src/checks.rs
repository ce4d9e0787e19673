//! What must hold of the readers of foreign text, whatever it says. Run by the fuzz target and on random text by a test.

use crate::accounts::parse_passwd;
use crate::cgroup::Membership;
use crate::environment::Environment;
use crate::procfs::parse_stat;

/// Reads `input` as each of the things that observed processes decide about.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let membership = Membership::parse(&text);
    if let Some(container) = membership.container {
        assert!(container.id.len() == 64 && container.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(container.pod_uid.is_none_or(|uid| uid.len() >= 32));
    }
    let _ = parse_stat(&text, 10_000_000);
    for name in parse_passwd(&text).values() {
        assert!(!name.is_empty() && text.contains(name.as_str()));
    }
    let environment = Environment::select(input, &[("team".to_owned(), "TEAM".to_owned())]);
    let _ = environment.strategy_for("/usr/bin/curl");
    let tags = environment.into_tags();
    assert!(tags.len() <= 65, "{} tags", tags.len());
    for (key, value) in tags {
        // A byte that is no text becomes a mark of three.
        assert!(!key.is_empty() && key.len() + value.len() <= 3 * input.len() + "team".len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_left(
            input in "(0::/|[0-9]{0,3}:[a-z,]{0,8}:/|QPOINT_STRATEGY=|QPOINT_TAGS=|TEAM=|pod|docker-|\u{0}|\n|:|,|\\PC{0,9}|[0-9a-f]{64}){0,12}"
        ) {
            super::run(input.as_bytes());
        }
    }
}
