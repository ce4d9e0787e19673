//! A processor that comes up while the agent runs. Takes the last one of the host down for some seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Program, PythonServer, Side, Transport, assert_healthy, assert_truth,
    programs, scratch, single, wait_for_both_ends,
};

/// After so long the agent has seen a processor that came up (docs/kernels.md), and some time to spare.
const SEEN: Duration = Duration::from_secs(12);

/// The last processor; up again when dropped.
struct Processor {
    number: u32,
    switch: PathBuf,
}

impl Processor {
    fn last() -> Self {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").expect("a list of processors");
        let last = online.trim().rsplit(['-', ',']).next().unwrap_or_default();
        let number = last.parse().expect("a number");
        assert!(number > 0, "one processor is not enough");
        Self {
            number,
            switch: Path::new("/sys/devices/system/cpu").join(format!("cpu{number}/online")),
        }
    }

    fn set(&self, state: &str) {
        fs::write(&self.switch, state).expect("a processor that can be switched off and on");
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // On a host without a switch nothing was changed.
        let _ = fs::write(&self.switch, "1");
    }
}

/// A copy of the system's library, which nobody has mapped before.
fn copy(folder: &Path, name: &str) -> PathBuf {
    let library = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let copy = folder.join(name);
    fs::copy(library.join(format!("{name}.so.3")), &copy).expect("the system's library");
    copy
}

/// What is mapped on it is seen: a library that only a program on that processor uses is probed.
#[test]
fn libraries_mapped_on_a_processor_that_came_up_later_are_probed() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let libraries = ["libcrypto", "libssl"].map(|name| copy(folder.path(), name));
    let processor = Processor::last();
    processor.set("0");
    let agent = Agent::start(&Config::default());
    processor.set("1");
    std::thread::sleep(SEEN);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &processor.number.to_string(), "/usr/bin/python3"]);
    command.arg(programs().join("libssl_client.py")).args(&libraries);
    command.args([&server.port.to_string(), "hotplug.qtap.test", "/bytes/3000"]);
    let mut program = Program::start(command.stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "ready");
    std::thread::sleep(Duration::from_secs(1));
    program.say("go");
    let pid = program.pid();
    let finished = program.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{}", finished.errors());
    wait_for_both_ends(&agent, server.port, 1);
    let capture = single(&agent.stop(), pid);
    assert_healthy(&capture, Transport::Tls);
    assert_truth(
        &capture.transactions[0],
        &server.truths("transaction", 1)[0],
        Side::Client,
    );
}
