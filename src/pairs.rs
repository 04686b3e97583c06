//! The pairs serialisation of proxy-wasm: header maps, maps of texts, and lists of CEL.

use sidespan_core::http::headers::Header;

/// Pairs read from one block, at most. Hosts stop at 1024 (proxy-wasm-cpp-host, `include/proxy-wasm/limits.h`).
pub(crate) const MAX_PAIRS: usize = 4096;

/// Reads the pairs serialisation of proxy-wasm: `u32` count, per pair two `u32` lengths, then `key NUL value NUL` each;
/// integers little-endian. Of a truncated or broken block, the pairs before the damage. The count is never believed:
/// nothing is allocated that the bytes at hand could not fill.
pub(crate) fn decode_pairs(block: &[u8]) -> Vec<Header<'_>> {
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
pub(crate) fn encode_pairs(pairs: &[Header<'_>]) -> Vec<u8> {
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
