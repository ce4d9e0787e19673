//! What is known but not there yet.

use qtap_config::{Config, Problem};

use crate::{V, check, errors};

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
