//! The pairs codec of the filter, with its tests: the library itself cannot be linked without a host.

#[path = "../../src/pairs.rs"]
mod codec;

pub(crate) use codec::{decode_pairs, encode_pairs};

use codec::MAX_PAIRS;
use proptest::prelude::*;
use sidespan_core::http::headers::Header;

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
