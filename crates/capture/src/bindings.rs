//! Types of records and maps, generated from the object's BTF, and the objects themselves.

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub,
    unused,
    reason = "generated"
)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/qtap.skel.rs"));
}

pub(crate) use skeleton::types::{
    call, connection, connection_state, counter, direction, direction_setting, event_closed, event_data,
    event_datagram, event_exec, event_exited, event_forked, event_kind, event_mapped, event_misfit,
    event_opened, event_quic, event_secret_head, event_trace, go_key, layer, loss, misfit, quic_counts,
    quic_key, role, secret_label, settings, shed_setting, trace_message, trace_module, verdict,
};

/// For Linux 5.12 and newer.
pub(crate) static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/qtap.bpf.o"));

/// For Linux 5.10 and 5.11.
pub(crate) static OBJECT_5_10: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/qtap-5.10.bpf.o"));

/// A type of which every bit pattern is a value.
///
/// # Safety
/// Implementors consist of integers and arrays of them only.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers and arrays only, by the definitions in bpf/events.bpf.h.
unsafe impl Plain for event_opened {}
// SAFETY: as above.
unsafe impl Plain for event_datagram {}
// SAFETY: as above.
unsafe impl Plain for event_quic {}
// SAFETY: as above.
unsafe impl Plain for event_closed {}
// SAFETY: as above.
unsafe impl Plain for event_data {}
// SAFETY: as above.
unsafe impl Plain for event_forked {}
// SAFETY: as above.
unsafe impl Plain for event_exec {}
// SAFETY: as above.
unsafe impl Plain for event_exited {}
// SAFETY: as above.
unsafe impl Plain for event_mapped {}
// SAFETY: as above.
unsafe impl Plain for event_secret_head {}
// SAFETY: as above.
unsafe impl Plain for event_misfit {}
// SAFETY: as above.
unsafe impl Plain for event_trace {}

/// The `T` that `record` begins with, and what follows it; `None` when the record is too short.
pub(crate) fn split<T: Plain>(record: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = record.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has the size of T, T takes any bits, and the read does not need alignment.
    let value = unsafe { std::ptr::read_unaligned(head.as_ptr().cast::<T>()) };
    Some((value, rest))
}

/// What a record is.
pub(crate) fn kind_of(record: &[u8]) -> Option<event_kind> {
    let bytes = record.first_chunk::<4>()?;
    Some(event_kind(u32::from_ne_bytes(*bytes)))
}
