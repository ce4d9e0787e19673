//! What must hold of the decoder whatever a record holds. Run by the fuzz target and on random bytes by a test.

use crate::arena::Arena;
use crate::decode::decode;
use crate::{Event, ProcessEvent};

/// Decodes `record` as it is, and cut to every length: nothing is handed out that is not in it.
pub(crate) fn run(record: &[u8]) {
    let mut arena = Arena::default();
    for length in (0..=record.len()).rev().take(64) {
        let record = record.get(..length).unwrap_or(record);
        let payload = match decode(record, &mut arena) {
            None => continue,
            Some(Event::Data(data)) => data.bytes.len(),
            Some(Event::Datagram(datagram)) => datagram.bytes.len(),
            Some(Event::Quic(quic)) => quic.datagram.bytes.len(),
            Some(Event::Unattributed(call)) => call.data.bytes.len(),
            Some(Event::Secret(secret)) => secret.secret.len(),
            Some(Event::Process(ProcessEvent::Exec(exec))) => {
                exec.filename.len() + exec.args.len() + exec.environment.map_or(0, |own| own.len())
            }
            Some(_) => 0,
        };
        assert!(payload < length, "{payload} bytes out of a record of {length}");
    }
}

#[cfg(test)]
mod tests {
    use crate::bindings::event_kind;

    /// Every kind, with bytes that make lengths of all sizes.
    #[test]
    fn records_of_every_kind_give_no_more_than_they_hold() {
        let rounds = if cfg!(miri) { 40 } else { 2_000_u32 };
        let mut state = 0x9e37_79b9_u32;
        for round in 0..rounds {
            let mut record: Vec<u8> = (0..round % 300)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Mostly zero, so that lengths are small enough to fit.
                    if state >> 30 == 0 { (state >> 24) as u8 } else { 0 }
                })
                .collect();
            if let Some(kind) = record.first_mut() {
                *kind = (round % (event_kind::EVENT_QUIC.0 + 2)) as u8;
            }
            super::run(&record);
        }
    }
}
