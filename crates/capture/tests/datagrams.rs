//! Datagrams of DNS, whatever call moves them and whatever the ports.

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
use qtap_capture::{Datagram, Direction, Event, Options, Settings};

const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x03api\x04test\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0\x01";
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x04test\0\0\x01\0\x01";

/// Receives one datagram into the buffer.
type Receive = fn(&UdpSocket, &mut [u8]) -> isize;

const RECEIVES: [(&str, Receive); 5] = [
    ("read", |socket, buffer| {
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::read(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }
    }),
    ("recvfrom", |socket, buffer| {
        socket.recv(buffer).unwrap().cast_signed()
    }),
    ("recvfrom with an address", |socket, buffer| {
        socket.recv_from(buffer).unwrap().0.cast_signed()
    }),
    ("recvmsg", |socket, buffer| {
        let (mut vector, mut message) = message(buffer);
        message.msg_iov = &raw mut vector;
        // SAFETY: the message and its vector outlive the call.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) }
    }),
    ("recvmmsg", |socket, buffer| {
        let (mut vector, mut inner) = message(buffer);
        inner.msg_iov = &raw mut vector;
        let mut messages = [libc::mmsghdr {
            msg_hdr: inner,
            msg_len: 0,
        }; 1];
        // SAFETY: the message and its vector outlive the call.
        let count = unsafe {
            let none = std::ptr::null_mut();
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 1, 0, none)
        };
        assert_eq!(count, 1);
        messages[0].msg_len as isize
    }),
];

/// Sends one datagram to a peer that the socket does not know.
type Send = fn(&UdpSocket, &[u8], SocketAddr) -> isize;

const SENDS: [(&str, Send); 3] = [
    ("sendto", |socket, bytes, peer| {
        socket.send_to(bytes, peer).unwrap().cast_signed()
    }),
    ("sendmsg", |socket, bytes, peer| {
        let mut buffer = bytes.to_vec();
        let (mut vector, mut message) = message(&mut buffer);
        let (mut name, length) = socket_name(peer);
        message.msg_iov = &raw mut vector;
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = length;
        // SAFETY: the message, its vector and its name outlive the call.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) }
    }),
    ("sendmmsg", |socket, bytes, peer| {
        let mut buffer = bytes.to_vec();
        let (mut vector, mut inner) = message(&mut buffer);
        let (mut name, length) = socket_name(peer);
        inner.msg_iov = &raw mut vector;
        inner.msg_name = (&raw mut name).cast();
        inner.msg_namelen = length;
        let mut messages = [libc::mmsghdr {
            msg_hdr: inner,
            msg_len: 0,
        }; 1];
        // SAFETY: the message, its vector and its name outlive the call.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 1, 0) };
        assert_eq!(count, 1);
        messages[0].msg_len as isize
    }),
];

fn socket_name(peer: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: integers, which may be zero.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match peer {
        SocketAddr::V4(peer) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: peer.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(peer.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage has room for every kind of address, and is aligned for it.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in>().write(v4) };
            size_of_val(&v4)
        }
        SocketAddr::V6(peer) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: peer.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: peer.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in6>().write(v6) };
            size_of_val(&v6)
        }
    };
    (name, length as libc::socklen_t)
}

fn message(buffer: &mut [u8]) -> (libc::iovec, libc::msghdr) {
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: integers and pointers, which may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iovlen = 1;
    (vector, message)
}

fn pair() -> (UdpSocket, UdpSocket) {
    let (resolver, program) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    resolver.connect(program.local_addr().unwrap()).unwrap();
    (resolver, program)
}

fn told(tap: &Tap, program: &UdpSocket) -> Vec<Datagram> {
    let port = program.local_addr().unwrap().port();
    let datagrams = tap.events.iter().filter_map(|event| match event {
        Event::Datagram(datagram) if datagram.local.port() == port => Some((**datagram).clone()),
        _ => None,
    });
    datagrams.collect()
}

fn answers_are_told(tap: &mut Tap) {
    for (name, receive) in RECEIVES {
        let (resolver, program) = pair();
        if name != "recvfrom with an address" {
            program.connect(resolver.local_addr().unwrap()).unwrap();
        }
        resolver.send(ANSWER).unwrap();
        let mut buffer = [0; 512];
        assert_eq!(receive(&program, &mut buffer), ANSWER.len() as isize);
        tap.until(name, |tap| !told(tap, &program).is_empty());
        let datagrams = told(tap, &program);
        assert_eq!(datagrams.len(), 1, "{name}");
        let datagram = &datagrams[0];
        assert_eq!(datagram.bytes, ANSWER, "{name}");
        assert_eq!(datagram.direction, Direction::Ingress);
        assert_eq!(datagram.length as usize, ANSWER.len());
        assert_eq!(datagram.pid.0, std::process::id());
        let connected = name != "recvfrom with an address";
        assert_eq!(datagram.remote, connected.then(|| resolver.local_addr().unwrap()));
        let netns = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(
            netns.to_str().unwrap(),
            format!("net:[{}]", datagram.netns),
            "{name}"
        );
    }
}

#[test]
fn answers_that_are_received_are_told() {
    answers_are_told(&mut Tap::start());
}

#[test]
fn answers_are_told_by_system_calls_too() {
    answers_are_told(&mut Tap::with(Options {
        oldest_build: true,
        ..Options::default()
    }));
}

fn peers_are_told(options: Options) {
    let mut tap = Tap::with(Options {
        settings: Settings {
            dns_queries: true,
            ..Settings::default()
        },
        ..options
    });
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for (name, send) in SENDS {
            let resolver = UdpSocket::bind(address).unwrap();
            let program = UdpSocket::bind(address).unwrap();
            let peer = resolver.local_addr().unwrap();
            assert_eq!(send(&program, QUERY, peer), QUERY.len() as isize, "{name}");
            tap.until(name, |tap| !told(tap, &program).is_empty());
            assert_eq!(told(&tap, &program)[0].remote, Some(peer), "{name} {address}");
            // Another peer than the one it is connected to.
            let other = UdpSocket::bind(address).unwrap();
            program.connect(other.local_addr().unwrap()).unwrap();
            send(&program, QUERY, peer);
            tap.until(name, |tap| told(tap, &program).len() >= 2);
            assert_eq!(told(&tap, &program)[1].remote, Some(peer), "{name} {address}");
        }
    }
}

#[test]
fn the_peer_is_told_that_a_call_names() {
    peers_are_told(Options::default());
}

#[test]
fn the_peer_is_told_by_system_calls_too() {
    peers_are_told(Options {
        oldest_build: true,
        ..Options::default()
    });
}

#[test]
fn queries_are_told_when_they_are_asked_for_and_nothing_else_ever() {
    let mut tap = Tap::start();
    let (resolver, program) = pair();
    program.connect(resolver.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2048];
    program.send(QUERY).unwrap();
    resolver.recv(&mut buffer).unwrap();
    tap.control.settings(Settings {
        dns_queries: true,
        ..Settings::default()
    });
    program.send(QUERY).unwrap();
    resolver.recv(&mut buffer).unwrap();
    // Not a standard query; two questions; cut off in the header; nothing of the kind.
    let odd = [
        &b"\x12\x34\x29\0\0\x01\0\0\0\0\0\0"[..],
        &[0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0],
        &QUERY[..11],
        &[0xff; 1200],
    ];
    for datagram in odd {
        program.send(datagram).unwrap();
        resolver.recv(&mut buffer).unwrap();
    }
    let long = [ANSWER, &[7; 1700]].concat();
    resolver.send(&long).unwrap();
    program.recv(&mut buffer).unwrap();
    tap.until("the last one", |tap| told(tap, &program).len() >= 2);
    tap.during(Duration::from_millis(50));
    let datagrams = told(&tap, &program);
    assert_eq!(datagrams.len(), 2);
    assert_eq!(
        (datagrams[0].direction, &datagrams[0].bytes[..]),
        (Direction::Egress, QUERY)
    );
    assert_eq!(
        (datagrams[1].length as usize, &datagrams[1].bytes[..]),
        (long.len(), &long[..1500])
    );
}
