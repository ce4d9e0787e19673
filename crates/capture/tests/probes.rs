//! Probes decode the arguments of the functions they are made for. The functions are of this program, with the signatures and the
//! behaviour of those of TLS libraries; real libraries are tested where they are found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use common::{Tap, pair, pattern};
use qtap_capture::{
    Direction, Event, Hook, Layer, Loss, Options, Pid, ProbeLinks, Settings, TlsSecret, Verdict,
};

const SECRET: [u8; 48] = [0xa5; 48];
const RANDOM: [u8; 32] = [0x77; 32];

/// Where a function of this program is in its file.
fn file_offset(function: usize) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let inside = (number(start)..number(end)).contains(&(function as u64));
        inside.then(|| function as u64 - number(start) + number(fields.nth(1).unwrap()))
    });
    offset.expect("the function is mapped")
}

fn probe(tap: &Tap, hook: Hook, function: usize) -> ProbeLinks {
    let own = Pid(std::process::id());
    tap.capture
        .attach_uprobe("/proc/self/exe", Some(own), &[(hook, file_offset(function))])
        .unwrap()
}

fn secrets(tap: &mut Tap) -> Vec<TlsSecret> {
    // SAFETY: has no requirements.
    let own = unsafe { libc::gettid() };
    tap.during(Duration::from_millis(50));
    let mine = tap.events.iter().filter_map(|event| match event {
        Event::Secret(secret) if secret.tid as i32 == own => Some(secret.clone()),
        _ => None,
    });
    mine.collect()
}

#[inline(never)]
extern "C" fn ssl_log_secret(
    ssl: *mut c_void,
    label: *const c_char,
    secret: *const u8,
    length: usize,
) -> c_int {
    black_box((ssl, label, secret, length));
    1
}

#[test]
fn logged_secrets_are_read_with_their_label() {
    check_logged_secrets(Tap::start());
}

#[test]
fn probes_attach_one_by_one_on_old_kernels() {
    check_logged_secrets(Tap::with(Options {
        oldest_build: true,
        ..Options::default()
    }));
}

#[test]
fn a_file_that_is_not_there_is_named_in_the_error() {
    let tap = Tap::start();
    let error = tap
        .capture
        .attach_uprobe("/nonexistent/lib.so", None, &[(Hook::LogSecret, 64)]);
    assert!(error.unwrap_err().to_string().contains("/nonexistent/lib.so"));
}

fn check_logged_secrets(mut tap: Tap) {
    let links = probe(&tap, Hook::LogSecret, ssl_log_secret as *const () as usize);
    let log = |label: &CStr, length| {
        ssl_log_secret(std::ptr::null_mut(), label.as_ptr(), SECRET.as_ptr(), length);
    };
    log(c"CLIENT_RANDOM", 48);
    log(c"CLIENT_HANDSHAKE_TRAFFIC_SECRET", 32);
    log(c"SERVER_HANDSHAKE_TRAFFIC_SECRET", 48);
    log(c"CLIENT_TRAFFIC_SECRET_0", 32);
    log(c"SERVER_TRAFFIC_SECRET_0", 32);
    log(c"CLIENT_EARLY_TRAFFIC_SECRET", 32);
    for ignored in [
        c"EXPORTER_SECRET",
        c"CLIENT_TRAFFIC_SECRET_1",
        c"CLIENT_RANDOM_X",
        c"",
        c"X",
    ] {
        log(ignored, 32);
    }
    log(c"CLIENT_TRAFFIC_SECRET_0", 1000);
    let told: Vec<_> = secrets(&mut tap)
        .iter()
        .map(|secret| (secret.label, secret.secret.to_vec()))
        .collect();
    let expected = [
        ("CLIENT_RANDOM", 48),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 32),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", 48),
        ("CLIENT_TRAFFIC_SECRET_0", 32),
        ("SERVER_TRAFFIC_SECRET_0", 32),
        ("CLIENT_EARLY_TRAFFIC_SECRET", 32),
    ];
    assert_eq!(
        told,
        expected.map(|(label, length)| (label, SECRET[..length].to_vec()))
    );

    drop(links);
    log(c"CLIENT_RANDOM", 48);
    assert_eq!(secrets(&mut tap).len(), 6, "probes end with their links");
}

#[repr(C)]
struct OsslParam {
    key: *const c_char,
    data_type: u32,
    data: *const c_void,
    size: usize,
    returned: usize,
}

fn param(key: &'static CStr, data: &[u8]) -> OsslParam {
    OsslParam {
        key: key.as_ptr(),
        data_type: 5,
        data: data.as_ptr().cast(),
        size: data.len(),
        returned: 0,
    }
}

fn last() -> OsslParam {
    OsslParam {
        key: std::ptr::null(),
        ..param(c"", &[])
    }
}

#[inline(never)]
extern "C" fn evp_kdf_derive(
    ctx: *mut c_void,
    out: *mut u8,
    length: usize,
    params: *const OsslParam,
) -> c_int {
    black_box((ctx, params));
    // SAFETY: the tests give a buffer of that length.
    unsafe { std::ptr::copy_nonoverlapping(SECRET.as_ptr(), out, length) };
    1
}

#[test]
fn openssl_3_derivations_are_told_apart_by_their_parameters() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::EvpKdfDerive, evp_kdf_derive as *const () as usize);
    let mut out = [0; 48];
    let mut derive = |params: &[OsslParam], length| {
        evp_kdf_derive(std::ptr::null_mut(), out.as_mut_ptr(), length, params.as_ptr());
    };
    let common = || {
        [
            param(c"mode", &[2]),
            param(c"digest", b"SHA384"),
            param(c"key", &RANDOM),
        ]
    };
    for (label, length) in [
        ("s ap traffic", 48),
        ("c hs traffic", 32),
        ("c e traffic", 32),
        ("exp master", 48),
    ] {
        let params: Vec<_> = common()
            .into_iter()
            .chain([
                param(c"prefix", b"tls13 "),
                param(c"label", label.as_bytes()),
                last(),
            ])
            .collect();
        derive(&params, length);
    }
    let key_block = [
        param(c"digest", b"SHA256"),
        param(c"secret", &SECRET),
        param(c"seed", b"key expansion"),
        param(c"seed", &[1; 32]),
        param(c"seed", &RANDOM),
        last(),
    ];
    derive(&key_block, 40);
    let master = [
        param(c"secret", &SECRET),
        param(c"seed", b"extended master secret"),
        param(c"seed", &[1; 48]),
        last(),
    ];
    derive(&master, 48);
    let told: Vec<_> = secrets(&mut tap)
        .iter()
        .map(|secret| (secret.label, secret.secret.len(), secret.client_random))
        .collect();
    let expected = [
        ("SERVER_TRAFFIC_SECRET_0", 48, None),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 32, None),
        ("CLIENT_EARLY_TRAFFIC_SECRET", 32, None),
        ("CLIENT_RANDOM", 48, Some(RANDOM)),
    ];
    assert_eq!(told, expected);
    assert!(
        secrets(&mut tap)
            .iter()
            .all(|secret| secret.secret.iter().all(|byte| *byte == 0xa5))
    );
}

/// The context of OpenSSL 1.1.1, as far as it is read.
fn old_context(kind: u32, data: &[u8]) -> (Box<u32>, [usize; 6]) {
    let method = Box::new(kind);
    let context = [&raw const *method as usize, 0, 0, 0, 0, data.as_ptr() as usize];
    (method, context)
}

#[inline(never)]
extern "C" fn evp_pkey_derive(ctx: *const c_void, out: *mut u8, length: *mut usize) -> c_int {
    black_box(ctx);
    // SAFETY: the tests give a buffer of 48 bytes.
    unsafe {
        if !out.is_null() {
            std::ptr::copy_nonoverlapping(SECRET.as_ptr(), out, 48);
        }
        *length = 48;
    }
    1
}

fn hkdf_info(label: &str) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let mut info = vec![0, 48, u8::try_from(label.len()).unwrap()];
    info.extend_from_slice(label.as_bytes());
    info.push(48);
    info.extend_from_slice(&[9; 48]);
    info
}

#[test]
fn openssl_1_1_1_derivations_are_read_from_the_context() {
    let mut tap = Tap::start();
    let _links = probe(&tap, Hook::EvpPkeyDerive, evp_pkey_derive as *const () as usize);
    let mut out = [0; 48];
    let mut length = 0;
    for label in ["c ap traffic", "finished"] {
        let info = hkdf_info(label);
        let mut data = vec![0; 1080];
        data[0] = 2;
        data[48..48 + info.len()].copy_from_slice(&info);
        data[1072..1080].copy_from_slice(&info.len().to_ne_bytes());
        let (_method, context) = old_context(1036, &data);
        evp_pkey_derive(context.as_ptr().cast(), std::ptr::null_mut(), &raw mut length);
        evp_pkey_derive(context.as_ptr().cast(), out.as_mut_ptr(), &raw mut length);
    }
    let mut data = vec![0; 1056];
    data[8..16].copy_from_slice(&(SECRET.as_ptr() as usize).to_ne_bytes());
    data[16..24].copy_from_slice(&48_usize.to_ne_bytes());
    data[24..37].copy_from_slice(b"key expansion");
    data[69..101].copy_from_slice(&RANDOM);
    data[1048..1056].copy_from_slice(&77_usize.to_ne_bytes());
    let (_method, context) = old_context(1021, &data);
    evp_pkey_derive(context.as_ptr().cast(), out.as_mut_ptr(), &raw mut length);
    let told: Vec<_> = secrets(&mut tap)
        .iter()
        .map(|secret| (secret.label, secret.secret.to_vec(), secret.client_random))
        .collect();
    let expected = [
        ("CLIENT_TRAFFIC_SECRET_0", SECRET.to_vec(), None),
        ("CLIENT_RANDOM", SECRET.to_vec(), Some(RANDOM)),
    ];
    assert_eq!(told, expected);
}

#[inline(never)]
extern "C" fn hkdf_expand(
    mac: *mut c_void,
    update: usize,
    digest: usize,
    digest_size: usize,
    info_size: usize,
    info: *const u8,
    length: usize,
    output: *mut u8,
) {
    black_box((mac, update, digest, digest_size, info_size, info));
    // SAFETY: the tests give a buffer of that length.
    unsafe { std::ptr::copy_nonoverlapping(SECRET.as_ptr(), output, length) };
}

#[inline(never)]
extern "C" fn prf_raw(
    mac: c_int,
    master_size: usize,
    master: *const u8,
    label_size: usize,
    label: *const u8,
    seed_size: usize,
    seed: *const u8,
    out_size: usize,
    out: *mut u8,
) -> c_int {
    black_box((
        mac,
        master_size,
        master,
        label_size,
        label,
        seed_size,
        seed,
        out_size,
        out,
    ));
    0
}

#[test]
fn gnutls_derivations_have_arguments_on_the_stack() {
    let mut tap = Tap::start();
    let _expand = probe(&tap, Hook::NettleHkdfExpand, hkdf_expand as *const () as usize);
    let _prf = probe(&tap, Hook::GnutlsPrfRaw, prf_raw as *const () as usize);
    let mut out = [0; 48];
    for label in ["s hs traffic", "key"] {
        let info = hkdf_info(label);
        hkdf_expand(
            std::ptr::null_mut(),
            0,
            0,
            48,
            info.len(),
            info.as_ptr(),
            48,
            out.as_mut_ptr(),
        );
    }
    let mut seed = [1; 64];
    seed[32..].copy_from_slice(&RANDOM);
    for label in ["key expansion", "master secret"] {
        let (label, seed) = (label.as_bytes(), seed.as_slice());
        prf_raw(
            6,
            48,
            SECRET.as_ptr(),
            label.len(),
            label.as_ptr(),
            64,
            seed.as_ptr(),
            40,
            out.as_mut_ptr(),
        );
    }
    let told: Vec<_> = secrets(&mut tap)
        .iter()
        .map(|secret| (secret.label, secret.secret.to_vec(), secret.client_random))
        .collect();
    let expected = [
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", SECRET.to_vec(), None),
        ("CLIENT_RANDOM", SECRET.to_vec(), Some(RANDOM)),
    ];
    assert_eq!(told, expected);
}

/// A session over a descriptor, or over nothing (memory).
#[repr(C)]
struct Session {
    fd: RawFd,
    inner: *mut Session,
}

impl Session {
    fn over(stream: &TcpStream) -> Self {
        Self {
            fd: stream.as_raw_fd(),
            inner: std::ptr::null_mut(),
        }
    }
}

/// "Encrypts" by inverting; the plaintext is what the caller gave.
#[inline(never)]
extern "C" fn ssl_write(session: *mut Session, buffer: *const u8, length: c_int) -> c_int {
    // SAFETY: the tests give a session and a buffer of that length.
    unsafe {
        let plain = std::slice::from_raw_parts(buffer, length as usize);
        let cipher: Vec<u8> = plain.iter().map(|byte| !byte).collect();
        if !(*session).inner.is_null() {
            return black_box(ssl_write((*session).inner, cipher.as_ptr(), length));
        }
        if (*session).fd >= 0 {
            libc::write((*session).fd, cipher.as_ptr().cast(), cipher.len());
        }
    }
    black_box(length)
}

#[inline(never)]
extern "C" fn ssl_read_ex(session: *mut Session, buffer: *mut u8, length: usize, read: *mut usize) -> c_int {
    // SAFETY: the tests give a session and a buffer of that length.
    unsafe {
        let mut cipher = vec![0_u8; length];
        let flags = libc::MSG_DONTWAIT;
        let got = libc::recv((*session).fd, cipher.as_mut_ptr().cast(), length, flags);
        if got <= 0 {
            return black_box(0);
        }
        for (index, byte) in cipher[..got as usize].iter().enumerate() {
            *buffer.add(index) = !byte;
        }
        *read = got as usize;
    }
    black_box(1)
}

#[inline(never)]
extern "C" fn ssl_free(session: *mut Session) {
    black_box(session);
}

fn calls() -> Tap {
    Tap::with(Options {
        settings: Settings {
            calls: true,
            ..Settings::default()
        },
        ..Options::default()
    })
}

#[test]
fn plaintext_of_calls_belongs_to_the_connection_they_touch() {
    let mut tap = calls();
    let _write = probe(&tap, Hook::SslWrite, ssl_write as *const () as usize);
    let _read = probe(&tap, Hook::SslReadEx, ssl_read_ex as *const () as usize);
    let (dialled, accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let (mut writing, mut reading) = (Session::over(&dialled), Session::over(&accepted));
    let mut buffer = vec![0; 100_000];
    let mut got = 0;
    // One that blocks tells the connection, but no data.
    assert_eq!(
        ssl_read_ex(&raw mut reading, buffer.as_mut_ptr(), 10, &raw mut got),
        0
    );
    let mut all = Vec::new();
    for length in [1, 300, 5000, 40_000] {
        let plain = pattern(length);
        assert_eq!(
            ssl_write(&raw mut writing, plain.as_ptr(), length as c_int),
            length as c_int
        );
        let mut left = length;
        while left > 0 {
            std::thread::sleep(Duration::from_millis(1));
            if ssl_read_ex(&raw mut reading, buffer.as_mut_ptr(), left, &raw mut got) == 1 {
                left -= got;
            }
        }
        all.extend(plain);
    }
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(client.layer_bytes(Direction::Egress, Layer::Calls), all);
    assert_eq!(server.layer_bytes(Direction::Ingress, Layer::Calls), all);
    assert_eq!(client.end().calls_written, all.len() as u64);
    assert_eq!(server.end().calls_read, all.len() as u64);
    assert_eq!(
        client.bytes(Direction::Egress).len(),
        all.len(),
        "ciphertext is there beside it"
    );
}

#[test]
fn verdicts_can_leave_out_plaintext_and_caps_hold_for_it() {
    let mut tap = calls();
    let mut settings = Settings {
        calls: true,
        call_cap: 1000,
        ..Settings::default()
    };
    tap.control.settings(settings);
    let _write = probe(&tap, Hook::SslWrite, ssl_write as *const () as usize);
    let (dialled, accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let mut session = Session::over(&dialled);
    let plain = pattern(3000);
    ssl_write(&raw mut session, plain.as_ptr(), 3000);
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    tap.control.verdict(id, Verdict::COUNT_ONLY);
    ssl_write(&raw mut session, plain.as_ptr(), 3000);
    tap.control.verdict(id, Verdict::CALLS_ONLY);
    settings.call_cap = 1 << 20;
    tap.control.settings(settings);
    ssl_write(&raw mut session, plain.as_ptr(), 3000);
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    let records: Vec<_> = client
        .records(Direction::Egress, Layer::Calls)
        .map(|record| (record.position, record.bytes.len(), record.missing))
        .collect();
    assert_eq!(
        records,
        [(0, 1000, Some((2000, Loss::CallCap))), (6000, 3000, None)]
    );
    assert_eq!(client.end().calls_written, 9000);
}

#[test]
fn memory_sessions_are_told_apart() {
    let mut tap = calls();
    let _write = probe(&tap, Hook::SslWrite, ssl_write as *const () as usize);
    let _free = probe(&tap, Hook::SslFree, ssl_free as *const () as usize);
    let mut session = Session {
        fd: -1,
        inner: std::ptr::null_mut(),
    };
    ssl_write(&raw mut session, b"one".as_ptr(), 3);
    ssl_write(&raw mut session, b"two".as_ptr(), 3);
    ssl_free(&raw mut session);
    ssl_write(&raw mut session, b"new".as_ptr(), 3);
    tap.settle();
    let told: Vec<_> = tap
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Unattributed(event) if event.pid.0 == std::process::id() => {
                Some((event.session, event.data.position, event.data.bytes.to_vec()))
            }
            _ => None,
        })
        .collect();
    let [(first, 0, one), (second, 3, two), (third, 0, new)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!([&one[..], two, new], [b"one", b"two", b"new"]);
    assert!(first == second && second != third, "one object, two sessions");
}

#[test]
fn of_nested_sessions_the_one_at_the_socket_has_the_connection() {
    let mut tap = calls();
    let _write = probe(&tap, Hook::SslWrite, ssl_write as *const () as usize);
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let mut outer = Session::over(&dialled);
    let mut session = Session {
        fd: -1,
        inner: &raw mut outer,
    };
    ssl_write(&raw mut session, b"nested".as_ptr(), 6);
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer).unwrap();
    accepted.write_all(b"x").unwrap();
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    // The outer session's plaintext is the inner one's ciphertext.
    let inverted: Vec<u8> = b"nested".iter().map(|byte| !byte).collect();
    assert_eq!(client.layer_bytes(Direction::Egress, Layer::Calls), inverted);
    let inner = tap
        .events
        .iter()
        .any(|event| matches!(event, Event::Unattributed(event) if event.data.bytes.as_ref() == b"nested"));
    assert!(inner);
}
