//! `tap.filters`: processes that are left out.

use crate::diagnostic::Problem;
use crate::reader::{At, Checker, Known, Names};
use crate::schema::{CustomFilter, FilterLayer, FilterStrategy, Filters};

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Member {
    Path(&'static str),
    /// These live in a different folder in each distribution.
    Suffix(&'static str),
}

const CONTAINER_RUNTIMES: &[Member] = &[
    Member::Path("/usr/bin/containerd"),
    Member::Path("/usr/bin/dockerd"),
    Member::Path("/usr/bin/runc"),
];

/// `qpoint` is the agent itself, which is always left out.
const GROUPS: &Names<&[Member]> = &[
    ("container", Known::Ready(CONTAINER_RUNTIMES)),
    ("container-runtimes", Known::Ready(CONTAINER_RUNTIMES)),
    (
        "eks",
        Known::Ready(&[
            Member::Path("/app/aws-k8s-agent"),
            Member::Path("/usr/bin/amazon-ssm-agent"),
            Member::Path("/usr/bin/ssm-agent-worker"),
            Member::Path("/usr/bin/ssm-document-worker"),
        ]),
    ),
    (
        "gke",
        Known::Ready(&[
            Member::Path("/home/kubernetes/bin/gcfsd"),
            Member::Path("/event-exporter"),
            Member::Path("/fluent-bit-gke-exporter"),
            Member::Path("/home/kubernetes/bin/node-problem-detector"),
        ]),
    ),
    (
        "kubernetes",
        Known::Ready(&[
            Member::Suffix("/kubelet"),
            Member::Suffix("/kube-proxy"),
            Member::Path("/proxy-agent"),
            Member::Path("/cluster-proportional-autoscaler"),
            Member::Path("/csi-node-driver-registrar"),
        ]),
    ),
    ("qpoint", Known::Ready(&[])),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Strategy {
    Exact,
    Prefix,
    Suffix,
    Contains,
    Regex,
}

const STRATEGIES: &Names<Strategy> = &[
    ("exact", Known::Ready(Strategy::Exact)),
    ("prefix", Known::Ready(Strategy::Prefix)),
    ("suffix", Known::Ready(Strategy::Suffix)),
    ("contains", Known::Ready(Strategy::Contains)),
    ("regex", Known::Ready(Strategy::Regex)),
];

const LAYERS: &Names<FilterLayer> = &[
    ("data", Known::Ready(FilterLayer::Data)),
    ("dns", Known::Ready(FilterLayer::Dns)),
    ("tls", Known::Ready(FilterLayer::Tls)),
    ("http", Known::Ready(FilterLayer::Http)),
];

/// The user's own rules come before those of groups, so that `only` can narrow what a group leaves out.
pub(super) fn check(checker: &mut Checker, at: &At<'_>) -> Filters {
    let Some(fields) = checker.fields(at, &["groups", "custom"]) else {
        return Filters::default();
    };
    let groups = fields
        .get("groups")
        .map(|at| checker.items(&at))
        .unwrap_or_default();
    let members: Vec<&[Member]> = groups
        .iter()
        .filter_map(|at| checker.one_of(at, "filter group", GROUPS))
        .collect();
    let custom = fields
        .get("custom")
        .map(|at| checker.items(&at))
        .unwrap_or_default();
    let mut rules: Vec<CustomFilter> = custom.iter().filter_map(|at| rule(checker, at)).collect();
    rules.extend(members.into_iter().flatten().map(|member| {
        let exe = match member {
            Member::Path(path) => FilterStrategy::Exact((*path).to_owned()),
            Member::Suffix(suffix) => FilterStrategy::Suffix((*suffix).to_owned()),
        };
        CustomFilter {
            exe,
            only: Vec::new(),
        }
    }));
    Filters { rules }
}

fn rule(checker: &mut Checker, item: &At<'_>) -> Option<CustomFilter> {
    let fields = checker.fields(item, &["exe", "strategy", "only"])?;
    let strategy = match fields.get("strategy") {
        Some(at) => checker.one_of(&at, "strategy", STRATEGIES),
        None => Some(Strategy::Suffix),
    };
    let layers = fields
        .get("only")
        .map(|at| checker.items(&at))
        .unwrap_or_default();
    let mut only: Vec<FilterLayer> = layers
        .iter()
        .filter_map(|at| checker.one_of(at, "layer", LAYERS))
        .collect();
    only.sort_unstable();
    only.dedup();
    let at = checker.required(&fields, item, "exe")?;
    let text = checker.name(&at)?.to_owned();
    let exe = match strategy? {
        Strategy::Exact => FilterStrategy::Exact(text),
        Strategy::Prefix => FilterStrategy::Prefix(text),
        Strategy::Suffix => FilterStrategy::Suffix(text),
        Strategy::Contains => FilterStrategy::Contains(text),
        Strategy::Regex => FilterStrategy::Regex(regex(checker, &at, &text)?),
    };
    Some(CustomFilter { exe, only })
}

fn regex(checker: &mut Checker, at: &At<'_>, text: &str) -> Option<regex::Regex> {
    match regex::Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The error's text shows the pattern over several lines; its last line says what is wrong.
            let whole = error.to_string();
            let reason = whole.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            let message = format!("invalid regular expression: {}", crate::yaml::shown(reason));
            checker.error(Problem::Invalid, at, message);
            None
        }
    }
}
