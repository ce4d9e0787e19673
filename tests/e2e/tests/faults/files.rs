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

/// A libssl of its own under an agent, and a server for the programs that use it.
struct Library {
    agent: Agent,
    server: PythonServer,
    /// Where it is.
    file: PathBuf,
    /// Files that had probes before.
    before: f64,
    _folder: tempfile::TempDir,
}

impl Library {
    /// A copy of `libssl`, which no program uses yet.
    fn installed(libssl: &Path) -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
        let agent = Agent::start(&Config::default());
        let before = attached(&agent);
        let file = folder.path().join("libssl.bin");
        std::fs::copy(libssl, &file).unwrap();
        Self {
            agent,
            server,
            file,
            before,
            _folder: folder,
        }
    }

    /// A program that has it mapped.
    fn client(&self, libcrypto: &Path) -> Client {
        Client::start(libcrypto, &self.file, self.server.port)
    }

    /// Waits until so many more files have probes, and a little longer: a file that was written over is one of them for a moment.
    fn wait_for_probes(&self, files: f64) {
        std::thread::sleep(Duration::from_millis(1500));
        qtap_e2e::until(PATIENCE, "probes", || {
            attached(&self.agent) >= self.before + files
        });
    }

    fn wait_until_noticed(&self) {
        let _ = self
            .agent
            .wait_for_log(&["written over in place", "libssl.bin"], PATIENCE);
    }
}

/// Files with probes.
fn attached(agent: &Agent) -> f64 {
    agent.system_metric("qtap_probe_attached_inodes", &[])
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
    let library = Library::installed(&system_library("libssl.so.3"));
    let libcrypto = system_library("libcrypto.so.3");
    let old = library.client(&libcrypto);
    library.wait_for_probes(1.0);
    let next = library.file.with_file_name("libssl.new");
    std::fs::copy(system_library("libssl.so.3"), &next).unwrap();
    std::fs::rename(&next, &library.file).unwrap();
    let new = library.client(&libcrypto);
    library.wait_for_probes(2.0);
    let _ = new.go(&library.agent);
    let _ = old.go(&library.agent);
    let _ = library.agent.stop();
}

/// "…, and rewritten in place)": the same bytes, under a program that uses them; probes go and come back.
#[test]
fn a_library_written_in_place_under_a_program_is_captured() {
    let library = Library::installed(&system_library("libssl.so.3"));
    let program = library.client(&system_library("libcrypto.so.3"));
    library.wait_for_probes(1.0);
    let content = std::fs::read(&library.file).unwrap();
    let file = std::fs::File::options().write(true).open(&library.file).unwrap();
    file.write_all_at(&content, 0).unwrap();
    library.wait_until_noticed();
    library.wait_for_probes(1.0);
    let _ = program.go(&library.agent);
    let _ = library.agent.stop();
}

/// The same with another version of the library, between programs: the probes of the old one would be in the middle of the
/// new one's instructions.
#[test]
fn a_library_that_became_another_in_place_harms_nobody() {
    let library = Library::installed(&library_111("libssl"));
    let former = library.client(&library_111("libcrypto"));
    library.wait_for_probes(1.0);
    let _ = former.go(&library.agent);
    for (libssl, libcrypto) in [
        (system_library("libssl.so.3"), system_library("libcrypto.so.3")),
        (library_111("libssl"), library_111("libcrypto")),
    ] {
        std::fs::write(&library.file, std::fs::read(libssl).unwrap()).unwrap();
        let program = library.client(&libcrypto);
        library.wait_for_probes(1.0);
        let _ = program.go(&library.agent);
    }
    library.wait_until_noticed();
    let _ = library.agent.stop();
}

/// "configuration replaced (valid, invalid, deleted, renamed over) while loaded under traffic".
#[test]
fn the_configuration_may_change_in_every_way_under_traffic() {
    let load = Load::new();
    let agent = Agent::start(&Config::default());
    let file = agent.config_file();
    let generators = [load.plain, load.tls]
        .map(|port| load.start_until_finished(port, &["--h1", "-c", "4", "--rps", "20"]));
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
