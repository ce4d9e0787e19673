//! Datagrams of QUIC, whatever call moves them, and what their sockets move.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::Tap;
use qtap_capture::{Direction, DirectionFilter, Event, Options, QuicBytes, QuicDatagram, Settings};

/// What begins as an Initial packet of a client does; what follows is nobody's business here.
fn initial(version: u32) -> Vec<u8> {
    let mut datagram = vec![if version == 1 { 0xc3 } else { 0xd3 }];
    datagram.extend(version.to_be_bytes());
    datagram.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    datagram.resize(1200, 0x5a);
    datagram
}

/// Sends two datagrams to a peer, in one call where it can.
type Send = fn(&UdpSocket, SocketAddr, [&[u8]; 2]);

const SENDS: [(&str, Send); 4] = [
    ("send", |socket, peer, datagrams| {
        socket.connect(peer).unwrap();
        for datagram in datagrams {
            socket.send(datagram).unwrap();
        }
    }),
    ("sendto", |socket, peer, datagrams| {
        for datagram in datagrams {
            socket.send_to(datagram, peer).unwrap();
        }
    }),
    ("sendmsg", |socket, peer, datagrams| {
        for datagram in datagrams {
            let (mut name, mut vector) = (name_of(peer), vector_of(datagram));
            let message = message(&mut name, &mut vector);
            // SAFETY: the message and what it points to outlive the call.
            let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
            assert_eq!(sent, datagram.len().cast_signed());
        }
    }),
    ("sendmmsg", |socket, peer, datagrams| {
        let (mut name, mut vectors) = (name_of(peer), datagrams.map(vector_of));
        let [first, second] = &mut vectors;
        let mut messages = [first, second].map(|vector| libc::mmsghdr {
            msg_hdr: message(&mut name, vector),
            msg_len: 0,
        });
        // SAFETY: the messages and what they point to outlive the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
        assert_eq!(sent, 2);
    }),
];

fn name_of(peer: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(peer) = peer else { panic!() };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: peer.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*peer.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn vector_of(datagram: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: datagram.as_ptr().cast_mut().cast(),
        iov_len: datagram.len(),
    }
}

fn message(name: &mut libc::sockaddr_in, vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: integers and pointers, which may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message
}

fn pair() -> [UdpSocket; 2] {
    [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap())
}

fn told(tap: &Tap, program: &UdpSocket) -> Vec<QuicDatagram> {
    let port = program.local_addr().unwrap().port();
    let datagrams = tap.events.iter().filter_map(|event| match event {
        Event::Quic(quic) if quic.datagram.local.port() == port => Some((**quic).clone()),
        _ => None,
    });
    datagrams.collect()
}

fn first_packets_are_told_and_bytes_are_counted(tap: &mut Tap) {
    for (round, (name, send)) in SENDS.into_iter().enumerate() {
        let [program, server] = pair();
        let peer = server.local_addr().unwrap();
        let first = initial(if round % 2 == 0 { 1 } else { 0x6b33_43cf });
        // Of a connection that is established.
        let data = [0x41; 300];
        send(&program, peer, [&first, &first]);
        send(&program, peer, [&data, &data]);
        let mut buffer = [0; 2048];
        for _ in 0..4 {
            server.recv_from(&mut buffer).unwrap();
        }
        server.send_to(&first, program.local_addr().unwrap()).unwrap();
        program.recv(&mut buffer).unwrap();
        tap.until(name, |tap| {
            told(tap, &program).len() >= 3 && told(tap, &server).len() >= 3
        });
        tap.during(Duration::from_millis(50));

        let is_connected = name == "send";
        let [one, two, three]: [QuicDatagram; 3] = told(tap, &program).try_into().unwrap();
        for (at, quic) in [&one, &two].into_iter().enumerate() {
            assert_eq!(quic.datagram.bytes, first, "{name}");
            assert_eq!(quic.datagram.direction, Direction::Egress);
            assert_eq!(
                (quic.datagram.remote, quic.is_connected),
                (Some(peer), is_connected),
                "{name}"
            );
            assert_eq!(quic.bytes_before, [1200 * at as u64, 0], "{name}");
            let to_peer = if is_connected { 0 } else { 1200 * at as u64 };
            assert_eq!(quic.sent_before, to_peer, "{name}");
            assert_eq!(quic.datagram.pid.0, std::process::id());
        }
        assert_eq!(three.datagram.direction, Direction::Ingress, "{name}");
        assert_eq!(three.bytes_before, [3000, 0], "{name}");

        // The server hears from it before it knows whom, and sends to one it names.
        let server_side = told(tap, &server);
        assert_eq!(server_side.len(), 3, "{name}");
        assert_eq!(
            (server_side[0].datagram.remote, server_side[2].datagram.remote),
            (None, program.local_addr().ok())
        );
        assert_eq!(server_side[2].bytes_before, [0, 3000], "{name}");

        let socket = one.datagram.socket;
        let bytes = |peer| tap.control.quic_bytes(socket, peer).unwrap();
        let moved = QuicBytes {
            bytes: [3000, 1200],
            unsplit: false,
        };
        assert_eq!(bytes(None), Some(moved), "{name}");
        let to_peer = QuicBytes {
            bytes: [3000, 0],
            unsplit: false,
        };
        assert_eq!(bytes(Some(peer)), (!is_connected).then_some(to_peer), "{name}");
        assert_eq!(tap.control.quic_bytes(socket + 8, None).unwrap(), None);
    }
}

#[test]
fn first_packets_are_told() {
    first_packets_are_told_and_bytes_are_counted(&mut Tap::start());
}

#[test]
fn first_packets_are_told_by_system_calls_too() {
    first_packets_are_told_and_bytes_are_counted(&mut Tap::with(Options {
        oldest_build: true,
        ..Options::default()
    }));
}

#[test]
fn nothing_else_is_told_and_not_too_much_of_it() {
    let mut tap = Tap::start();
    let [program, server] = pair();
    program.connect(server.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 65_536];
    let good = initial(1);
    // Another version; another type; a connection ID that is too long; one that is too short for any.
    let change = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        changed
    };
    for odd in [
        change(4, 2),
        change(0, 0xe3),
        change(0, 0x43),
        change(5, 21),
        good[..29].to_vec(),
    ] {
        program.send(&odd).unwrap();
        server.recv(&mut buffer).unwrap();
    }
    tap.during(Duration::from_millis(50));
    assert!(told(&tap, &program).is_empty());
    // Several in one buffer.
    let long = [&good[..], &[7; 7000]].concat();
    for _ in 0..200 {
        program.send(&long).unwrap();
        server.recv(&mut buffer).unwrap();
    }
    tap.until("the first one", |tap| !told(tap, &program).is_empty());
    tap.during(Duration::from_millis(50));
    let datagrams = told(&tap, &program);
    // The period may have ended in between.
    assert!((16..=48).contains(&datagrams.len()), "{}", datagrams.len());
    assert_eq!(
        (
            datagrams[0].datagram.length as usize,
            &datagrams[0].datagram.bytes[..]
        ),
        (long.len(), &long[..4096])
    );
    let shed = tap
        .control
        .counters()
        .unwrap()
        .get("quic_datagrams_lost_rate")
        .unwrap();
    assert!(shed >= 200 - 48, "{shed}");
}

#[test]
fn what_the_settings_leave_out_is_counted() {
    let mut tap = Tap::start();
    let [program, server] = pair();
    let filtered = |tap: &Tap| {
        tap.control
            .counters()
            .unwrap()
            .get("quic_datagrams_filtered")
            .unwrap()
    };
    for (settings, expected) in [
        // The client alone, the server alone, neither.
        (DirectionFilter::Egress, [1, 0]),
        (DirectionFilter::Ingress, [1, 1]),
        (DirectionFilter::EgressExternal, [1, 1]),
    ] {
        let before = filtered(&tap);
        tap.control.settings(Settings {
            direction: settings,
            ..Settings::default()
        });
        server_hears(&program, &server);
        tap.until("what is left out to be counted", |tap| filtered(tap) > before);
        tap.during(Duration::from_millis(50));
        assert_eq!(
            [told(&tap, &program).len(), told(&tap, &server).len()],
            expected,
            "{settings:?}"
        );
    }
}

fn server_hears(program: &UdpSocket, server: &UdpSocket) {
    program
        .send_to(&initial(1), server.local_addr().unwrap())
        .unwrap();
    server.recv(&mut [0; 2048]).unwrap();
}
