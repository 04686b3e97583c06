//! Percent-encoding (RFC 3986 section 2.1): `"%" HEXDIG HEXDIG` is one byte.

/// Decodes every `%41`, with digits of either case. What is not two hex digits after a percent sign stays as it is, because
/// senders write raw percent signs too.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: Option<&u8>| at.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let pair = digit(tail.first()).zip(digit(tail.get(1))).filter(|_| *first == b'%');
        let byte = pair.and_then(|(high, low)| u8::try_from((high << 4) | low).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_everything_else_stays() {
        let table: &[(&str, &[u8])] = &[
            ("", b""),
            ("plain", b"plain"),
            ("%41%7e%7E", b"A~~"),
            ("%252", b"%2"),
            ("%ff", b"\xff"),
            ("100%", b"100%"),
            ("%2", b"%2"),
            ("%zz%4", b"%zz%4"),
            ("%%41", b"%A"),
        ];
        for (input, expected) in table {
            assert_eq!(decode(input.as_bytes()), *expected, "{input}");
        }
    }
}
