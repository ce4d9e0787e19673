//! Real handshakes in memory: rustls as client and server, its key log, and every byte that passes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers of tests"
)]

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use qtap_tls::{Event, GapReason, Label, Limits, Secret, Session, Side, Time};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedCipherSuite};
use zeroize::Zeroizing;

/// Collects secrets in the order of derivation.
#[derive(Debug, Default)]
pub(crate) struct KeyLog(Mutex<Vec<Secret>>);

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let Some(label) = Label::from_name(label) else {
            return;
        };
        self.0.lock().unwrap().push(Secret {
            label,
            bytes: Zeroizing::new(secret.to_vec()),
            client_random: Some(client_random.try_into().unwrap()),
            time: Time(0),
            origin: None,
        });
    }
}

#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Every suite that rustls with ring has.
pub(crate) const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A client and a server that may connect several times.
pub(crate) struct Pair {
    pub(crate) client: ClientConfig,
    pub(crate) server: ServerConfig,
    log: Arc<KeyLog>,
}

impl Pair {
    pub(crate) fn new(suite: SupportedCipherSuite) -> Self {
        let rsa = format!("{:?}", suite.suite()).contains("_RSA_");
        let (certificate, key): (&[u8], &[u8]) = if rsa {
            (
                include_bytes!("../fixtures/rsa.cert.der"),
                include_bytes!("../fixtures/rsa.key.der"),
            )
        } else {
            (
                include_bytes!("../fixtures/ec.cert.der"),
                include_bytes!("../fixtures/ec.key.der"),
            )
        };
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..default_provider()
        };
        let log = Arc::new(KeyLog::default());
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone())))
            .with_no_client_auth();
        client.key_log = log.clone();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
            )
            .unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { client, server, log }
    }

    /// The server wants another group than the client's first share: a HelloRetryRequest.
    pub(crate) fn with_retry(mut self) -> Self {
        let provider = CryptoProvider {
            kx_groups: vec![kx_group::SECP256R1],
            ..(**self.server.crypto_provider()).clone()
        };
        let fresh = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.server.cert_resolver.clone());
        let old = std::mem::replace(&mut self.server, fresh);
        self.server.alpn_protocols = old.alpn_protocols;
        self.server.session_storage = old.session_storage;
        self.server.max_early_data_size = old.max_early_data_size;
        self
    }

    /// Runs one connection.
    pub(crate) fn run(&self, script: &[Step]) -> Recording {
        let mut link = Link::new(self);
        for step in script {
            link.step(step);
        }
        link.recording.secrets = std::mem::take(&mut *self.log.0.lock().unwrap());
        link.recording
    }
}

/// What the ends do, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The client sends this before the handshake.
    Early(Vec<u8>),
    Send(Side, Vec<u8>),
    KeyUpdate(Side),
    Close(Side),
}

/// What passed, what was sent, what was derived.
#[derive(Clone, Default)]
pub(crate) struct Recording {
    pub(crate) wire: Vec<(Side, Vec<u8>)>,
    pub(crate) plain: [Vec<u8>; 2],
    pub(crate) secrets: Vec<Secret>,
    pub(crate) early_accepted: bool,
}

struct Link {
    client: ClientConnection,
    server: ServerConnection,
    recording: Recording,
    pending_early: Option<Vec<u8>>,
    started: bool,
}

impl Link {
    fn new(pair: &Pair) -> Self {
        let name = ServerName::try_from("example.test").unwrap();
        Self {
            client: ClientConnection::new(Arc::new(pair.client.clone()), name).unwrap(),
            server: ServerConnection::new(Arc::new(pair.server.clone())).unwrap(),
            recording: Recording::default(),
            pending_early: None,
            started: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Early(data) => {
                self.client.early_data().unwrap().write_all(data).unwrap();
                self.pending_early = Some(data.clone());
                return;
            }
            Step::Send(..) | Step::KeyUpdate(_) | Step::Close(_) if !self.started => {
                self.started = true;
                self.pump();
                if let Some(early) = self.pending_early.take() {
                    self.recording.early_accepted = self.client.is_early_data_accepted();
                    if self.recording.early_accepted {
                        self.recording.plain[0].extend(early);
                    }
                }
            }
            _ => {}
        }
        match step {
            Step::Early(_) => {}
            Step::Send(side, data) => {
                for chunk in data.chunks(16 << 10) {
                    match side {
                        Side::Client => self.client.writer().write_all(chunk).unwrap(),
                        Side::Server => self.server.writer().write_all(chunk).unwrap(),
                    }
                    self.pump();
                }
                self.recording.plain[side.index()].extend(data);
            }
            Step::KeyUpdate(Side::Client) => self.client.refresh_traffic_keys().unwrap(),
            Step::KeyUpdate(Side::Server) => self.server.refresh_traffic_keys().unwrap(),
            Step::Close(Side::Client) => self.client.send_close_notify(),
            Step::Close(Side::Server) => self.server.send_close_notify(),
        }
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut to_server = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_server).unwrap();
            }
            let mut to_client = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut to_client).unwrap();
            }
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            let mut bytes = to_server.as_slice();
            while !bytes.is_empty() {
                self.server.read_tls(&mut bytes).unwrap();
                self.server.process_new_packets().unwrap();
                if let Some(mut early) = self.server.early_data() {
                    let _ = early.read_to_end(&mut Vec::new());
                }
                let _ = self.server.reader().read_to_end(&mut Vec::new());
            }
            let mut bytes = to_client.as_slice();
            while !bytes.is_empty() {
                self.client.read_tls(&mut bytes).unwrap();
                self.client.process_new_packets().unwrap();
                let _ = self.client.reader().read_to_end(&mut Vec::new());
            }
            for (side, bytes) in [(Side::Client, to_server), (Side::Server, to_client)] {
                if !bytes.is_empty() {
                    self.recording.wire.push((side, bytes));
                }
            }
        }
    }
}

/// Some bytes that are all over the place.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// The usual conversation.
pub(crate) fn talk() -> Vec<Step> {
    vec![
        Step::Send(Side::Client, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        Step::Send(Side::Server, noise(40_000, 1)),
        Step::Send(Side::Client, noise(700, 2)),
        Step::Send(Side::Server, noise(5, 3)),
        Step::Close(Side::Client),
        Step::Close(Side::Server),
    ]
}

/// What a session said, sorted by kind.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) plain: [Vec<u8>; 2],
    pub(crate) gaps: [Vec<(usize, u64, GapReason)>; 2],
    pub(crate) alpn: Vec<String>,
    pub(crate) bound: [usize; 2],
    pub(crate) closed: [usize; 2],
    pub(crate) client_hellos: usize,
    pub(crate) server_hellos: usize,
    pub(crate) unreadable: Vec<qtap_tls::Unreadable>,
    /// Version and suite of a session that was joined.
    pub(crate) joined: Vec<(u16, u16)>,
}

impl Heard {
    pub(crate) fn from(events: &[Event]) -> Self {
        let mut heard = Self::default();
        for event in events {
            match event {
                Event::Plaintext { side, data, .. } => heard.plain[side.index()].extend_from_slice(data),
                Event::Gap {
                    side, length, reason, ..
                } => {
                    let at = heard.plain[side.index()].len();
                    heard.gaps[side.index()].push((at, *length, *reason));
                }
                Event::Alpn(name, _) => heard.alpn.push(name.clone()),
                Event::Bound { side, .. } => heard.bound[side.index()] += 1,
                Event::Own(_) => {}
                Event::CloseNotify { side, .. } => heard.closed[side.index()] += 1,
                Event::ClientHello(..) => heard.client_hellos += 1,
                Event::ServerHello(..) => heard.server_hellos += 1,
                &Event::Joined {
                    version,
                    cipher_suite,
                    ..
                } => heard.joined.push((version, cipher_suite)),
                Event::Unreadable(reason, _) => heard.unreadable.push(*reason),
            }
        }
        heard
    }
}

/// Feeds a whole recording, secrets first.
pub(crate) fn hear(recording: &Recording) -> (Session, Heard) {
    let mut session = Session::new(Limits::default(), false);
    let mut events = Vec::new();
    for secret in &recording.secrets {
        session.offer(secret, &mut events);
    }
    for (at, (side, bytes)) in recording.wire.iter().enumerate() {
        session.bytes(*side, Bytes::copy_from_slice(bytes), Time(at as u64), &mut events);
    }
    let heard = Heard::from(&events);
    (session, heard)
}
