//! Answers of DNS beside hickory-proto.

use anyhow::ensure;
use qtap_protocol::dns;

use crate::exchange::Case;

const ANSWERS: u64 = 400;

/// A name that is an alias of another, which has four addresses.
fn answer(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut message = vec![high, low, 0x81, 0x80, 0, 1, 0, 5, 0, 0, 0, 0];
    message.extend_from_slice(b"\x03www\x04shop\x07example\x03com\0\0\x01\0\x01");
    // CNAME, 300 s: edge.cdn and the rest of the question's name.
    message.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\x01\x2c\0\x0b\x04edge\x03cdn\xc0\x15");
    for last in 1..=4 {
        message.extend_from_slice(b"\xc0\x32\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x33\x64");
        message.push(last);
    }
    message
}

pub(crate) fn case() -> anyhow::Result<Case> {
    let answers: Vec<Vec<u8>> = (0..ANSWERS).map(|number| answer(number as u16)).collect();
    for answer in &answers {
        ensure!(
            dns::Message::parse(answer)?.addresses().len() == 4,
            "not what was meant"
        );
    }
    let theirs = answers.clone();
    Ok(Case {
        name: "dns",
        peer: "hickory-proto 0.25",
        what: "answers",
        bytes: answers.iter().map(Vec::len).sum(),
        messages: ANSWERS,
        ours: Box::new(move || {
            let mut count = 0;
            for answer in &answers {
                count += u64::from(dns::Message::parse(answer)?.records.len() == 5);
            }
            Ok(count)
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for answer in &theirs {
                let message = hickory_proto::op::Message::from_vec(answer)?;
                count += u64::from(message.answers().len() == 5);
            }
            Ok(count)
        }),
    })
}
