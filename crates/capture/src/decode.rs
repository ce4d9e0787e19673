//! From records to [`Event`]s.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::arena::Arena;
use crate::bindings::{self as kernel, split};
use crate::trace::decode_trace;
use crate::{
    Closed, ConnectionId, Data, Datagram, Direction, Event, ExecutableMapped, Hook, KernelTime, Layer, Loss,
    Misfit, Opened, Pid, ProcessEvent, ProcessExec, QuicDatagram, Role, TlsSecret, Unattributed,
};

/// The event of a record; `None` if we do not know its kind or it is too short, which is a fault of ours.
pub(crate) fn decode(record: &[u8], arena: &mut Arena) -> Option<Event> {
    match kernel::kind_of(record)? {
        kernel::event_kind::EVENT_DATA => data(record, arena),
        kernel::event_kind::EVENT_OPENED => opened(record),
        kernel::event_kind::EVENT_DATAGRAM => datagram(record, arena),
        kernel::event_kind::EVENT_QUIC => quic(record, arena),
        kernel::event_kind::EVENT_CLOSED => closed(record),
        kernel::event_kind::EVENT_FORKED => forked(record),
        kernel::event_kind::EVENT_EXEC => exec(record, arena),
        kernel::event_kind::EVENT_EXITED => exited(record),
        kernel::event_kind::EVENT_MAPPED => mapped(record),
        kernel::event_kind::EVENT_SECRET => secret(record),
        kernel::event_kind::EVENT_MISFIT => misfit(record),
        kernel::event_kind::EVENT_TRACE => {
            decode_trace(&split::<kernel::event_trace>(record)?.0).map(Event::Trace)
        }
        _ => None,
    }
}

fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    let ip = match Ipv6Addr::from(bytes) {
        ip if ip.to_ipv4_mapped().is_some() => ip.to_canonical(),
        ip => IpAddr::V6(ip),
    };
    SocketAddr::new(ip, port)
}

fn opened(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_opened>(record)?;
    Some(Event::Opened(Opened {
        id: ConnectionId(event.connection),
        time: KernelTime(event.time),
        pid: Pid(event.pid),
        tid: event.tid,
        fd: event.fd,
        role: if u32::from(event.role) == kernel::role::ROLE_CLIENT.0 {
            Role::Client
        } else {
            Role::Server
        },
        local: address(event.local_address, event.local_port),
        remote: address(event.remote_address, event.remote_port),
        ipv6_socket: event.ipv6_socket != 0,
        cookie: event.cookie,
        midstream: event.midstream != 0,
        shed: event.shed != 0,
        netns: event.netns,
    }))
}

fn datagram(record: &[u8], arena: &mut Arena) -> Option<Event> {
    let (event, rest) = split::<kernel::event_datagram>(record)?;
    Some(Event::Datagram(Box::new(datagram_of(&event, rest, arena)?)))
}

fn quic(record: &[u8], arena: &mut Arena) -> Option<Event> {
    let (event, rest) = split::<kernel::event_quic>(record)?;
    Some(Event::Quic(Box::new(QuicDatagram {
        datagram: datagram_of(&event.datagram, rest, arena)?,
        bytes_before: event.bytes_before,
        sent_before: event.sent_before,
        is_connected: event.is_connected != 0,
    })))
}

fn datagram_of(event: &kernel::event_datagram, rest: &[u8], arena: &mut Arena) -> Option<Datagram> {
    let remote = address(event.remote_address, event.remote_port);
    Some(Datagram {
        time: KernelTime(event.time),
        pid: Pid(event.pid),
        tid: event.tid,
        direction: if event.direction == kernel::direction::DIRECTION_EGRESS.0 {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        socket: event.socket,
        netns: event.netns,
        local: address(event.local_address, event.local_port),
        remote: (event.remote_port != 0).then_some(remote),
        length: event.bytes,
        bytes: arena.copy(rest.get(..event.length as usize)?),
    })
}

fn closed(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_closed>(record)?;
    Some(Event::Closed(Closed {
        id: ConnectionId(event.connection),
        time: KernelTime(event.time),
        written: event.written,
        read: event.read,
        calls_written: event.calls_written,
        calls_read: event.calls_read,
        kernel_sent: event.kernel_sent,
        kernel_received: event.kernel_received,
        unread: event.unread,
        lost_ring_full: event.lost_ring_full,
        reset: event.reset != 0,
        io_uring: event.uring != 0,
    }))
}

fn loss(reason: u8) -> Loss {
    match kernel::loss(u32::from(reason)) {
        kernel::loss::LOSS_CALL_CAP => Loss::CallCap,
        kernel::loss::LOSS_UNREADABLE => Loss::Unreadable,
        kernel::loss::LOSS_URING => Loss::IoUring,
        kernel::loss::LOSS_SKIPPED => Loss::Skipped,
        kernel::loss::LOSS_TLS_CONTROL => Loss::TlsControl,
        _ => Loss::Fault,
    }
}

fn data(record: &[u8], arena: &mut Arena) -> Option<Event> {
    let (event, payload) = split::<kernel::event_data>(record)?;
    // The record may have been reserved in a larger size.
    let payload = payload.get(..event.length as usize)?;
    let data = Data {
        id: ConnectionId(event.connection),
        time: KernelTime(event.time),
        pid: Pid(event.pid),
        tid: event.tid,
        direction: if u32::from(event.direction) == kernel::direction::DIRECTION_EGRESS.0 {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        layer: match kernel::layer(u32::from(event.layer)) {
            kernel::layer::LAYER_SOCKET => Layer::Socket,
            kernel::layer::LAYER_KERNEL_TLS => Layer::KernelTls,
            _ => Layer::Calls,
        },
        position: event.position,
        bytes: arena.copy(payload),
        missing: (event.missing != 0).then(|| (event.missing, loss(event.loss))),
        call_start: event.call_start != 0,
        other_settled: event.other_settled,
        session: NonZeroU64::new(event.session),
    };
    if event.connection == 0 {
        return Some(Event::Unattributed(Box::new(Unattributed {
            pid: data.pid,
            tid: data.tid,
            session: event.session,
            data,
        })));
    }
    Some(Event::Data(data))
}

fn forked(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_forked>(record)?;
    Some(Event::Process(ProcessEvent::Forked {
        pid: Pid(event.pid),
        parent: Pid(event.parent),
        start_ns: event.start_ns,
        time: KernelTime(event.time),
    }))
}

fn exec(record: &[u8], arena: &mut Arena) -> Option<Event> {
    let (event, text) = split::<kernel::event_exec>(record)?;
    let (filename, text) = text.split_at_checked(event.filename_length as usize)?;
    let (args, text) = text.split_at_checked(event.arguments_length as usize)?;
    let (environment, _) = text.split_at_checked(event.environment_length as usize)?;
    let filename = filename.strip_suffix(&[0]).unwrap_or(filename);
    Some(Event::Process(ProcessEvent::Exec(Box::new(ProcessExec {
        pid: Pid(event.pid),
        parent: Pid(event.parent),
        time: KernelTime(event.time),
        start_ns: event.start_ns,
        uid: event.uid,
        filename: arena.copy(filename),
        args: arena.copy(args),
        environment: (event.environment_complete != 0).then(|| own_variables(environment)),
        cgroup_id: event.cgroup,
    }))))
}

/// The variables that concern us, each with its NUL. Nearly always none, so nearly always no allocation.
fn own_variables(environment: &[u8]) -> Bytes {
    let variables = environment
        .split_inclusive(|byte| *byte == 0)
        .filter(|variable| variable.starts_with(b"QPOINT_"));
    variables
        .fold(Vec::new(), |mut all, variable| {
            all.extend_from_slice(variable);
            all
        })
        .into()
}

fn exited(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_exited>(record)?;
    Some(Event::Process(ProcessEvent::Exited {
        pid: Pid(event.pid),
        start_ns: event.start_ns,
        status: event.status,
        time: KernelTime(event.time),
    }))
}

fn mapped(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_mapped>(record)?;
    Some(Event::Mapped(ExecutableMapped {
        pid: Pid(event.pid),
        time: KernelTime(event.time),
        device: device_to_user(event.device),
        inode: event.inode,
        address: event.address,
    }))
}

fn misfit(record: &[u8]) -> Option<Event> {
    let (event, _) = split::<kernel::event_misfit>(record)?;
    let hook = match kernel::misfit(event.function) {
        kernel::misfit::MISFIT_LOG_SECRET => Hook::LogSecret,
        kernel::misfit::MISFIT_RUSTLS_DERIVE => Hook::RustlsDerive,
        kernel::misfit::MISFIT_S2N_DERIVE => Hook::S2nDerive,
        kernel::misfit::MISFIT_S2N_PRF => Hook::S2nPrf,
        _ => return None,
    };
    Some(Event::Misfit(Misfit {
        pid: Pid(event.pid),
        time: KernelTime(event.time),
        hook,
    }))
}

/// The kernel's `dev_t` as `stat(2)` has it.
pub(crate) fn device_to_user(device: u64) -> u64 {
    let (major, minor) = (device >> 20, device & 0xf_ffff);
    libc::makedev(major as u32, minor as u32)
}

/// The `st_dev` of `stat(2)` as the kernel has it.
pub(crate) fn device_to_kernel(device: u64) -> u64 {
    u64::from(libc::major(device)) << 20 | u64::from(libc::minor(device))
}

const SECRET_OFFSET: usize = size_of::<kernel::event_secret_head>();

fn secret(record: &[u8]) -> Option<Event> {
    let (head, _) = split::<kernel::event_secret_head>(record)?;
    let label = match kernel::secret_label(head.label) {
        kernel::secret_label::SECRET_CLIENT_EARLY => "CLIENT_EARLY_TRAFFIC_SECRET",
        kernel::secret_label::SECRET_CLIENT_HANDSHAKE => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        kernel::secret_label::SECRET_SERVER_HANDSHAKE => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        kernel::secret_label::SECRET_CLIENT_TRAFFIC => "CLIENT_TRAFFIC_SECRET_0",
        kernel::secret_label::SECRET_SERVER_TRAFFIC => "SERVER_TRAFFIC_SECRET_0",
        kernel::secret_label::SECRET_MASTER => "CLIENT_RANDOM",
        kernel::secret_label::SECRET_UNNAMED => "UNNAMED_TRAFFIC_SECRET",
        _ => return None,
    };
    // Straight from the ring, which only the kernel may overwrite; `head` must not leave a copy on the stack.
    let secret = record.get(SECRET_OFFSET..)?.get(..head.length as usize)?;
    let secret = Zeroizing::new(secret.to_vec());
    Some(Event::Secret(TlsSecret {
        time: KernelTime(head.time),
        pid: Pid(head.pid),
        tid: head.tid,
        connection: (head.connection != 0).then_some(ConnectionId(head.connection)),
        label,
        secret,
        client_random: (head.has_client_random != 0).then_some(head.client_random),
        origin: NonZeroU64::new(head.origin),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4_and_others_stay() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(address(mapped, 80), "10.0.0.1:80".parse().unwrap());
        assert_eq!(address([0; 16], 1), "[::]:1".parse().unwrap());
    }

    #[test]
    fn device_numbers_convert_both_ways() {
        let user = libc::makedev(259, 1_000);
        assert_eq!(device_to_kernel(user), 259 << 20 | 1_000);
        assert_eq!(device_to_user(device_to_kernel(user)), user);
    }

    #[test]
    fn only_our_variables_are_kept() {
        assert_eq!(
            own_variables(b"A=1\0QPOINT_TAGS=x\0B=QPOINT_\0").as_ref(),
            b"QPOINT_TAGS=x\0"
        );
        assert!(own_variables(b"").is_empty());
    }

    #[test]
    fn truncated_records_give_nothing() {
        let mut arena = Arena::default();
        for length in 0..56 {
            let mut record = vec![0_u8; length];
            if let Some(kind) = record.first_mut() {
                *kind = 3;
            }
            assert_eq!(decode(&record, &mut arena), None);
        }
    }
}
