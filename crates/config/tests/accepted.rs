//! What valid files become.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a helper of tests may fail as tests do

use qtap_config::{
    AccessLogs, CaptureFormat, Config, DatabaseDetail, Direction, FilterLayer, FilterStrategy, HttpCapture,
    Level, Limits, LogFormat, MemorySearch, Plugin, Problem, ProcessTag, ReportUsage, StoreKind, TlsSource,
    Values,
};

fn parsed(text: &str) -> Config {
    let (config, warnings) = Config::parse("qtap.yaml", text).unwrap_or_else(|found| panic!("{found}"));
    assert!(warnings.is_empty(), "{warnings}");
    config
}

#[test]
fn the_built_in_configuration_is_its_own_text() {
    assert_eq!(parsed(Config::default_yaml()), Config::built_in());
}

#[test]
fn a_whole_file_is_resolved() {
    let config = parsed(
        r#"
version: 2
services:
  event_stores:
    - {type: disabled}
    - {type: stdout, id: console}
  object_stores:
    - {type: stdout, id: first, event_store: {id: console}}
    - {type: disabled, id: second, event_store: {id: gone, disabled: true}}
    - {type: stdout}
stacks:
  main:
    plugins:
      - {type: access_logs}
      - {type: debug, config: {mode: details}}
      - {type: http_capture, config: {level: details, format: text, object_store: {id: second}}}
      - {type: http_capture}
      - {type: http_capture, config: {level: full, object_store: {disabled: true}}}
      - {type: report_usage, config: {headers: [X-Request-Id]}}
  empty:
tap:
  direction: egress-internal
  ignore_loopback: yes
  audit_include_dns: false
  http: {stack: main}
  endpoints:
    - {domain: "*.Example.com", http: {stack: none}}
    - {domain: api.example.com., http: {stack: empty}}
    - {domain: localhost}
  tls: {source: secrets, memory_search: off, hold: true}
  limits: {data_ring: 3mb, control_ring: 8192, memory: 1gb, body: 0, call: 64KB, cpu_percent: 250}
tags:
  - {key: team, source: env, location: TEAM}
"#,
    );
    let kinds: Vec<StoreKind> = config
        .services
        .event_stores
        .iter()
        .map(|store| store.kind)
        .collect();
    assert_eq!(kinds, [StoreKind::Disabled, StoreKind::Stdout]);
    let records: Vec<Option<usize>> = config
        .services
        .object_stores
        .iter()
        .map(|store| store.event_store)
        .collect();
    assert_eq!(records, [Some(1), None, Some(0)]);
    let capture = |level, format, object_store| {
        Plugin::HttpCapture(HttpCapture {
            level,
            format,
            object_store,
        })
    };
    assert_eq!(
        config.stacks["main"].plugins,
        [
            Plugin::AccessLogs(AccessLogs {
                mode: Level::Summary,
                format: LogFormat::Json
            }),
            Plugin::AccessLogs(AccessLogs {
                mode: Level::Headers,
                format: LogFormat::Console
            }),
            capture(Level::Headers, CaptureFormat::Text, Some(1)),
            capture(Level::None, CaptureFormat::Json, Some(0)),
            capture(Level::Full, CaptureFormat::Json, None),
            Plugin::ReportUsage(ReportUsage {
                headers: vec!["X-Request-Id".to_owned()]
            }),
        ]
    );
    assert!(config.stacks["empty"].plugins.is_empty());
    assert_eq!(config.tap.direction, Direction::EgressInternal);
    assert!(config.tap.ignore_loopback && !config.tap.audit_include_dns);
    assert_eq!(config.tap.http.as_deref(), Some("main"));
    let endpoints: Vec<(&str, Option<Option<&str>>)> = config
        .tap
        .endpoints
        .iter()
        .map(|endpoint| {
            (
                endpoint.domain.as_str(),
                endpoint.http.as_ref().map(Option::as_deref),
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [
            ("*.example.com", Some(None)),
            ("api.example.com", Some(Some("empty"))),
            ("localhost", None)
        ]
    );
    assert_eq!(config.tap.tls_source, TlsSource::Secrets);
    assert_eq!(config.tap.tls_memory_search, MemorySearch::Off);
    assert!(config.tap.tls_hold);
    let limits = Limits {
        data_ring: 4 << 20,
        control_ring: 8192,
        memory: 1 << 30,
        body: 0,
        call: 64 << 10,
        cpu_percent: 250,
    };
    assert_eq!(config.tap.limits, limits);
    assert_eq!(
        config.tags,
        [ProcessTag {
            key: "team".to_owned(),
            variable: "TEAM".to_owned()
        }]
    );
}

#[test]
fn defaults_are_those_of_the_specification() {
    let config = parsed("{version: 2, tap: {}}");
    assert_eq!(config.tap, qtap_config::Tap::default());
    assert_eq!(config.tap.direction, Direction::All);
    assert_eq!(config.tap.limits, Limits::default());
    // No stores are one disabled store in each list (surface.md §2.3).
    assert_eq!(config.services.event_stores.len(), 1);
    assert_eq!(config.services.event_stores[0].kind, StoreKind::Disabled);
    assert_eq!(config.services.object_stores[0].kind, StoreKind::Disabled);
}

#[test]
fn a_missing_tap_observes_nothing_and_says_so() {
    for text in [
        "version: 2\n",
        "version: 2\ntap:\n",
        "{version: 2}",
        "version: 2\ntap: ~\n",
    ] {
        let (config, warnings) = Config::parse("a", text).unwrap();
        assert!(
            config
                .tap
                .filters
                .find("/usr/bin/curl")
                .is_some_and(|rule| rule.only.is_empty()),
            "{text}"
        );
        let problems: Vec<Problem> = warnings.iter().map(|item| item.problem).collect();
        assert_eq!(problems, [Problem::NoEffect], "{text}");
    }
}

#[test]
fn an_empty_document_is_valid_with_warnings() {
    for text in ["", "{}", "# nothing\n", "---\n", "~", "---\n...\n"] {
        let (_, warnings) = Config::parse("a", text).unwrap();
        let mut problems: Vec<Problem> = warnings.iter().map(|item| item.problem).collect();
        problems.sort_by_key(|problem| format!("{problem:?}"));
        assert_eq!(problems, [Problem::NoEffect, Problem::Version], "{text:?}");
    }
}

#[test]
fn a_version_other_than_2_is_a_warning() {
    for (text, message) in [
        ("tap: {}\n", "`version` is missing"),
        ("version: 1\ntap: {}\n", "`version` is 1, this agent reads 2"),
        ("version: two\ntap: {}\n", "`version` is two, this agent reads 2"),
    ] {
        let (_, warnings) = Config::parse("a", text).unwrap();
        assert_eq!(
            warnings
                .iter()
                .map(|item| item.message.as_str())
                .collect::<Vec<_>>(),
            [message]
        );
    }
    assert!(
        Config::parse("a", "version: '2'\ntap: {}\n")
            .unwrap()
            .1
            .is_empty()
    );
}

#[test]
fn settings_without_effect_are_warned_about() {
    let text = "version: 2\ntap: {}\nstacks:\n  a:\n    plugins:\n      - {type: report_usage, config: {tags: [x]}}\n      \
                - {type: http_capture, config: {level: full}}\n";
    let (_, warnings) = Config::parse("a", text).unwrap();
    let found: Vec<(usize, Problem)> = warnings.iter().map(|item| (item.line, item.problem)).collect();
    assert_eq!(found, [(6, Problem::NoEffect), (7, Problem::NoEffect)]);
}

#[test]
fn grpc_has_a_stack_of_its_own_only_where_one_is_named() {
    let stacks = "version: 2\nstacks: {a: {}}\n";
    for (tap, expected) in [
        ("{http: {stack: a}}", None),
        ("{grpc: {}}", None),
        ("{grpc: null}", None),
        ("{grpc: {stack: null}}", None),
        ("{grpc: {stack: none}}", Some(None)),
        ("{grpc: {stack: ''}}", Some(None)),
        ("{grpc: {stack: a}}", Some(Some("a".to_owned()))),
    ] {
        assert_eq!(
            parsed(&format!("{stacks}tap: {tap}\n")).tap.grpc,
            expected,
            "{tap}"
        );
        let text = format!("{stacks}tap: {{endpoints: [{{domain: b.test, {}]}}\n", &tap[1..]);
        assert_eq!(parsed(&text).tap.endpoints[0].grpc, expected, "{text}");
    }
}

#[test]
fn filter_groups_have_both_names_and_follow_the_users_rules() {
    let config = parsed(
        "version: 2\ntap:\n  filters:\n    groups: [container, container-runtimes, eks, gke, kubernetes, qpoint]\n    \
         custom:\n      - {exe: containerd, only: [tls, http, tls]}\n",
    );
    let find = |exe: &str| config.tap.filters.find(exe).map(|rule| rule.only.clone());
    assert_eq!(
        find("/usr/bin/containerd"),
        Some(vec![FilterLayer::Tls, FilterLayer::Http])
    );
    for left_out in [
        "/usr/bin/dockerd",
        "/usr/bin/runc",
        "/app/aws-k8s-agent",
        "/home/kubernetes/bin/gcfsd",
        "/home/kubernetes/bin/kubelet",
        "/usr/local/bin/kubelet",
        "/var/lib/rancher/bin/kube-proxy",
        "/proxy-agent",
    ] {
        assert_eq!(find(left_out), Some(Vec::new()), "{left_out}");
    }
    for kept in [
        "/usr/bin/curl",
        "/bin/notkubelet",
        "/opt/proxy-agent",
        "/usr/bin/dockerd2",
    ] {
        assert_eq!(find(kept), None, "{kept}");
    }
}

#[test]
fn strategies_compare_without_case_but_regex_as_written() {
    let rule = |strategy: &str, exe: &str| {
        let text = format!("version: 2\ntap:\n  filters:\n    custom:\n      - {{exe: '{exe}'{strategy}}}\n");
        parsed(&text).tap.filters.rules[0].exe.clone()
    };
    let cases = [
        (rule("", "/CURL"), "/usr/bin/curl", true),
        (rule("", "/curl"), "/usr/bin/curl7", false),
        (rule(", strategy: exact", "/usr/bin/Curl"), "/usr/bin/curl", true),
        (rule(", strategy: exact", "curl"), "/usr/bin/curl", false),
        (rule(", strategy: prefix", "/USR"), "/usr/bin/curl", true),
        (
            rule(", strategy: prefix", "/usr/bin/curl7"),
            "/usr/bin/curl",
            false,
        ),
        (rule(", strategy: contains", "BIN/c"), "/usr/bin/curl", true),
        (rule(", strategy: contains", "é"), "/opt/é", true),
        (rule(", strategy: regex", "^/usr/.*url$"), "/usr/bin/curl", true),
        (rule(", strategy: regex", "CURL"), "/usr/bin/curl", false),
    ];
    for (strategy, exe, expected) in cases {
        assert_eq!(strategy.matches(exe), expected, "{strategy:?} {exe}");
    }
    assert!(matches!(rule("", "x"), FilterStrategy::Suffix(_)));
}

#[test]
fn what_is_shown_of_databases() {
    let text = "{version: 2, stacks: {a: {plugins: []}}, tap: {redis: {stack: a, values: keys}, \
                postgres: {values: none, parameters: true, split_statements: true}, mysql: {values: full}, kafka: {stack: a}}}";
    let (config, _) = Config::parse("qtap.yaml", text).unwrap();
    let keys = DatabaseDetail {
        values: Values::Keys,
        ..DatabaseDetail::default()
    };
    let none = DatabaseDetail {
        values: Values::None,
        parameters: true,
        split_statements: true,
    };
    assert_eq!(
        config.tap.database_detail,
        [("postgres", none), ("redis", keys)].into(),
        "the defaults go without saying"
    );
    assert_eq!(config.tap.databases["redis"], "a");
    assert!(!config.tap.databases.contains_key("postgres"));
}
