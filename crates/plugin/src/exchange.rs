//! A transaction on its connection, with what every plugin says of it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;

use qtap_capture::Role;
use qtap_engine::{ConnectionFacts, Half, Transaction};
use qtap_process::Process;
use qtap_protocol::Field;
use qtap_protocol::detect::Protocol;

use crate::agent::Agent;
use crate::http_capture::Fragments;
use crate::schema::{HeaderMap, Tags};

/// Status that the compatible fields carry when none was seen.
pub(crate) const UNKNOWN_STATUS: u16 = 422;

/// The parts of a URL.
pub(crate) enum RawUrl<'a> {
    /// The target alone.
    Target(&'a [u8]),
    /// Scheme, `://`, authority, and these two.
    OfServer(&'static str, &'a [u8]),
}

/// One transaction and its connection.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The connection, as known at the end of the transaction.
    pub connection: &'a ConnectionFacts,
    /// The transaction.
    pub transaction: &'a Transaction,
    /// What every record says of the connection.
    pub labels: &'a Labels,
}

impl<'a> Exchange<'a> {
    /// The process, once known.
    #[must_use]
    pub fn process(&self) -> Option<&'a Process> {
        self.connection.process.as_deref()
    }

    /// Path of the executable; empty when not known.
    #[must_use]
    pub fn exe(&self) -> &'a str {
        self.process().map_or("", |process| process.exe.as_str())
    }

    /// Method, lossy.
    #[must_use]
    pub fn method(&self) -> Cow<'a, str> {
        text(&self.transaction.request.method)
    }

    /// Scheme: as sent, else from whether there is TLS.
    #[must_use]
    pub fn scheme(&self) -> Cow<'a, str> {
        text(self.raw_scheme())
    }

    pub(crate) fn raw_scheme(&self) -> &'a [u8] {
        match &self.transaction.request.scheme {
            Some(scheme) => scheme,
            None if self.connection.tls.is_some() => b"https",
            None => b"http",
        }
    }

    /// Authority as sent, else the best name of the server, else its address and port.
    #[must_use]
    pub fn authority(&self) -> Cow<'a, str> {
        match (&self.transaction.request.authority, &self.connection.domain) {
            (Some(authority), _) => text(authority),
            (None, Some(domain)) => Cow::Borrowed(domain),
            (None, None) => self.server_address().to_string().into(),
        }
    }

    /// Target as sent, or `:path`: path and query for all but absolute targets, `CONNECT` and `OPTIONS *`.
    #[must_use]
    pub fn target(&self) -> Cow<'a, str> {
        text(&self.transaction.request.target)
    }

    /// Path and query as sent; of an absolute target what follows its authority.
    #[must_use]
    pub fn path(&self) -> Cow<'a, str> {
        text(self.raw_path())
    }

    pub(crate) fn raw_path(&self) -> &'a [u8] {
        let target = &self.transaction.request.target[..];
        after_authority(target).unwrap_or(target)
    }

    /// Scheme, authority and target concatenated and never normalised: what follows the authority is byte for byte
    /// what was sent. An absolute target and that of `CONNECT` stand alone; `OPTIONS *` has the URL of its server.
    #[must_use]
    pub fn url(&self) -> Cow<'a, str> {
        match self.raw_url() {
            RawUrl::Target(target) => text(target),
            RawUrl::OfServer(slash, target) => {
                let (scheme, authority, target) = (self.scheme(), self.authority(), text(target));
                [&scheme, "://", &authority, slash, &target].concat().into()
            }
        }
    }

    /// What [`Self::url`] is put together from.
    pub(crate) fn raw_url(&self) -> RawUrl<'a> {
        let request = &self.transaction.request;
        let target = &request.target[..];
        let is_tunnel = request.method.as_ref() == b"CONNECT" && request.protocol.is_none();
        if is_tunnel || after_authority(target).is_some() {
            return RawUrl::Target(target);
        }
        match target.first() {
            Some(b'/' | b'?') | None => RawUrl::OfServer("", target),
            Some(_) if target == b"*" => RawUrl::OfServer("", b""),
            // Malformed, but it must not read as part of the host.
            Some(_) => RawUrl::OfServer("/", target),
        }
    }

    /// Status, if one was seen.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let status = self.transaction.response.as_ref()?.status;
        (status != 0).then_some(status)
    }

    /// Status for the compatible fields.
    #[must_use]
    pub fn compatible_status(&self) -> u16 {
        self.status().unwrap_or(UNKNOWN_STATUS)
    }

    /// The half that the local process wrote.
    #[must_use]
    pub fn sent(&self) -> &'a Half {
        match self.connection.role {
            Role::Client => &self.transaction.request_half,
            Role::Server => &self.transaction.response_half,
        }
    }

    /// The half that the local process read.
    #[must_use]
    pub fn received(&self) -> &'a Half {
        match self.connection.role {
            Role::Client => &self.transaction.response_half,
            Role::Server => &self.transaction.request_half,
        }
    }

    /// First request byte → end of response head in milliseconds, rounded up and at least 1 (P-T1).
    #[must_use]
    pub fn duration_ms(&self) -> Option<u64> {
        self.transaction
            .duration_ns()
            .map(|ns| ns.div_ceil(1_000_000).max(1))
    }

    /// First value of a field of the request, lossy; empty without one.
    #[must_use]
    pub fn request_field(&self, name: &str) -> Cow<'a, str> {
        self.transaction.request.field(name).map(text).unwrap_or_default()
    }

    /// The same of the response.
    #[must_use]
    pub fn response_field(&self, name: &str) -> Cow<'a, str> {
        let response = self.transaction.response.as_ref();
        response
            .and_then(|head| head.field(name))
            .map(text)
            .unwrap_or_default()
    }

    /// Fields of the request with the pseudo fields of the compatible output before them.
    #[must_use]
    pub fn request_headers(&self) -> HeaderMap<'a> {
        let request = &self.transaction.request;
        let pseudo = [
            (":method", self.method()),
            (":scheme", self.scheme()),
            (
                ":authority",
                request.authority.as_ref().map(text).unwrap_or_default(),
            ),
            (":path", self.target()),
        ];
        let known = pseudo.into_iter().filter(|(_, value)| !value.is_empty());
        HeaderMap::new(known, &request.fields)
    }

    /// The same of the response; empty without one.
    #[must_use]
    pub fn response_headers(&self) -> HeaderMap<'a> {
        match &self.transaction.response {
            Some(head) => HeaderMap::new([(":status", head.status.to_string().into())], &head.fields),
            None => HeaderMap::default(),
        }
    }

    /// Address and port of the accepting end.
    #[must_use]
    pub fn server_address(&self) -> SocketAddr {
        match self.connection.role {
            Role::Client => self.connection.remote,
            Role::Server => self.connection.local,
        }
    }
}

/// What every record of a connection says of it: made once, not for each transaction.
#[derive(Debug)]
pub struct Labels {
    /// [`tags`] as `key:value`.
    pub tags: Arc<Tags>,
    /// Domain, or address of the server end.
    pub endpoint_id: Arc<str>,
    /// What the artifacts of the connection have alike; made with the first.
    pub(crate) fragments: OnceCell<Fragments>,
    process: Option<Arc<Process>>,
    protocol: Option<Protocol>,
    domain: Option<Arc<str>>,
}

impl Labels {
    /// Those of `connection` as known now.
    #[must_use]
    pub fn new(connection: &ConnectionFacts, agent: &Agent) -> Self {
        let pairs = tags(connection, agent).into_iter();
        Self {
            tags: Arc::new(Tags::new(
                pairs.map(|(key, value)| format!("{key}:{value}")).collect(),
            )),
            endpoint_id: connection.endpoint_id().into(),
            fragments: OnceCell::new(),
            process: connection.process.clone(),
            protocol: connection.protocol,
            domain: connection.domain.clone(),
        }
    }

    /// Has what is written of them with each transaction come into the processor's caches.
    pub(crate) fn look_ahead(&self) {
        if let Some(fragments) = self.fragments.get() {
            fragments.look_ahead();
        }
    }

    /// Whether nothing that they are made of was learned since.
    #[must_use]
    pub fn are_current(&self, connection: &ConnectionFacts) -> bool {
        fn same<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            }
        }
        self.protocol == connection.protocol
            && same(self.process.as_ref(), connection.process.as_ref())
            && same(self.domain.as_ref(), connection.domain.as_ref())
    }
}

/// Tags of a connection: `bin`, `host`, `ip` (the local end's), `protocol`, `strategy`, then those of the process
/// (`QPOINT_TAGS`) and of the deployment (`--tags`).
pub(crate) fn tags(connection: &ConnectionFacts, agent: &Agent) -> Vec<(String, String)> {
    let process = connection.process.as_deref();
    let mut tags = Vec::with_capacity(8);
    if let Some(process) = process.filter(|process| !process.binary().is_empty()) {
        tags.push(("bin".to_owned(), process.binary().to_owned()));
    }
    let hostname = process
        .and_then(|process| process.hostname.as_deref())
        .unwrap_or(&agent.hostname);
    tags.push(("host".to_owned(), hostname.to_owned()));
    tags.push(("ip".to_owned(), connection.local.ip().to_string()));
    if let Some(protocol) = connection.protocol {
        tags.push(("protocol".to_owned(), protocol.name().to_owned()));
    }
    if let Some(process) = process {
        tags.push(("strategy".to_owned(), process.strategy.name().to_owned()));
        tags.extend(process.tags.iter().cloned());
    }
    tags.extend(agent.tags.iter().cloned());
    tags
}

/// Trailer fields as a map.
pub(crate) fn trailers(fields: &[Field]) -> HeaderMap<'_> {
    HeaderMap::new([], fields)
}

/// Lossy UTF-8.
pub(crate) fn text<'a, T: AsRef<[u8]> + ?Sized>(bytes: &'a T) -> Cow<'a, str> {
    // The check of the whole is vectorised, the search for what to replace is not.
    let bytes = bytes.as_ref();
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Of `scheme://authority/path?query` the part after the authority; `None` for other forms of target.
fn after_authority(target: &[u8]) -> Option<&[u8]> {
    // The usual target is only a path.
    if !target.first()?.is_ascii_alphabetic() {
        return None;
    }
    let separator = target.windows(3).position(|part| part == b"://")?;
    let (scheme, rest) = target.split_at_checked(separator)?;
    let is_scheme =
        (scheme.iter()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !is_scheme {
        return None;
    }
    let rest = rest.get(3..)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    rest.get(end..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{connection, exchange, server_connection, transaction};

    fn url_of(method: &str, target: &str) -> (String, String) {
        let connection = connection();
        let mut transaction = transaction();
        transaction.request.method = bytes::Bytes::copy_from_slice(method.as_bytes());
        transaction.request.target = bytes::Bytes::copy_from_slice(target.as_bytes());
        let made = exchange(&connection, &transaction);
        (made.url().into_owned(), made.path().into_owned())
    }

    #[test]
    fn urls_are_concatenated_and_never_normalised() {
        for (method, target, url, path) in [
            (
                "GET",
                "/a?q=1&r=%3F",
                "https://httpbin.org/a?q=1&r=%3F",
                "/a?q=1&r=%3F",
            ),
            (
                "GET",
                "//a//../b/./c",
                "https://httpbin.org//a//../b/./c",
                "//a//../b/./c",
            ),
            (
                "GET",
                "/%2e%2E/%zz?x=a?b",
                "https://httpbin.org/%2e%2E/%zz?x=a?b",
                "/%2e%2E/%zz?x=a?b",
            ),
            (
                "GET",
                "/r?to=http://x/y",
                "https://httpbin.org/r?to=http://x/y",
                "/r?to=http://x/y",
            ),
            (
                "GET",
                "http://o.example:81/p?q",
                "http://o.example:81/p?q",
                "/p?q",
            ),
            ("CONNECT", "o.example:443", "o.example:443", "o.example:443"),
            ("OPTIONS", "*", "https://httpbin.org", "*"),
            ("GET", "evil", "https://httpbin.org/evil", "evil"),
        ] {
            assert_eq!(
                url_of(method, target),
                (url.to_owned(), path.to_owned()),
                "{target}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_origin_form_target_is_the_end_of_its_url(target in "/[ -~]{0,40}") {
            let (url, path) = url_of("GET", &target);
            prop_assert_eq!(&url, &format!("https://httpbin.org{target}"));
            prop_assert_eq!(path, target);
        }
    }

    #[test]
    fn bytes_are_those_of_the_local_end_on_either_side() {
        let transaction = transaction();
        let (dialled, accepted) = (connection(), server_connection());
        let client = exchange(&dialled, &transaction);
        let server = exchange(&accepted, &transaction);
        let request = transaction.request_half.counts.total();
        let response = transaction.response_half.counts.total();
        assert_eq!(
            (client.sent().counts.total(), client.received().counts.total()),
            (request, response)
        );
        assert_eq!(
            (server.sent().counts.total(), server.received().counts.total()),
            (response, request)
        );
    }

    #[test]
    fn durations_are_rounded_up_and_at_least_one() {
        let connection = connection();
        let mut transaction = transaction();
        let start = transaction.request_half.first_byte.unwrap().0;
        for (ns, expected) in [
            (0, 1),
            (999_999, 1),
            (1_000_000, 1),
            (1_000_001, 2),
            (86_500_000, 87),
        ] {
            transaction.response_half.head_end = Some(qtap_protocol::Time(start + ns));
            let made = exchange(&connection, &transaction);
            assert_eq!(made.duration_ms(), Some(expected));
        }
    }
}
