//! Converts zlib (RFC 1950) to gzip (RFC 1952). Both contain the same deflate stream; Envoy compresses to zlib.
//!
//! So the module contains no compressor, only the checksum of gzip.

/// The gzip form of `zlib`, which is `plain` compressed. `None` if `zlib` is not a zlib stream (RFC 1950 section 2.2: method 8,
/// a header that is a multiple of 31, no preset dictionary).
pub fn from_zlib(zlib: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let ([cmf, flags], rest) = zlib.split_first_chunk()?;
    let (deflate, _adler32) = rest.split_last_chunk::<4>()?;
    if cmf & 0x0f != 8 || flags & 0x20 != 0 || u16::from_be_bytes([*cmf, *flags]) % 31 != 0 {
        return None;
    }
    let mut out = Vec::with_capacity(deflate.len().saturating_add(18));
    // Magic, deflate, no flags, no time, nothing about the effort, unknown operating system.
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    out.extend_from_slice(deflate);
    out.extend_from_slice(&crc32(plain).to_le_bytes());
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    Some(out)
}

/// Remainders of a byte that is followed by 0 to 7 others (8 kB: made for each body, which costs as much as 8 kB of it).
type Tables = [[u32; 256]; 8];

/// CRC-32 of RFC 1952 section 8, eight bytes at a time ("slicing by 8").
fn crc32(bytes: &[u8]) -> u32 {
    let tables = tables();
    let (blocks, rest) = bytes.as_chunks::<8>();
    let crc = blocks.iter().fold(u32::MAX, |crc, block| {
        let mixed = (u64::from_le_bytes(*block) ^ u64::from(crc)).to_le_bytes();
        mixed.iter().zip(tables.iter().rev()).fold(0, |sum, (byte, table)| sum ^ entry(table, *byte))
    });
    !rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ entry(&tables[0], crc as u8 ^ byte))
}

fn tables() -> Tables {
    let first: [u32; 256] = std::array::from_fn(|index| (0..8).fold(index as u32, |crc, _| step(crc)));
    let mut tables = [first; 8];
    let mut last = first;
    for table in tables.iter_mut().skip(1) {
        last = last.map(|crc| (crc >> 8) ^ entry(&first, crc as u8));
        *table = last;
    }
    tables
}

fn entry(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

fn step(crc: u32) -> u32 {
    if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// zlib with one stored block (RFC 1951 section 3.2.4).
    fn stored(plain: &[u8]) -> Vec<u8> {
        let length = plain.len() as u16;
        let mut out = vec![0x78, 0x01, 1];
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(plain);
        out.extend_from_slice(&[0, 0, 0, 0]);
        out
    }

    #[test]
    fn the_checksum_is_the_one_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_deflate_stream_is_kept_and_wrapped_anew() {
        let gzip = from_zlib(&stored(b"spans"), b"spans").expect("zlib");
        assert_eq!(&gzip[..4], [0x1f, 0x8b, 8, 0]);
        assert_eq!(&gzip[10..20], &stored(b"spans")[2..12]);
        assert_eq!(&gzip[20..24], crc32(b"spans").to_le_bytes());
        assert_eq!(&gzip[24..], [5, 0, 0, 0]);
    }

    #[test]
    fn what_is_not_zlib_is_refused() {
        let table: &[(&[u8], &str)] = &[
            (b"", "nothing"),
            (&[0x78, 0x01, 3, 0, 0], "no room for a checksum"),
            (&[0x79, 0x01, 3, 0, 0, 0, 0, 1], "method 9"),
            (&[0x78, 0x02, 3, 0, 0, 0, 0, 1], "header checksum"),
            (&[0x78, 0x20, 3, 0, 0, 0, 0, 1], "preset dictionary"),
        ];
        for (input, why) in table {
            assert_eq!(from_zlib(input, b""), None, "{why}");
        }
    }
}
