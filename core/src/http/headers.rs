//! Headers as bytes: a name and a value, the values of a name that repeats, and edits to a header map.
//!
//! Field names and values are those of RFC 9110 sections 5.1 to 5.5. Names are in lower case, because Envoy lower-cases all
//! names; values may hold any bytes.

use std::borrow::Cow;

/// One header line as it was received: the name in lower case, the value as raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Lower-case name.
    pub name: &'a [u8],
    /// Any bytes; never assumed to be UTF-8.
    pub value: &'a [u8],
}

/// One change to a header map. A value is made by sidespan or was validated: it never holds CR, LF or NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replaces every value of this name by one, or adds it.
    Set(Cow<'static, str>, Vec<u8>),
    /// Adds one more value of this name; the values that are there stay as they are.
    Add(Cow<'static, str>, Vec<u8>),
    /// Removes every value of this name.
    Remove(Cow<'static, str>),
}

// === impl Header, HeaderEdit ===

impl<'a> Header<'a> {
    /// A header of a name (in lower case) and a value.
    pub fn new(name: &'a (impl AsRef<[u8]> + ?Sized), value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { name: name.as_ref(), value: value.as_ref() }
    }
}

impl HeaderEdit {
    /// The name of the header that changes.
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name) => name,
        }
    }
}

/// All values of `name`, in order of appearance.
pub fn values<'h, 'a>(headers: &'h [Header<'a>], name: &'h [u8]) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
    headers.iter().filter(move |header| header.name == name).map(|header| header.value)
}

/// The first value of `name`.
#[inline]
pub fn first<'a>(headers: &[Header<'a>], name: &[u8]) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name == name).map(|header| header.value)
}

/// The value of `name` if it appears exactly once.
#[inline]
pub fn only<'a>(headers: &[Header<'a>], name: &[u8]) -> Option<&'a [u8]> {
    let mut all = headers.iter().filter(|header| header.name == name);
    let value = all.next()?.value;
    all.next().is_none().then_some(value)
}

/// Strips optional white space (RFC 9110 section 5.6.3: space and tab) from both ends.
pub fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last.saturating_add(1));
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_kept_in_order_and_only_refuses_them() {
        let headers = [Header::new("a", "1"), Header::new("b", "2"), Header::new("a", "3")];
        assert_eq!(values(&headers, b"a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(first(&headers, b"a"), Some(&b"1"[..]));
        assert_eq!(only(&headers, b"a"), None);
        assert_eq!(only(&headers, b"b"), Some(&b"2"[..]));
    }

    #[test]
    fn trim_takes_spaces_and_tabs_only() {
        for (input, expected) in [(" \t a b\t", "a b"), ("", ""), (" \t", ""), ("a\r", "a\r")] {
            assert_eq!(trim(input.as_bytes()), expected.as_bytes());
        }
    }
}
