//! The part of protobuf's wire format that OTLP needs: a writer that appends to a buffer, and a reader of fields.
//!
//! Encoding rules: protobuf.dev, "Encoding". The writer appends to a `Vec` and patches lengths afterwards, because most
//! messages here are shorter than 128 bytes and their length takes one byte.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// The value of one field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Integers, booleans and enumerations.
    Varint(u64),
    /// `fixed64` and `double`.
    Fixed64(u64),
    /// Strings, bytes and messages.
    Bytes(&'a [u8]),
    /// `fixed32` and `float`.
    Fixed32(u32),
}

/// The fields of one message, in order; it ends at the first byte that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub &'a [u8]);

/// Appends a base-128 number.
#[inline]
pub(super) fn varint(out: &mut Vec<u8>, value: u64) {
    // Nearly all numbers take one byte: keys, and the lengths of short texts.
    if value < 0x80 { out.push(value as u8) } else { long_varint(out, value) }
}

fn long_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`varint`] appends.
pub(super) fn varint_len(value: u64) -> usize {
    // 9/64 is a close enough 1/7 for every width up to 64 bits.
    let bits = 64u32.saturating_sub((value | 1).leading_zeros());
    (bits.saturating_mul(9).saturating_add(64) / 64) as usize
}

/// How many bytes [`bytes`] appends for a field below 16 and a content of `length` bytes.
pub(super) fn bytes_len(length: usize) -> usize {
    varint_len(length as u64).saturating_add(length).saturating_add(1)
}

/// A field of wire type 0: integers, booleans, enumerations.
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, VARINT);
    varint(out, value);
}

/// A `fixed64` field; a `double` by its bits.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `fixed32` field.
pub(super) fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    key(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A string or bytes field, also when it is empty.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    header(out, field, value.len());
    out.extend_from_slice(value);
}

/// Key and length of a field whose `length` bytes the caller appends next.
pub(super) fn header(out: &mut Vec<u8>, field: u32, length: usize) {
    key(out, field, LENGTH);
    varint(out, length as u64);
}

/// A message field: `write` appends its content, then its length is put before it.
pub(super) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, LENGTH);
    let slot = out.len();
    out.push(0);
    write(out);
    let length = out.len().saturating_sub(slot).saturating_sub(1);
    patch(out, slot, length);
}

/// Puts `length` where one byte was kept free for it, moving the content when one byte is not enough.
fn patch(out: &mut Vec<u8>, slot: usize, length: usize) {
    if length < 0x80 {
        if let Some(byte) = out.get_mut(slot) {
            *byte = length as u8;
        }
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    varint(&mut prefix, length as u64);
    out.splice(slot..=slot, prefix);
}

#[inline]
fn key(out: &mut Vec<u8>, field: u32, wire_type: u64) {
    varint(out, (u64::from(field) << 3) | wire_type);
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The last occurrence of a string, bytes or message field, as protobuf wants it for fields that do not repeat.
    pub(super) fn bytes(self, field: u32) -> Option<&'a [u8]> {
        self.filter_map(|(number, value)| match value {
            Field::Bytes(bytes) if number == field => Some(bytes),
            _ => None,
        })
        .last()
    }

    /// The last occurrence of an integer field; absent is zero, as in proto3.
    pub(super) fn number(self, field: u32) -> u64 {
        self.filter_map(|(number, value)| match value {
            Field::Varint(value) if number == field => Some(value),
            _ => None,
        })
        .last()
        .unwrap_or_default()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Field::Varint(self.varint()?),
            FIXED64 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            LENGTH => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            FIXED32 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for size in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
            let mut patched = vec![9];
            message(&mut patched, 3, |out| out.resize(out.len() + size, 7));
            let mut known = vec![9];
            bytes(&mut known, 3, &vec![7; size]);
            assert_eq!(patched, known, "{size}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_message() {
        let table: &[(&[u8], usize, &str)] = &[
            (&[0x08, 0x01], 1, "one number"),
            (&[0x08], 0, "a key without a value"),
            (&[0x0a, 0x05, 1, 2], 0, "a length beyond the end"),
            (&[0x0b], 0, "groups are not supported"),
            (&[0x08, 0x01, 0x0d, 1, 2, 3], 1, "a fixed32 of three bytes"),
            (&[0xff; 20], 0, "an endless number"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 0, "a length of 2^64 - 1"),
        ];
        for (input, fields, why) in table {
            assert_eq!(Fields(input).count(), *fields, "{why}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(value: u64, field in 1u32..1000) {
            let mut out = Vec::new();
            varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            out.clear();
            number(&mut out, field, value);
            fixed64(&mut out, field, value);
            fixed32(&mut out, field, value as u32);
            bytes(&mut out, field, &value.to_le_bytes());
            let expected = [
                Field::Varint(value),
                Field::Fixed64(value),
                Field::Fixed32(value as u32),
                Field::Bytes(&value.to_le_bytes()),
            ];
            prop_assert!(Fields(&out).eq(expected.into_iter().map(|value| (field, value))));
        }

        #[test]
        fn of_any_bytes_a_field_takes_at_least_two(noise: Vec<u8>) {
            prop_assert!(Fields(&noise).count() <= noise.len() / 2);
            prop_assert!(Fields(&noise).bytes(1).is_none_or(|bytes| bytes.len() < noise.len()));
        }
    }
}
