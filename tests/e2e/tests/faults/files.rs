//! Files that change while they are in use: libraries, the configuration.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Load, Program, PythonServer, Transport, assert_healthy, one,
    programs, scratch, single, system_library, venv,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A program that has these libraries mapped, and makes one request when it is told to.
struct Client(Program);

impl Client {
    fn start(libcrypto: &Path, libssl: &Path, port: u16) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(programs().join("libssl_client.py"))
            .arg(libcrypto)
            .arg(libssl)
            .args([&port.to_string(), "libssl.qtap.test", "/bytes/30721"]);
        let mut program = Program::start(command.stdin(Stdio::piped()));
        assert_eq!(program.line(PATIENCE), "ready");
        Self(program)
    }

    /// Its request must succeed, and be captured whole.
    fn go(mut self, agent: &Agent) -> Capture {
        self.0.say("go");
        let pid = self.0.pid();
        let finished = self.0.finish(PATIENCE);
        assert!(
            finished.status.success(),
            "{}: {}",
            finished.status,
            finished.errors()
        );
        agent.wait_for_connections(&[pid], 1);
        let capture = single(&agent.events(), pid);
        assert_healthy(&capture, Transport::Tls);
        capture
    }
}

/// Files with probes.
fn attached(agent: &Agent) -> f64 {
    agent.system_metric("qtap_probe_attached_inodes", &[])
}

/// Waits until so many files have probes, and a little longer: a file that was written over is one of them for a moment.
fn wait_for_probes(agent: &Agent, files: f64) {
    std::thread::sleep(Duration::from_millis(1500));
    qtap_e2e::until(PATIENCE, "probes", || attached(agent) >= files);
}

fn library_111(prefix: &str) -> PathBuf {
    let folder = venv().join("openssl-1.1.1/psycopg2_binary.libs");
    let found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect();
    one(&found).clone()
}

/// "library replaced on disk while it is in use and then used by new programs (rename over…": as package managers do it.
#[test]
fn a_library_renamed_over_is_captured_in_old_and_new_programs() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config::default());
    let before = attached(&agent);
    let (libcrypto, installed) = (system_library("libcrypto.so.3"), folder.path().join("libssl.bin"));
    std::fs::copy(system_library("libssl.so.3"), &installed).unwrap();
    let old = Client::start(&libcrypto, &installed, server.port);
    wait_for_probes(&agent, before + 1.0);
    let next = folder.path().join("libssl.new");
    std::fs::copy(system_library("libssl.so.3"), &next).unwrap();
    std::fs::rename(&next, &installed).unwrap();
    let new = Client::start(&libcrypto, &installed, server.port);
    wait_for_probes(&agent, before + 2.0);
    let _ = new.go(&agent);
    let _ = old.go(&agent);
    let _ = agent.stop();
}

/// "…, and rewritten in place)": the same bytes, under a program that uses them; probes go and come back.
#[test]
fn a_library_written_in_place_under_a_program_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config::default());
    let before = attached(&agent);
    let (libcrypto, installed) = (system_library("libcrypto.so.3"), folder.path().join("libssl.bin"));
    let content = std::fs::read(system_library("libssl.so.3")).unwrap();
    std::fs::write(&installed, &content).unwrap();
    let program = Client::start(&libcrypto, &installed, server.port);
    wait_for_probes(&agent, before + 1.0);
    let file = std::fs::File::options().write(true).open(&installed).unwrap();
    file.write_all_at(&content, 0).unwrap();
    let _ = agent.wait_for_log(&["written over in place", "libssl.bin"], PATIENCE);
    wait_for_probes(&agent, before + 1.0);
    let _ = program.go(&agent);
    let _ = agent.stop();
}

/// The same with another version of the library, between programs: the probes of the old one would be in the middle of the
/// new one's instructions.
#[test]
fn a_library_that_became_another_in_place_harms_nobody() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config::default());
    let before = attached(&agent);
    let installed = folder.path().join("libssl.bin");
    std::fs::copy(library_111("libssl"), &installed).unwrap();
    let former = Client::start(&library_111("libcrypto"), &installed, server.port);
    wait_for_probes(&agent, before + 1.0);
    let _ = former.go(&agent);
    for (libssl, libcrypto) in [
        (system_library("libssl.so.3"), system_library("libcrypto.so.3")),
        (library_111("libssl"), library_111("libcrypto")),
    ] {
        std::fs::write(&installed, std::fs::read(libssl).unwrap()).unwrap();
        let program = Client::start(&libcrypto, &installed, server.port);
        wait_for_probes(&agent, before + 1.0);
        let _ = program.go(&agent);
    }
    let _ = agent.wait_for_log(&["written over in place", "libssl.bin"], PATIENCE);
    let _ = agent.stop();
}

/// "configuration replaced (valid, invalid, deleted, renamed over) while loaded under traffic".
#[test]
fn the_configuration_may_change_in_every_way_under_traffic() {
    let load = Load::new();
    let agent = Agent::start(&Config::default());
    let file = agent.config_file();
    let generators =
        [load.plain, load.tls].map(|port| load.start(port, &["--h1", "-D", "12", "-c", "4", "--rps", "20"]));
    let with_body = |body: &str| Config {
        limits: format!("body: {body}"),
        ..Config::default()
    };
    let reloads = |outcome: &str| {
        agent.system_metric("qtap_config_reloads_total", &[&format!("outcome=\"{outcome}\"")])
    };
    let until = |outcome: &str, count: f64| {
        qtap_e2e::until(PATIENCE, outcome, || reloads(outcome) >= count);
    };

    std::fs::write(&file, with_body("64kb").to_string()).unwrap();
    until("applied", 1.0);
    std::fs::write(&file, "version: 2\ntap: {direction: egres}\n").unwrap();
    let _ = agent.wait_for_log(
        &["\"error\"", "configuration is refused", "did you mean `egress`"],
        PATIENCE,
    );
    until("refused", 1.0);
    let _ = load.probe(&agent, "invalid");
    std::fs::remove_file(&file).unwrap();
    let _ = agent.wait_for_log(
        &["\"error\"", "configuration is refused", "No such file"],
        PATIENCE,
    );
    until("refused", 2.0);
    let _ = load.probe(&agent, "deleted");
    let next = file.with_file_name("next.yaml");
    std::fs::write(&next, with_body("32kb").to_string()).unwrap();
    std::fs::rename(&next, &file).unwrap();
    until("applied", 2.0);
    let _ = load.probe(&agent, "renamed");

    for generator in generators {
        let _ = generator.finish();
    }
    assert_eq!(
        (reloads("applied"), reloads("refused")),
        (2.0, 2.0),
        "{}",
        agent.log()
    );
    let _ = agent.stop();
}
