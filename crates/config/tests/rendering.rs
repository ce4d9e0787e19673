//! What the user sees, to the character.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a helper of tests may fail as tests do

use qtap_config::Config;

const TEXT: &str = "version: 3
tap:
  directon: all
  http: {stack: mian}
  ignore_loopback: maybe
stacks:
  main:
    plugins:
      - type: http_metrics
";

const SHOWN: &str = "\
warning: `version` is 3, this agent reads 2
 --> qtap.yaml:1:10
  |
1 | version: 3
  |          ^
  |
  = note: at `version`
  = help: write `version: 2`

error: unknown key `directon`
 --> qtap.yaml:3:3
  |
3 |   directon: all
  |   ^^^^^^^^ did you mean `direction`?
  |
  = note: at `tap.directon`
  = help: allowed: direction, ignore_loopback, audit_include_dns, http, redis, mysql, kafka, postgres, grpc, filters, endpoints, tls, limits

error: unknown stack `mian`
 --> qtap.yaml:4:17
  |
4 |   http: {stack: mian}
  |                 ^^^^ did you mean `main`?
  |
  = note: at `tap.http.stack`
  = help: allowed: main, none
  = help: stacks are defined under `stacks`

error: expected true or false, found the text \"maybe\"
 --> qtap.yaml:5:20
  |
5 |   ignore_loopback: maybe
  |                    ^^^^^
  |
  = note: at `tap.ignore_loopback`

error: plugin `http_metrics` is not available yet
 --> qtap.yaml:9:15
  |
9 |       - type: http_metrics
  |               ^^^^^^^^^^^^
  |
  = note: at `stacks.main.plugins[0].type`";

#[test]
fn problems_are_shown_in_place_with_what_is_allowed() {
    let found = Config::parse("qtap.yaml", TEXT).unwrap_err();
    assert_eq!(found.to_string(), SHOWN);
}

#[test]
fn colour_is_the_only_difference_on_a_terminal() {
    let found = Config::parse("qtap.yaml", TEXT).unwrap_err();
    let coloured = found.render(true);
    assert!(coloured.contains("\u{1b}[1m") && coloured.contains("\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, SHOWN);
}

#[test]
fn one_problem_in_one_line_for_logs() {
    let found = Config::parse("qtap.yaml", TEXT).unwrap_err();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[1],
        "unknown key `directon` (line 3, column 3, at tap.directon)"
    );
}

#[test]
fn terminal_escapes_in_a_file_are_not_passed_on() {
    let found = Config::parse("qtap.yaml", "tap: {\"\u{1b}[31mred\": 1}\n").unwrap_err();
    assert!(!found.to_string().contains('\u{1b}'), "{found}");
    assert!(
        found.to_string().contains("unknown key `\\u{1b}[31mred`"),
        "{found}"
    );
}

/// Found by the fuzzer: an extension's name is listed among the allowed ones.
#[test]
fn names_of_the_file_are_escaped_where_they_are_suggested() {
    let diagnostics =
        Config::parse("qtap.yaml", "tap: {}\nx-\u{1b}a: 1\nx-\u{1b}b: 1\nw-\u{1b}a: 1\n").unwrap_err();
    let text = diagnostics.render(false);
    assert!(text.contains(r"x-\u{1b}a, x-\u{1b}b"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}
