//! Arrays and objects, of which serde has several kinds.

use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple};
use serde_json::{Error, Result};

use super::{VERBATIM, Writer};

/// What stands between the members of an array or object.
pub(in crate::json) struct Members<'w, 'a> {
    writer: &'w mut Writer<'a>,
    is_first: bool,
    end: &'static str,
}

impl<'w, 'a> Members<'w, 'a> {
    /// Begins with `start`; `end` is for later.
    pub(super) fn of(writer: &'w mut Writer<'a>, start: &'static str, end: &'static str) -> Self {
        writer.raw(start);
        Self {
            writer,
            is_first: true,
            end,
        }
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.writer.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.comma();
        value.serialize(&mut *self.writer)
    }
}

/// One of serde's kinds, which differ in how a member comes and not in how they end.
macro_rules! members {
    ($kind:ident, $($method:item)*) => {
        impl $kind for Members<'_, '_> {
            type Ok = ();
            type Error = Error;

            $($method)*

            fn end(self) -> Result<()> {
                self.writer.raw(self.end);
                Ok(())
            }
        }
    };
}

members! {
    SerializeSeq,
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }
}

members! {
    SerializeTuple,
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }
}

members! {
    SerializeStruct,
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        if key == VERBATIM {
            self.writer.verbatim = true;
            return value.serialize(&mut *self.writer);
        }
        self.comma();
        self.writer.word(key);
        value.serialize(&mut *self.writer)
    }
}

members! {
    SerializeMap,
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.comma();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        if self.writer.out.get(start) != Some(&b'"') {
            return Err(Error::custom("a key must be a text"));
        }
        self.writer.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }
}
