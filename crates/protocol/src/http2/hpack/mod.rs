//! HPACK decoding (RFC 7541) that can join in the middle and survive losses (`protocols.md` 4.4).

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod huffman;
mod primitive;
mod table;

use bytes::Bytes;

use primitive::{Arena, Reader};
use table::{Entry, Resolved, Table};

use crate::Field;

/// A header block cannot be understood from some point on; the phrase says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockError(pub(crate) &'static str);

/// One step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field, exact.
    Field(Field),
    /// A field that refers to what was never learned.
    Unknown,
    /// No field: a table size update.
    Update,
    /// The bytes end inside a representation.
    NeedMore,
}

/// The decoder of one direction.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    arena: Arena,
    string_limit: usize,
}

impl Decoder {
    /// A decoder for the first block of a direction. Its table never holds more than `table_cap` bytes, and
    /// strings encoded in more than `string_limit` bytes are refused.
    pub(crate) fn new(table_cap: usize, string_limit: usize) -> Self {
        Self {
            table: Table::synced(table_cap),
            arena: Arena::default(),
            string_limit,
        }
    }

    /// A block was lost, or blocks before this one were not seen.
    pub(crate) fn unsync(&mut self) {
        self.table.unsync();
    }

    /// Whether every entry that the encoder can refer to is known.
    pub(crate) fn is_synced(&self) -> bool {
        self.table.is_synced()
    }

    /// Decodes the first representation in `data` (RFC 7541 §6) and says how many bytes it took; with
    /// [`Step::NeedMore`] nothing has changed and the call is to be repeated with more bytes.
    ///
    /// The announced SETTINGS_HEADER_TABLE_SIZE is not enforced on updates: it may not have been seen, or be
    /// captured after the block that relies on it. The update itself names the size to use (P-2c).
    pub(crate) fn step(&mut self, data: &[u8]) -> Result<(Step, usize), BlockError> {
        let mut reader = Reader::new(data);
        let step = match reader.peek() {
            None => None,
            Some(first) if first & 0x80 != 0 => self.indexed(&mut reader)?,
            Some(first) if first & 0x40 != 0 => self.literal(&mut reader, 6, true)?,
            Some(first) if first & 0x20 != 0 => self.size_update(&mut reader)?,
            Some(_) => self.literal(&mut reader, 4, false)?,
        };
        Ok(step.map_or((Step::NeedMore, 0), |step| (step, reader.consumed())))
    }

    fn indexed(&mut self, reader: &mut Reader<'_>) -> Result<Option<Step>, BlockError> {
        let Some(index) = reader.integer(7)? else {
            return Ok(None);
        };
        let entry = self.resolve(index)?;
        Ok(Some(
            entry.map_or(Step::Unknown, |entry| field(entry.name, entry.value)),
        ))
    }

    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        prefix_bits: u32,
        insert: bool,
    ) -> Result<Option<Step>, BlockError> {
        let Some(index) = reader.integer(prefix_bits)? else {
            return Ok(None);
        };
        let literal_name = if index == 0 {
            let Some(name) = reader.string(self.string_limit)? else {
                return Ok(None);
            };
            Some(name)
        } else {
            None
        };
        let Some(value) = reader.string(self.string_limit)? else {
            return Ok(None);
        };
        let value = value.decode(&mut self.arena)?;
        // Only now, with the representation whole, may the table be touched.
        let name = match literal_name {
            Some(name) => Some(name.decode(&mut self.arena)?),
            None => self.resolve(index)?.and_then(|entry| entry.name),
        };
        if insert {
            self.table.insert(Entry {
                name: name.clone(),
                value: Some(value.clone()),
            });
        }
        Ok(Some(field(name, Some(value))))
    }

    fn size_update(&mut self, reader: &mut Reader<'_>) -> Result<Option<Step>, BlockError> {
        let Some(size) = reader.integer(5)? else {
            return Ok(None);
        };
        self.table.resize(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(Some(Step::Update))
    }

    /// The entry at `index`, or `None` where it is not known.
    fn resolve(&mut self, index: u32) -> Result<Option<Entry>, BlockError> {
        match self.table.get(index) {
            Resolved::Entry(entry) => Ok(Some(entry)),
            Resolved::Unknown => Ok(None),
            Resolved::Invalid => Err(BlockError("index outside the table")),
        }
    }
}

fn field(name: Option<Bytes>, value: Option<Bytes>) -> Step {
    match (name, value) {
        (Some(name), Some(value)) => Step::Field(Field { name, value }),
        _ => Step::Unknown,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn decoder() -> Decoder {
        Decoder::new(1 << 20, 1 << 18)
    }

    fn decode(decoder: &mut Decoder, hex: &str) -> Vec<String> {
        let mut data = &unhex(hex)[..];
        let mut fields = Vec::new();
        while !data.is_empty() {
            let (step, taken) = decoder.step(data).unwrap();
            data = &data[taken..];
            match step {
                Step::Field(Field { name, value }) => fields.push(format!(
                    "{}: {}",
                    String::from_utf8_lossy(&name),
                    String::from_utf8_lossy(&value)
                )),
                Step::Unknown => fields.push("?".into()),
                Step::Update => {}
                Step::NeedMore => panic!("vector cut short"),
            }
        }
        fields
    }

    /// RFC 7541 C.2: each representation alone.
    #[test]
    fn rfc_7541_c_2_representations() {
        let mut one = decoder();
        let literal = decode(
            &mut one,
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        );
        assert_eq!(literal, ["custom-key: custom-header"]);
        assert_eq!(one.table.size(), 55);

        let mut two = decoder();
        assert_eq!(
            decode(&mut two, "040c 2f73 616d 706c 652f 7061 7468"),
            [":path: /sample/path"]
        );
        assert_eq!(two.table.size(), 0);

        let mut three = decoder();
        assert_eq!(
            decode(&mut three, "1008 7061 7373 776f 7264 0673 6563 7265 74"),
            ["password: secret"]
        );
        assert_eq!(three.table.size(), 0);

        assert_eq!(decode(&mut decoder(), "82"), [":method: GET"]);
    }

    /// RFC 7541 C.3 (plain) and C.4 (Huffman): three requests on one connection.
    #[test]
    fn rfc_7541_c_3_and_c_4_requests() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let huffman = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, huffman] {
            let mut decoder = decoder();
            let [first, second, third] = blocks.map(|block| decode(&mut decoder, block));
            assert_eq!(
                first,
                [
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com"
                ]
            );
            assert_eq!(
                second,
                [
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com",
                    "cache-control: no-cache"
                ]
            );
            assert_eq!(
                third,
                [
                    ":method: GET",
                    ":scheme: https",
                    ":path: /index.html",
                    ":authority: www.example.com",
                    "custom-key: custom-value"
                ]
            );
            assert_eq!(decoder.table.size(), 164);
        }
    }

    /// RFC 7541 C.5 (plain) and C.6 (Huffman): three responses with a table of 256 bytes, so with evictions.
    #[test]
    fn rfc_7541_c_5_and_c_6_responses_with_eviction() {
        let plain = [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ];
        let huffman = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        for blocks in [plain, huffman] {
            let mut decoder = decoder();
            assert_eq!(
                decode(&mut decoder, "3fe101"),
                Vec::<String>::new(),
                "size update to 256"
            );
            let [first, second, third] = blocks.map(|block| decode(&mut decoder, block));
            let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
            let location = "location: https://www.example.com";
            assert_eq!(first, [":status: 302", "cache-control: private", date, location]);
            assert_eq!(second, [":status: 307", "cache-control: private", date, location]);
            assert_eq!(
                third,
                [
                    ":status: 200",
                    "cache-control: private",
                    "date: Mon, 21 Oct 2013 20:13:22 GMT",
                    location,
                    "content-encoding: gzip",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ]
            );
            assert_eq!(decoder.table.size(), 215);
        }
    }

    #[test]
    fn every_cut_of_a_representation_waits_without_side_effects() {
        let block = unhex("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
        let mut decoder = decoder();
        for cut in 0..block.len() {
            assert_eq!(decoder.step(&block[..cut]), Ok((Step::NeedMore, 0)), "{cut}");
        }
        assert_eq!(decoder.table.size(), 0);
        assert!(matches!(decoder.step(&block), Ok((Step::Field(_), taken)) if taken == block.len()));
    }

    #[test]
    fn a_name_never_learned_leaves_its_field_out_but_keeps_the_count() {
        let mut decoder = decoder();
        decoder.unsync();
        // Indexed 70 (unknown); literal with name 70 and value "x", inserted; literal "b: y", inserted.
        assert_eq!(
            decode(&mut decoder, "c6 7f07 0178 4001 6201 79"),
            ["?", "?", "b: y"]
        );
        assert_eq!(decode(&mut decoder, "be bf c0"), ["b: y", "?", "?"]);
    }
}
