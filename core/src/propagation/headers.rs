//! The pairs serialisation of proxy-wasm: how a host hands over a header map.

use crate::http::headers::Header;

/// Pairs read from one block, at most. Hosts stop at 1024 (proxy-wasm-cpp-host, `include/proxy-wasm/limits.h`).
pub const MAX_PAIRS: usize = 4096;

/// Reads the pairs serialisation of proxy-wasm: `u32` count, per pair two `u32` lengths, then `key NUL value NUL` each;
/// integers little-endian. Of a truncated or broken block, the pairs before the damage. The count is never believed:
/// nothing is allocated that the bytes at hand could not fill.
pub fn decode_pairs(block: &[u8]) -> Vec<Header<'_>> {
    let mut out = Vec::new();
    let Some((count, rest)) = take_u32(block) else { return out };
    let Some((lengths, mut data)) = count.checked_mul(8).and_then(|size| rest.split_at_checked(size)) else {
        return out;
    };
    let (lengths, _) = lengths.as_chunks::<4>();
    let (pairs, _) = lengths.as_chunks::<2>();
    // A pair takes two bytes of data even if it is empty.
    out.reserve(count.min(MAX_PAIRS).min(data.len() / 2));
    for [name, value] in pairs.iter().take(MAX_PAIRS) {
        let Some((name, rest)) = take_text(data, *name) else { break };
        let Some((value, rest)) = take_text(rest, *value) else { break };
        out.push(Header { name, value });
        data = rest;
    }
    out
}

/// Writes the pairs serialisation of proxy-wasm, as [`decode_pairs`] reads it.
pub fn encode_pairs(pairs: &[Header<'_>]) -> Vec<u8> {
    let length = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = u32::try_from(pairs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for pair in pairs {
        out.extend_from_slice(&length(pair.name));
        out.extend_from_slice(&length(pair.value));
    }
    for text in pairs.iter().flat_map(|pair| [pair.name, pair.value]) {
        out.extend_from_slice(text);
        out.push(0);
    }
    out
}

#[inline]
fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// `length` bytes and the NUL behind them.
#[inline]
fn take_text(data: &[u8], length: [u8; 4]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    let (text, rest) = data.split_at_checked(length)?;
    Some((text, rest.strip_prefix(b"\0")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_have_the_layout_of_the_host() {
        let block = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0a\0bc\0d\0\0";
        let pairs = [Header::new("a", "bc"), Header::new("d", "")];
        assert_eq!(decode_pairs(block), pairs);
        assert_eq!(encode_pairs(&pairs), block);
    }

    #[test]
    fn of_a_truncated_block_the_whole_pairs_are_read() {
        let pairs = [Header::new("name", "value"), Header::new("n", &b"\0\xff"[..]), Header::new("", "")];
        let block = encode_pairs(&pairs);
        let whole = |length: usize| decode_pairs(&block[..length]).len();
        let (first, second) = (4 + 3 * 8 + 11, 4 + 3 * 8 + 11 + 5);
        for length in 0..=block.len() {
            let expected =
                if length == block.len() { 3 } else { usize::from(length >= first) + usize::from(length >= second) };
            assert_eq!(whole(length), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        for block in [&b"\xff\xff\xff\xff"[..], b"\xff\xff\xff\x7f\0\0\0\0\0\0\0\0\0\0", b"\x01\0\0", b""] {
            assert_eq!(decode_pairs(block).capacity(), 0, "{block:?}");
        }
        let many = vec![Header::new("a", "b"); MAX_PAIRS + 1];
        assert_eq!(decode_pairs(&encode_pairs(&many)).len(), MAX_PAIRS);
    }

    #[test]
    fn a_pair_that_does_not_end_in_nul_ends_the_list() {
        let mut block = encode_pairs(&[Header::new("a", "b"), Header::new("c", "d")]);
        let last = block.len() - 1;
        block[last] = b'x';
        assert_eq!(decode_pairs(&block), [Header::new("a", "b")]);
    }

    proptest! {
        #[test]
        fn pairs_of_any_bytes_come_back(pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..20)), 0..10,
        )) {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| Header::new(name, value)).collect();
            let block = encode_pairs(&pairs);
            prop_assert_eq!(decode_pairs(&block), pairs);
        }

        #[test]
        fn any_block_is_survived(count in 0u8..4, bytes in prop::collection::vec(0u8..6, 0..200)) {
            let block = [&[count, 0, 0, 0][..], &bytes].concat();
            prop_assert!(decode_pairs(&block).len() <= usize::from(count));
        }
    }
}
