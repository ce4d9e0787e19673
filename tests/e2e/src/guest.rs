//! Programs of many languages that all do the same, so that one check serves them.
//!
//! A client is `PROGRAM MODE ADDRESS CA BODY`, a server `PROGRAM MODE CERTIFICATE KEY DOCUMENT` (`programs/runtimes/zoo.*`). Both print
//! `ready {"version":…,"library":…}`, a server with its `port` and, if another process serves, its `pid`. For each line that a
//! client reads it makes a round, on the connection that it has if it keeps one: it gets `/bytes/30721`, posts BODY to `/echo`, and prints
//! `done {"get":…,"post":…}`, the SHA-256 of what came. At the end of its input it closes and ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::{
    Capture, Certificates, Nginx, Program, PythonServer, Transport, assert_complete, assert_healthy,
    deterministic_bytes, free_port, hex_sha256, outline, programs, run_ok,
};

/// Longest until a runtime is up on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Longest that a round takes.
const ROUND: Duration = Duration::from_secs(30);

/// A folder that `scripts/setup-runtimes` fills.
#[must_use]
pub fn runtime(name: &str) -> PathBuf {
    let root = std::env::var_os("QTAP_E2E_RUNTIMES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-runtimes"),
        PathBuf::from,
    );
    let path = root.join(name);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", path.display()))
}

/// What is exchanged in each round.
#[derive(Clone, Debug)]
pub struct Matter {
    /// The file that servers answer with.
    pub document: PathBuf,
    /// The file that clients post.
    pub posted: PathBuf,
    document_sha256: String,
    posted_sha256: String,
}

impl Matter {
    /// Makes the files in `folder`: what `programs/server.py` sends for `/bytes/30721`, and 5,000 bytes.
    #[must_use]
    pub fn make(folder: &Path) -> Self {
        let script =
            "import hashlib, sys; sys.stdout.buffer.write(hashlib.shake_256(b'30721').digest(30721))";
        let document = run_ok(Command::new("/usr/bin/python3").args(["-c", script])).stdout;
        let posted = deterministic_bytes(5000);
        let matter = Self {
            document: folder.join("document"),
            posted: folder.join("posted"),
            document_sha256: hex_sha256(&document),
            posted_sha256: hex_sha256(&posted),
        };
        std::fs::write(&matter.document, document).expect("write a file");
        std::fs::write(&matter.posted, posted).expect("write a file");
        matter
    }

    /// The same where a server has another document, which is put into `file`.
    #[must_use]
    pub fn with_document(&self, file: PathBuf, document: &[u8]) -> Self {
        std::fs::write(&file, document).expect("write a file");
        Self {
            document: file,
            document_sha256: hex_sha256(document),
            ..self.clone()
        }
    }
}

/// A server for every client: nginx with HTTP/1.1 and HTTP/2, in front of `programs/server.py`.
pub struct Front {
    _nginx: Nginx,
    python: PythonServer,
    /// Port of nginx, in both address families.
    pub port: u16,
}

impl Front {
    /// Starts both in `folder`.
    #[must_use]
    pub fn start(folder: &Path, certificates: &Certificates) -> Self {
        Self::before(PythonServer::http(folder), folder, certificates)
    }

    /// Starts nginx alone.
    #[must_use]
    pub fn before(python: PythonServer, folder: &Path, certificates: &Certificates) -> Self {
        let port = free_port();
        // Clients that would give up a connection which rests, as `fetch` of Node.js after four seconds, are told not to.
        let server = format!(
            "server {{ listen 127.0.0.1:{port} ssl http2; listen [::1]:{port} ssl http2; ssl_certificate {}; \
             ssl_certificate_key {}; keepalive_timeout 300 300; location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1; }} }}",
            certificates.certificate.display(),
            certificates.key.display(),
            python.port,
        );
        let nginx = Nginx::start(folder, &server, &[port]);
        Self {
            _nginx: nginx,
            python,
            port,
        }
    }

    /// The Python server behind, without TLS.
    #[must_use]
    pub const fn origin(&self) -> &PythonServer {
        &self.python
    }
}

/// One of `programs/runtimes`, with `interpreter`.
#[must_use]
pub fn guest(interpreter: impl AsRef<Path>, program: &str, mode: &str) -> Command {
    let mut command = Command::new(interpreter.as_ref());
    command.arg(programs().join("runtimes").join(program)).arg(mode);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    for variable in [
        "SSL_CERT_FILE",
        "NODE_OPTIONS",
        "REQUESTS_CA_BUNDLE",
        "PYTHONPATH",
        "RUBYOPT",
        "PERL5OPT",
    ] {
        command.env_remove(variable);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// One that runs; ended when dropped.
pub struct Guest {
    program: Program,
    /// What it said of itself.
    pub facts: Value,
}

impl Guest {
    /// Starts it; [`Self::welcome`] waits for it.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        Self {
            program: Program::start(command.stdin(Stdio::piped())),
            facts: Value::Null,
        }
    }

    /// A program that says nothing of itself, with what it would say.
    #[must_use]
    pub fn adopt(program: Program, facts: Value) -> Self {
        Self { program, facts }
    }

    /// Waits until it is ready.
    pub fn welcome(&mut self) {
        let line = self.program.line(START);
        let facts = line
            .strip_prefix("ready ")
            .and_then(|facts| serde_json::from_str(facts).ok());
        self.facts = facts.unwrap_or_else(|| panic!("not ready: {line}"));
    }

    /// Both at once.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut guest = Self::spawn(command);
        guest.welcome();
        guest
    }

    /// The process that has its connections.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let own = self.facts["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        own.unwrap_or_else(|| self.program.pid())
    }

    /// The port of a server.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.facts["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        port.unwrap_or_else(|| panic!("no port: {}", self.facts))
    }

    /// Makes a client do a round; what it got must be right by its own account.
    pub fn round(&mut self, matter: &Matter) {
        self.program.say("go");
        let line = self.program.line(ROUND);
        let got: Option<Value> = line
            .strip_prefix("done ")
            .and_then(|got| serde_json::from_str(got).ok());
        let got = got.unwrap_or_else(|| panic!("not done: {line}; {}", self.program.errors()));
        // A program without a hash compares by itself.
        for (key, expected) in [("get", &matter.document_sha256), ("post", &matter.posted_sha256)] {
            assert!(got[key].is_null() || got[key] == **expected, "{key} of {got}");
        }
    }

    /// Lets it close its connection and end.
    pub fn close_input(&mut self) {
        self.program.close_input();
    }
}

/// What is expected of the connections of one program.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `http1` or `http2`.
    pub protocol: &'a str,
    /// Rounds that the agent has seen from their beginning.
    pub rounds: usize,
    /// `tlsProbeTypesDetected`.
    pub implementation: &'a str,
    /// Paths of the two requests.
    pub paths: [&'a str; 2],
}

/// The paths of the two requests over HTTP.
pub const HTTP_PATHS: [&str; 2] = ["/bytes/30721", "/echo"];
/// The same over gRPC.
pub const GRPC_PATHS: [&str; 2] = ["/zoo.Zoo/Get", "/zoo.Zoo/Echo"];

/// Every round was read whole and exactly, from connections that are healthy and read by secrets, and nothing else was.
pub fn assert_rounds(captures: &[Capture], matter: &Matter, expected: &Expected<'_>) {
    let busy: Vec<&Capture> = captures
        .iter()
        .filter(|capture| !capture.transactions.is_empty())
        .collect();
    assert!(
        !busy.is_empty(),
        "no connection with a transaction: {captures:#?}"
    );
    for capture in &busy {
        let connection = &capture.connection;
        assert_healthy(capture, Transport::Tls);
        assert_eq!(connection["meta"]["tlsSource"], "secrets", "{connection:#}");
        let protocol = if expected.paths == GRPC_PATHS {
            "grpc"
        } else {
            expected.protocol
        };
        assert_eq!(connection["l7Protocol"], protocol, "{connection:#}");
        assert_implementation(capture, expected.implementation);
    }
    let transactions: Vec<&Value> = busy.iter().flat_map(|capture| &capture.transactions).collect();
    let outlines = || {
        transactions
            .iter()
            .map(|transaction| outline(transaction))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        transactions.len(),
        2 * expected.rounds,
        "transactions: {}",
        outlines()
    );
    for transaction in transactions {
        assert_exchange(transaction, matter, expected);
    }
}

/// The TLS code of the process is this, and no other.
pub fn assert_implementation(capture: &Capture, implementation: &str) {
    let detected = &capture.connection["meta"]["tlsProbeTypesDetected"];
    let detected: Vec<&str> = detected
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        detected.contains(&implementation),
        "{implementation} is not among {detected:?}"
    );
}

/// One of the two requests of a round, whole and exact.
pub fn assert_exchange(transaction: &Value, matter: &Matter, expected: &Expected<'_>) {
    let request = &transaction["request"];
    assert_eq!(request["protocol"], expected.protocol, "{}", outline(transaction));
    assert_eq!(transaction["response"]["status"], 200, "{}", outline(transaction));
    let (is_grpc, is_get) = (expected.paths == GRPC_PATHS, request["path"] == expected.paths[0]);
    let posted = framed_sha256(&matter.posted, is_grpc);
    if is_get {
        let nothing = is_grpc.then(|| hex_sha256(&[0; 5]));
        let document = framed_sha256(&matter.document, is_grpc);
        assert_complete(transaction, nothing.as_deref(), Some(&document));
    } else {
        assert_eq!(request["path"], expected.paths[1], "{}", outline(transaction));
        assert_eq!(request["method"], "POST", "{}", outline(transaction));
        assert_complete(transaction, Some(&posted), Some(&posted));
    }
}

impl Matter {
    /// The bodies of one of the two requests of a round, whose head may be partial. Returns the path that they are of.
    #[must_use]
    pub fn assert_bodies<'a>(&self, transaction: &Value, expected: &Expected<'a>) -> &'a str {
        let is_grpc = expected.paths == GRPC_PATHS;
        let digest = |part: &str| {
            let body = STANDARD.decode(transaction[part]["body"].as_str().unwrap_or_default());
            hex_sha256(&body.expect("a body in base64"))
        };
        let nothing = if is_grpc {
            hex_sha256(&[0; 5])
        } else {
            hex_sha256(&[])
        };
        let posted = framed_sha256(&self.posted, is_grpc);
        let bodies = (digest("request"), digest("response"));
        if bodies == (nothing, framed_sha256(&self.document, is_grpc)) {
            expected.paths[0]
        } else {
            assert_eq!(bodies, (posted.clone(), posted), "{}", outline(transaction));
            expected.paths[1]
        }
    }
}

/// SHA-256 of a file, with the head of a gRPC message before it where it is one.
fn framed_sha256(file: &Path, is_grpc: bool) -> String {
    let content = std::fs::read(file).expect("read a file");
    let mut bytes = Vec::new();
    if is_grpc {
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(content.len()).expect("a small file").to_be_bytes());
    }
    bytes.extend_from_slice(&content);
    hex_sha256(&bytes)
}
