//! What sockets of QUIC have moved, as the kernel side counts it.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::bindings as kernel;
use crate::{Error, QuicBytes};

/// Looks up `struct quic_counts` of the socket, or of its `peer`.
pub(crate) fn bytes_of(
    map: &MapHandle,
    socket: u64,
    peer: Option<SocketAddr>,
) -> Result<Option<QuicBytes>, Error> {
    let value = map
        .lookup(&key(socket, peer), MapFlags::ANY)
        .map_err(|source| Error::Map {
            map: "quic_counts",
            attempt: "read",
            source,
        })?;
    Ok(value.as_deref().and_then(parse))
}

/// A `struct quic_key`.
fn key(socket: u64, peer: Option<SocketAddr>) -> [u8; size_of::<kernel::quic_key>()] {
    let mut key = [0; size_of::<kernel::quic_key>()];
    put(
        &mut key,
        offset_of!(kernel::quic_key, socket),
        &socket.to_ne_bytes(),
    );
    if let Some(peer) = peer {
        let ip = match peer.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        put(&mut key, offset_of!(kernel::quic_key, remote), &ip.octets());
        put(
            &mut key,
            offset_of!(kernel::quic_key, port),
            &peer.port().to_ne_bytes(),
        );
    }
    key
}

fn put(key: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = key.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

fn parse(value: &[u8]) -> Option<QuicBytes> {
    let at = offset_of!(kernel::quic_counts, bytes);
    let long = |at: usize| Some(u64::from_ne_bytes(*value.get(at..)?.first_chunk()?));
    Some(QuicBytes {
        bytes: [long(at)?, long(at + size_of::<u64>())?],
        unsplit: *value.get(offset_of!(kernel::quic_counts, unsplit))? != 0,
    })
}
