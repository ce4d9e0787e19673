//! Overrides per domain.

use std::collections::HashMap;

/// `tap.endpoints` by domain. A value of `None` is the stack `none`.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    exact: HashMap<String, Option<usize>>,
    /// Suffixes with their leading dot, longest first.
    wildcards: Vec<(String, Option<usize>)>,
}

impl Endpoints {
    pub(super) fn new(entries: impl IntoIterator<Item = (String, Option<usize>)>) -> Self {
        let mut endpoints = Self::default();
        for (domain, stack) in entries {
            let domain = domain.to_ascii_lowercase();
            match domain.strip_prefix('*') {
                Some(suffix) => endpoints.wildcards.push((suffix.to_owned(), stack)),
                None => {
                    endpoints.exact.insert(domain, stack);
                }
            }
        }
        endpoints
            .wildcards
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        endpoints
    }

    /// Whether some override names a stack.
    pub(super) fn stacks(&self) -> impl Iterator<Item = usize> {
        self.exact
            .values()
            .copied()
            .chain(self.wildcards.iter().map(|(_, stack)| *stack))
            .flatten()
    }

    /// Whether there are no overrides.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// The override for a host (`example.com`, with or without port): exact, else the longest wildcard.
    /// No allocation when there are no overrides.
    pub(super) fn find(&self, authority: &str) -> Option<Option<usize>> {
        if self.is_empty() {
            return None;
        }
        let host = host_of(authority).to_ascii_lowercase();
        if let Some(stack) = self.exact.get(&host) {
            return Some(*stack);
        }
        let wildcard = self.wildcards.iter().find(|(suffix, _)| {
            // `*.example.com` is not `.example.com`: something stands before the dot.
            host.len() > suffix.len() && host.ends_with(suffix.as_str())
        });
        wildcard.map(|(_, stack)| *stack)
    }
}

/// The host of an authority: without user, port, brackets of IPv6 and the dot of the root.
fn host_of(authority: &str) -> &str {
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host_port)| host_port);
    if let Some(bracketed) = host_port.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    let host = match host_port.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, _)) if !host.contains(':') => host,
        _ => host_port,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_wildcards_and_the_longest_wildcard_wins() {
        let endpoints = Endpoints::new([
            ("*.example.com".to_owned(), Some(1)),
            ("*.api.example.com".to_owned(), Some(2)),
            ("v1.api.example.com".to_owned(), None),
            ("::1".to_owned(), Some(3)),
        ]);
        for (authority, expected) in [
            ("www.example.com", Some(Some(1))),
            ("WWW.Example.COM:8443", Some(Some(1))),
            ("a.api.example.com.", Some(Some(2))),
            ("user@b.api.example.com:80", Some(Some(2))),
            ("v1.api.example.com", Some(None)),
            ("x.v1.api.example.com", Some(Some(2))),
            ("example.com", None),
            (".example.com", None),
            ("badexample.com", None),
            ("[::1]:8080", Some(Some(3))),
            ("::1", Some(Some(3))),
            ("", None),
        ] {
            assert_eq!(endpoints.find(authority), expected, "{authority}");
        }
    }
}
