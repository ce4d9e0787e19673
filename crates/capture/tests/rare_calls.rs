//! Calls that few programs make: messages sent in part, io_submit(2), and those of 32-bit programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use common::{Flow, Tap, pair, pattern};
use libc::{c_int, c_long, iovec, mmsghdr};
use qtap_capture::{Direction, Layer, Loss};

/// Sends each buffer as a message of one call; what was sent of each.
fn send_messages(stream: &TcpStream, buffers: &mut [Vec<u8>]) -> Vec<usize> {
    let mut vectors: Vec<iovec> = buffers
        .iter_mut()
        .map(|buffer| iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        })
        .collect();
    let mut messages: Vec<mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all zeroes is a valid mmsghdr.
            let mut message: mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let count = messages.len() as u32;
    // SAFETY: buffers and headers are valid for the call.
    let sent = unsafe { libc::sendmmsg(stream.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    let sent = usize::try_from(sent).expect("the call succeeds");
    messages[..sent]
        .iter()
        .map(|message| message.msg_len as usize)
        .collect()
}

/// The socket takes the first message and a part of the second, and the call ends there. The next one begins with its own first.
#[test]
fn messages_that_are_sent_in_part_are_captured_to_the_byte() {
    let mut tap = Tap::start();
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let size: c_int = 32 << 10;
    // SAFETY: a valid option of the size given.
    let set = unsafe {
        let value = (&raw const size).cast();
        libc::setsockopt(dialled.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, value, 4)
    };
    assert_eq!(set, 0);
    dialled.set_nonblocking(true).unwrap();
    let mut buffers = [pattern(20_000), pattern(16 << 20), pattern(10)];
    let sent = send_messages(&dialled, &mut buffers);
    assert!(
        sent.len() == 2 && sent[0] == 20_000 && sent[1] > 0 && sent[1] < 1 << 20,
        "in part: {sent:?}"
    );
    let mut expected = buffers[0].clone();
    expected.extend_from_slice(&buffers[1][..sent[1]]);
    let mut received = vec![0; expected.len()];
    accepted.read_exact(&mut received).unwrap();
    assert!(received == expected);
    let mut after = [b"one ".to_vec(), b"two ".to_vec(), b"three".to_vec()];
    assert_eq!(send_messages(&dialled, &mut after), [4, 4, 5]);
    expected.extend_from_slice(&after.concat());
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    assert!(client.bytes(Direction::Egress) == expected);
    assert_eq!(client.end().written, expected.len() as u64);
    assert_eq!(client.end().kernel_sent, expected.len() as u64);
}

/// Where transfers are seen: gaps of this many bytes for a reason that is told. Where calls are: nothing but the kernel's own count.
fn assert_gap(tap: &Tap, flow: &Flow, direction: Direction, length: u64) {
    let records: Vec<_> = flow.records(direction, Layer::Socket).collect();
    let end = flow.end();
    let (moved, counted) = match direction {
        Direction::Egress => (end.written, end.kernel_sent),
        Direction::Ingress => (end.read, end.kernel_received),
    };
    assert_eq!(counted, length, "{flow:?}");
    if !tap.capture.sees_transfers() {
        assert!(records.is_empty() && moved == 0, "{flow:?}");
        return;
    }
    assert_eq!(moved, length, "{flow:?}");
    assert!(records.iter().all(|record| record.bytes.is_empty()), "{flow:?}");
    let missing: Vec<_> = records.iter().map(|record| record.missing.unwrap()).collect();
    assert!(
        missing.iter().all(|(_, loss)| *loss == Loss::Unreadable),
        "{flow:?}"
    );
    assert_eq!(
        missing.iter().map(|(bytes, _)| u64::from(*bytes)).sum::<u64>(),
        length
    );
}

/// `struct iocb` of `linux/aio_abi.h`, little-endian.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    more: [u32; 2],
}

/// `struct io_event`.
#[repr(C)]
#[derive(Default)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

const PREAD: u16 = 0;
const PWRITE: u16 = 1;

/// Moves `buffer` by io_submit(2), and says how many bytes that were.
fn submit(context: u64, stream: &TcpStream, opcode: u16, buffer: &mut [u8]) -> i64 {
    let mut request = Request {
        opcode,
        descriptor: u32::try_from(stream.as_raw_fd()).unwrap(),
        buffer: buffer.as_mut_ptr() as u64,
        length: buffer.len() as u64,
        ..Request::default()
    };
    let mut list = [&raw mut request];
    let mut completion = Completion::default();
    // SAFETY: the request, its buffer and the completion are valid until both calls are over.
    unsafe {
        let submitted = libc::syscall(libc::SYS_io_submit, context, 1 as c_long, list.as_mut_ptr());
        assert_eq!(submitted, 1, "{}", std::io::Error::last_os_error());
        let none: *const libc::timespec = std::ptr::null();
        let got = libc::syscall(
            libc::SYS_io_getevents,
            context,
            1 as c_long,
            1 as c_long,
            &raw mut completion,
            none,
        );
        assert_eq!(got, 1);
    }
    completion.result
}

#[test]
fn bytes_of_io_submit_are_gaps_of_known_length() {
    let mut tap = Tap::start();
    let (dialled, accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let mut context = 0_u64;
    // SAFETY: the context is valid for the call.
    let set_up = unsafe { libc::syscall(libc::SYS_io_setup, 8 as c_long, &raw mut context) };
    assert_eq!(set_up, 0);
    let mut sent = pattern(3000);
    assert_eq!(submit(context, &dialled, PWRITE, &mut sent), 3000);
    let mut received = vec![0; 3000];
    assert_eq!(submit(context, &accepted, PREAD, &mut received), 3000);
    assert_eq!(received, sent);
    // SAFETY: the context was set up above.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    assert_gap(&tap, &client, Direction::Egress, 3000);
    assert_gap(&tap, &server, Direction::Ingress, 3000);
}

/// A 32-bit program without a library, which copies its standard input back and forth by four calls.
#[cfg(target_arch = "x86_64")]
const PROGRAM: &str = r#"
static int call(int number, int one, const void *two, int three, int four, int five)
{
	int result;
	__asm__ volatile("push %%ebp\n\tmov $0, %%ebp\n\tint $0x80\n\tpop %%ebp"
			 : "=a"(result)
			 : "a"(number), "b"(one), "c"(two), "d"(three), "S"(four), "D"(five)
			 : "memory");
	return result;
}

static char buffer[64];

void _start(void)
{
	/* write, sendto, read, recvfrom, exit of the table for i386 */
	int ok = call(4, 0, "by write, ", 10, 0, 0) == 10 && call(369, 0, "by sendto", 9, 0, 0) == 9 &&
		 call(3, 0, buffer, 5, 0, 0) == 5 && call(371, 0, buffer, 64, 0, 0) == 7;
	call(1, !ok, 0, 0, 0, 0);
	for (;;)
		;
}
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn bytes_of_32_bit_programs_are_gaps_of_known_length() {
    let folder = std::env::temp_dir().join(format!("qtap-capture-32-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("calls.c"), folder.join("calls"));
    std::fs::write(&source, PROGRAM).unwrap();
    // Needs no 32-bit library, which few hosts have.
    let built = Command::new("cc")
        .args(["-m32", "-O1", "-static", "-nostdlib", "-ffreestanding"])
        .args(["-fno-pie", "-no-pie", "-fno-stack-protector", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    let mut tap = Tap::start();
    let (dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    accepted.write_all(b"firstseconds").unwrap();
    let child = Command::new(&program)
        .stdin(Stdio::from(OwnedFd::from(dialled)))
        .status()
        .expect("this kernel runs 32-bit programs");
    assert!(child.success());
    let mut received = Vec::new();
    accepted.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"by write, by sendto");
    drop(accepted);
    std::fs::remove_dir_all(&folder).unwrap();
    let (client, server) = tap.ended(ours, theirs);
    assert_gap(&tap, &client, Direction::Egress, 19);
    assert_gap(&tap, &client, Direction::Ingress, 12);
    assert_eq!(
        server.bytes(Direction::Ingress),
        received,
        "the other end is an ordinary one"
    );
    assert!(
        tap.control
            .counters()
            .unwrap()
            .get("calls_unsupported_32bit")
            .unwrap()
            >= 4
    );
}
