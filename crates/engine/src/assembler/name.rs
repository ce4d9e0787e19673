//! The name of a connection's server, from its requests.

use std::net::IpAddr;
use std::sync::Arc;

use qtap_protocol::RequestHead;

use crate::ConnectionFacts;

/// The connection's domain, if none is known yet, from the authority of a request. An address is no name.
pub(super) fn learn_domain(facts: &mut ConnectionFacts, head: &RequestHead) {
    if facts.domain.is_some() {
        return;
    }
    let Some(authority) = head.authority.as_deref() else {
        return;
    };
    if let Some(host) = host_of(authority)
        && host.parse::<IpAddr>().is_err()
    {
        facts.domain = Some(Arc::from(host.to_ascii_lowercase()));
    }
}

/// The host of an authority, without brackets and port.
pub(crate) fn host_of(authority: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(authority).ok()?;
    let host = if authority.starts_with('[') {
        authority
            .trim_start_matches('[')
            .split(']')
            .next()
            .unwrap_or_default()
    } else {
        authority.rsplit_once(':').map_or(authority, |(host, _)| host)
    };
    (!host.is_empty()).then_some(host)
}
