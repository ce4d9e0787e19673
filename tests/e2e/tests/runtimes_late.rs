//! Connections older than the agent, of TLS libraries that have calls to probe (wolfSSL, Mbed TLS, NSS) and of rustls, which has none: its
//! secrets are in the memory of its process.
//!
//! Required: "calls serve connections older than the agent and libraries with no such point"; "late join, with the
//! reason wherever a cell is not green".

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qtap_e2e::{
    Agent, Bench, Capture, Column, Config, Events, Expected, Found, Guest, HTTP_PATHS, Late, Matter, Program,
    Row, Runtime, Side, Zoo, assert_implementation, assert_late, deterministic_bytes, free_port, one,
    programs, read_by_secrets, read_late, run_ok, rustls_exchange_program, until, wait_for_listener,
    wheels_python,
};

const DEBIAN: &str = "Debian, shared";
const PATIENCE: Duration = Duration::from_secs(30);

fn python(bench: &Bench, mode: &str, address: &str) -> Command {
    bench.client(wheels_python(), "zoo.py", mode, address)
}

/// `programs/runtimes/NAME.c` as a client.
fn through_c(bench: &Bench, name: &str, libraries: &[&str], address: &str) -> Command {
    let program = bench.folder().join(name);
    run_ok(
        Command::new("cc")
            .args(["-O1", "-D_GNU_SOURCE", "-o"])
            .arg(&program)
            .arg(programs().join("runtimes").join(name).with_extension("c"))
            .args(libraries),
    );
    let mut command = Command::new(program);
    command
        .arg(address.rsplit(':').next().expect("a port"))
        .arg(&bench.certificates.authority)
        .arg(&bench.matter.posted);
    command
}

const fn client(
    name: &'static str,
    implementation: &'static str,
    client: fn(&Bench, &str) -> Command,
) -> Row {
    Row {
        name,
        build: DEBIAN,
        side: Side::Client,
        protocol: "http1",
        implementation,
        client,
        server: None,
        late: Late::Calls,
    }
}

/// wolfSSL, Mbed TLS and NSS have functions that read and write, with names or in a table.
#[test]
fn libraries_with_calls_are_read_by_them_when_the_agent_comes_late() {
    let rows = [
        client("wolfSSL in C", "wolfssl", |b, a| {
            through_c(b, "zoo_wolfssl", &["-lwolfssl"], a)
        }),
        client("Mbed TLS in C", "mbedtls", |b, a| {
            through_c(b, "zoo_mbedtls", &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"], a)
        }),
        client("NSS tstclnt", "nss", |b, a| python(b, "tstclnt", a)),
    ];
    let mut zoo = Zoo::open("native-late");
    read_late(&mut zoo, &rows);
    zoo.finish();
}

/// NSS's own server answers one request on a connection, which it waits for in a read that began before the agent: that call is not seen,
/// and nothing is made up in its stead.
#[test]
fn an_nss_server_that_waits_in_a_read_says_that_it_was_joined_late() {
    let bench = Bench::start();
    let database = nss_database(&bench);
    let port = free_port();
    let mut server = Command::new("selfserv");
    server
        .args(["-p", &port.to_string(), "-d", &database])
        .args(["-e", "server", "-n", "server", "-V", "tls1.2:tls1.3"])
        .stdin(Stdio::piped());
    let server = Program::start(&mut server);
    wait_for_listener(port);
    let code = "import socket, ssl, sys\n\
                context = ssl.create_default_context(cafile=sys.argv[2])\n\
                raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
                tls = context.wrap_socket(raw, server_hostname='nss.qtap.test')\n\
                print('connected', flush=True)\n\
                sys.stdin.readline()\n\
                tls.sendall(b'GET /page HTTP/1.1\\r\\nHost: nss.qtap.test\\r\\nConnection: close\\r\\n\\r\\n')\n\
                while tls.recv(65536): pass\n";
    let mut client = Command::new("/usr/bin/python3");
    client
        .args(["-c", code, &port.to_string()])
        .arg(&bench.certificates.authority)
        .stdin(Stdio::piped());
    let mut client = Program::start(&mut client);
    assert_eq!(client.line(PATIENCE), "connected");
    let agent = Agent::start(&Config::default());
    client.say("go");
    assert!(client.finish(PATIENCE).status.success());
    until(PATIENCE, "the connection", || {
        !agent.events().of_port(port, Side::Server).is_empty()
    });
    let events = agent.stop();
    let mut zoo = Zoo::open("nss-server-late");
    let version = debian_version("libnss3-tools");
    let runtime = Runtime {
        name: "NSS selfserv".to_owned(),
        library: format!("NSS {version}"),
        version,
        build: DEBIAN.to_owned(),
        side: Side::Server,
    };
    zoo.check(&runtime, Column::LateHttp1, || {
        let captures = events.of_port(port, Side::Server);
        let capture = one(&captures);
        assert_implementation(capture, "nss");
        assert_eq!(capture.connection["destination"]["pid"], server.pid());
        assert_ne!(capture.status(), "healthy", "{:#}", capture.connection);
        assert!(
            capture.reasons().contains(&"joined_midstream"),
            "{:#}",
            capture.connection
        );
        assert!(capture.transactions.is_empty(), "{:#?}", capture.transactions);
        Found::Told("one request, in a read that began before the agent: `joined_midstream`".to_owned())
    });
    zoo.finish();
}

/// A database of NSS with the server's key, as an argument.
fn nss_database(bench: &Bench) -> String {
    let directory = bench.folder().join("nss");
    std::fs::create_dir(&directory).expect("create a folder");
    let database = format!("sql:{}", directory.display());
    run_ok(Command::new("certutil").args(["-N", "-d", &database, "--empty-password"]));
    let bundle = bench.folder().join("server.p12");
    run_ok(
        Command::new("openssl")
            .args([
                "pkcs12", "-export", "-name", "server", "-passout", "pass:e2e", "-in",
            ])
            .arg(&bench.certificates.certificate)
            .arg("-inkey")
            .arg(&bench.certificates.key)
            .arg("-out")
            .arg(&bundle),
    );
    run_ok(
        Command::new("pk12util")
            .arg("-i")
            .arg(&bundle)
            .args(["-d", &database, "-W", "e2e"]),
    );
    database
}

/// The version of a Debian package, without epoch and revision.
fn debian_version(package: &str) -> String {
    let said = run_ok(Command::new("dpkg-query").args(["-W", "-f=${Version}", package])).text();
    let upstream = said.rsplit(':').next().unwrap_or_default();
    upstream.split(['-', '+']).next().unwrap_or_default().to_owned()
}

fn deno(bench: &Bench, mode: &str, rest: [&Path; 3]) -> Command {
    // What Deno takes for CommonJS.
    let script = bench.folder().join("zoo.cjs");
    std::fs::copy(programs().join("runtimes/zoo.js"), &script).expect("copy a file");
    let node = std::env::var_os("QTAP_E2E_NODE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-node"),
        std::path::PathBuf::from,
    );
    let machine = std::env::consts::ARCH
        .replace("x86_64", "x64")
        .replace("aarch64", "arm64");
    let program = node.join(format!("node_modules/@deno/linux-{machine}-glibc/deno"));
    let program = program
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", program.display()));
    let mut command = Command::new(program);
    command
        .args(["run", "--quiet", "--no-config", "--allow-all"])
        .arg(script)
        .arg(mode)
        .args(rest)
        .env("DENO_DIR", bench.folder().join("deno"))
        .env("DENO_NO_UPDATE_CHECK", "1")
        .env("DENO_CERT", &bench.certificates.authority)
        .env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
}

fn deno_client(bench: &Bench, mode: &str, address: &str) -> Command {
    let (authority, posted) = (&bench.certificates.authority, &bench.matter.posted);
    deno(bench, mode, [Path::new(address), authority, posted])
}

fn deno_server(bench: &Bench) -> Guest {
    let (certificate, key) = (&bench.certificates.certificate, &bench.certificates.key);
    Guest::start(&mut deno(
        bench,
        "deno-serve",
        [certificate, key, &bench.matter.document],
    ))
}

fn http1_server(bench: &Bench) -> Guest {
    Guest::start(&mut bench.server(wheels_python(), "zoo.py", "asyncio-server"))
}

fn deno_rows() -> Vec<Row> {
    let client = |name, protocol, client| Row {
        name,
        build: "npm binary, stripped",
        side: Side::Client,
        protocol,
        implementation: "rustls",
        client,
        server: None,
        late: Late::Secrets,
    };
    let server = |protocol, peer| Row {
        side: Side::Server,
        server: Some(deno_server),
        ..client("`Deno.serve`", protocol, peer)
    };
    vec![
        Row {
            server: Some(http1_server),
            ..client("Deno `fetch`", "http1", |b, a| deno_client(b, "fetch", a))
        },
        client("Deno `fetch`", "http2", |b, a| deno_client(b, "fetch", a)),
        client("Deno `https`", "http1", |b, a| deno_client(b, "https", a)),
        client("Deno `http2`", "http2", |b, a| deno_client(b, "http2", a)),
        server("http1", |b, a| python(b, "http.client", a)),
        server("http2", |b, a| python(b, "httpx-h2", a)),
    ]
}

/// Deno's own interfaces and those of Node.js in it, whole and exact, by secrets alone.
#[test]
fn deno_is_read_by_secrets() {
    let mut zoo = Zoo::open("deno");
    read_by_secrets(&mut zoo, &deno_rows());
    zoo.finish();
}

/// rustls has no functions that could be probed for their calls: they are of no stable ABI, and inlined.
#[test]
fn deno_is_read_by_secrets_in_its_memory_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("deno-late");
    read_late(&mut zoo, &deno_rows());
    zoo.finish();
}

/// A program over rustls, and whose connection is looked at.
struct Exchange {
    program: Program,
    /// Of a server.
    peer: Option<(u16, Guest)>,
    runtime: Runtime,
    column: Column,
}

impl Exchange {
    fn new(program: Program, peer: Option<(u16, Guest)>, build: &str, provider: &str, http: &str) -> Self {
        let runtime = Runtime {
            name: format!("tokio, hyper ({provider})"),
            version: "1".to_owned(),
            library: "rustls 0.23".to_owned(),
            build: build.to_owned(),
            side: peer.as_ref().map_or(Side::Client, |_| Side::Server),
        };
        let column = if http == "http2" {
            Column::LateHttp2
        } else {
            Column::LateHttp1
        };
        Self {
            program,
            peer,
            runtime,
            column,
        }
    }

    /// A client that has its connection, and waits for an answer. What it asks for then is looked at.
    fn client(bench: &Bench, _: &Matter, exe: &Path, build: &str, provider: &str, http: &str) -> Self {
        let mut client = Command::new(exe);
        client.arg("client").arg(&bench.certificates.authority);
        client.args(["localhost", &bench.front.port.to_string(), http, "1.3", "1"]);
        client
            .arg(format!("/bytes/1000?delay={DELAY}"))
            .args(CLIENT_PATHS);
        let mut program = Program::start(client.stdin(Stdio::piped()));
        assert_eq!(program.line(PATIENCE), "ready");
        program.say("go");
        Self::new(program, None, build, provider, http)
    }

    /// A server whose client has made a round.
    fn server(bench: &Bench, matter: &Matter, exe: &Path, build: &str, provider: &str, http: &str) -> Self {
        let mut server = Command::new(exe);
        server.arg("server").arg(&bench.certificates.certificate);
        server.arg(&bench.certificates.key).stdin(Stdio::piped());
        let mut program = Program::start(&mut server);
        let port: u16 = program.line(PATIENCE).parse().expect("a port");
        let mode = if http == "http2" {
            "httpx-h2"
        } else {
            "http.client"
        };
        let mut peer = Guest::start(&mut python(bench, mode, &format!("https://localhost:{port}")));
        peer.round(matter);
        Self::new(program, Some((port, peer)), build, provider, http)
    }

    fn captures(&self, events: &Events) -> Vec<Capture> {
        match &self.peer {
            None => events.of_pid(self.program.pid()),
            Some((port, _)) => events.of_port(*port, Side::Server),
        }
    }

    /// Whether its connection is over.
    fn is_over(&self, events: &Events) -> bool {
        let captures = self.captures(events);
        !captures.is_empty() && (captures.iter()).all(|capture| capture.connection["finalized"] == true)
    }

    fn expected(&self) -> Expected<'static> {
        Expected {
            protocol: if self.column == Column::LateHttp2 {
                "http2"
            } else {
                "http1"
            },
            rounds: 1,
            implementation: "rustls",
            paths: match self.peer {
                None => CLIENT_PATHS,
                Some(_) => HTTP_PATHS,
            },
        }
    }
}

/// What a client asks for when it has its first answer. The answer to the first of these takes a while: secrets are wiped when their connection is
/// over, and have to be found before.
const CLIENT_PATHS: [&str; 2] = ["/bytes/30721?delay=2", "/echo/5000"];
/// Seconds that the first answer takes: the agent starts in the meantime.
const DELAY: u32 = 10;

/// The same with every build of programs over rustls.
#[test]
fn rustls_is_read_by_secrets_in_its_memory_when_the_agent_comes_late() {
    let bench = Bench::start();
    let served = bench
        .matter
        .with_document(bench.folder().join("served"), &deterministic_bytes(30_721));
    let mut all = Vec::new();
    // Clients last: the agent has to be there before their answers.
    for start in [Exchange::server, Exchange::client] {
        for (profile, build) in [
            ("release", "cargo, with symbols"),
            ("stripped", "cargo, stripped"),
            ("lto", "cargo, fat LTO, stripped"),
        ] {
            for provider in ["ring", "aws-lc-rs"] {
                let folder = tempfile::tempdir_in(bench.folder()).expect("a folder").keep();
                let exe = rustls_exchange_program(&folder, profile, provider);
                for http in ["http1", "http2"] {
                    all.push(start(&bench, &served, &exe, build, provider, http));
                }
            }
        }
    }
    // Connections that are idle for seconds are let go of by some.
    for one in &mut all {
        if let Some((_, peer)) = &mut one.peer {
            peer.round(&served);
        }
    }
    let agent = Agent::start(&Config::default());
    for one in &mut all {
        if let Some((_, peer)) = &mut one.peer {
            peer.round(&served);
        }
    }
    // Secrets are wiped when their connection is over, and have to be found before.
    std::thread::sleep(Duration::from_secs(1));
    for one in &mut all {
        if let Some((_, peer)) = &mut one.peer {
            peer.close_input();
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while !all.iter().all(|one| one.is_over(&agent.events())) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    let events = agent.stop();
    let mut zoo = Zoo::open("rustls-late");
    for one in &all {
        let captures = one.captures(&events);
        let matter = one.peer.as_ref().map_or(&bench.matter, |_| &served);
        zoo.check(&one.runtime, one.column, || {
            assert_late(&captures, matter, &one.expected(), "secrets")
        });
    }
    zoo.finish();
}
