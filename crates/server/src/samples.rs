//! Collects numbers and writes them in the OpenMetrics text format.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Bound on series of one family: a label with too many values must not fill the memory of a scraper.
const MAX_SERIES: usize = 10_000;

type Labels = Vec<(String, String)>;

/// The numbers of one scrape. A number given twice, with the same name and labels, counts as the last one.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    families: BTreeMap<String, Family>,
    rejected: u64,
}

#[derive(Clone, Debug)]
struct Family {
    help: String,
    series: Series,
}

#[derive(Clone, Debug)]
enum Series {
    Counter(BTreeMap<Labels, u64>),
    Gauge(BTreeMap<Labels, f64>),
}

impl Samples {
    /// A number that only grows. `name` ends in `_total`, as it is shown; the ending may be left out.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        let family = self.family(name, help, || Series::Counter(BTreeMap::new()));
        let taken = match &mut family.series {
            Series::Counter(series) => insert(series, labels, value),
            Series::Gauge(_) => false,
        };
        self.count(name, taken);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.family(name, help, || Series::Gauge(BTreeMap::new()));
        let taken = match &mut family.series {
            Series::Gauge(series) => insert(series, labels, value),
            Series::Counter(_) => false,
        };
        self.count(name, taken);
    }

    /// Numbers left out: one name as counter and as gauge, or more series than one family may have.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    fn family(&mut self, name: &str, help: &str, series: impl FnOnce() -> Series) -> &mut Family {
        let family = || Family {
            help: one_line(help),
            series: series(),
        };
        self.families.entry(valid_name(name)).or_insert_with(family)
    }

    fn count(&mut self, name: &str, taken: bool) {
        if !taken {
            self.rejected += 1;
            tracing::debug!(
                name,
                "metric left out: its kind differs or it has too many series"
            );
        }
    }

    /// The OpenMetrics text, `# EOF` included.
    pub(crate) fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl prometheus_client::collector::Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.families {
            let kind = match family.series {
                Series::Counter(_) => MetricType::Counter,
                Series::Gauge(_) => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(name, &family.help, None, kind)?;
            match &family.series {
                Series::Counter(series) => {
                    for (labels, value) in series {
                        labelled(&mut metric, labels, |metric| {
                            metric.encode_counter::<NoLabelSet, _, u64>(value, None)
                        })?;
                    }
                }
                Series::Gauge(series) => {
                    for (labels, value) in series {
                        labelled(&mut metric, labels, |metric| metric.encode_gauge(value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Without labels there are no braces either.
fn labelled(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    if labels.is_empty() {
        encode(metric)
    } else {
        encode(&mut metric.encode_family(labels)?)
    }
}

fn insert<T>(series: &mut BTreeMap<Labels, T>, labels: &[(&str, &str)], value: T) -> bool {
    let mut key: Labels = labels
        .iter()
        .map(|(name, value)| (valid_name(name), (*value).to_owned()))
        .collect();
    // Order does not tell series apart.
    key.sort();
    if series.len() >= MAX_SERIES && !series.contains_key(&key) {
        return false;
    }
    series.insert(key, value);
    true
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: what metrics and labels may be called everywhere.
fn valid_name(name: &str) -> String {
    let mut valid: String = name
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect();
    if valid.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        valid.insert(0, '_');
    }
    valid
}

/// The encoder escapes label values, but writes help texts as they are.
fn one_line(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_once_and_values_are_escaped() {
        let mut samples = Samples::default();
        samples.counter(
            "qtap_lost_total",
            "Records lost",
            &[("reason", "ring_full"), ("stage", "a")],
            3,
        );
        samples.gauge("qtap_depth", "Depth\nof \\ queues", &[], 1.5);
        samples.counter(
            "qtap_lost",
            "Records lost",
            &[("stage", "a\\b"), ("reason", "say \"no\"\n")],
            4,
        );
        samples.counter(
            "qtap_lost_total",
            "Records lost",
            &[("stage", "a"), ("reason", "ring_full")],
            5,
        );
        let expected = concat!(
            "# HELP qtap_depth Depth\\nof \\\\ queues\n",
            "# TYPE qtap_depth gauge\n",
            "qtap_depth 1.5\n",
            "# HELP qtap_lost Records lost\n",
            "# TYPE qtap_lost counter\n",
            "qtap_lost_total{reason=\"ring_full\",stage=\"a\"} 5\n",
            "qtap_lost_total{reason=\"say \\\"no\\\"\\n\",stage=\"a\\\\b\"} 4\n",
            "# EOF\n",
        );
        assert_eq!(samples.into_text().unwrap(), expected);
    }

    #[test]
    fn names_that_no_scraper_reads_are_mended() {
        let mut samples = Samples::default();
        samples.gauge("9 lives/é", "Cats", &[("", "x"), ("a-b", "y")], 9.0);
        let text = samples.into_text().unwrap();
        assert!(text.contains("\n_9_lives__{_=\"x\",a_b=\"y\"} 9.0\n"), "{text}");
    }

    #[test]
    fn a_conflict_of_kinds_and_a_flood_of_series_are_counted() {
        let mut samples = Samples::default();
        samples.gauge("a", "A", &[], 1.0);
        samples.counter("a", "A", &[], 1);
        assert_eq!(samples.rejected(), 1);
        for number in 0..=MAX_SERIES {
            samples.counter("b", "B", &[("n", &number.to_string())], 1);
        }
        assert_eq!(samples.rejected(), 2);
    }

    #[test]
    fn no_samples_is_a_valid_exposition() {
        assert_eq!(Samples::default().into_text().unwrap(), "# EOF\n");
    }
}
