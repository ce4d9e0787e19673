//! Any text is a configuration, or is refused with an error that can be shown.

use qtap_config::{Config, Diagnostics};

/// Parses, checks what holds for every text, and hands out the problems.
pub(crate) fn run(text: &str) -> Diagnostics {
    let found = match Config::parse("a.yaml", text) {
        Ok((_, warnings)) => {
            assert!(!warnings.has_errors());
            warnings
        }
        Err(found) => {
            assert!(found.has_errors(), "refused without an error");
            found
        }
    };
    for item in &found {
        assert!(item.line >= 1 && item.column >= 1, "{item}");
        assert!(!item.message.chars().any(char::is_control), "{item:?}");
    }
    let plain = found.render(false);
    assert_eq!(plain.is_empty(), found.is_empty());
    assert!(!plain.contains('\u{1b}'));
    assert!(found.is_empty() || found.render(true).contains('\u{1b}'));
    found
}
