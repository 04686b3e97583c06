//! `baggage` (W3C Baggage, "Header Name", "Header Content"): read for the keys that an operator allows, never changed.
//!
//! ```text
//! list   = member *( OWS "," OWS member )
//! member = key OWS "=" OWS value *( OWS ";" OWS property )       key = token; value = percent-encoded UTF-8
//! ```
//! A member that breaks the grammar is skipped. Raw spaces, quotes and bytes above 0x7e in a value are accepted: the grammar
//! forbids them, but senders exist that write them. Raw control characters are not accepted.

use crate::http::headers::trim;
use crate::http::{percent, token};

/// Members read, at most ("Limits").
pub(crate) const MAX_MEMBERS: usize = 64;

/// Bytes of all headers together: where there are more, nothing is read ("Limits").
pub(crate) const MAX_BYTES: usize = 8192;

/// The decoded values of `keys`, in the order of `keys`, from all header values in their order. Of a key that appears
/// twice the last counts. Bytes that are no UTF-8 become U+FFFD, so a value takes at most three times its length.
pub(crate) fn get_all<'a, 'k>(
    values: impl IntoIterator<Item = &'a [u8]>,
    keys: &'k [impl AsRef<str>],
) -> Vec<(&'k str, String)> {
    let mut found: Vec<(&'k str, &'a [u8])> = Vec::new();
    let mut bytes = 0usize;
    let mut count = 0usize;
    if keys.is_empty() {
        return Vec::new();
    }
    for value in values {
        bytes = bytes.saturating_add(value.len());
        if bytes > MAX_BYTES {
            return Vec::new();
        }
        for (key, value) in value.split(|byte| *byte == b',').filter_map(member) {
            count = count.saturating_add(1);
            if count > MAX_MEMBERS {
                break;
            }
            if let Some(key) = keys.iter().map(AsRef::as_ref).find(|allowed| allowed.as_bytes() == key) {
                found.retain(|(other, _)| *other != key);
                found.push((key, value));
            }
        }
    }
    let value = |key| {
        found
            .iter()
            .find(|(other, _)| *other == key)
            .map(|(_, value)| (key, String::from_utf8_lossy(&percent::decode(value)).into_owned()))
    };
    let mut out: Vec<(&'k str, String)> = Vec::new();
    for key in keys.iter().map(AsRef::as_ref) {
        if !out.iter().any(|(other, _)| *other == key) {
            out.extend(value(key));
        }
    }
    out
}

/// Key and raw value, without properties.
fn member(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.split(|byte| *byte == b';').next()?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (trim(text.get(..equals)?), trim(text.get(equals.saturating_add(1)..)?));
    let valid = token::is_token(key) && !value.iter().any(u8::is_ascii_control);
    valid.then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(values: &[&str], keys: &[&str]) -> String {
        let found = get_all(values.iter().map(|value| value.as_bytes()), keys);
        found.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn allowed_keys_are_read_and_decoded() {
        let every = &["SomeKey", "SomeKey2", "key1", "key2", "k"][..];
        let table: &[(&[&str], &str, &str)] = &[
            (&["SomeKey=SomeValue"], "SomeKey=SomeValue", "plain"),
            (&["SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;P=V"], "SomeKey=SomeValue|SomeKey2=SomeValue2", "props"),
            (
                &["SomeKey \t = \t SomeValue \t ; \t SomeProp \t , \t SomeKey2 \t = \t SomeValue2 \t ; \t P \t = \t V"],
                "SomeKey=SomeValue|SomeKey2=SomeValue2",
                "OWS everywhere",
            ),
            (&["SomeKey=SomeValue=equals"], "SomeKey=SomeValue=equals", "a value may hold an equals sign"),
            (
                &["SomeKey=%09%20%22%27%3B%3Dasdf%21%40%23%24%25%5E%26%2A%28%29"],
                "SomeKey=\t \"';=asdf!@#$%^&*()",
                "percent",
            ),
            (&["SomeKey=SomeValue;A;A=1;A=2"], "SomeKey=SomeValue", "properties of one name"),
            (&["SomeKey=SomeValue;key1%20%3D%20x"], "SomeKey=SomeValue", "a property is no member"),
            (&["key1 =   val1,  key2 =val2   "], "key1=val1|key2=val2", "spaces"),
            (&["key1=val1,key2=val2,a,val3"], "key1=val1|key2=val2", "members without a value are skipped"),
            (&["key1=,key2=val2"], "key1=|key2=val2", "an empty value"),
            (&["key1=val%252"], "key1=val%2", "decoded once"),
            (&["key1=100%,key2=%2"], "key1=100%|key2=%2", "a lone percent sign stays"),
            (&["key1=%zz"], "key1=%zz", "so does a bogus escape"),
            (&["key1=%ff%41"], "key1=\u{fffd}A", "no UTF-8: U+FFFD"),
            (&["key1=%C3%A9"], "key1=\u{e9}", "UTF-8"),
            (&[""], "", "empty"),
            (&["key1=val1", "key2=val2"], "key1=val1|key2=val2", "two headers"),
            (&["key1=val1", "key1=val2"], "key1=val2", "the last counts"),
            (&["", "key1=val1"], "key1=val1", "an empty header first"),
            (&["other=1,KEY1=2,key11=3"], "", "only allowed keys, by the letter"),
            (&["ke y1=1,(key1)=1,=1"], "", "a key is a token"),
            (&["key1=a\u{1}b,key2=c"], "key2=c", "no raw control characters"),
        ];
        for (input, expected, why) in table {
            assert_eq!(read(input, every), *expected, "{why}: {input:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_keys_and_no_key_is_free() {
        assert_eq!(read(&["a=1,b=2"], &["b", "a", "b"]), "b=2|a=1");
        assert_eq!(read(&["a=1"], &[]), "");
    }

    #[test]
    fn limits_are_those_of_the_specification() {
        let members: Vec<String> = (0..64).map(|n| format!("k{n}=v{n}")).collect();
        let full = members.join(",");
        assert_eq!(read(&[&full], &["k63"]), "k63=v63", "64 members");
        assert_eq!(read(&[&format!("{full},last=1")], &["k0", "last"]), "k0=v0", "no 65th");
        let value = "v".repeat(MAX_BYTES - 2);
        assert_eq!(read(&[&format!("k={value}")], &["k"]), format!("k={value}"), "8192 bytes");
        assert_eq!(read(&[&format!("k={value}v")], &["k"]), "", "8193 bytes");
        assert_eq!(read(&[&format!("k={value}"), "a=1"], &["k", "a"]), "", "in two headers");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4)) {
            let found = get_all(values.iter().map(Vec::as_slice), &["a", "b"]);
            prop_assert!(found.len() <= 2);
        }
    }
}
