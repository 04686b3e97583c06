//! `tracestate` (W3C Trace Context level 2, "Tracestate Header"): what vendors say about a trace, the newest member first.
//!
//! ```text
//! list        = list-member 0*31( OWS "," OWS list-member )      OWS = *( SP / HTAB ); empty members are allowed
//! list-member = key "=" value
//! key         = ( lcalpha / DIGIT ) 0*255( lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@" )
//! value       = 0*255( chr ) nblk-chr                            chr = %x20-7E without "," and "="; nblk-chr: no SP
//! ```
//! The key grammar is that of level 2, so `foo@` and `a@b@c` are keys, which level 1 refuses. A key that appears twice
//! is kept as it is (level 2 allows it; level 1 discards the header). Anything else that breaks the grammar, or a 33rd
//! member, discards the whole header and leaves `traceparent` alone.

use crate::http::headers::trim;
use std::fmt;

/// Members of a list, at most.
pub(super) const MAX_MEMBERS: usize = 32;

/// Most bytes of a header to which this filter added a member; a header that passes unchanged is not cut. The specification
/// requires at least 512.
pub(super) const MAX_BYTES: usize = 4096;

/// Members longer than this go first when a header is too long ("Tracestate Limits").
const LONG_MEMBER: usize = 128;

const MAX_PART: usize = 256;

/// The combined list: members without surrounding white space, joined by single commas. Empty costs no allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TraceState {
    text: Vec<u8>,
}

// === impl TraceState ===

impl TraceState {
    /// No members.
    pub const fn empty() -> Self {
        Self { text: Vec::new() }
    }

    /// All header values in their order, as one list; empty if any part of it is invalid.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut state = Self::empty();
        let members = values.into_iter().flat_map(|value| value.split(|byte| *byte == b',')).map(trim);
        for (count, member) in members.filter(|member| !member.is_empty()).enumerate() {
            if count >= MAX_MEMBERS || !is_member(member) {
                return Self::empty();
            }
            state.push(member);
        }
        state
    }

    /// The value of the first member with this key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        let key = key.as_ref();
        self.members().find_map(|(found, value)| (found == key).then_some(value))
    }

    /// Puts `key` first with this value and drops any other member of that key ("Mutating the tracestate Field"). Other
    /// members are removed from the right where there are more than 32; where there are more than 4096 bytes, those longer than
    /// 128 bytes are removed first. False, and no change, if key or value break the grammar.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> bool {
        let (key, value) = (key.as_ref(), value.as_ref());
        if !is_key(key) || !is_value(value) {
            return false;
        }
        let first = [key, b"=", value].concat();
        let mut others: Vec<&[u8]> = self.without(key).take(MAX_MEMBERS.saturating_sub(1)).collect();
        shorten(first.len(), &mut others);
        let mut state = Self { text: first };
        others.iter().for_each(|member| state.push(member));
        *self = state;
        true
    }

    /// Drops every member of that key; false if there was none.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        if self.get(key).is_none() {
            return false;
        }
        let mut state = Self::empty();
        self.without(key).for_each(|member| state.push(member));
        *self = state;
        true
    }

    /// No members: such a header is not sent.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Keys and values, first to last.
    pub fn members(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.raw_members().filter_map(split)
    }

    /// The header value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The header value; the grammar is ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The header value, owned.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.text.clone()
    }

    fn raw_members(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == b',').filter(|member| !member.is_empty())
    }

    fn without<'s>(&'s self, key: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        self.raw_members().filter(move |member| split(member).is_some_and(|(found, _)| found != key))
    }

    fn push(&mut self, member: &[u8]) {
        // Mostly there are few more.
        if self.text.capacity() == 0 {
            self.text.reserve(64);
        }
        if !self.text.is_empty() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(member);
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({self})")
    }
}

/// Removes whole members, never the first one, which was just written.
fn shorten(first: usize, others: &mut Vec<&[u8]>) {
    let length = |members: &[&[u8]]| members.iter().fold(first, |sum, m| sum.saturating_add(m.len()).saturating_add(1));
    while !others.is_empty() && length(others) > MAX_BYTES {
        let last = others.len().saturating_sub(1);
        others.remove(others.iter().rposition(|member| member.len() > LONG_MEMBER).unwrap_or(last));
    }
}

fn split(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = member.iter().position(|byte| *byte == b'=')?;
    Some((member.get(..equals)?, member.get(equals.saturating_add(1)..)?))
}

fn is_member(member: &[u8]) -> bool {
    split(member).is_some_and(|(key, value)| is_key(key) && is_value(value))
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= MAX_PART
        && key.first().is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
        && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'))
}

fn is_value(value: &[u8]) -> bool {
    value.len() <= MAX_PART
        && value.last().is_some_and(|byte| *byte != b' ')
        && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(values: &[&str]) -> String {
        TraceState::parse(values.iter().map(|value| value.as_bytes())).to_string()
    }

    fn numbered(count: usize) -> String {
        (1..=count).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_header_is_one_list_or_nothing() {
        let long_key = "z".repeat(256);
        let table: &[(&[&str], &str, &str)] = &[
            (&["foo=1,bar=2"], "foo=1,bar=2", "plain"),
            (&["foo=1", "bar=2"], "foo=1,bar=2", "headers combine in order (RFC 9110 section 5.3)"),
            (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3", "three headers"),
            (&[""], "", "an empty header is accepted"),
            (&["foo=1", ""], "foo=1", "an empty header after one"),
            (&["", "foo=1"], "foo=1", "an empty header before one"),
            (&["foo=1,"], "foo=1", "an empty member at the end"),
            (&[",, ,\t,foo=1,,bar=2"], "foo=1,bar=2", "empty members anywhere"),
            (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3", "OWS around members"),
            (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3", "OWS with tabs first"),
            (&[" foo=1"], "foo=1", "leading OWS"),
            (&["\tfoo=1"], "foo=1", "leading tab"),
            (&["foo=1 "], "foo=1", "trailing OWS"),
            (&["foo=1\t"], "foo=1", "trailing tab"),
            (&["\t foo=1 \t"], "foo=1", "both"),
            (&["foo= 1"], "foo= 1", "a leading space belongs to the value"),
            (&["foo=a b"], "foo=a b", "an inner space belongs to the value"),
            (&["foo=\t1"], "", "a tab is no chr"),
            (&["foo "], "", "no value at all"),
            (&["foo =1"], "", "a space is no key character"),
            (&["FOO=1"], "", "upper case"),
            (&["foo.bar=1"], "", "a dot is no key character"),
            (&["invalid$@#=invalid"], "", "other characters"),
            (&["foo=1,=2"], "", "empty key"),
            (&["=1"], "", "empty key alone"),
            (&["foo=,bar=3"], "", "empty value"),
            (&["foo=bar=baz"], "", "an equals sign in the value"),
            (&["foo=1\u{e9}"], "", "not ASCII"),
            (&["foo=1\n"], "", "line feed"),
            (&["foo=1,ba\0r=2"], "", "NUL"),
            (&["foo"], "", "no equals sign"),
            (&["foo=1", "bar"], "", "one bad header discards all"),
            (&["foo=1,foo=1"], "foo=1,foo=1", "duplicates are kept as they are (level 2)"),
            (&["foo=1,foo=2", "foo=3"], "foo=1,foo=2,foo=3", "across headers too"),
            (&["0a=1,9=2"], "0a=1,9=2", "a key may start with a digit (level 2)"),
            (&["foo@=1,bar=2"], "foo@=1,bar=2", "level 2 key, no level 1 key"),
            (&["foo@@bar=1"], "foo@@bar=1", "level 2 key, no level 1 key"),
            (&["foo@bar@baz=1"], "foo@bar@baz=1", "level 2 key, no level 1 key"),
            (&["@foo=1,bar=2"], "", "a key never starts with @"),
            (&["_foo=1"], "", "nor with an underscore"),
            (&["a-_*/@b=1"], "a-_*/@b=1", "all the special key characters"),
            (
                &["foo=!\"#$%&'()*+-./0123456789:;<>?@ABCXYZ[\\]^_`abcxyz{|}~"],
                "foo=!\"#$%&'()*+-./0123456789:;<>?@ABCXYZ[\\]^_`abcxyz{|}~",
                "every value character",
            ),
            (&[&format!("{long_key}=1")], &format!("{long_key}=1"), "a key of 256"),
            (&[&format!("{long_key}z=1")], "", "a key of 257"),
            (&[&format!("t={long_key}")], &format!("t={long_key}"), "a value of 256"),
            (&[&format!("t={long_key}v")], "", "a value of 257"),
            (&[&numbered(32)], &numbered(32), "32 members"),
            (&[&numbered(33)], "", "33 members"),
            (&[&numbered(32), "baz=1"], "", "33 members in two headers"),
            (&[&format!("{},,", numbered(32))], &numbered(32), "empty members do not count"),
        ];
        for (input, expected, why) in table {
            assert_eq!(parse(input), *expected, "{why}: {input:?}");
        }
    }

    #[test]
    fn set_moves_its_key_to_the_front_and_leaves_the_others_in_order() {
        let table: &[(&str, &str, &str, &str, &str)] = &[
            ("", "ot", "th:0", "ot=th:0", "the first member"),
            ("a=1,b=2", "ot", "th:8", "ot=th:8,a=1,b=2", "added on the left"),
            ("a=1,ot=x,b=2", "ot", "th:8", "ot=th:8,a=1,b=2", "moved to the left"),
            ("ot=x,a=1,ot=y", "ot", "z", "ot=z,a=1", "duplicates of it go"),
            ("a=1,a=2", "ot", "z", "ot=z,a=1,a=2", "duplicates of others stay"),
            ("a=1", "OT", "z", "a=1", "bad key: no change"),
            ("a=1", "ot", "", "a=1", "empty value: no change"),
            ("a=1", "ot", "x,y=1", "a=1", "a value cannot smuggle in a member"),
            ("a=1", "ot", "x\r\n", "a=1", "nor a header"),
            ("a=1", "ot", "x ", "a=1", "no trailing space"),
        ];
        for (before, key, value, after, why) in table {
            let mut state = TraceState::parse([before.as_bytes()]);
            let changed = state.set(key, value);
            assert_eq!((state.as_str(), changed), (*after, before != after), "{why}");
        }
    }

    #[test]
    fn a_33rd_member_pushes_out_the_right_most() {
        let mut state = TraceState::parse([numbered(32).as_bytes()]);
        assert!(state.set("ot", "th:0"));
        assert_eq!(state.as_str(), format!("ot=th:0,{}", numbered(31)));
        assert!(state.set("bar07", "x"));
        assert_eq!(state.members().count(), 32, "a move pushes nothing out");
    }

    #[test]
    fn long_members_leave_first_when_the_header_gets_too_long() {
        let long = |key: &str, length: usize| format!("{key}={}", "v".repeat(length));
        let mut members: Vec<String> = (0..15).map(|n| long(&format!("long{n:02}"), 250)).collect();
        members.push(long("short", 100));
        members.push(long("last", 120));
        let mut state = TraceState::parse([members.join(",").as_bytes()]);
        assert!(state.set("ot", "v".repeat(200)));
        assert!(state.as_bytes().len() <= MAX_BYTES);
        assert!(state.get("short").is_some() && state.get("last").is_some() && state.get("ot").is_some());
        assert!(state.get("long00").is_some(), "from the right");
        assert!(state.get("long14").is_none());
    }

    #[test]
    fn what_only_passes_through_is_never_cut() {
        let header: Vec<String> = (0..32).map(|n| format!("k{n}={}", "v".repeat(256))).collect();
        assert_eq!(parse(&[&header.join(",")]), header.join(","));
    }

    #[test]
    fn get_and_remove_find_whole_keys() {
        let mut state = TraceState::parse([&b"foo=1,fo=2,foo=3"[..]]);
        assert_eq!(state.get(b"foo"), Some(&b"1"[..]));
        assert_eq!(state.get("f"), None);
        assert!(!state.remove("o"));
        assert!(state.remove("foo"));
        assert_eq!(state.as_str(), "fo=2");
        assert!(state.remove("fo") && state.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_comes_in_what_goes_out_parses_to_itself(values in prop::collection::vec(".{0,40}", 0..4)) {
            let once = TraceState::parse(values.iter().map(String::as_bytes));
            prop_assert_eq!(&TraceState::parse([once.as_bytes()]), &once);
        }

        #[test]
        fn any_bytes_are_survived(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4)) {
            let state = TraceState::parse(values.iter().map(Vec::as_slice));
            prop_assert!(state.as_bytes().iter().all(|byte| (0x20..=0x7e).contains(byte)));
        }

        #[test]
        fn after_any_edit_the_header_is_valid_and_short(
            edits in prop::collection::vec(("[a-e][a-z@]{0,3}", "[ -~]{0,260}", any::<bool>()), 0..60),
        ) {
            let mut state = TraceState::empty();
            for (key, value, add) in &edits {
                if !add {
                    state.remove(key);
                    prop_assert_eq!(state.get(key), None);
                } else if state.set(key, value) {
                    prop_assert_eq!(state.members().next(), Some((key.as_bytes(), value.as_bytes())));
                }
                prop_assert!(state.as_bytes().len() <= MAX_BYTES && state.members().count() <= MAX_MEMBERS);
                prop_assert_eq!(&TraceState::parse([state.as_bytes()]), &state);
            }
        }
    }
}
