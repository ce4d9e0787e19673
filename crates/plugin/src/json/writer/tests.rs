use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;

fn written(value: &impl Serialize) -> Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Writer::new(&mut out))?;
    Ok(String::from_utf8(out).unwrap())
}

#[derive(Serialize)]
struct Everything<'a> {
    text: &'a str,
    number: i64,
    fraction: f64,
    small: u8,
    flag: bool,
    nothing: Option<u8>,
    something: Option<char>,
    list: Vec<(u16, &'a str)>,
    unit: (),
    one: One,
    #[serde(flatten)]
    more: Value,
}

#[derive(Serialize)]
enum One {
    Word,
    Of(u8),
}

#[test]
fn the_forms_of_records_are_written_as_serde_json_writes_them() {
    for one in [One::Word, One::Of(7)] {
        let value = Everything {
            text: "a\"b\\c\n\t\r\u{8}\u{c}\u{1}é☃",
            number: i64::MIN,
            fraction: 1.25e-7,
            small: 255,
            flag: true,
            nothing: None,
            something: Some('\u{1}'),
            list: vec![(1, ""), (2, "x")],
            unit: (),
            one,
            more: json!({"nested": {"empty": [], "none": {}}, "null": null}),
        };
        assert_eq!(written(&value).unwrap(), serde_json::to_string(&value).unwrap());
    }
}

#[test]
fn what_is_no_json_is_an_error() {
    #[derive(Serialize)]
    enum Strange {
        Two(u8, u8),
        Fields { a: u8 },
    }
    #[derive(Serialize)]
    struct Pair(u8, u8);
    assert!(written(&std::collections::BTreeMap::from([(1, 2)])).is_err());
    assert!(written(&Strange::Two(1, 2)).is_err());
    assert!(written(&Strange::Fields { a: 1 }).is_err());
    assert!(written(&Pair(1, 2)).is_err());
    assert_eq!(written(&f64::NAN).unwrap(), "null");
}

#[test]
fn every_byte_that_needs_an_escape_is_found_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        for length in 1..=20 {
            for at in 0..length {
                let mut text = vec![b'~'; length];
                text[at] = byte;
                let plain = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
                assert_eq!(is_plain(&text), plain, "{byte} at {at} of {length}");
            }
        }
    }
}

proptest! {
    #[test]
    fn text_without_terminal_controls_is_written_as_serde_json_writes_it(text in any::<String>()) {
        prop_assume!(!text.contains(|character| is_unsafe(character) && character >= ' '));
        prop_assert_eq!(written(&text).unwrap(), serde_json::to_string(&text).unwrap());
    }
}

#[test]
fn each_byte_is_plain_or_not_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        let expected = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        for length in 1..=20 {
            for place in 0..length {
                let mut text = vec![b'~'; length];
                text[place] = byte;
                assert_eq!(is_plain(&text), expected, "{text:?}");
            }
        }
    }
    assert!(is_plain(b""));
}
