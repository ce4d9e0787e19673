//! Which protocol a connection speaks (P-D1 to P-D4).

use crate::registry::entries;
use crate::{http1::grammar, http2};

/// Application protocols that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2, over TLS or cleartext.
    Http2,
    /// gRPC. Never the answer of [`detect`]: a connection of HTTP/2 on which there was a call.
    Grpc,
    /// Redis serialisation protocol, versions 2 and 3: Redis, Valkey, KeyDB.
    Redis,
    /// Protocol 3 of PostgreSQL, and what speaks it.
    Postgres,
    /// The protocol of MySQL, MariaDB, and what speaks it.
    MySql,
    /// Kafka, and what speaks its protocol: Redpanda, Tansu.
    Kafka,
    /// DNS, over UDP or TCP.
    Dns,
    /// HTTP/3. Never the answer of [`detect`]: a connection of QUIC whose ALPN says so.
    Http3,
    /// QUIC that carries something else, or what is not known. Never the answer of [`detect`].
    Quic,
}

impl Protocol {
    /// Name in events (`l7Protocol`) and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Kafka => "kafka",
            Self::Dns => "dns",
            Self::Http3 => "http3",
            Self::Quic => "quic",
        }
    }
}

/// What is known besides the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Protocol that ALPN settled on.
    pub alpn: Option<&'a [u8]>,
    /// Port of the server end.
    pub server_port: u16,
    /// The connection began before its first captured byte.
    pub midstream: bool,
}

/// Answer of [`detect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Not enough bytes to tell.
    NeedMore,
    /// Settled.
    Known(Protocol),
    /// None of the protocols known here; give up.
    Other,
}

/// Bytes of each direction that are looked at (P-D1).
const WINDOW_BYTES: usize = 4096;
/// Longest method that may stand in a line that is not whole yet.
const METHOD_BYTES: usize = 32;
/// What every HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How well bytes fit a protocol, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// Not at all.
    No,
    /// So far; more bytes will tell.
    Maybe,
    /// They can be nothing else.
    Yes,
}

/// What a protocol of the registry is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// First bytes of the client, at most [`WINDOW_BYTES`].
    pub(crate) client: &'a [u8],
    /// First bytes of the server.
    pub(crate) server: &'a [u8],
    /// Either may begin anywhere in a message.
    pub(crate) midstream: bool,
    /// Port of the server end.
    pub(crate) server_port: u16,
}

/// Tells the protocol from the first bytes of both directions and from what else is known (P-D2). `client`
/// and `server` start at the first captured byte; at most 4 KiB of each are looked at, so repeated calls
/// with more bytes come to an end: with both windows full the answer is not [`Detection::NeedMore`].
///
/// ```
/// use qtap_protocol::detect::{Detection, Hints, Protocol, detect};
///
/// let hints = Hints::default();
/// assert_eq!(detect(b"GET / HTTP/1.1\r\n", b"", &hints), Detection::Known(Protocol::Http1));
/// assert_eq!(detect(b"PRI * HTT", b"", &hints), Detection::NeedMore);
/// assert_eq!(detect(b"GETTING STARTED\n", b"", &hints), Detection::Other);
/// ```
#[must_use]
pub fn detect(client: &[u8], server: &[u8], hints: &Hints<'_>) -> Detection {
    let client = client.get(..WINDOW_BYTES).unwrap_or(client);
    let server = server.get(..WINDOW_BYTES).unwrap_or(server);
    if client.is_empty() && server.is_empty() {
        return Detection::NeedMore;
    }
    let http = if hints.midstream {
        detect_midstream(client, server, hints)
    } else {
        detect_start(client, server, hints)
    };
    match http {
        Detection::Known(_) => http,
        // ALPN has settled on HTTP.
        _ if is_alpn_http1(hints) || hints.alpn == Some(b"h2") => http,
        Detection::NeedMore | Detection::Other => detect_entry(client, server, hints).unwrap_or(http),
    }
}

/// The protocol of the registry that the bytes fit best; `None` when none comes into question.
fn detect_entry(client: &[u8], server: &[u8], hints: &Hints<'_>) -> Option<Detection> {
    let evidence = Evidence {
        client,
        server,
        midstream: hints.midstream,
        server_port: hints.server_port,
    };
    let scores = entries().map(|entry| ((entry.fit)(&evidence), entry.protocol));
    // The first of equals.
    let (fit, protocol) = scores.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    let is_full = client.len() >= WINDOW_BYTES || server.len() >= WINDOW_BYTES;
    match fit {
        Fit::Yes => Some(Detection::Known(protocol)),
        Fit::Maybe if !is_full => Some(Detection::NeedMore),
        Fit::Maybe | Fit::No => None,
    }
}

/// A connection seen from its first byte.
fn detect_start(client: &[u8], server: &[u8], hints: &Hints<'_>) -> Detection {
    let http2 = match (preface(client), client.is_empty()) {
        // The server may be the first to speak: its SETTINGS need not wait for the preface.
        (Fit::Maybe, true) if frames(server) == Fit::No => Fit::No,
        (fit, _) => fit,
    };
    let http1 = match (request(client, hints), status(server)) {
        (Fit::Maybe, Fit::Yes) => Fit::Yes,
        // The client is yet to speak, and the server said what no HTTP/1 server says.
        (Fit::Maybe, Fit::No) if client.is_empty() => Fit::No,
        (Fit::Maybe, _) if is_alpn_http1(hints) && !client.is_empty() => Fit::Yes,
        (fit, _) => fit,
    };
    match (http1, http2) {
        (_, Fit::Yes) => Detection::Known(Protocol::Http2),
        (Fit::Yes, _) => Detection::Known(Protocol::Http1),
        (Fit::No, Fit::No) => Detection::Other,
        (Fit::Maybe | Fit::No, Fit::Maybe) | (Fit::Maybe, Fit::No) => Detection::NeedMore,
    }
}

/// A connection older than its first captured byte: either window may start anywhere in a message.
fn detect_midstream(client: &[u8], server: &[u8], hints: &Hints<'_>) -> Detection {
    if preface(client) == Fit::Yes || hints.alpn == Some(b"h2") {
        return Detection::Known(Protocol::Http2);
    }
    if is_alpn_http1(hints) || has_line(client, is_request_at) || has_line(server, is_status_at) {
        return Detection::Known(Protocol::Http1);
    }
    let sides = [frames(client), frames(server)];
    // Chance alone makes one side look like frames now and then: the other must not contradict.
    if sides.contains(&Fit::Yes) && !sides.contains(&Fit::No) {
        return Detection::Known(Protocol::Http2);
    }
    // A start line may follow after the body that is under way.
    if client.len() < WINDOW_BYTES && server.len() < WINDOW_BYTES {
        Detection::NeedMore
    } else {
        Detection::Other
    }
}

fn is_alpn_http1(hints: &Hints<'_>) -> bool {
    matches!(hints.alpn, Some(b"http/1.1" | b"http/1.0"))
}

/// Whether `client` begins with the preface of HTTP/2.
fn preface(client: &[u8]) -> Fit {
    if client.starts_with(PREFACE) {
        Fit::Yes
    } else if PREFACE.starts_with(client) {
        Fit::Maybe
    } else {
        Fit::No
    }
}

/// Whether `bytes` are HTTP/2 frames.
fn frames(bytes: &[u8]) -> Fit {
    match http2::looks_like_frames(bytes) {
        Some(true) => Fit::Yes,
        Some(false) => Fit::No,
        None => Fit::Maybe,
    }
}

/// Whether `client` begins with a request line.
fn request(client: &[u8], hints: &Hints<'_>) -> Fit {
    let (line, is_whole) = first_line(client);
    if is_whole {
        return if grammar::request_line(line).is_some() {
            Fit::Yes
        } else {
            Fit::No
        };
    }
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let is_method = method.iter().copied().all(grammar::is_token_byte) && method.len() <= METHOD_BYTES;
    let is_target = target.is_none_or(|target| target.iter().copied().all(grammar::is_target_byte));
    let is_version = version.is_none_or(is_version_start);
    if !(is_method && is_target && is_version && (target.is_none() || !method.is_empty())) {
        return Fit::No;
    }
    if client.len() < WINDOW_BYTES {
        return Fit::Maybe;
    }
    // A target of 4 KiB: method, form and, for want of better, port decide.
    let is_path = target.is_some_and(|target| target.starts_with(b"/") || target.starts_with(b"http"));
    let is_usual =
        grammar::is_known_method(method) || matches!(hints.server_port, 80 | 443 | 8000 | 8080 | 8443);
    if is_path && is_usual { Fit::Yes } else { Fit::No }
}

fn is_version_start(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    match bytes.split_at_checked(7) {
        Some((start, rest)) => start == b"HTTP/1." && rest.len() <= 1 && rest.iter().all(u8::is_ascii_digit),
        None => b"HTTP/1.".starts_with(bytes),
    }
}

/// Whether `server` begins with a status line.
fn status(server: &[u8]) -> Fit {
    let (line, is_whole) = first_line(server);
    let is_status = grammar::status_line(line).is_some();
    if is_whole {
        return if is_status { Fit::Yes } else { Fit::No };
    }
    let fits = match line.split_at_checked(7) {
        Some((start, _)) => start == b"HTTP/1." && (is_status || line.len() < b"HTTP/1.1 200".len()),
        None => b"HTTP/1.".starts_with(line),
    };
    if fits && server.len() < WINDOW_BYTES {
        Fit::Maybe
    } else {
        Fit::No
    }
}

/// The first line after leading blank ones, and whether its end was seen.
fn first_line(bytes: &[u8]) -> (&[u8], bool) {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let bytes = bytes.get(start..).unwrap_or_default();
    match memchr::memchr(b'\n', bytes) {
        Some(end) => (
            grammar::strip_line_end(bytes.get(..end).unwrap_or_default()),
            true,
        ),
        None => (bytes, false),
    }
}

/// Whether any whole line of `bytes` passes `is_start`; the first one may lack its beginning.
fn has_line(bytes: &[u8], is_start: fn(&[u8], bool) -> bool) -> bool {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .enumerate()
        .any(|(index, line)| is_start(grammar::strip_line_end(line), index == 0))
}

fn is_request_at(line: &[u8], cut: bool) -> bool {
    grammar::find_request_line(line, cut).is_some()
}

fn is_status_at(line: &[u8], _cut: bool) -> bool {
    grammar::find_status_line(line).is_some()
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
