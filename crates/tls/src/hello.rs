//! ClientHello and ServerHello: what they say about a connection.

/// A protocol version as on the wire (`0x0303` TLS 1.2, `0x0304` TLS 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u16);

/// From a ClientHello (RFC 8446 §4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// 32 bytes of client random.
    pub random: [u8; 32],
    /// Host name of the server_name extension, lower-cased nothing, as sent; only valid UTF-8 is kept.
    pub sni: Option<String>,
    /// Protocols offered by ALPN, in order, lossy UTF-8, GREASE left out.
    pub alpn: Vec<String>,
    /// Versions offered, GREASE left out: supported_versions, else the legacy version alone.
    pub versions: Vec<u16>,
    /// Cipher suites offered, GREASE left out.
    pub cipher_suites: Vec<u16>,
    /// Whether early data was offered.
    pub early_data: bool,
}

/// From a ServerHello (RFC 8446 §4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// 32 bytes of server random.
    pub random: [u8; 32],
    /// The version chosen: supported_versions, else the legacy version.
    pub version: u16,
    /// The cipher suite chosen.
    pub cipher_suite: u16,
    /// ALPN chosen, when it is in the clear (TLS 1.2). For 1.3 see `Event::Alpn`.
    pub alpn: Option<String>,
    /// It is a HelloRetryRequest.
    pub retry: bool,
    /// TLS 1.2 extensions that change keys or records.
    pub extended_master_secret: bool,
    /// encrypt_then_mac was agreed (CBC suites).
    pub encrypt_then_mac: bool,
}

mod parse;

/// Reads `body` as each of the messages that say something about a connection, and checks what must hold of them; for the
/// fuzz target.
#[cfg(fuzzing)]
pub fn check(body: &[u8]) {
    parse::checks::run(body);
}

pub(crate) use parse::{
    ParsedServerHello, parse_client_hello, parse_encrypted_extensions, parse_server_hello,
};
