//! What one side sent and was not yet worked on, in order.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::Time;
use crate::record::{Header, Record};

/// With more time stamps than these in a [`Raw`], pieces smaller than this join one stamp, so that single bytes do not cost a stamp each.
const STAMPS: usize = 1024;
const STAMP_BYTES: usize = 1024;

/// What an item costs besides its bytes.
const ITEM_COST: usize = 64;

/// One element of the queue.
#[derive(Debug)]
pub(crate) enum Item {
    /// A whole record.
    Record(Record),
    /// A record whose header was seen and of whose body bytes are missing.
    Damaged {
        /// Its header.
        header: Header,
        /// Time of its last byte or hole.
        time: Time,
    },
    /// Missing bytes with unknown record boundaries.
    Hole {
        /// How many.
        length: u64,
        /// When.
        time: Time,
    },
    /// Bytes with unknown record boundaries.
    Raw(Raw),
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Record(record) => record.body.len() + ITEM_COST,
            Self::Damaged { .. } | Self::Hole { .. } => ITEM_COST,
            Self::Raw(raw) => raw.data.len() + ITEM_COST,
        }
    }
}

/// Bytes in a row with the times of their pieces.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) data: BytesMut,
    /// Length and time of each stretch; the lengths sum up to `data.len()`.
    stamps: VecDeque<(usize, Time)>,
}

impl Raw {
    pub(crate) fn push(&mut self, data: &[u8], time: Time) {
        if data.is_empty() {
            return;
        }
        self.data.extend_from_slice(data);
        let is_many = self.stamps.len() >= STAMPS;
        match self.stamps.back_mut() {
            Some((length, last)) if *last == time || (is_many && *length < STAMP_BYTES) => {
                *length += data.len();
                *last = time;
            }
            _ => self.stamps.push_back((data.len(), time)),
        }
    }

    /// Drops the first `count` bytes.
    pub(crate) fn skip(&mut self, count: usize) {
        let mut left = count.min(self.data.len());
        self.data.advance(left);
        while left > 0 {
            let Some((length, _)) = self.stamps.front_mut() else {
                return;
            };
            if *length > left {
                *length -= left;
                return;
            }
            left -= *length;
            self.stamps.pop_front();
        }
    }

    /// Time of the last byte.
    pub(crate) fn time(&self) -> Time {
        self.stamps.back().map_or(Time(0), |&(_, time)| time)
    }

    /// The pieces, in order.
    pub(crate) fn into_pieces(self) -> impl Iterator<Item = (Bytes, Time)> {
        let mut data = self.data.freeze();
        self.stamps
            .into_iter()
            .map(move |(length, time)| (data.split_to(length.min(data.len())), time))
    }
}

/// The queue, which knows its own size.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    cost: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, item: Item) {
        if let (
            Item::Hole { length, time },
            Some(Item::Hole {
                length: last,
                time: at,
            }),
        ) = (&item, self.items.back_mut())
        {
            *last = last.saturating_add(*length);
            *at = *time;
            return;
        }
        self.cost += item.cost();
        if self.items.capacity() == 0 {
            // Nearly always a record is worked on before the next one comes.
            self.items.reserve_exact(1);
        }
        self.items.push_back(item);
    }

    /// Appends bytes without record boundaries.
    pub(crate) fn push_raw(&mut self, data: &[u8], time: Time) {
        if data.is_empty() {
            return;
        }
        if let Some(Item::Raw(raw)) = self.items.back_mut() {
            raw.push(data, time);
            self.cost += data.len();
        } else {
            let mut raw = Raw::default();
            raw.push(data, time);
            self.push(Item::Raw(raw));
        }
    }

    pub(crate) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Item> {
        self.items.get(at)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.cost -= item.cost();
        Some(item)
    }

    /// Puts an item back that `pop` gave.
    pub(crate) fn unpop(&mut self, item: Item) {
        self.cost += item.cost();
        self.items.push_front(item);
    }

    /// Drops the first `count` bytes of the raw bytes at the front.
    pub(crate) fn skip_raw(&mut self, count: usize) {
        if let Some(Item::Raw(raw)) = self.items.front_mut() {
            let before = raw.data.len();
            raw.skip(count);
            self.cost -= before - raw.data.len();
            if raw.data.is_empty() {
                self.pop();
            }
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> VecDeque<Item> {
        self.cost = 0;
        std::mem::take(&mut self.items)
    }

    /// Gives records that have to wait their own memory, so that they do not keep the caller's buffers alive.
    pub(crate) fn own(&mut self) {
        for item in self.items.iter_mut().rev() {
            if let Item::Record(record) = item {
                if record.owned {
                    return;
                }
                record.body = Bytes::copy_from_slice(&record.body);
                record.owned = true;
            }
        }
    }

    /// Bytes held, with an allowance for each item.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }
}
