//! Arbitrary bytes as a message of DNS: what is read stays within bounds, and names are fit for a terminal.
#![no_main]

use qtap_protocol::dns::Message;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    assert!(message.records.len() <= 64);
    let names = message.records.iter().map(|record| &record.name);
    for name in names.chain([&message.question.name]) {
        assert!(name.as_str().len() <= 4 * 255);
        assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    message.addresses();
});
