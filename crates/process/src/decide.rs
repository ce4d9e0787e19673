//! Whether a process is watched: `QPOINT_STRATEGY` and `tap.filters` together.

use qtap_capture::Pid;
use qtap_config::{CustomFilter, FilterLayer, Filters};

use crate::{Process, Strategy};

/// A set of layers that are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layers(u8);

impl Layers {
    /// Payload, and so all that is parsed from it but the TLS hello: what `audit` leaves out.
    pub const PAYLOAD: Self =
        Self(Self::bit(FilterLayer::Data) | Self::bit(FilterLayer::Dns) | Self::bit(FilterLayer::Http));

    const fn bit(layer: FilterLayer) -> u8 {
        match layer {
            FilterLayer::Data => 1,
            FilterLayer::Dns => 2,
            FilterLayer::Tls => 4,
            FilterLayer::Http => 8,
        }
    }

    /// Whether `layer` is left out.
    #[must_use]
    pub const fn contains(self, layer: FilterLayer) -> bool {
        self.0 & Self::bit(layer) != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is left out.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<FilterLayer> for Layers {
    fn from_iter<I: IntoIterator<Item = FilterLayer>>(layers: I) -> Self {
        Self(layers.into_iter().fold(0, |bits, layer| bits | Self::bit(layer)))
    }
}

/// Why a process is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// It is the agent.
    Agent,
    /// `QPOINT_STRATEGY=ignore`.
    Strategy,
    /// The rule of this index in [`Filters::rules`].
    Filter(usize),
}

/// What is done with the connections of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All of it is watched.
    Observe,
    /// Nothing of it is reported.
    Ignore(IgnoreReason),
    /// Reported without these layers; never empty.
    Partial(Layers),
}

/// Decides on `process`; `agent` is the agent's own pid. The first matching rule wins; a process that the rules
/// leave out entirely is left out whatever its own strategy is. Cost: one comparison a rule, no allocation.
#[must_use]
pub fn decide(process: &Process, filters: &Filters, agent: Pid) -> Decision {
    if process.pid == agent {
        return Decision::Ignore(IgnoreReason::Agent);
    }
    if process.strategy == Strategy::Ignore {
        return Decision::Ignore(IgnoreReason::Strategy);
    }
    let rule = filters
        .rules
        .iter()
        .enumerate()
        .find(|(_, rule)| matches(rule, &process.exe));
    let by_rule = match rule {
        Some((index, rule)) if rule.only.is_empty() => {
            return Decision::Ignore(IgnoreReason::Filter(index));
        }
        Some((_, rule)) => rule.only.iter().copied().collect(),
        None => Layers::default(),
    };
    let by_strategy = if process.strategy == Strategy::Audit {
        Layers::PAYLOAD
    } else {
        Layers::default()
    };
    let left_out = by_rule.union(by_strategy);
    if left_out.is_empty() {
        Decision::Observe
    } else {
        Decision::Partial(left_out)
    }
}

/// Whether `rule` matches the path of an executable. A process whose executable is not known matches nothing.
#[must_use]
pub fn matches(rule: &CustomFilter, exe: &str) -> bool {
    !exe.is_empty() && rule.exe.matches(exe)
}

#[cfg(test)]
mod tests {
    use qtap_config::FilterStrategy;

    use super::*;

    const AGENT: Pid = Pid(1);

    fn process(exe: &str, strategy: Strategy) -> Process {
        Process {
            exe: exe.to_owned(),
            strategy,
            ..Process::unknown(Pid(7))
        }
    }

    fn rule(exe: FilterStrategy, only: &[FilterLayer]) -> CustomFilter {
        CustomFilter {
            exe,
            only: only.to_vec(),
        }
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let filters = Filters {
            rules: vec![
                rule(
                    FilterStrategy::Exact("/usr/bin/curl".into()),
                    &[FilterLayer::Http],
                ),
                rule(FilterStrategy::Prefix("/usr/bin/".into()), &[]),
                rule(
                    FilterStrategy::Regex(regex::Regex::new("python[0-9]").unwrap()),
                    &[FilterLayer::Dns],
                ),
            ],
        };
        let http = Layers::from_iter([FilterLayer::Http]);
        for (exe, expected) in [
            ("/usr/bin/curl", Decision::Partial(http)),
            ("/usr/bin/wget", Decision::Ignore(IgnoreReason::Filter(1))),
            (
                "/opt/python3",
                Decision::Partial(Layers::from_iter([FilterLayer::Dns])),
            ),
            ("/opt/ruby", Decision::Observe),
            ("", Decision::Observe),
        ] {
            assert_eq!(
                decide(&process(exe, Strategy::Observe), &filters, AGENT),
                expected,
                "{exe}"
            );
        }
    }

    #[test]
    fn strategies_and_the_agent_itself_need_no_rule() {
        let filters = Filters::default();
        let ignored = decide(&process("/x", Strategy::Ignore), &filters, AGENT);
        assert_eq!(ignored, Decision::Ignore(IgnoreReason::Strategy));
        let own = decide(&process("/x", Strategy::Observe), &filters, Pid(7));
        assert_eq!(own, Decision::Ignore(IgnoreReason::Agent));
        for strategy in [Strategy::Forward, Strategy::Proxy, Strategy::Observe] {
            assert_eq!(
                decide(&process("/x", strategy), &filters, AGENT),
                Decision::Observe
            );
        }
    }

    #[test]
    fn audit_adds_to_what_a_rule_leaves_out() {
        let tls = Filters {
            rules: vec![rule(FilterStrategy::Contains("x".into()), &[FilterLayer::Tls])],
        };
        let Decision::Partial(layers) = decide(&process("/x", Strategy::Audit), &tls, AGENT) else {
            panic!("audit reports connections");
        };
        let all = [
            FilterLayer::Data,
            FilterLayer::Dns,
            FilterLayer::Tls,
            FilterLayer::Http,
        ];
        assert!(all.into_iter().all(|layer| layers.contains(layer)));
        assert!(!Layers::PAYLOAD.contains(FilterLayer::Tls));
    }
}
