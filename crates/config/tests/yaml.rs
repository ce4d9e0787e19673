//! YAML itself: syntax errors, anchors, bounds.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a helper of tests may fail as tests do

use qtap_config::{Config, Problem};

fn only_problem(text: &str) -> (Problem, usize, usize, String) {
    let found = Config::parse("qtap.yaml", text).unwrap_err();
    let errors: Vec<_> = found
        .iter()
        .filter(|item| item.problem != Problem::Version)
        .collect();
    assert_eq!(errors.len(), 1, "{found}");
    (
        errors[0].problem,
        errors[0].line,
        errors[0].column,
        errors[0].message.clone(),
    )
}

#[test]
fn syntax_errors_have_a_place() {
    let cases = [
        ("a: [1, 2\n\n", 1, 9),
        ("a: 'x\n", 1, 4),
        ("tap:\n  a: b: c\n", 2, 7),
        ("tap: *none\n", 1, 6),
        ("tap: {http: &a {stack: *a}}\n", 1, 24),
        ("---\na: 1\n---\nb: 2\n", 3, 1),
        ("tap: !env X\n", 1, 6),
        ("tap:\n  <<: 5\n", 2, 7),
    ];
    for (text, line, column) in cases {
        let (problem, found_line, found_column, message) = only_problem(text);
        assert_eq!(
            (problem, found_line, found_column),
            (Problem::Syntax, line, column),
            "{text}: {message}"
        );
    }
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let with_anchors = "version: 2\nx-log: &log {type: access_logs, config: &c {mode: full, format: console}}\n\
        stacks:\n  a: {plugins: [*log]}\n  b:\n    plugins:\n      - type: access_logs\n        config: {<<: *c, mode: summary}\n\
        tap: {http: {stack: a}}\n";
    let plain = "version: 2\nstacks:\n  a: {plugins: [{type: access_logs, config: {mode: full, format: console}}]}\n  \
        b: {plugins: [{type: access_logs, config: {mode: summary, format: console}}]}\ntap: {http: {stack: a}}\n";
    let (with_anchors, warnings) = Config::parse("a", with_anchors).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(with_anchors, Config::parse("b", plain).unwrap().0);
}

#[test]
fn an_error_in_a_shared_node_is_reported_once() {
    let text = "version: 2\nx: &p {type: nope}\ntap: {}\n";
    assert_eq!(only_problem(text).0, Problem::UnknownKey);
    let text =
        "version: 2\nx-p: &p {type: nope}\nstacks: {a: {plugins: [*p, *p]}, b: {plugins: [*p]}}\ntap: {}\n";
    assert_eq!(only_problem(text).0, Problem::UnknownName);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..20 {
        let below = level - 1;
        let row = vec![format!("*a{below}"); 10].join(", ");
        text.push_str(&format!("x-{level}: &a{level} [{row}]\n"));
    }
    let (problem, line, _, _) = only_problem(&text);
    assert_eq!((problem, line), (Problem::TooLarge, 5));
}

#[test]
fn a_bomb_of_merges_is_refused() {
    let mut text = String::from("x-0: &a0 {k: 1}\n");
    for level in 1..30 {
        let below = level - 1;
        text.push_str(&format!(
            "x-{level}: &a{level} {{l{level}: *a{below}, m{level}: *a{below}, <<: *a{below}}}\n"
        ));
    }
    assert_eq!(only_problem(&text).0, Problem::TooLarge);
}

#[test]
fn deep_nesting_is_refused() {
    for (open, depth) in [("[", 100_000), ("{a: ", 100_000), ("- ", 5_000)] {
        let (problem, line, _, message) = only_problem(&open.repeat(depth));
        assert_eq!((problem, line), (Problem::TooLarge, 1), "{message}");
    }
}

#[test]
fn a_file_larger_than_the_bound_is_refused() {
    let text = format!("# {}\nversion: 2\n", "x".repeat(qtap_config::MAX_FILE));
    assert_eq!(only_problem(&text).0, Problem::TooLarge);
}

#[test]
fn columns_count_characters_and_survive_a_byte_order_mark_and_crlf() {
    let text = "\u{feff}version: 2\r\n# é\r\ntap: {\"é\": 1}\r\n";
    let (problem, line, column, message) = only_problem(text);
    assert_eq!(
        (problem, line, column, message.as_str()),
        (Problem::UnknownKey, 3, 7, "unknown key `é`")
    );
    let text = "version: 2\r\ntap: {filters: {groups: [qpoint, 'é', eks]}}\r\n";
    assert_eq!(only_problem(text).2, 34);
}
