//! Every kind of error, with its exact place.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a helper of tests may fail as tests do

use qtap_config::{Config, Problem, Severity};

/// Text, kind, line, column, path, a part of the message, the name suggested.
type Case = (
    &'static str,
    Problem,
    usize,
    usize,
    &'static str,
    &'static str,
    Option<&'static str>,
);

const V: &str = "version: 2\n";

fn errors(text: &str) -> Vec<(Problem, usize, usize, String, String, Option<String>)> {
    match Config::parse("qtap.yaml", text) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .filter(|item| item.severity == Severity::Error)
            .map(|item| {
                let item = item.clone();
                (
                    item.problem,
                    item.line,
                    item.column,
                    item.path,
                    item.message,
                    item.suggestion,
                )
            })
            .collect(),
    }
}

fn check(cases: &[Case]) {
    for (text, problem, line, column, path, message, suggestion) in cases {
        let text = format!("{V}{text}");
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        let (found_problem, found_line, found_column, found_path, found_message, found_suggestion) =
            &found[0];
        assert_eq!(
            (*found_problem, *found_line, *found_column),
            (*problem, *line, *column),
            "{text}\n{found:#?}"
        );
        assert_eq!(found_path, path, "{text}");
        assert!(found_message.contains(message), "{text}\n{found_message}");
        assert_eq!(found_suggestion.as_deref(), *suggestion, "{text}");
    }
}

#[test]
fn unknown_keys_are_errors_everywhere() {
    use Problem::UnknownKey as K;
    check(&[
        (
            "tap: {}\nproxy: 1\n",
            K,
            3,
            1,
            "proxy",
            "unknown key `proxy`",
            None,
        ),
        (
            "tapp: {}\ntap: {}\n",
            K,
            2,
            1,
            "tapp",
            "unknown key `tapp`",
            Some("tap"),
        ),
        (
            "tap:\n  directon: all\n",
            K,
            3,
            3,
            "tap.directon",
            "`directon`",
            Some("direction"),
        ),
        (
            "tap:\n  http: {stak: none}\n",
            K,
            3,
            10,
            "tap.http.stak",
            "`stak`",
            Some("stack"),
        ),
        (
            "tap:\n  redis: {stak: none}\n",
            K,
            3,
            11,
            "tap.redis.stak",
            "`stak`",
            Some("stack"),
        ),
        (
            "tap: {tls: {sorce: auto}}\n",
            K,
            2,
            13,
            "tap.tls.sorce",
            "`sorce`",
            Some("source"),
        ),
        (
            "tap: {limits: {ring: 1mb}}\n",
            K,
            2,
            16,
            "tap.limits.ring",
            "`ring`",
            None,
        ),
        (
            "tap: {filters: {group: []}}\n",
            K,
            2,
            17,
            "tap.filters.group",
            "`group`",
            Some("groups"),
        ),
        (
            "tap:\n  filters:\n    custom:\n      - exe: a\n        strat: x\n",
            K,
            6,
            9,
            "tap.filters.custom[0].strat",
            "`strat`",
            None,
        ),
        (
            "tap:\n  endpoints:\n    - domain: a.b\n      hosts: []\n",
            K,
            5,
            7,
            "tap.endpoints[0].hosts",
            "`hosts`",
            None,
        ),
        (
            "tap: {}\nservices: {event_store: []}\n",
            K,
            3,
            12,
            "services.event_store",
            "",
            Some("event_stores"),
        ),
        (
            "tap: {}\nservices: {event_stores: [{type: stdout, idd: x}]}\n",
            K,
            3,
            42,
            "services.event_stores[0].idd",
            "`idd`",
            Some("id"),
        ),
        (
            "tap: {}\nstacks: {a: {plugin: []}}\n",
            K,
            3,
            14,
            "stacks.a.plugin",
            "`plugin`",
            Some("plugins"),
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: debug, conf: {}}]}}\n",
            K,
            3,
            38,
            "stacks.a.plugins[0].conf",
            "`conf`",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: debug, config: {level: full}}]}}\n",
            K,
            3,
            47,
            "stacks.a.plugins[0].config.level",
            "`level`",
            None,
        ),
        (
            "tap: {}\nrulekit: {macro: []}\n",
            K,
            3,
            11,
            "rulekit.macro",
            "`macro`",
            Some("macros"),
        ),
        (
            "tap: {}\ntags: [{key: a, source: env, location: B, x: 1}]\n",
            K,
            3,
            43,
            "tags[0].x",
            "`x`",
            None,
        ),
    ]);
}

#[test]
fn unknown_names_are_errors_with_the_nearest_valid_name() {
    use Problem::UnknownName as N;
    check(&[
        (
            "tap: {direction: egres}\n",
            N,
            2,
            18,
            "tap.direction",
            "unknown direction `egres`",
            Some("egress"),
        ),
        (
            "tap: {direction: egress_external}\n",
            N,
            2,
            18,
            "tap.direction",
            "unknown direction `egress_external`",
            Some("egress-external"),
        ),
        (
            "tap: {tls: {source: secret}}\n",
            N,
            2,
            21,
            "tap.tls.source",
            "TLS source `secret`",
            Some("secrets"),
        ),
        (
            "tap: {http: {stack: main}}\n",
            N,
            2,
            21,
            "tap.http.stack",
            "unknown stack `main`",
            None,
        ),
        (
            "stacks: {main: {}}\ntap: {http: {stack: mian}}\n",
            N,
            3,
            21,
            "tap.http.stack",
            "unknown stack `mian`",
            Some("main"),
        ),
        (
            "tap:\n  endpoints:\n    - {domain: a.b, http: {stack: x}}\n",
            N,
            4,
            35,
            "tap.endpoints[0].http.stack",
            "unknown stack `x`",
            None,
        ),
        (
            "tap: {filters: {groups: [kubernets]}}\n",
            N,
            2,
            26,
            "tap.filters.groups[0]",
            "unknown filter group `kubernets`",
            Some("kubernetes"),
        ),
        (
            "tap: {filters: {custom: [{exe: a, strategy: sufix}]}}\n",
            N,
            2,
            45,
            "tap.filters.custom[0].strategy",
            "unknown strategy `sufix`",
            Some("suffix"),
        ),
        (
            "tap: {filters: {custom: [{exe: a, only: [htp]}]}}\n",
            N,
            2,
            42,
            "tap.filters.custom[0].only[0]",
            "unknown layer `htp`",
            Some("http"),
        ),
        (
            "tap: {}\nservices: {event_stores: [{type: stdot}]}\n",
            N,
            3,
            34,
            "services.event_stores[0].type",
            "unknown event store `stdot`",
            Some("stdout"),
        ),
        (
            "tap: {}\nservices: {object_stores: [{type: s4}]}\n",
            N,
            3,
            35,
            "services.object_stores[0].type",
            "unknown object store `s4`",
            Some("s3"),
        ),
        (
            "tap: {}\nservices:\n  object_stores:\n    - type: stdout\n      event_store: {id: nope}\n",
            N,
            6,
            25,
            "services.object_stores[0].event_store.id",
            "unknown event store `nope`",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: acces_logs}]}}\n",
            N,
            3,
            31,
            "stacks.a.plugins[0].type",
            "unknown plugin `acces_logs`",
            Some("access_logs"),
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: debug, config: {mode: ful}}]}}\n",
            N,
            3,
            53,
            "stacks.a.plugins[0].config.mode",
            "unknown mode `ful`",
            Some("full"),
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: debug, config: {format: jsn}}]}}\n",
            N,
            3,
            55,
            "stacks.a.plugins[0].config.format",
            "unknown format `jsn`",
            Some("json"),
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: http_capture, config: {level: header}}]}}\n",
            N,
            3,
            61,
            "stacks.a.plugins[0].config.level",
            "unknown level `header`",
            Some("headers"),
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: http_capture, config: {object_store: {id: x}}}]}}\n",
            N,
            3,
            73,
            "stacks.a.plugins[0].config.object_store.id",
            "unknown object store `x`",
            None,
        ),
        (
            "tap: {}\ntags: [{key: a, source: environment, location: B}]\n",
            N,
            3,
            25,
            "tags[0].source",
            "unknown tag source `environment`",
            None,
        ),
    ]);
}

#[test]
fn wrong_types_say_what_was_found() {
    use Problem::WrongType as T;
    check(&[
        (
            "tap: [1]\n",
            T,
            2,
            6,
            "tap",
            "expected a mapping, found a list",
            None,
        ),
        (
            "tap: 5\n",
            T,
            2,
            6,
            "tap",
            "expected a mapping, found the number 5",
            None,
        ),
        (
            "tap:\n  ignore_loopback: maybe\n",
            T,
            3,
            20,
            "tap.ignore_loopback",
            "found the text \"maybe\"",
            None,
        ),
        (
            "tap:\n  ignore_loopback: \"true\"\n",
            T,
            3,
            20,
            "tap.ignore_loopback",
            "the text \"true\"",
            None,
        ),
        (
            "tap:\n  direction: 1\n",
            T,
            3,
            14,
            "tap.direction",
            "expected text, found the number 1",
            None,
        ),
        (
            "tap:\n  direction: [all]\n",
            T,
            3,
            14,
            "tap.direction",
            "expected text, found a list",
            None,
        ),
        (
            "tap:\n  http: main\n",
            T,
            3,
            9,
            "tap.http",
            "expected a mapping, found the text \"main\"",
            None,
        ),
        (
            "tap:\n  endpoints: {}\n",
            T,
            3,
            14,
            "tap.endpoints",
            "expected a list, found a mapping",
            None,
        ),
        (
            "tap:\n  endpoints: [x]\n",
            T,
            3,
            15,
            "tap.endpoints[0]",
            "expected a mapping",
            None,
        ),
        (
            "tap: {limits: {cpu_percent: 1.5}}\n",
            T,
            2,
            29,
            "tap.limits.cpu_percent",
            "a whole number",
            None,
        ),
        (
            "tap: {limits: {body: [1]}}\n",
            T,
            2,
            22,
            "tap.limits.body",
            "expected text, found a list",
            None,
        ),
        (
            "tap: {}\nstacks: []\n",
            T,
            3,
            9,
            "stacks",
            "a mapping of names to stacks, found a list",
            None,
        ),
        (
            "tap: {}\n? [a]\n: b\n",
            T,
            3,
            3,
            "",
            "expected text as a key, found a list",
            None,
        ),
        (
            "tap: {}\nservices: {event_stores: [{type: stdout, id: 7}]}\n",
            T,
            3,
            46,
            "services.event_stores[0].id",
            "expected text, found the number 7",
            None,
        ),
    ]);
    let whole_document = errors("- a\n");
    assert_eq!(whole_document[0].4, "expected a mapping, found a list");
}

#[test]
fn values_are_checked() {
    use Problem::{Invalid as I, Missing as M};
    check(&[
        (
            "tap: {endpoints: [{domain: a_b.c}]}\n",
            I,
            2,
            28,
            "tap.endpoints[0].domain",
            "`a_b.c` is not a host name",
            None,
        ),
        (
            "tap: {endpoints: [{domain: 'a.b:443'}]}\n",
            I,
            2,
            28,
            "tap.endpoints[0].domain",
            "`a.b:443`",
            None,
        ),
        (
            "tap: {endpoints: [{domain: 'a.*.b'}]}\n",
            I,
            2,
            28,
            "tap.endpoints[0].domain",
            "`a.*.b`",
            None,
        ),
        (
            "tap: {endpoints: [{domain: '*'}]}\n",
            I,
            2,
            28,
            "tap.endpoints[0].domain",
            "`*`",
            None,
        ),
        (
            "tap: {endpoints: [{domain: -a.b}]}\n",
            I,
            2,
            28,
            "tap.endpoints[0].domain",
            "`-a.b`",
            None,
        ),
        (
            "tap: {endpoints: [{http: {stack: none}}]}\n",
            M,
            2,
            19,
            "tap.endpoints[0].domain",
            "`domain` is missing",
            None,
        ),
        (
            "tap: {endpoints: [{domain: }]}\n",
            M,
            2,
            20,
            "tap.endpoints[0].domain",
            "`domain` is missing",
            None,
        ),
        (
            "tap: {filters: {custom: [{exe: '(', strategy: regex}]}}\n",
            I,
            2,
            32,
            "tap.filters.custom[0].exe",
            "invalid regular expression: unclosed group",
            None,
        ),
        (
            "tap: {filters: {custom: [{exe: ''}]}}\n",
            I,
            2,
            32,
            "tap.filters.custom[0].exe",
            "must not be empty",
            None,
        ),
        (
            "tap: {filters: {custom: [{only: [tls]}]}}\n",
            M,
            2,
            26,
            "tap.filters.custom[0].exe",
            "`exe` is missing",
            None,
        ),
        (
            "tap: {limits: {body: 1tb}}\n",
            I,
            2,
            22,
            "tap.limits.body",
            "the unit of a size",
            None,
        ),
        (
            "tap: {limits: {body: 3gb}}\n",
            I,
            2,
            22,
            "tap.limits.body",
            "2gb at most",
            None,
        ),
        (
            "tap: {limits: {data_ring: 1kb}}\n",
            I,
            2,
            27,
            "tap.limits.data_ring",
            "1024 bytes is not between",
            None,
        ),
        (
            "tap: {limits: {cpu_percent: 0}}\n",
            I,
            2,
            29,
            "tap.limits.cpu_percent",
            "0 is not between 1",
            None,
        ),
        (
            "tap: {}\nstacks: {none: {}}\n",
            I,
            3,
            10,
            "stacks.none",
            "a stack cannot be named",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{config: {}}]}}\n",
            M,
            3,
            24,
            "stacks.a.plugins[0].type",
            "`type` is missing",
            None,
        ),
        // surface.md §10: a two-item list where one store was meant.
        (
            "tap: {}\nservices:\n  event_stores:\n    - id: x\n    - type: stdout\n",
            M,
            5,
            7,
            "services.event_stores[0].type",
            "`type` is missing",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: report_usage, config: {headers: ['a b']}}]}}\n",
            I,
            3,
            64,
            "stacks.a.plugins[0].config.headers[0]",
            "\"a b\" is not a header name",
            None,
        ),
        (
            "tap: {}\ntags: [{key: a, source: env}]\n",
            M,
            3,
            8,
            "tags[0].location",
            "`location` is missing",
            None,
        ),
    ]);
}

#[test]
fn names_that_must_be_unique_are_compared_with_the_first() {
    use Problem::{DuplicateKey as K, DuplicateName as N};
    check(&[
        (
            "tap: {}\ntap: {}\n",
            K,
            3,
            1,
            "tap",
            "the key `tap` is already on line 2",
            None,
        ),
        (
            "tap:\n  direction: all\n  direction: all\n",
            K,
            4,
            3,
            "tap.direction",
            "already on line 3",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {}, a: {}}\n",
            K,
            3,
            17,
            "stacks.a",
            "the key `a` is already on line 3",
            None,
        ),
        (
            "tap: {}\nservices:\n  event_stores:\n    - {type: stdout, id: x}\n    - {type: disabled, id: x}\n",
            N,
            6,
            28,
            "services.event_stores[1].id",
            "the id `x` is already used on line 5",
            None,
        ),
        (
            "tap:\n  endpoints:\n    - domain: a.b\n    - domain: A.B.\n",
            N,
            5,
            15,
            "tap.endpoints[1].domain",
            "`a.b` already has an entry on line 4",
            None,
        ),
    ]);
}

#[test]
fn parts_that_are_not_there_yet_are_refused_by_name() {
    use Problem::NotAvailable as A;
    for plugin in [
        "http_metrics",
        "detect_errors",
        "data_loss_protection",
        "qscan",
        "llm",
        "logger",
        "devtools",
        "error_detection",
    ] {
        let text =
            format!("{V}tap: {{}}\nstacks: {{a: {{plugins: [{{type: {plugin}, config: {{any: 1}}}}]}}}}\n");
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].0, found[0].1, found[0].2), (A, 3, 31));
        assert_eq!(found[0].4, format!("plugin `{plugin}` is not available yet"));
    }
    for (list, what, kinds) in [
        (
            "event_stores",
            "event store",
            vec!["axiom", "otel", "pulse", "pulse-streaming", "pulse-legacy"],
        ),
        ("object_stores", "object store", vec!["s3", "otel", "qpoint"]),
    ] {
        for kind in kinds {
            let text =
                format!("{V}tap: {{}}\nservices:\n  {list}:\n    - {{type: {kind}, endpoint: x, id: a}}\n");
            let found = errors(&text);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!((found[0].0, found[0].1, found[0].2), (A, 5, 14));
            assert_eq!(found[0].4, format!("{what} `{kind}` is not available yet"));
        }
    }
    check(&[
        (
            "stacks: {m: {}}\ntap: {redis: {stack: m}}\n",
            A,
            3,
            22,
            "tap.redis.stack",
            "a stack for `redis` is not",
            None,
        ),
        (
            "stacks: {m: {}}\ntap: {grpc: {stack: m}}\n",
            A,
            3,
            21,
            "tap.grpc.stack",
            "`grpc`",
            None,
        ),
        (
            "stacks: {m: {}}\ntap: {endpoints: [{domain: a, kafka: {stack: m}}]}\n",
            A,
            3,
            46,
            "tap.endpoints[0].kafka.stack",
            "a stack for `kafka` is not",
            None,
        ),
        (
            "tap: {}\nstacks: {a: {plugins: [{type: debug, config: {rules: [{}]}}]}}\n",
            A,
            3,
            54,
            "stacks.a.plugins[0].config.rules",
            "rules are not available yet",
            None,
        ),
        (
            "tap: {}\nrulekit: {macros: [{name: a, expr: b}]}\n",
            A,
            3,
            19,
            "rulekit.macros",
            "rulekit macros are not available yet",
            None,
        ),
        (
            "tap: {}\ntags: [{key: a, source: k8s.label, location: B}]\n",
            A,
            3,
            25,
            "tags[0].source",
            "tag source `k8s.label` is not available yet",
            None,
        ),
        (
            "tap: {audit_include_dns: true}\n",
            A,
            2,
            26,
            "tap.audit_include_dns",
            "reporting DNS traffic is not available yet",
            None,
        ),
        (
            "tap: {}\ncontrol: {default: allow}\n",
            A,
            3,
            10,
            "control",
            "`control` is not available yet",
            None,
        ),
        (
            "tap: {}\nservices: {qscan: {type: client}}\n",
            A,
            3,
            19,
            "services.qscan",
            "service `qscan` is not",
            None,
        ),
    ]);
}

#[test]
fn what_asks_for_nothing_is_accepted_though_not_there_yet() {
    let text = "version: 2\nservices: {qscan: {type: disabled}}\nrulekit: {macros: []}\ncontrol: {}\ntags: []\n\
                stacks: {a: {plugins: [{type: debug, config: {rules: []}}]}}\n\
                tap: {redis: {stack: none}, mysql: {stack: ''}, kafka: {}, postgres: null, endpoints: []}\n";
    let (_, warnings) = Config::parse("a", text).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
}

#[test]
fn all_problems_are_collected_in_the_order_of_the_file() {
    let text = "version: 3\nserivces: {}\nstacks:\n  a:\n    plugins:\n      - type: nope\n      - type: llm\ntap:\n  \
                direction: up\n  http: {stack: b}\n";
    let found = Config::parse("a", text).unwrap_err();
    let places: Vec<(usize, Problem)> = found.iter().map(|item| (item.line, item.problem)).collect();
    let expected = [
        (1, Problem::Version),
        (2, Problem::UnknownKey),
        (6, Problem::UnknownName),
        (7, Problem::NotAvailable),
        (9, Problem::UnknownName),
        (10, Problem::UnknownName),
    ];
    assert_eq!(places, expected, "{found}");
}

/// surface.md §2.14, word for word.
const SAMPLE: &str = include_str!("sample.yaml");

#[test]
fn the_sample_of_the_specification_is_refused_only_for_what_is_not_there_yet() {
    let found = Config::parse("sample.yaml", SAMPLE).unwrap_err();
    let messages: Vec<(usize, Problem, &str)> = found
        .iter()
        .map(|item| (item.line, item.problem, item.message.as_str()))
        .collect();
    let expected = [
        (
            4,
            Problem::NotAvailable,
            "event store `otel` is not available yet",
        ),
        (6, Problem::NotAvailable, "object store `s3` is not available yet"),
        (17, Problem::NotAvailable, "rulekit macros are not available yet"),
        (
            21,
            Problem::NotAvailable,
            "plugin `http_metrics` is not available yet",
        ),
        (28, Problem::NotAvailable, "rules are not available yet"),
    ];
    assert_eq!(messages, expected, "{found}");
}
