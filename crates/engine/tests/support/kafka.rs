//! Messages of Kafka that tell the name of a topic, and that ask for it by its id.
#![allow(dead_code, reason = "each test file uses a part")]

/// Id of a topic. Names are known to all of a process: each test has one of its own.
pub(crate) type Id = [u8; 16];

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let message = parts.concat();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&length[..], &message].concat()
}

/// Metadata of version 12, of all topics.
pub(crate) fn metadata(number: u8) -> Vec<u8> {
    frame(&[b"\0\x03\0\x0c\0\0\0", &[number], b"\0\x01c\0\0\x01\0\0"])
}

/// Its reply: one topic without partitions.
pub(crate) fn described(number: u8, name: &str, id: Id) -> Vec<u8> {
    let length = u8::try_from(name.len() + 1).unwrap();
    frame(&[
        &[0, 0, 0, number, 0],
        // No throttling, no brokers, no name of a cluster, controller 2.
        b"\0\0\0\0\x01\0\0\0\0\x02",
        // One topic without an error.
        &[2, 0, 0, length],
        name.as_bytes(),
        &id,
        // It is not internal, has no partitions, and nothing is said of what is allowed.
        b"\0\x01\0\0\0\0\0\0",
    ])
}

/// Fetch of version 13, of partition 0.
pub(crate) fn fetch(number: u8, id: Id) -> Vec<u8> {
    frame(&[
        b"\0\x01\0\x0d\0\0\0",
        &[number],
        b"\0\x01c\0",
        // Of no replica, waits for 100 ms and for one byte, 64 KiB at most, of no session.
        b"\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01\0\0\xff\xff\0\0\0\0\0\xff\xff\xff\xff",
        &[2],
        &id,
        // Partition, epoch, offset, last epoch, begin of the log, bytes.
        b"\x02\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0",
        b"\0\x01\x01\0",
    ])
}

/// Its reply, with an error of the partition: `UNKNOWN_TOPIC_OR_PARTITION`.
pub(crate) fn fetched(number: u8, id: Id) -> Vec<u8> {
    frame(&[
        &[0, 0, 0, number, 0],
        b"\0\0\0\0\0\0\0\0\0\0",
        &[2],
        &id,
        // Partition, error, three offsets, nothing aborted, no other replica, no records.
        b"\x02\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\x01\0\0\0",
    ])
}
