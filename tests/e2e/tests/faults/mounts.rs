//! File systems that come and go.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Disk, Load, PythonServer, Transport, assert_healthy, fetch_in_root,
    root_with_curl, run_ok, scratch, single, until, wait_for_both_ends,
};

/// Programs of a mounted image run under the agent, and the image is unmounted afterwards, as builders of images do it: the probes on its libraries are not in
/// the way for longer than the kernel takes to remove them. While a program is at home there, the probes stay: the next one is read.
#[test]
fn a_file_system_is_not_kept_busy_by_probes() {
    let load = Load::new();
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let root = folder.path().join("root");
    let image = Disk::mount(&root, "size=64m");
    root_with_curl(&root, &certificates);
    let agent = Agent::start(&Config::default());
    let fetch = fetch_in_root(server.port);
    let script = format!("{fetch} || exit; /bin/sleep 3; exec {fetch}");
    let finished = run_ok(Command::new("chroot").arg(&root).args(["/bin/sh", "-c", &script]));

    until(Duration::from_secs(5), "unmounted image", || image.unmount());

    wait_for_both_ends(&agent, server.port, 2);
    let _ = load.probe(&agent, "after");
    let events = agent.stop();
    assert_healthy(&single(&events, finished.pid), Transport::Tls);
}
