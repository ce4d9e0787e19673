//! Every way to move bytes is captured byte for byte, with its position.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use common::{Tap, pair, pattern};
use libc::{c_int, c_void, iovec, mmsghdr, msghdr};
use qtap_capture::{Data, Direction, Layer, Loss, Options, Settings};

/// Moves all of the buffers by one call (which must not be cut short), and says how many bytes that were.
type Move = fn(c_int, &mut [Vec<u8>]) -> isize;

fn vectors(buffers: &mut [Vec<u8>]) -> Vec<iovec> {
    buffers
        .iter_mut()
        .map(|buffer| iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        })
        .collect()
}

fn message(vectors: &mut [iovec]) -> msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    message
}

/// One message per two buffers.
fn messages(vectors: &mut [iovec]) -> Vec<mmsghdr> {
    vectors
        .chunks_mut(2)
        .map(|pair| mmsghdr {
            msg_hdr: message(pair),
            msg_len: 0,
        })
        .collect()
}

fn sum(messages: &[mmsghdr], moved: c_int) -> isize {
    let moved = usize::try_from(moved).expect("a system call succeeds");
    messages[..moved]
        .iter()
        .map(|message| message.msg_len as isize)
        .sum()
}

fn first(buffers: &mut [Vec<u8>]) -> (*mut c_void, usize) {
    (buffers[0].as_mut_ptr().cast(), buffers[0].len())
}

const SENDS: [(&str, Move); 8] = [
    // SAFETY: buffers and headers are valid for the call.
    ("write", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::write(fd, at, length)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("send", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::send(fd, at, length, libc::MSG_NOSIGNAL)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("sendto", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::sendto(fd, at, length, 0, std::ptr::null(), 0)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("writev", |fd, buffers| unsafe {
        let vectors = vectors(buffers);
        libc::writev(fd, vectors.as_ptr(), vectors.len() as c_int)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("pwritev2", |fd, buffers| unsafe {
        let vectors = vectors(buffers);
        libc::pwritev2(fd, vectors.as_ptr(), vectors.len() as c_int, -1, 0)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("sendmsg", |fd, buffers| unsafe {
        let mut vectors = vectors(buffers);
        let message = message(&mut vectors);
        libc::sendmsg(fd, &raw const message, 0)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("sendmmsg", |fd, buffers| unsafe {
        let mut vectors = vectors(buffers);
        let mut messages = messages(&mut vectors);
        let moved = libc::sendmmsg(fd, messages.as_mut_ptr(), messages.len() as u32, 0);
        sum(&messages, moved)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("sendmsg with MSG_MORE", |fd, buffers| unsafe {
        let mut vectors = vectors(buffers);
        let message = message(&mut vectors);
        libc::sendmsg(fd, &raw const message, libc::MSG_MORE) + libc::send(fd, [].as_ptr(), 0, 0)
    }),
];

const RECEIVES: [(&str, Move); 7] = [
    // SAFETY: buffers and headers are valid for the call.
    ("read", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::read(fd, at, length)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("recv with MSG_WAITALL", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::recv(fd, at, length, libc::MSG_WAITALL)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("recvfrom", |fd, buffers| unsafe {
        let (at, length) = first(buffers);
        libc::recvfrom(fd, at, length, 0, std::ptr::null_mut(), std::ptr::null_mut())
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("readv", |fd, buffers| unsafe {
        let vectors = vectors(buffers);
        libc::readv(fd, vectors.as_ptr(), vectors.len() as c_int)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("preadv2", |fd, buffers| unsafe {
        let vectors = vectors(buffers);
        libc::preadv2(fd, vectors.as_ptr(), vectors.len() as c_int, -1, 0)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("recvmsg", |fd, buffers| unsafe {
        let mut vectors = vectors(buffers);
        let mut message = message(&mut vectors);
        libc::recvmsg(fd, &raw mut message, 0)
    }),
    // SAFETY: buffers and headers are valid for the call.
    ("recvmmsg", |fd, buffers| unsafe {
        let mut vectors = vectors(buffers);
        let mut messages = messages(&mut vectors);
        let moved = libc::recvmmsg(
            fd,
            messages.as_mut_ptr(),
            messages.len() as u32,
            libc::MSG_WAITFORONE,
            std::ptr::null_mut(),
        );
        sum(&messages, moved)
    }),
];

fn wide(stream: &TcpStream) {
    let size: c_int = 8 << 20;
    for option in [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE] {
        // SAFETY: a valid option of the size given.
        let result = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const size).cast(),
                4,
            )
        };
        assert_eq!(result, 0);
    }
}

fn drain(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    stream.read_exact(&mut all).unwrap();
    all
}

#[test]
fn every_sending_call_is_captured() {
    let mut tap = Tap::start();
    for (name, send) in SENDS {
        let (dialled, mut accepted) = pair("127.0.0.1:0");
        let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
        let mut expected = Vec::new();
        for sizes in [&[1][..], &[511, 1, 30_000], &[7, 0, 4096, 4097, 32_768, 32_769]] {
            let mut buffers: Vec<_> = sizes.iter().map(|size| pattern(*size)).collect();
            let moved = send(dialled.as_raw_fd(), &mut buffers);
            let all = buffers.concat();
            expected.extend_from_slice(&all[..usize::try_from(moved).expect(name)]);
        }
        assert_eq!(drain(&mut accepted, expected.len()), expected, "{name}");
        drop((dialled, accepted));
        let (client, _) = tap.ended(ours, theirs);
        assert_eq!(client.bytes(Direction::Egress), expected, "{name}");
        assert_eq!(client.end().written, client.end().kernel_sent, "{name}");
        assert_eq!(client.end().kernel_sent, expected.len() as u64, "{name}");
    }
}

#[test]
fn every_receiving_call_is_captured() {
    let mut tap = Tap::start();
    for (name, receive) in RECEIVES {
        let (mut dialled, accepted) = pair("[::1]:0");
        let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
        let sent = pattern(90_000);
        dialled.write_all(&sent).unwrap();
        let mut expected = Vec::new();
        for sizes in [&[1][..], &[511, 1, 30_000], &[5, 0, 4096, 4097, 32_768, 1]] {
            let mut buffers: Vec<_> = sizes.iter().map(|size| vec![0; *size]).collect();
            let moved = receive(accepted.as_raw_fd(), &mut buffers);
            expected.extend_from_slice(&buffers.concat()[..usize::try_from(moved).expect(name)]);
        }
        assert_eq!(expected, sent[..expected.len()], "{name}");
        drop((dialled, accepted));
        let (_, server) = tap.ended(ours, theirs);
        assert_eq!(server.bytes(Direction::Ingress), expected, "{name}");
        assert_eq!(server.end().read, expected.len() as u64, "{name}");
        assert_eq!(server.end().kernel_received, sent.len() as u64, "{name}");
    }
}

#[test]
fn any_number_of_vectors_and_messages_is_gathered() {
    let mut tap = Tap::start();
    for count in [1, 2, 63, 64, 65, 511, 1024] {
        for (name, send) in SENDS
            .iter()
            .filter(|(name, _)| ["writev", "sendmsg", "sendmmsg"].contains(name))
        {
            let (dialled, mut accepted) = pair("127.0.0.1:0");
            let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
            let mut buffers: Vec<_> = (0..count).map(|index| pattern(1 + index % 97)).collect();
            let length: usize = buffers.iter().map(Vec::len).sum();
            assert_eq!(send(dialled.as_raw_fd(), &mut buffers), length as isize);
            assert_eq!(drain(&mut accepted, length), buffers.concat());
            drop((dialled, accepted));
            let (client, _) = tap.ended(ours, theirs);
            assert_eq!(
                client.bytes(Direction::Egress),
                buffers.concat(),
                "{name} {count}"
            );
            let records = client.records(Direction::Egress, Layer::Socket).count();
            let transfers = if *name == "sendmmsg" && tap.capture.sees_transfers() {
                count.div_ceil(2)
            } else {
                3
            };
            assert!(
                records <= transfers,
                "{name} {count}: small pieces share records, not {records}"
            );
        }
    }
}

#[test]
fn a_mebibyte_in_one_call_is_captured_whole() {
    let mut tap = Tap::start();
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    wide(&dialled);
    wide(&accepted);
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let sent = pattern(1 << 20);
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(|| drain(&mut accepted, 1 << 20));
        // SAFETY: a valid buffer.
        let moved = unsafe { libc::write(dialled.as_raw_fd(), sent.as_ptr().cast(), sent.len()) };
        assert_eq!(moved, 1 << 20);
        reader.join().unwrap()
    });
    assert_eq!(received, sent);
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    assert!(client.bytes(Direction::Egress) == sent);
    assert!(server.bytes(Direction::Ingress) == sent);
    let starts: Vec<_> = client
        .records(Direction::Egress, Layer::Socket)
        .map(|data| data.call_start)
        .collect();
    assert_eq!(starts.iter().filter(|start| **start).count(), 1);
    assert!(starts[0]);
}

fn missing(records: &[&Data]) -> Vec<(u32, Loss)> {
    records.iter().filter_map(|record| record.missing).collect()
}

#[test]
fn bytes_beyond_the_cap_of_a_call_are_told_missing() {
    let mut tap = Tap::with(Options {
        settings: Settings {
            call_cap: 50_000,
            ..Settings::default()
        },
        ..Options::default()
    });
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    wide(&dialled);
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let sent = pattern(120_000);
    for _ in 0..2 {
        // SAFETY: a valid buffer.
        let moved = unsafe { libc::write(dialled.as_raw_fd(), sent.as_ptr().cast(), sent.len()) };
        assert_eq!(moved, 120_000);
        drain(&mut accepted, 120_000);
    }
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    let records: Vec<_> = client.records(Direction::Egress, Layer::Socket).collect();
    assert_eq!(
        missing(&records),
        [(70_000, Loss::CallCap), (70_000, Loss::CallCap)]
    );
    let positions: Vec<_> = records
        .iter()
        .filter(|record| record.call_start)
        .map(|record| record.position)
        .collect();
    assert_eq!(positions, [0, 120_000]);
    for record in records {
        let start = (record.position % 120_000) as usize;
        assert_eq!(record.bytes, sent[start..start + record.bytes.len()]);
    }
    assert_eq!(client.end().written, 240_000);
}

#[test]
fn peeked_bytes_are_captured_once() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"seen twice, read once").unwrap();
    let mut buffer = vec![0; 64];
    assert_eq!(accepted.peek(&mut buffer).unwrap(), 21);
    let mut vectors = vectors(std::slice::from_mut(&mut buffer));
    let mut message = message(&mut vectors);
    // SAFETY: a valid message.
    let peeked = unsafe { libc::recvmsg(accepted.as_raw_fd(), &raw mut message, libc::MSG_PEEK) };
    assert_eq!(peeked, 21);
    assert_eq!(accepted.read(&mut buffer).unwrap(), 21);
    drop((dialled, accepted));
    let (_, server) = tap.ended(ours, theirs);
    assert_eq!(server.bytes(Direction::Ingress), b"seen twice, read once");
}

#[test]
fn truncated_reads_discard_bytes_and_leave_a_gap() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"discarded kept").unwrap();
    let mut buffer = [0; 10];
    // SAFETY: a valid buffer, which TCP does not fill.
    let discarded = unsafe {
        libc::recv(
            accepted.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            10,
            libc::MSG_TRUNC,
        )
    };
    assert_eq!((discarded, buffer), (10, [0; 10]));
    assert_eq!(drain(&mut accepted, 4), b"kept");
    drop((dialled, accepted));
    let (_, server) = tap.ended(ours, theirs);
    let records: Vec<_> = server.records(Direction::Ingress, Layer::Socket).collect();
    assert_eq!(records[0].missing, Some((10, Loss::Unreadable)));
    assert_eq!(
        (records[1].position, records[1].bytes.as_ref()),
        (10, &b"kept"[..])
    );
}

#[test]
fn sendfile_and_splice_leave_gaps_of_known_length() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let path = std::env::temp_dir().join(format!("qtap-capture-{}", std::process::id()));
    std::fs::write(&path, pattern(70_000)).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut pipe = [0; 2];
    dialled.write_all(b"head").unwrap();
    // SAFETY: open descriptors.
    unsafe {
        assert_eq!(
            libc::sendfile(
                dialled.as_raw_fd(),
                file.as_raw_fd(),
                std::ptr::null_mut(),
                70_000
            ),
            70_000
        );
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        assert_eq!(libc::write(pipe[1], b"through a pipe".as_ptr().cast(), 14), 14);
        let (none, all) = (std::ptr::null_mut(), 64);
        assert_eq!(libc::splice(pipe[0], none, dialled.as_raw_fd(), none, all, 0), 14);
    }
    dialled.write_all(b"tail").unwrap();
    let received = drain(&mut accepted, 4 + 70_000 + 14);
    // SAFETY: open descriptors.
    unsafe {
        let none = std::ptr::null_mut();
        assert_eq!(libc::splice(accepted.as_raw_fd(), none, pipe[1], none, 4, 0), 4);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
    assert_eq!(received[4..70_004], pattern(70_000));
    drop((dialled, accepted));

    let (client, server) = tap.ended(ours, theirs);
    let records: Vec<_> = client.records(Direction::Egress, Layer::Socket).collect();
    let gaps = missing(&records);
    assert!(gaps.iter().all(|(_, loss)| *loss == Loss::Unreadable));
    // The kernel may send a file in several transfers.
    let (spliced, sent) = gaps.split_last().unwrap();
    assert_eq!(sent.iter().map(|(bytes, _)| bytes).sum::<u32>(), 70_000);
    assert_eq!(spliced.0, 14);
    let last = records.last().unwrap();
    assert_eq!((last.position, last.bytes.as_ref()), (70_018, &b"tail"[..]));
    assert_eq!(client.end().written, client.end().kernel_sent);
    let last = server.records(Direction::Ingress, Layer::Socket).last().unwrap();
    assert_eq!(
        (last.position, last.missing),
        (70_018, Some((4, Loss::Unreadable)))
    );
    assert_eq!(server.end().read, 70_022);
}

#[test]
fn unreadable_memory_is_told_as_a_fault() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    // The array that says where the bytes are is overwritten by the bytes, with addresses that are none.
    let mut vector = [iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: size_of::<iovec>(),
    }];
    vector[0].iov_base = (&raw mut vector).cast();
    dialled.write_all(&[0xff; size_of::<iovec>()]).unwrap();
    // SAFETY: the vector describes memory that is ours.
    let read = unsafe { libc::readv(accepted.as_raw_fd(), vector.as_ptr(), 1) };
    assert_eq!(read, 16);
    assert_eq!(std::hint::black_box(vector)[0].iov_len, usize::MAX);
    dialled.write_all(b"good").unwrap();
    drain(&mut accepted, 4);
    drop((dialled, accepted));
    let (_, server) = tap.ended(ours, theirs);
    let records: Vec<_> = server.records(Direction::Ingress, Layer::Socket).collect();
    assert_eq!(records[0].missing, Some((16, Loss::Fault)));
    assert_eq!(
        (records[1].position, records[1].bytes.as_ref()),
        (16, &b"good"[..])
    );
    assert!(
        tap.control
            .counters()
            .unwrap()
            .get("data_bytes_lost_fault")
            .unwrap()
            >= 16
    );
}
