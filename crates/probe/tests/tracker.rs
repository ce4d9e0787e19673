//! The tracker with real processes and an attacher that only records.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::HashSet;
use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod common;

use common::{Attached, Copied, Recorder, Running, inode, library, mapped, python, tracker};
use qtap_capture::{ExecutableMapped, Hook, KernelTime, Misfit, Pid};
use qtap_probe::{Input, Source, Tracker, classify, read_maps};

// The only test that looks at the whole host: on a busy one that takes seconds without optimisation.
#[test]
fn start_attaches_the_loader_cache_and_finds_running_processes() {
    let program = python(&[&library("/libssl.so.3")]);
    let (mut tracker, recorder) = tracker(Source::Auto);

    tracker.start();

    let libssl = recorder.on(inode(&library("/libssl.so.3")));
    assert_eq!(libssl.len(), 1, "one link set whatever the number of processes");
    assert_eq!(
        (libssl[0].pid, libssl[0].hooks.as_slice()),
        (None, [Hook::LogSecret].as_slice())
    );
    let libgnutls = recorder.on(inode(&library("/libgnutls.so.30")));
    assert_eq!(
        libgnutls[0].hooks,
        [Hook::LogSecret, Hook::GnutlsPrfRaw],
        "though nobody has it mapped"
    );
    for fallback in ["/libcrypto.so.3", "/libnettle.so"] {
        assert_eq!(
            recorder.on(inode(&library(fallback))),
            [],
            "{fallback} is not needed"
        );
    }
    assert_eq!(
        tracker.implementations().of(program.pid()).unwrap().names(),
        ["openssl"]
    );
    assert_eq!(
        tracker.implementations().of(Pid(std::process::id())),
        None,
        "not ourselves"
    );
}

#[test]
fn files_without_tls_code_are_silenced_and_others_not() {
    let program = python(&[&library("/libssl.so.3")]);
    let (mut tracker, recorder) = tracker(Source::Auto);

    tracker.exec(program.pid());

    let found = tracker.implementations().of(program.pid()).unwrap();
    assert_eq!(found.names(), ["openssl"]);
    assert!(found.secrets_since().is_some());
    assert_eq!(found.calls_since(), None);
    assert_eq!(found.reason(), None);
    let libc = read_maps(program.pid())
        .unwrap()
        .into_iter()
        .find(|m| m.path.ends_with("libc.so.6"))
        .unwrap();
    assert!(
        recorder
            .known
            .lock()
            .unwrap()
            .contains(&(libc.inode.device, libc.inode.inode))
    );
    let libssl = mapped(&program, &library("/libssl.so.3"));
    assert!(
        !recorder
            .known
            .lock()
            .unwrap()
            .contains(&(libssl.device, libssl.inode)),
        "its users have to be known"
    );
}

#[test]
fn an_idle_s_client_is_followed_from_exec() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let client = Running(client);
    // It connects when all is loaded; nobody answers its hello.
    let _connection = listener.accept().unwrap();
    let (mut tracker, recorder) = tracker(Source::Auto);

    tracker.handle(Input::Exec(client.pid()));

    assert_eq!(
        tracker.implementations().of(client.pid()).unwrap().names(),
        ["openssl"]
    );
    assert_eq!(recorder.on(inode(&library("/libssl.so.3"))).len(), 1);
}

#[test]
fn calls_are_attached_for_the_process_that_needs_them_only() {
    let libssl = library("/libssl.so.3");
    let (one, other) = (python(&[&libssl]), python(&[&libssl]));
    let (mut tracker, recorder) = tracker(Source::Auto);
    tracker.exec(one.pid());
    tracker.exec(other.pid());

    tracker.handle(Input::NeedCalls(one.pid()));

    let calls: Vec<Attached> = recorder
        .on(inode(&libssl))
        .into_iter()
        .filter(|a| a.pid.is_some())
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].pid, Some(one.pid()));
    assert!(calls[0].hooks.contains(&Hook::SslRead));
    assert!(
        tracker
            .implementations()
            .of(one.pid())
            .unwrap()
            .calls_since()
            .is_some()
    );
    assert_eq!(
        tracker.implementations().of(other.pid()).unwrap().calls_since(),
        None
    );

    // They stay for the next connection of the process that will need them, but not for ever.
    let own = || {
        recorder
            .on(inode(&libssl))
            .iter()
            .any(|attached| attached.pid.is_some())
    };
    tracker.handle(Input::CallsDone(one.pid()));
    tracker.tick(Instant::now() + Duration::from_secs(20));
    assert!(own());
    tracker.handle(Input::NeedCalls(one.pid()));
    tracker.tick(Instant::now() + Duration::from_secs(40));
    assert!(own());
    tracker.handle(Input::CallsDone(one.pid()));
    tracker.tick(Instant::now() + Duration::from_secs(40));
    assert!(!own());
    assert_eq!(
        tracker.implementations().of(one.pid()).unwrap().calls_since(),
        None
    );
}

#[test]
fn sources_calls_and_secrets_are_exclusive() {
    let libssl = library("/libssl.so.3");
    let program = python(&[&libssl]);
    for (source, expected) in [(Source::Calls, Hook::SslRead), (Source::Secrets, Hook::LogSecret)] {
        let (mut tracker, recorder) = tracker(source);
        tracker.exec(program.pid());
        tracker.need_calls(program.pid());

        let attached = recorder.on(inode(&libssl));
        assert_eq!(attached.len(), 1, "{source:?}");
        assert_eq!((attached[0].pid, attached[0].hooks[0]), (None, expected));
    }
}

#[test]
fn a_library_loaded_late_comes_by_its_mapping() {
    let libssl = Copied::of("/libssl.so.3", "late");
    let program = python(&[&libssl.0]);
    let (mut tracker, recorder) = tracker(Source::Auto);

    tracker.handle(Input::Mapped(mapped(&program, &libssl.0)));

    assert_eq!(recorder.on(inode(&libssl.0)).len(), 1);
    let found = tracker.implementations().of(program.pid()).unwrap();
    assert_eq!(found.libraries[0].path.as_ref(), libssl.0.to_str().unwrap());
}

#[test]
fn a_device_number_that_only_the_kernel_knows_is_learnt() {
    let libssl = Copied::of("/libssl.so.3", "device");
    let program = python(&[&libssl.0]);
    let (mut tracker, _recorder) = tracker(Source::Auto);
    let event = ExecutableMapped {
        device: 0xdead,
        ..mapped(&program, &libssl.0)
    };

    tracker.handle(Input::Mapped(event.clone()));
    let scans = tracker.implementations().counters().scans;
    tracker.handle(Input::Mapped(event));

    assert_eq!(
        tracker.implementations().of(program.pid()).unwrap().names(),
        ["openssl"]
    );
    assert_eq!(
        tracker.implementations().counters().scans,
        scans,
        "the second time nothing is read"
    );
}

#[test]
fn a_file_is_scanned_and_attached_once_for_many_and_released_after_the_last() {
    let libssl = Copied::of("/libssl.so.3", "shared");
    let number = inode(&libssl.0);
    let programs: Vec<Running> = (0..3).map(|_| python(&[&libssl.0])).collect();
    let (mut tracker, recorder) = tracker(Source::Auto);
    for program in &programs {
        tracker.exec(program.pid());
    }
    let once = tracker.implementations().counters();
    for program in &programs {
        tracker.exec(program.pid());
    }

    assert_eq!(recorder.on(number).len(), 1);
    assert_eq!(
        tracker.implementations().counters().attached_inodes,
        u64::try_from(distinct(&recorder)).unwrap()
    );
    assert!(once.scans > 0 && once.scan_time > Duration::ZERO);
    assert_eq!(tracker.implementations().counters().scans, once.scans);

    for program in &programs {
        tracker.exited(program.pid());
    }
    assert_eq!(
        tracker.implementations().of(programs[0].pid()).unwrap().names(),
        ["openssl"],
        "for its last events"
    );
    tracker.tick(Instant::now());
    assert_eq!(recorder.on(number).len(), 1, "it may come back soon");
    // The processes still live in truth; take the file away, as an upgrade would.
    drop(programs);
    drop(libssl);
    tracker.tick(Instant::now());
    assert_eq!(recorder.on(number), [], "a deleted file is let go at once");
}

fn distinct(recorder: &Recorder) -> usize {
    recorder
        .live
        .lock()
        .unwrap()
        .iter()
        .map(|attached| attached.inode)
        .collect::<HashSet<_>>()
        .len()
}

#[test]
fn a_forked_child_has_what_its_parent_has() {
    let program = python(&[&library("/libssl.so.3")]);
    let (mut tracker, _recorder) = tracker(Source::Auto);
    tracker.exec(program.pid());
    let child = Pid(4_000_001);

    tracker.handle(Input::Forked {
        parent: program.pid(),
        child,
    });

    assert_eq!(tracker.implementations().of(child).unwrap().names(), ["openssl"]);
    tracker.exited(child);
    tracker.tick(Instant::now() + Duration::from_secs(31));
    assert_eq!(
        tracker.implementations().of(child),
        None,
        "forgotten after the time of grace"
    );
}

#[test]
fn a_refused_attachment_is_told_and_tried_again() {
    let libssl = Copied::of("/libssl.so.3", "refused");
    let program = python(&[&libssl.0]);
    let (mut tracker, recorder) = tracker(Source::Auto);
    *recorder.refuse.lock().unwrap() = true;
    tracker.exec(program.pid());

    let found = tracker.implementations().of(program.pid()).unwrap();
    assert_eq!(found.secrets_since(), None);
    assert!(
        found.reason().unwrap().contains("no perf events here"),
        "{:?}",
        found.reason()
    );
    assert!(tracker.implementations().counters().attach_failures > 0);

    *recorder.refuse.lock().unwrap() = false;
    tracker.tick(Instant::now() + Duration::from_secs(6));
    assert!(
        tracker
            .implementations()
            .of(program.pid())
            .unwrap()
            .secrets_since()
            .is_some()
    );
}

#[test]
fn a_library_without_log_function_gets_the_fallback_of_its_crypto_library() {
    let libssl = Copied::of("/libssl.so.3", "nolog");
    // Without the label texts nothing can be found by cross-reference.
    let mut bytes = std::fs::read(&libssl.0).unwrap();
    let texts: Vec<usize> = memchr::memmem::find_iter(&bytes, "CLIENT_RANDOM").collect();
    texts.into_iter().for_each(|at| bytes[at] = b'X');
    std::fs::write(&libssl.0, &bytes).unwrap();
    let libcrypto = library("/libcrypto.so.3");
    let program = python(&[&libssl.0]);
    let (mut tracker, recorder) = tracker(Source::Auto);

    tracker.exec(program.pid());

    let attached = recorder.on(inode(&libcrypto));
    assert_eq!(attached.len(), 1);
    assert_eq!(attached[0].hooks, [Hook::EvpKdfDerive]);
    assert!(
        tracker
            .implementations()
            .of(program.pid())
            .unwrap()
            .secrets_since()
            .is_some()
    );
}

#[test]
fn a_library_written_over_in_place_is_scanned_again() {
    let file = Copied::of("/libssl.so.3", "replaced");
    let (mut tracker, recorder) = tracker(Source::Auto);
    {
        let program = python(&[&file.0]);
        tracker.exec(program.pid());
        tracker.exited(program.pid());
    }
    assert_eq!(recorder.on(inode(&file.0))[0].hooks, [Hook::LogSecret]);
    std::fs::write(&file.0, std::fs::read(library("/libgnutls.so.30")).unwrap()).unwrap();

    // Nobody maps it, so that nobody has to come first.
    tracker.tick(Instant::now());
    assert_eq!(recorder.on(inode(&file.0)), []);

    let program = python(&[&file.0]);
    tracker.exec(program.pid());

    assert_eq!(
        recorder.on(inode(&file.0)).last().unwrap().hooks,
        [Hook::LogSecret, Hook::GnutlsPrfRaw]
    );
    assert!(
        tracker
            .implementations()
            .of(program.pid())
            .unwrap()
            .names()
            .contains(&"gnutls")
    );
}

#[test]
fn a_library_written_over_in_place_is_noticed_when_it_is_mapped() {
    let file = Copied::of("/libssl.so.3", "rewritten");
    let (mut tracker, recorder) = tracker(Source::Auto);
    {
        let program = python(&[&file.0]);
        tracker.exec(program.pid());
        tracker.exited(program.pid());
    }
    std::fs::write(&file.0, std::fs::read(library("/libgnutls.so.30")).unwrap()).unwrap();
    let program = python(&[&file.0]);
    tracker.mapped(&mapped(&program, &file.0));
    let on: Vec<_> = recorder
        .on(inode(&file.0))
        .into_iter()
        .map(|on| on.hooks)
        .collect();
    assert_eq!(on, [[Hook::LogSecret, Hook::GnutlsPrfRaw]]);
}

/// What was read in the middle of its being written is not believed for ten minutes.
#[test]
fn half_a_library_is_looked_at_again() {
    let file = Copied::of("/libssl.so.3", "half");
    let whole = std::fs::read(&file.0).unwrap();
    let (mut tracker, recorder) = tracker(Source::Auto);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let other = maps
        .split_whitespace()
        .find(|word| word.contains("/libgcc_s"))
        .unwrap();
    std::fs::copy(other, &file.0).unwrap();
    {
        let program = python(&[&file.0]);
        tracker.exec(program.pid());
        assert_eq!(recorder.on(inode(&file.0)), []);
        let known = recorder.known.lock().unwrap();
        assert!(known.iter().all(|(_, known)| *known != inode(&file.0)));
    }
    std::fs::write(&file.0, &whole).unwrap();
    let program = python(&[&file.0]);
    tracker.exec(program.pid());
    assert_eq!(recorder.on(inode(&file.0))[0].hooks, [Hook::LogSecret]);
}

#[test]
fn a_tracker_thread_ends_with_its_senders() {
    let (tracker, _recorder) = tracker(Source::Auto);
    let program = python(&[&library("/libgnutls.so.30")]);
    let implementations = tracker.implementations();
    let (sender, inbox) = crossbeam_channel::bounded(16);
    let thread = std::thread::spawn(move || tracker.run(&inbox, &crossbeam_channel::never()));
    sender.send(Input::Exec(program.pid())).unwrap();
    drop(sender);
    thread.join().unwrap();
    assert_eq!(implementations.of(program.pid()).unwrap().names(), ["gnutls"]);
}

/// "A point found by inference proves itself … otherwise it is detached and reported": for everybody, and for good.
#[test]
fn an_inferred_function_that_is_another_one_is_let_go_and_reported() {
    let copied = Copied::of("libssl.so", "misfit");
    let process = python(&[&copied.0]);
    let (mut tracker, recorder) = tracker(Source::Secrets);
    tracker.handle(Input::Mapped(mapped(&process, &copied.0)));
    let before = recorder.on(inode(&copied.0));
    assert_eq!(before[0].hooks, [Hook::LogSecret]);
    let misfit = |hook| {
        Input::Misfit(Misfit {
            pid: process.pid(),
            time: KernelTime(2),
            hook,
        })
    };
    tracker.handle(misfit(Hook::RustlsDerive));
    assert_eq!(
        recorder.on(inode(&copied.0)),
        before,
        "another function is not concerned"
    );
    tracker.handle(misfit(Hook::LogSecret));
    assert_eq!(recorder.on(inode(&copied.0)), []);
    tracker.tick(Instant::now() + Duration::from_secs(3600));
    tracker.handle(Input::Exec(process.pid()));
    assert_eq!(recorder.on(inode(&copied.0)), []);
    let found = tracker.implementations().of(process.pid()).unwrap();
    let library = (found.libraries.iter())
        .find(|library| library.path.contains("misfit"))
        .unwrap();
    assert!(
        library.reason.as_ref().unwrap().contains("ssl_log_secret"),
        "{library:?}"
    );
}

/// A process with a copy of libssl of which nobody knows that it is one, and where its inferred function is.
struct Suspect {
    copied: Copied,
    process: Running,
    address: u64,
}

impl Suspect {
    fn start(place: &str) -> Self {
        let copied = Copied::of("libssl.so", place);
        let process = python(&[&copied.0]);
        let found = classify(&File::open(&copied.0).unwrap()).unwrap();
        let point = found.secrets.iter().find(|point| point.hook == Hook::LogSecret);
        let offset = point.unwrap().offset;
        let wanted = inode(&copied.0);
        let holds = |mapping: &qtap_probe::Mapping| {
            mapping.inode.inode == wanted
                && (mapping.offset..mapping.offset + (mapping.end - mapping.start)).contains(&offset)
        };
        let mappings = read_maps(process.pid()).unwrap();
        let mapping = mappings.into_iter().find(holds).unwrap();
        let address = mapping.start + (offset - mapping.offset);
        Self {
            copied,
            process,
            address,
        }
    }

    fn failed(&self, address: u64, is_certain: bool) -> Input {
        Input::Failed {
            pid: self.process.pid(),
            address,
            is_certain,
        }
    }

    fn tracker(&self) -> (Tracker<Arc<Recorder>>, Arc<Recorder>) {
        let (mut tracker, recorder) = tracker(Source::Auto);
        tracker.handle(Input::Mapped(mapped(&self.process, &self.copied.0)));
        assert!(self.is_probed(&recorder));
        (tracker, recorder)
    }

    fn is_probed(&self, recorder: &Recorder) -> bool {
        !recorder.on(inode(&self.copied.0)).is_empty()
    }
}

/// "The first record must authenticate; otherwise it is detached and reported."
#[test]
fn an_inferred_function_whose_secret_opens_no_record_is_let_go_and_reported() {
    let suspect = Suspect::start("failed");
    let (mut tracker, recorder) = suspect.tracker();

    tracker.handle(suspect.failed(suspect.address + 4096, true));
    assert!(suspect.is_probed(&recorder), "another function is not concerned");
    tracker.handle(suspect.failed(suspect.address, true));

    assert!(!suspect.is_probed(&recorder));
    let implementations = tracker.implementations();
    assert_eq!(implementations.counters().refuted, 1);
    let found = implementations.of(suspect.process.pid()).unwrap();
    let is_it = |library: &&qtap_probe::LibraryTls| library.path.contains("failed");
    let library = found.libraries.iter().find(is_it).unwrap();
    assert!(
        library.reason.as_ref().unwrap().contains("open no record"),
        "{library:?}"
    );
    tracker.tick(Instant::now() + Duration::from_secs(3600));
    tracker.handle(Input::Exec(suspect.process.pid()));
    assert!(!suspect.is_probed(&recorder), "for good");
}

#[test]
fn an_inferred_function_is_let_go_of_for_two_likely_failures_and_never_once_it_is_proved() {
    let suspect = Suspect::start("likely");
    let (mut tracker, recorder) = suspect.tracker();
    tracker.handle(suspect.failed(suspect.address, false));
    assert!(suspect.is_probed(&recorder), "one may be a mistake");
    tracker.handle(Input::Proved {
        pid: suspect.process.pid(),
        address: suspect.address,
    });
    for is_certain in [false, false, true] {
        tracker.handle(suspect.failed(suspect.address, is_certain));
    }
    assert!(suspect.is_probed(&recorder), "it is proved");

    let (mut tracker, recorder) = suspect.tracker();
    for _ in 0..2 {
        tracker.handle(suspect.failed(suspect.address, false));
    }
    assert!(!suspect.is_probed(&recorder));
}
