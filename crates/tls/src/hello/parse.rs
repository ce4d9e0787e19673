//! Bounded readers of the hello messages. A message that does not follow its grammar gives `None`.

use crate::hello::{ClientHello, ServerHello};

/// Random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extension numbers (IANA).
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const ALPN: u16 = 16;
    pub(super) const ENCRYPT_THEN_MAC: u16 = 22;
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// A ServerHello and what only the decryptor wants to know.
pub(crate) struct ParsedServerHello {
    pub(crate) hello: ServerHello,
    /// A pre-shared key was chosen; without one early data is refused.
    pub(crate) pre_shared_key: bool,
}

/// A view of bytes that are taken off its front.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    fn random(&mut self) -> Option<[u8; 32]> {
        let (&bytes, rest) = self.0.split_first_chunk::<32>()?;
        self.0 = rest;
        Some(bytes)
    }

    /// A vector with one byte of length.
    fn short(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(usize::from(length)).map(Self)
    }

    /// A vector with two bytes of length.
    fn long(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }

    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The 16-bit numbers to the end, GREASE left out; an odd byte at the end is not a number.
    fn numbers(mut self) -> Vec<u16> {
        let mut numbers = Vec::new();
        while let Some(number) = self.u16() {
            if !is_grease(number) {
                numbers.push(number);
            }
        }
        numbers
    }
}

/// `0x0a0a`, `0x1a1a` … `0xfafa` (RFC 8701).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// Calls `found` with each extension of the block at the front of `reader`; a hello may have none.
fn each_extension<'a>(reader: &mut Reader<'a>, mut found: impl FnMut(u16, Reader<'a>)) -> Option<()> {
    if reader.is_empty() {
        return Some(());
    }
    let mut extensions = reader.long()?;
    while !extensions.is_empty() {
        let number = extensions.u16()?;
        found(number, extensions.long()?);
    }
    Some(())
}

/// The body of a ClientHello message.
pub(crate) fn parse_client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    let legacy_version = reader.u16()?;
    let random = reader.random()?;
    let _session_id = reader.short()?;
    let cipher_suites = reader.long()?.numbers();
    let _compression = reader.short()?;
    let mut hello = ClientHello {
        random,
        cipher_suites,
        ..ClientHello::default()
    };
    each_extension(&mut reader, |number, mut data| match number {
        extension::SERVER_NAME => hello.sni = server_name(data),
        extension::ALPN => hello.alpn = protocol_names(data),
        extension::SUPPORTED_VERSIONS => {
            hello.versions = data.short().map(Reader::numbers).unwrap_or_default()
        }
        extension::EARLY_DATA => hello.early_data = true,
        _ => {}
    })?;
    if hello.versions.is_empty() {
        hello.versions.push(legacy_version);
    }
    Some(hello)
}

/// The body of a ServerHello message.
pub(crate) fn parse_server_hello(body: &[u8]) -> Option<ParsedServerHello> {
    let mut reader = Reader(body);
    let version = reader.u16()?;
    let random = reader.random()?;
    let _session_id = reader.short()?;
    let cipher_suite = reader.u16()?;
    let _compression = reader.u8()?;
    let mut hello = ServerHello {
        random,
        version,
        cipher_suite,
        retry: random == RETRY_RANDOM,
        ..ServerHello::default()
    };
    let mut pre_shared_key = false;
    each_extension(&mut reader, |number, mut data| match number {
        extension::SUPPORTED_VERSIONS => hello.version = data.u16().unwrap_or(version),
        extension::ALPN => hello.alpn = protocol_names(data).into_iter().next(),
        extension::EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
        extension::ENCRYPT_THEN_MAC => hello.encrypt_then_mac = true,
        extension::PRE_SHARED_KEY => pre_shared_key = true,
        _ => {}
    })?;
    Some(ParsedServerHello {
        hello,
        pre_shared_key,
    })
}

/// The body of an EncryptedExtensions message: the protocol chosen, and whether early data was accepted.
pub(crate) fn parse_encrypted_extensions(body: &[u8]) -> Option<(Option<String>, bool)> {
    let mut alpn = None;
    let mut early_data = false;
    each_extension(&mut Reader(body), |number, data| match number {
        extension::ALPN => alpn = protocol_names(data).into_iter().next(),
        extension::EARLY_DATA => early_data = true,
        _ => {}
    })?;
    Some((alpn, early_data))
}

/// The first host name (RFC 6066 §3).
fn server_name(mut data: Reader<'_>) -> Option<String> {
    let mut names = data.long()?;
    while !names.is_empty() {
        let kind = names.u8()?;
        let name = names.long()?;
        if kind == 0 {
            return std::str::from_utf8(name.0).ok().map(str::to_owned);
        }
    }
    None
}

/// RFC 7301 §3.1.
fn protocol_names(mut data: Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let Some(mut list) = data.long() else {
        return names;
    };
    while let Some(name) = list.short() {
        let grease = <[u8; 2]>::try_from(name.0).is_ok_and(|bytes| is_grease(u16::from_be_bytes(bytes)));
        if !grease {
            names.push(String::from_utf8_lossy(name.0).into_owned());
        }
    }
    names
}

/// What must hold whatever comes in. Run by the fuzz target and on random bytes by a test.
#[cfg(any(test, fuzzing))]
pub(crate) mod checks {
    use super::*;

    /// Nothing is made up: all that is told has its bytes in the message.
    pub(crate) fn run(body: &[u8]) {
        if let Some(hello) = parse_client_hello(body) {
            let names: usize = hello.alpn.iter().map(|name| name.chars().count()).sum();
            let numbers = 2 * (hello.versions.len() + hello.cipher_suites.len());
            let name = hello.sni.as_ref().map_or(0, String::len);
            assert!(
                names + name <= body.len() && numbers <= body.len() + 2,
                "{hello:?}"
            );
            assert!(!hello.versions.is_empty() || body.len() > 2);
            assert_eq!(body.get(2..34), Some(&hello.random[..]));
        }
        if let Some(parsed) = parse_server_hello(body) {
            assert_eq!(body.get(2..34), Some(&parsed.hello.random[..]));
        }
        if let Some((Some(name), _)) = parse_encrypted_extensions(body) {
            assert!(name.chars().count() <= body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the bytes are, and where a hello is cut.
    #[test]
    fn random_bytes_make_nothing_up() {
        let mut state = 1_u32;
        let mut body = Vec::new();
        for _ in 0..if cfg!(miri) { 300 } else { 4_000 } {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            body.push(if state >> 31 == 0 {
                0
            } else {
                (state >> 24) as u8 % 48
            });
            checks::run(body.get(body.len().saturating_sub(200)..).unwrap_or_default());
        }
    }

    fn client_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 6, 0x1a, 0x1a, 0x13, 0x01, 0xc0, 0x2f, 1, 0]);
        let mut block = Vec::new();
        for (number, data) in extensions {
            block.extend(number.to_be_bytes());
            block.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            block.extend(*data);
        }
        body.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        body.extend(block);
        body
    }

    #[test]
    fn client_hello_tells_name_protocols_versions_and_suites_without_grease() {
        let body = client_hello(&[
            (0x2a2a, &[]),
            (0, b"\x00\x0e\x00\x00\x0bexample.org"),
            (16, b"\x00\x0f\x02\x3a\x3a\x02h2\x08http/1.1"),
            (43, &[6, 0x4a, 0x4a, 3, 4, 3, 3]),
            (42, &[]),
        ]);
        let hello = parse_client_hello(&body).unwrap();
        assert_eq!(hello.sni.as_deref(), Some("example.org"));
        assert_eq!(hello.alpn, ["h2", "http/1.1"]);
        assert_eq!(hello.versions, [0x0304, 0x0303]);
        assert_eq!(hello.cipher_suites, [0x1301, 0xc02f]);
        assert_eq!(hello.random, [7; 32]);
        assert!(hello.early_data);
    }

    #[test]
    fn client_hello_without_extensions_offers_its_legacy_version() {
        let mut body = client_hello(&[]);
        body.truncate(body.len() - 2);
        let hello = parse_client_hello(&body).unwrap();
        assert_eq!(
            (hello.versions.as_slice(), hello.sni),
            ([0x0303].as_slice(), None)
        );
    }

    #[test]
    fn a_hello_cut_anywhere_is_refused_or_has_no_extensions() {
        let body = client_hello(&[(0, b"\x00\x0e\x00\x00\x0bexample.org")]);
        for length in 0..body.len() {
            let hello = parse_client_hello(&body[..length]);
            assert!(hello.is_none_or(|hello| hello.sni.is_none()), "{length}");
        }
    }

    #[test]
    fn hello_retry_request_is_known_by_its_random() {
        let mut body = vec![3, 3];
        body.extend(RETRY_RANDOM);
        body.extend([0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
        let parsed = parse_server_hello(&body).unwrap();
        assert!(parsed.hello.retry);
        assert_eq!(
            (parsed.hello.version, parsed.hello.cipher_suite),
            (0x0304, 0x1301)
        );
    }
}
