//! Where TLS libraries come from.
//!
//! Required: "**OpenSSL 1.1.1 and 3.x** (shared, any path, any mount namespace: system, virtualenv wheel, container root) and
//! **GnuTLS ≥ 3.6**".

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Program, PythonServer, Side, Transport, assert_healthy,
    assert_truth, fetch_in_root, free_port, one, programs, root_with_curl, run_ok, scratch, single,
    single_on_port, system_library, venv, wait_for_both_ends, wait_for_listener,
};
use serde_json::json;

/// The only file in `folder` whose name begins with `prefix`.
fn file_in(folder: &Path, prefix: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    one(&found).clone()
}

/// "virtualenv wheel" with "OpenSSL 1.1.1": libcurl of the pycurl wheel, HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3.
#[test]
fn openssl_111_of_a_wheel_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    let mut clients = Vec::new();
    for version in ["1.2", "1.3"] {
        let server = PythonServer::https(folder.path(), &certificates, &["--tls", version]);
        let mut command = Command::new(venv().join("bin/python"));
        command
            .arg(programs().join("pycurl_client.py"))
            .arg(format!("https://wheel.qtap.test:{}/bytes/30721", server.port));
        command
            .args([
                "--http", "1.1", "--tls", version, "--gate", "--count", "3", "--ca",
            ])
            .arg(&certificates.authority)
            .stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
        for number in 0..3 {
            assert_eq!(program.line(Duration::from_secs(20)), format!("done {number}"));
            if number == 0 {
                // The library is mapped; attaching takes some milliseconds, in which a handshake would pass unseen.
                std::thread::sleep(Duration::from_millis(500));
            }
            program.say("go");
        }
        let pid = program.pid();
        let finished = program.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{}", finished.errors());
        assert!(
            finished.json()["library"]
                .as_str()
                .unwrap()
                .contains("OpenSSL/1.1.1"),
            "{}",
            finished.text()
        );
        wait_for_both_ends(&agent, server.port, 1);
        clients.push((pid, server, version));
    }
    let events = agent.stop();
    for (pid, server, version) in clients {
        let captures = events.of_pid(pid);
        let capture = one(&captures);
        assert_healthy(capture, Transport::Tls);
        assert_eq!(capture.connection["tlsVersion"], format!("TLS {version}"));
        for (transaction, truth) in capture.transactions.iter().zip(server.truths("transaction", 3)) {
            assert_truth(transaction, &truth, Side::Client);
        }
        assert_eq!(capture.transactions.len(), 3);
    }
}

/// "OpenSSL 1.1.1" as its authors release it, "any path": through its C functions, found when it is mapped.
#[test]
fn stock_openssl_111_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let libraries = venv().join("openssl-1.1.1/psycopg2_binary.libs");
    for version in ["1.2", "1.3"] {
        let server = PythonServer::https(folder.path(), &certificates, &["--tls", version]);
        let agent = Agent::start(&Config::default());
        let capture = libssl_client(
            &agent,
            &server,
            &file_in(&libraries, "libcrypto"),
            &file_in(&libraries, "libssl"),
            version,
        );
        drop(agent);
        assert_healthy(&capture, Transport::Tls);
        assert_truth(
            &capture.transactions[0],
            &server.truths("transaction", 1)[0],
            Side::Client,
        );
        assert_eq!(
            capture.connection["meta"]["tlsProbeTypesDetected"],
            json!(["openssl"])
        );
    }
}

/// One exchange by `programs/libssl_client.py`, after the agent had a second to see the library.
fn libssl_client(
    agent: &Agent,
    server: &PythonServer,
    libcrypto: &Path,
    libssl: &Path,
    version: &str,
) -> Capture {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(programs().join("libssl_client.py"))
        .arg(libcrypto)
        .arg(libssl);
    command
        .args([&server.port.to_string(), "libssl.qtap.test", "/bytes/30721"])
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    assert_eq!(program.line(Duration::from_secs(20)), "ready");
    std::thread::sleep(Duration::from_secs(1));
    program.say("go");
    let pid = program.pid();
    let finished = program.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{}", finished.errors());
    assert_eq!(finished.json()["version"], format!("TLSv{version}"));
    wait_for_both_ends(agent, server.port, 1);
    single(&agent.events(), pid)
}

/// "any path": copies of the system's library installed and mapped while the agent runs.
#[test]
fn a_library_installed_later_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config::default());
    let copies = ["crypto", "ssl"].map(|name| {
        let copy = folder.path().join(format!("own-{name}.bin"));
        std::fs::copy(system_library(&format!("lib{name}.so.3")), &copy).unwrap();
        copy
    });
    let capture = libssl_client(&agent, &server, &copies[0], &copies[1], "1.3");
    assert_healthy(&capture, Transport::Tls);
    assert_truth(
        &capture.transactions[0],
        &server.truths("transaction", 1)[0],
        Side::Client,
    );
    let _ = agent.stop();
}

/// "any mount namespace: … container root": the library exists in a private mount namespace only. The first program may meet
/// it before the agent has (then it says so); the second finds it probed.
#[test]
fn a_library_in_another_mount_namespace_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let agent = Agent::start(&Config::default());
    let arguments = Curl::new(
        folder.path(),
        &format!("https://mount.qtap.test:{}/bytes/5000", server.port),
    )
    .authority(&certificates.authority)
    .command();
    let script = format!(
        "mount -t tmpfs none {at} && cp {ssl} {crypto} {at}/ && mv {at}/$(basename {ssl}) {at}/libssl.so.3 2>/dev/null; \
         mv {at}/$(basename {crypto}) {at}/libcrypto.so.3 2>/dev/null; export LD_LIBRARY_PATH={at}; \
         /usr/bin/curl -o {at}/first \"$@\" || exit; sleep 1; exec /usr/bin/curl -o {at}/second \"$@\"",
        at = inside.display(),
        ssl = system_library("libssl.so.3").display(),
        crypto = system_library("libcrypto.so.3").display(),
    );
    let finished = run_ok(
        Command::new("unshare")
            .args(["-m", "/bin/sh", "-c", &script, "sh"])
            .args(arguments.get_args()),
    );
    assert!(
        std::fs::read_dir(&inside).unwrap().next().is_none(),
        "the mount is private"
    );
    wait_for_both_ends(&agent, server.port, 2);
    let truths = server.truths("transaction", 2);
    let events = agent.stop();
    let captures = events.of_port(server.port, Side::Client);
    let second = single(&events, finished.pid);
    assert_healthy(&second, Transport::Tls);
    assert_truth(&second.transactions[0], &truths[1], Side::Client);
    let first = &captures[0];
    if first.status() == "healthy" {
        assert_healthy(first, Transport::Tls);
    } else {
        assert!(
            first.reasons().contains(&"tls_probe_late"),
            "{:#}",
            first.connection
        );
    }
}

/// "container root": a program in a root of its own, with its own copy of everything it maps.
#[test]
fn a_program_in_a_root_of_its_own_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let root = folder.path().join("root");
    root_with_curl(&root, &certificates);
    let agent = Agent::start(&Config::default());
    let port = server.port;
    let fetch = fetch_in_root(port);
    let script = format!("{fetch} || exit; /bin/sleep 1; exec {fetch}");
    let finished = run_ok(Command::new("chroot").arg(&root).args(["/bin/sh", "-c", &script]));
    wait_for_both_ends(&agent, port, 2);
    let truths = server.truths("transaction", 2);
    let events = agent.stop();
    let second = single(&events, finished.pid);
    assert_healthy(&second, Transport::Tls);
    assert_truth(&second.transactions[0], &truths[1], Side::Client);
}

/// Programs that are over before the agent can open their files do not keep the next from being captured.
#[test]
fn programs_that_end_at_once_do_not_hide_their_library() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let root = folder.path().join("root");
    root_with_curl(&root, &certificates);
    let agent = Agent::start(&Config::default());
    let (port, closed) = (server.port, free_port());
    let in_vain = format!("/usr/bin/curl -s http://127.0.0.1:{closed}/");
    let script = format!(
        "for each in 1 2 3; do {in_vain} && exit 1; done; /bin/sleep 1; exec {}",
        fetch_in_root(port)
    );
    let finished = run_ok(Command::new("chroot").arg(&root).args(["/bin/sh", "-c", &script]));
    wait_for_both_ends(&agent, port, 1);
    let truths = server.truths("transaction", 1);
    let events = agent.stop();
    let fetched = single(&events, finished.pid);
    assert_healthy(&fetched, Transport::Tls);
    assert_truth(&fetched.transactions[0], &truths[0], Side::Client);
}

/// "GnuTLS ≥ 3.6": its own client and server, TLS 1.2 and 1.3.
#[test]
fn gnutls_at_both_ends_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let mut server = Command::new("gnutls-serv");
    server
        .args(["--quiet", "--http", "--port", &port.to_string(), "--x509certfile"])
        .arg(&certificates.certificate);
    server
        .arg("--x509keyfile")
        .arg(&certificates.key)
        .stdin(Stdio::null());
    let server = Program::start(&mut server);
    wait_for_listener(port);
    for (priority, version) in [
        ("NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS 1.2"),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLS 1.3"),
    ] {
        let agent = Agent::start(&Config::default());
        let mut client = Command::new("gnutls-cli");
        client.args([
            "--logfile=/dev/null",
            "--sni-hostname=gnutls.qtap.test",
            "--verify-hostname=gnutls.qtap.test",
        ]);
        client
            .args([
                "--priority",
                priority,
                "--port",
                &port.to_string(),
                "127.0.0.1",
                "--x509cafile",
            ])
            .arg(&certificates.authority);
        let mut client = Program::start(client.stdin(Stdio::piped()));
        client.say("GET /page HTTP/1.0\r\nHost: gnutls.qtap.test\r\n\r");
        let pid = client.pid();
        std::thread::sleep(Duration::from_millis(800));
        let finished = client.finish(Duration::from_secs(20));
        assert!(
            finished.text().contains("200 OK"),
            "{}{}",
            finished.text(),
            finished.errors()
        );
        wait_for_both_ends(&agent, port, 1);
        let events = agent.stop();
        for capture in [single(&events, pid), single_on_port(&events, port, Side::Server)] {
            assert_healthy(&capture, Transport::Tls);
            assert_eq!(capture.connection["tlsVersion"], version);
            assert_eq!(
                capture.connection["meta"]["tlsProbeTypesDetected"],
                json!(["gnutls"])
            );
            assert_eq!(capture.transactions[0]["request"]["path"], "/page");
            assert_eq!(capture.transactions[0]["response"]["status"], 200);
        }
    }
    drop(server);
}
