//! `--keylog`: a capture of packets of the same traffic can be read by other tools.
//!
//! Required: "a key log in the NSS format, so that Wireshark opens a capture".

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Disk, Nginx, Program, PythonServer, free_port, http_get, qtap_command,
    run, run_ok, rustls_exchange_program, scratch, until, wait_for_both_ends,
};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Packets of one port on the loopback interface, from now until [`Packets::stop`].
struct Packets(Program);

impl Packets {
    fn capture(file: &Path, port: u16) -> Self {
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", "lo", "-U", "-Z", "root", "-w"])
            .arg(file)
            .args(["tcp", "port", &port.to_string()])
            .stdin(Stdio::null());
        let program = Program::start(&mut command);
        until(PATIENCE, "tcpdump that listens", || {
            program.errors().contains("listening on")
        });
        Self(program)
    }

    fn stop(self) {
        // Packets come to it in blocks.
        std::thread::sleep(Duration::from_millis(1500));
        self.0.signal(Signal::INT);
        let finished = self.0.finish(PATIENCE);
        assert!(finished.status.success(), "{}", finished.errors());
    }
}

/// What tshark makes of the packets: one line for each header field or body wanted.
fn tshark(packets: &Path, keys: Option<&Path>, port: u16, filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(packets)
        .args(["-d", &format!("tcp.port=={port},tls")]);
    if let Some(keys) = keys {
        command.args(["-o", &format!("tls.keylog_file:{}", keys.display())]);
    }
    command.args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let finished = run_ok(&mut command);
    finished.text().lines().map(str::to_owned).collect()
}

/// Plaintext of one TCP stream as tshark reads it.
fn follow(packets: &Path, keys: Option<&Path>, port: u16, what: &str) -> String {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(packets)
        .args(["-d", &format!("tcp.port=={port},tls"), "-q"]);
    if let Some(keys) = keys {
        command.args(["-o", &format!("tls.keylog_file:{}", keys.display())]);
    }
    command.args(["-z", what]);
    run_ok(&mut command).text()
}

fn status(agent: &Agent) -> Value {
    let (code, body) = http_get(agent.status_server(), "/status").unwrap();
    assert_eq!(code, 200);
    serde_json::from_str(&body).unwrap()
}

/// HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3, AEAD and CBC, OpenSSL at both ends: each body can be read in the packets.
#[test]
fn wireshark_reads_what_was_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let servers = format!(
        "  server {{ listen 127.0.0.1:{port} ssl http2; server_name keys.qtap.test; ssl_certificate {}; \
         ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder.path(), &servers, &[port]);
    let keys = folder.path().join("keys");
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &["--keylog", keys.to_str().unwrap()],
    );
    let _ = agent.wait_for_log(&["--keylog", "can decrypt"], PATIENCE);
    let packets = folder.path().join("packets.pcap");
    let capture = Packets::capture(&packets, port);
    let cases = [
        ("one", "--http1.1", "1.2"),
        ("two", "--http1.1", "1.3"),
        ("three", "--http2", "1.2"),
        ("four", "--http2", "1.3"),
    ];
    for (name, http, tls) in cases {
        nginx.put(name, format!("the body called {name}").as_bytes());
        let (curl, _) = Curl::new(folder.path(), &format!("https://keys.qtap.test:{port}/{name}"))
            .authority(&certificates.authority)
            .args(&[http, "--tls-max", tls, &format!("--tlsv{tls}")])
            .run();
        assert_eq!(curl.text(), format!("the body called {name}"));
    }
    // No AEAD: qtap itself cannot open it, and has its secret all the same, with the client random, from GnuTLS.
    nginx.put("five", b"the body called five");
    let mut wget = Command::new("wget");
    wget.args([
        "-q",
        "-O",
        "-",
        "--no-proxy",
        "--no-check-certificate",
        "--ciphers",
    ])
    .arg("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC")
    .arg(format!("https://localhost:{port}/five"));
    assert_eq!(run_ok(&mut wget).text(), "the body called five");
    wait_for_both_ends(&agent, port, cases.len() + 1);
    capture.stop();
    // TLS 1.2 one secret, TLS 1.3 four; the client and the server tell the same.
    until(PATIENCE, "all secrets in the status", || {
        status(&agent)["keyLog"]["lines"] == 2 * (2 + 2 * 4) + 1
    });
    let said = &status(&agent)["keyLog"];
    assert_eq!(said["file"], keys.to_str().unwrap());
    assert_eq!(said["connections"], 9, "{said:#}");
    // OpenSSL, at the other end of it, does not tell the client random.
    assert_eq!(
        said["connectionsWithout"],
        serde_json::json!({"cipher_suite_not_opened": 1})
    );
    let _ = agent.stop();

    assert_eq!(std::fs::metadata(&keys).unwrap().mode() & 0o7777, 0o600);
    let text = std::fs::read_to_string(&keys).unwrap();
    for (label, count) in [
        ("CLIENT_RANDOM", 3),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 2),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", 2),
        ("CLIENT_TRAFFIC_SECRET_0", 2),
        ("SERVER_TRAFFIC_SECRET_0", 2),
    ] {
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| line.split(' ').next() == Some(label))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), count, "{label}: {text}");
    }

    let uris = |keys| {
        let mut uris = tshark(&packets, keys, port, "http.request", &["http.request.uri"]);
        uris.extend(tshark(
            &packets,
            keys,
            port,
            "http2.headers.path",
            &["http2.headers.path"],
        ));
        uris.sort_unstable();
        uris
    };
    assert_eq!(uris(Some(&keys)), ["/five", "/four", "/one", "/three", "/two"]);
    let all = cases.into_iter().chain([("five", "--http1.1", "1.2")]);
    for (number, (name, http, _)) in all.enumerate() {
        let what = if http == "--http2" {
            format!("follow,http2,ascii,{number},1")
        } else {
            format!("follow,tls,ascii,{number}")
        };
        let body = format!("the body called {name}");
        let read = follow(&packets, Some(&keys), port, &what);
        assert!(read.contains(&body), "{name}: {read}");
        assert!(
            !follow(&packets, None, port, &what).contains(&body),
            "without the keys nothing is read"
        );
    }
    assert!(uris(None).is_empty());
}

/// GnuTLS at one end, and a connection older than the agent, of which no secret was seen.
#[test]
fn a_connection_whose_secrets_went_by_before_the_agent_is_counted_as_missing() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let code = "import socket, ssl, sys\n\
                context = ssl.create_default_context(cafile=sys.argv[2])\n\
                raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
                tls = context.wrap_socket(raw, server_hostname='old.qtap.test')\n\
                print('connected', flush=True)\n\
                sys.stdin.readline()\n\
                tls.sendall(b'GET /text/10 HTTP/1.1\\r\\nHost: old.qtap.test\\r\\nConnection: close\\r\\n\\r\\n')\n\
                while tls.recv(65536): pass\n";
    let mut old = Command::new("/usr/bin/python3");
    old.args(["-c", code, &server.port.to_string()])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut old = Program::start(&mut old);
    assert_eq!(old.line(PATIENCE), "connected");
    let keys = folder.path().join("keys");
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &["--keylog", keys.to_str().unwrap()],
    );
    old.say("go");
    assert!(old.finish(PATIENCE).status.success());
    let packets = folder.path().join("packets.pcap");
    let capture = Packets::capture(&packets, server.port);
    let url = format!("https://localhost:{}/text/10", server.port);
    let mut wget = Command::new("wget");
    wget.args(["-q", "-O", "-", "--no-proxy", "--ca-certificate"])
        .arg(&certificates.authority)
        .arg("--no-check-certificate")
        .arg(url);
    let wget = run_ok(&mut wget);
    wait_for_both_ends(&agent, server.port, 2);
    capture.stop();
    let said = &status(&agent)["keyLog"];
    assert_eq!(said["connections"], 2, "{said:#}");
    assert_eq!(said["connectionsWithout"]["joined_midstream"], 2, "{said:#}");
    let without = agent.system_metric("qtap_keylog_connections_total", &["keys=\"joined_midstream\""]);
    assert_eq!(without as u64, 2);
    let _ = agent.stop();
    let read = follow(&packets, Some(&keys), server.port, "follow,tls,ascii,0");
    assert!(
        !wget.text().is_empty() && read.contains(wget.text().trim()),
        "{read}"
    );
}

/// rustls hands out secrets without names: what opens under them tells the names that the file needs.
#[test]
fn wireshark_reads_what_was_captured_of_rustls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let program = rustls_exchange_program(folder.path(), "lto", "aws-lc-rs");
    let mut server = Command::new(&program);
    server
        .arg("server")
        .arg(&certificates.certificate)
        .arg(&certificates.key)
        .stdin(Stdio::piped());
    let mut server = Program::start(&mut server);
    let port: u16 = server.line(PATIENCE).parse().unwrap();
    let keys = folder.path().join("keys");
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &["--keylog", keys.to_str().unwrap()],
    );
    let packets = folder.path().join("packets.pcap");
    let capture = Packets::capture(&packets, port);
    for (number, (http, version)) in [("http1", "1.3"), ("http2", "1.3"), ("http1", "1.2")]
        .into_iter()
        .enumerate()
    {
        let mut client = Command::new(&program);
        client.arg("client").arg(&certificates.authority);
        client.args(["rustls.qtap.test", &port.to_string(), http, version, "1"]);
        client.arg("/bytes/3000").arg("/echo/2000");
        let mut client = Program::start(client.stdin(Stdio::piped()));
        assert_eq!(client.line(PATIENCE), "ready");
        std::thread::sleep(Duration::from_millis(300));
        client.say("go");
        assert!(client.finish(PATIENCE).status.success());
        wait_for_both_ends(&agent, port, number + 1);
    }
    capture.stop();
    // TLS 1.3 four secrets, TLS 1.2 one; the client and the server tell the same.
    until(PATIENCE, "all secrets in the status", || {
        status(&agent)["keyLog"]["lines"] == 2 * (2 * 4 + 1)
    });
    let said = &status(&agent)["keyLog"];
    assert_eq!(said["connections"], 6, "{said:#}");
    assert_eq!(said["connectionsWithout"], serde_json::json!({}), "{said:#}");
    let _ = agent.stop();
    let lengths = |keys| {
        let mut lengths = tshark(&packets, keys, port, "http.response", &["http.content_length"]);
        lengths.extend(tshark(
            &packets,
            keys,
            port,
            "http2.headers.content_length",
            &["http2.headers.content_length"],
        ));
        lengths.sort_unstable();
        lengths
    };
    let wanted = ["2000", "2000", "2000", "2000", "3000", "3000", "3000"];
    assert_eq!(lengths(Some(&keys)), wanted);
    assert!(lengths(None).is_empty());
}

#[test]
fn check_writes_the_keys_of_its_command() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let keys = folder.path().join("keys");
    let url = format!("https://check.qtap.test:{}/text/10", server.port);
    let client = Curl::new(folder.path(), &url).authority(&certificates.authority);
    let client = client.command();
    let mut check = qtap_command();
    check
        .args(["check", "--json", "--keylog"])
        .arg(&keys)
        .arg("--")
        .arg(client.get_program())
        .args(client.get_args());
    let finished = run_ok(&mut check);
    assert!(finished.errors().contains("can decrypt"), "{}", finished.errors());
    let text = std::fs::read_to_string(&keys).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(std::fs::metadata(&keys).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn nothing_is_written_where_others_could_read_or_redirect_it() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("target"), "").unwrap();
    symlink(at("target"), at("link")).unwrap();
    std::fs::write(at("readable"), "").unwrap();
    std::fs::set_permissions(at("readable"), std::fs::Permissions::from_mode(0o640)).unwrap();
    run_ok(Command::new("mkfifo").arg(at("pipe")));
    std::fs::write(at("foreign"), "").unwrap();
    std::fs::set_permissions(at("foreign"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(at("foreign"), Some(65534), None).unwrap();
    for (name, reason) in [
        ("link", "symbolic link"),
        ("readable", "chmod 600"),
        ("pipe", "not a regular file"),
        ("foreign", "another user"),
        (".", "cannot open"),
    ] {
        let mut command = qtap_command();
        command
            .arg("--keylog")
            .arg(at(name))
            .arg("--data-dir")
            .arg(at("data"));
        let finished = run(&mut command);
        assert_eq!(finished.status.code(), Some(1), "{name}");
        assert!(
            finished.errors().contains(reason),
            "{name}: {}",
            finished.errors()
        );
    }
    assert_eq!(std::fs::read(at("target")).unwrap(), b"");
}

/// A file system of one page: the first lines fit, and what does not is counted and said; capture goes on.
#[test]
fn a_full_disk_loses_keys_and_nothing_else() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let small = folder.path().join("small");
    let _disk = Disk::mount(&small, "size=4k");
    let keys = small.join("keys");
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &["--keylog", keys.to_str().unwrap()],
    );
    // 8 lines of at least 100 bytes for each connection: those of six do not fit.
    let url = format!("https://full.qtap.test:{}/text/10", server.port);
    for _ in 0..6 {
        let curl = Curl::new(folder.path(), &url).authority(&certificates.authority);
        let (curl, _) = curl.run();
        agent.wait_for_connections(&[curl.pid], 1);
    }
    wait_for_both_ends(&agent, server.port, 6);
    let line = agent.wait_for_log(&["cannot be written to the key log"], PATIENCE);
    assert!(line.contains("No space left"), "{line}");
    let said = &status(&agent)["keyLog"];
    let (written, lost) = (
        said["lines"].as_u64().unwrap(),
        said["lost"]["disk_full"].as_u64().unwrap(),
    );
    assert!(written >= 8 && lost >= 8, "{said:#}");
    assert_eq!(written + lost, 48, "{said:#}");
    assert!(said["error"].as_str().unwrap().contains("No space left"));
    let mut command = qtap_command();
    command
        .arg("status")
        .arg("--data-dir")
        .arg(agent.config_file().parent().unwrap().join("data"));
    let text = run(&mut command).text();
    assert!(
        text.contains("session keys are written to") && text.contains("secrets are not in it"),
        "{text}"
    );
    assert!(agent.system_metric("qtap_keylog_lost_total", &["reason=\"disk_full\""]) >= 8.0);
    let _ = agent.stop();
}
