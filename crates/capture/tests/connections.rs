//! Connections are told once, with the right ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use common::{Tap, pair, pattern};
use qtap_capture::{Direction, DirectionFilter, Event, Pid, ProcessVerdict, Role, Settings};

fn exchange_and_close(dialled: TcpStream, accepted: TcpStream) {
    let (mut dialled, mut accepted) = (dialled, accepted);
    dialled.write_all(b"question").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(accepted.read(&mut buffer).unwrap(), 8);
    accepted.write_all(b"the answer").unwrap();
    drop(accepted);
    let mut rest = Vec::new();
    dialled.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"the answer");
}

fn check_exchange(listen: &str, ipv6_socket: bool) {
    let mut tap = Tap::start();
    let (dialled, accepted) = pair(listen);
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let (fd_dialled, fd_accepted) = (dialled.as_raw_fd(), accepted.as_raw_fd());
    exchange_and_close(dialled, accepted);
    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(
        (client.opened.role, server.opened.role),
        (Role::Client, Role::Server)
    );
    assert_eq!((client.opened.fd, server.opened.fd), (fd_dialled, fd_accepted));
    assert_eq!(client.opened.pid, Pid(std::process::id()));
    assert_eq!(server.opened.pid, Pid(std::process::id()));
    assert_eq!(
        (client.opened.ipv6_socket, server.opened.ipv6_socket),
        (ipv6_socket, ipv6_socket)
    );
    assert!(!client.opened.midstream && !server.opened.midstream);
    assert_eq!(client.bytes(Direction::Egress), b"question");
    assert_eq!(client.bytes(Direction::Ingress), b"the answer");
    assert_eq!(server.bytes(Direction::Ingress), b"question");
    assert_eq!(server.bytes(Direction::Egress), b"the answer");
    for (flow, sent, received) in [(&client, 8, 10), (&server, 10, 8)] {
        let end = flow.end();
        assert_eq!((end.written, end.read), (sent, received));
        assert_eq!((end.kernel_sent, end.kernel_received), (sent, received));
        assert!(!end.reset);
        tap.closed_order_holds(flow.opened.id);
    }
}

#[test]
fn ipv4_connections_open_and_close_once() {
    check_exchange("127.0.0.1:0", false);
}

#[test]
fn ipv6_connections_open_and_close_once() {
    check_exchange("[::1]:0", true);
}

#[test]
fn v4_mapped_peers_come_as_ipv4() {
    let mut tap = Tap::start();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialled = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    assert!(matches!(peer, SocketAddr::V6(_)));
    let ours = dialled.local_addr().unwrap();
    let theirs = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    exchange_and_close(dialled, accepted);
    let (client, server) = tap.ended(ours, theirs);
    assert!(!client.opened.ipv6_socket && server.opened.ipv6_socket);
}

#[test]
fn a_duplicate_does_not_end_a_connection_when_closed() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let copy = dialled.try_clone().unwrap();
    dialled.write_all(b"one").unwrap();
    drop(dialled);
    let mut dialled = copy;
    dialled.write_all(b"two").unwrap();
    drop(dialled);
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    drop(accepted);
    let (client, _) = tap.ended(ours, theirs);
    assert_eq!(client.bytes(Direction::Egress), b"onetwo");
    assert_eq!(client.end().kernel_sent, 6);
}

#[test]
fn a_child_that_inherits_a_socket_goes_on_with_the_same_connection() {
    let mut tap = Tap::start();
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let fd = dialled.as_raw_fd();
    // SAFETY: the child calls only write and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: an open descriptor and a valid buffer.
        unsafe {
            libc::write(fd, b"from the child".as_ptr().cast(), 14);
            libc::_exit(0);
        }
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    drop(dialled);
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    drop(accepted);
    let (client, _) = tap.ended(ours, theirs);
    assert_eq!(client.bytes(Direction::Egress), b"from the child");
    assert_eq!(client.data[0].pid, Pid(u32::try_from(child).unwrap()));
    assert_eq!(client.opened.pid, Pid(std::process::id()));
}

#[test]
fn connections_that_fail_or_are_never_accepted_are_not_told() {
    let mut tap = Tap::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ignored = TcpStream::connect(address).unwrap();
    let from = ignored.local_addr().unwrap();
    drop(ignored);
    drop(listener);
    assert!(TcpStream::connect(address).is_err());
    tap.until("the end of the dialling side", |tap| {
        tap.flow(from, address)
            .is_some_and(|flow| !flow.closed.is_empty())
    });
    tap.settle();
    let opened: Vec<_> = tap
        .flows()
        .into_iter()
        .filter(|flow| flow.opened.remote == address || flow.opened.local == address)
        .collect();
    assert_eq!(opened.len(), 1, "{opened:?}");
}

#[test]
fn two_threads_accepting_on_one_listener_both_tell() {
    let mut tap = Tap::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections: Vec<_> = std::thread::scope(|scope| {
        let acceptors: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| listener.accept().unwrap()))
            .collect();
        let dialled: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        let accepted: Vec<_> = acceptors
            .into_iter()
            .map(|thread| thread.join().unwrap().0)
            .collect();
        dialled
            .iter()
            .map(|stream| stream.local_addr().unwrap())
            .zip(accepted.iter().map(|stream| stream.peer_addr().unwrap()))
            .collect()
    });
    for (from, _) in connections {
        let (client, server) = tap.ended(from, address);
        client.end();
        server.end();
    }
}

#[test]
fn half_close_and_unread_bytes_are_counted_exactly() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let request = pattern(5000);
    dialled.write_all(&request).unwrap();
    dialled.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    accepted.write_all(&pattern(7000)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    // Only a part of the answer is read, then the socket is closed: a reset.
    let mut part = [0; 1000];
    dialled.read_exact(&mut part).unwrap();
    drop(dialled);
    std::thread::sleep(Duration::from_millis(50));
    drop(accepted);
    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(client.bytes(Direction::Egress), request);
    let end = client.end();
    assert_eq!((end.written, end.kernel_sent), (5000, 5000));
    assert_eq!((end.read, end.kernel_received), (1000, 7000));
    let end = server.end();
    assert_eq!((end.written, end.kernel_sent), (7000, 7000));
    assert_eq!((end.read, end.kernel_received), (5000, 5000));
    assert!(end.reset, "closing with unread bytes resets");
}

#[test]
fn a_linger_of_zero_is_a_reset_on_both_sides() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"bye").unwrap();
    let mut buffer = [0; 3];
    accepted.read_exact(&mut buffer).unwrap();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: a valid option of the size given.
    unsafe {
        libc::setsockopt(
            dialled.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        );
    }
    drop(dialled);
    assert!(accepted.read(&mut buffer).is_err());
    drop(accepted);
    let (client, server) = tap.ended(ours, theirs);
    assert!(client.end().reset && server.end().reset);
    assert_eq!((client.end().kernel_sent, server.end().kernel_received), (3, 3));
}

#[test]
fn a_socket_that_dials_twice_is_two_connections() {
    let mut tap = Tap::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut dialled = TcpStream::connect(address).unwrap();
    let first = dialled.local_addr().unwrap();
    let (accepted, _) = listener.accept().unwrap();
    dialled.write_all(b"first").unwrap();
    drop(accepted);
    let disconnect = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as u16,
        sa_data: [0; 14],
    };
    let target = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: valid addresses of the sizes given.
    unsafe {
        assert_eq!(libc::connect(dialled.as_raw_fd(), &raw const disconnect, 16), 0);
        assert_eq!(
            libc::connect(dialled.as_raw_fd(), (&raw const target).cast(), 16),
            0
        );
    }
    let second = dialled.local_addr().unwrap();
    let (accepted, _) = listener.accept().unwrap();
    dialled.write_all(b"the second").unwrap();
    drop((dialled, accepted));
    let ended = |tap: &Tap, from| {
        tap.flow(from, address)
            .is_some_and(|flow| !flow.closed.is_empty())
    };
    tap.until("both connections", |tap| ended(tap, first) && ended(tap, second));
    let (first, second) = (
        tap.flow(first, address).unwrap(),
        tap.flow(second, address).unwrap(),
    );
    assert_eq!(first.bytes(Direction::Egress), b"first");
    assert_eq!(second.bytes(Direction::Egress), b"the second");
    assert_eq!((first.end().kernel_sent, second.end().kernel_sent), (5, 10));
}

/// Which ends of a loopback connection are told under these settings: dialling, accepting.
fn told(tap: &mut Tap, settings: Settings, listen: &str) -> (bool, bool) {
    tap.control.settings(settings);
    let (dialled, accepted) = pair(listen);
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    exchange_and_close(dialled, accepted);
    // One more that is told under all settings marks the end of what could have come.
    tap.control.settings(Settings::default());
    let (dialled, accepted) = pair(listen);
    let (after, after_peer) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    drop((dialled, accepted));
    tap.ended(after, after_peer);
    (tap.flow(ours, theirs).is_some(), tap.flow(theirs, ours).is_some())
}

#[test]
fn direction_settings_choose_ends() {
    let mut tap = Tap::start();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        for (direction, ends) in [
            (DirectionFilter::All, (true, true)),
            (DirectionFilter::Ingress, (false, true)),
            (DirectionFilter::Egress, (true, false)),
            (DirectionFilter::EgressInternal, (true, false)),
            (DirectionFilter::EgressExternal, (false, false)),
        ] {
            let settings = Settings {
                direction,
                ..Settings::default()
            };
            assert_eq!(told(&mut tap, settings, listen), ends, "{direction:?} {listen}");
        }
    }
}

#[test]
fn ignored_loopback_tells_nothing() {
    let mut tap = Tap::start();
    let settings = Settings {
        ignore_loopback: true,
        ..Settings::default()
    };
    for listen in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0"] {
        assert_eq!(told(&mut tap, settings, listen), (false, false), "{listen}");
    }
}

#[test]
fn ignored_processes_and_their_children_tell_nothing() {
    let mut tap = Tap::start();
    // Another process, so that the tests beside this one are not ignored.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("echo ready; read go; exec 3<>/dev/tcp/127.0.0.1/{port}; (echo hello >&3)");
    let mut shell = std::process::Command::new("bash")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // A verdict holds for the image that ran then, so its exec has to be over.
    let mut ready = [0; 6];
    shell.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    tap.control
        .process(Pid(shell.id()), ProcessVerdict::Ignore, qtap_capture::now())
        .unwrap();
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let (mut accepted, from) = listener.accept().unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello\n");
    shell.wait().unwrap();
    let address = accepted.local_addr().unwrap();
    drop(accepted);
    tap.until("the accepting side", |tap| {
        tap.flow(address, from)
            .is_some_and(|flow| !flow.closed.is_empty())
    });
    assert!(tap.flow(from, address).is_none());
    assert!(
        tap.control
            .counters()
            .unwrap()
            .get("connections_filtered_process")
            .unwrap()
            >= 1
    );
}

#[test]
fn a_verdict_that_comes_late_does_not_hold_for_the_next_image() {
    let mut tap = Tap::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let next = format!("read go; exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3");
    let mut shell = std::process::Command::new("bash")
        .args(["-c", "echo ready; read go; exec bash -c \"$0\" next", &next])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid(shell.id());
    let image = || std::fs::read_to_string(format!("/proc/{}/cmdline", pid.0)).unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    let mut ready = [0; 6];
    shell.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let as_of = qtap_capture::now();
    tap.control.process(pid, ProcessVerdict::Ignore, as_of).unwrap();
    stdin.write_all(b"go\n").unwrap();
    tap.until("the exec", |_| image().ends_with("next\0"));
    tap.control.process(pid, ProcessVerdict::Ignore, as_of).unwrap();
    stdin.write_all(b"go\n").unwrap();
    let (mut accepted, from) = listener.accept().unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello\n");
    shell.wait().unwrap();
    let address = accepted.local_addr().unwrap();
    tap.until("the dialling side", |tap| {
        tap.flow(from, address)
            .is_some_and(|flow| !flow.closed.is_empty())
    });
}

#[test]
fn connections_older_than_the_agent_are_found_with_their_role() {
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (mut bound, mut its_peer) = bound_client();
    dialled.write_all(b"before").unwrap();
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer).unwrap();
    // Sent before, read after.
    accepted.write_all(b"waiting").unwrap();

    let mut tap = Tap::start();
    tap.capture.scan_existing().unwrap();
    let mut buffer = [0; 7];
    dialled.read_exact(&mut buffer).unwrap();
    dialled.write_all(b"after").unwrap();
    accepted.read_exact(&mut buffer[..5]).unwrap();
    bound.write_all(b"x").unwrap();
    its_peer.read_exact(&mut buffer[..1]).unwrap();
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let (bound_address, peer_address) = (bound.local_addr().unwrap(), its_peer.local_addr().unwrap());
    drop((dialled, accepted, bound, its_peer));

    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(
        (client.opened.role, server.opened.role),
        (Role::Client, Role::Server)
    );
    assert!(client.opened.midstream && server.opened.midstream);
    assert_eq!(client.bytes(Direction::Egress), b"after");
    assert_eq!(client.bytes(Direction::Ingress), b"waiting");
    assert_eq!((client.end().kernel_sent, client.end().kernel_received), (5, 7));
    assert_eq!((server.end().kernel_sent, server.end().kernel_received), (0, 5));
    let (client, server) = tap.ended(bound_address, peer_address);
    assert_eq!(
        (client.opened.role, server.opened.role),
        (Role::Client, Role::Server)
    );
}

#[test]
fn connections_older_than_the_agent_are_adopted_when_used() {
    let (mut dialled, mut accepted) = pair("[::1]:0");
    dialled.write_all(b"before").unwrap();
    let mut tap = Tap::start();
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer).unwrap();
    accepted.write_all(b"answer").unwrap();
    dialled.read_exact(&mut buffer).unwrap();
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(
        (client.opened.role, server.opened.role),
        (Role::Client, Role::Server)
    );
    assert!(client.opened.midstream, "bytes were sent before");
    assert_eq!(server.bytes(Direction::Ingress), b"before");
    assert_eq!((server.end().kernel_sent, server.end().kernel_received), (6, 6));
    assert_eq!((client.end().kernel_sent, client.end().kernel_received), (0, 6));
}

/// A client whose port was chosen by bind, which looks like a server's from outside.
fn bound_client() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let SocketAddr::V6(address) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    let target = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr {
            s6_addr: Ipv6Addr::LOCALHOST.octets(),
        },
        sin6_scope_id: 0,
    };
    let any_port = libc::sockaddr_in6 {
        sin6_port: 0,
        ..target
    };
    let size = size_of::<libc::sockaddr_in6>() as u32;
    // SAFETY: valid addresses of the size given; the descriptor is ours.
    let dialled = unsafe {
        let fd = libc::socket(libc::AF_INET6, libc::SOCK_STREAM, 0);
        assert_eq!(libc::bind(fd, (&raw const any_port).cast(), size), 0);
        assert_eq!(libc::connect(fd, (&raw const target).cast(), size), 0);
        TcpStream::from_raw_fd(fd)
    };
    let (accepted, _) = listener.accept().unwrap();
    (dialled, accepted)
}

#[test]
fn other_kinds_of_sockets_tell_nothing() {
    let mut tap = Tap::start();
    let (mut one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    one.write_all(b"unix").unwrap();
    let mut buffer = [0; 4];
    other.read_exact(&mut buffer).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"udp", udp.local_addr().unwrap()).unwrap();
    udp.recv_from(&mut buffer).unwrap();
    tap.settle();
    let strange = tap.events.iter().any(|event| {
        matches!(event, Event::Data(data) if data.bytes.as_ref() == b"unix" || data.bytes.as_ref() == b"udp")
    });
    assert!(!strange);
}
