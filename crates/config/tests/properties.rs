//! Arbitrary text never panics and always gets an answer that can be shown.

use proptest::prelude::*;

#[path = "../fuzz/bodies/parse.rs"]
mod body;
#[path = "../fuzz/bodies/rules.rs"]
mod rules;

fn parse_and_show(text: &str) {
    let found = body::run(text);
    // The renderer counts lines and columns from bytes, the parser from characters: they must agree. They count
    // differently only where characters are line breaks, or nothing at all, for one of them.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let differs = ['\r', '\u{feff}', '\u{85}', '\u{2028}', '\u{2029}'];
    if text.replace("\r\n", "\n").contains(differs) {
        return;
    }
    let plain = found.render(false);
    let shown: Vec<&str> = plain
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--> a.yaml:"))
        .collect();
    let places: Vec<String> = found
        .iter()
        .map(|item| format!("{}:{}", item.line, item.column))
        .collect();
    assert_eq!(shown, places, "{text:?}");
}

/// Pieces of real files, put together at random: far more likely to reach the checks than random bytes.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "version: 2",
        "tap:",
        "stacks:",
        "services:",
        "event_stores:",
        "object_stores:",
        "plugins:",
        "type:",
        "id:",
        "config:",
        "http:",
        "{stack: a}",
        "direction: ",
        "all",
        "egress",
        "filters:",
        "groups:",
        "custom:",
        "exe:",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "&a ",
        "*a",
        "<<: *a",
        "!x ",
        "|\n",
        "\"",
        "'",
        "#",
        "\t",
        "\r\n",
        "é",
        "\u{1b}[31m",
        "---",
        "...",
        "%YAML 1.2\n",
        "? ",
        "null",
        "5",
        "1mb",
        "regex",
        "strategy:",
        "limits:",
        "data_ring:",
        "endpoints:",
        "domain:",
        "tags:",
        "\u{feff}",
        "\u{0}",
        "stdout",
        "access_logs",
        "http_capture",
        "rules:",
        "*b",
        "&b ",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_files_never_panic(text in yaml_like()) {
        parse_and_show(&text);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        parse_and_show(&text);
    }

    #[test]
    fn a_valid_file_with_one_character_changed_never_panics(at in 0usize..2000, char in any::<char>()) {
        let source = include_str!("sample.yaml");
        let mut chars: Vec<char> = source.chars().collect();
        let place = at % chars.len();
        chars[place] = char;
        parse_and_show(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn rules_match_what_they_say(
        strategy in prop::char::range('a', 'e'), pattern in "([/a-zA-Z'\"äß(){}+*\\\\0-9]{0,9}|[a-c]{1,3})", path in "[/a-cA-C'äß0-9]{0,12}"
    ) {
        let _ = rules::run(&format!("{strategy}{pattern}\n{path}"));
        let _ = rules::run(&format!("{strategy}{pattern}\n{path}{pattern}"));
    }

    #[test]
    fn sizes_never_panic(text in "[ 0-9.]{0,24}[a-zA-Z]{0,3}") {
        if let Ok(bytes) = qtap_config::parse_size(&text) {
            prop_assert!(bytes <= qtap_config::MAX_SIZE);
        }
    }
}
