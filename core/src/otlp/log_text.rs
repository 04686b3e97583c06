//! Text of a receiver as one line of a log.

/// Longest message of a receiver that is shown, in bytes.
pub(super) const MAX_MESSAGE: usize = 200;

/// At most [`MAX_MESSAGE`] bytes of `text`, with spaces in place of control characters.
pub(super) fn one_line(text: &[u8]) -> String {
    let (text, cut) = text.split_at_checked(MAX_MESSAGE).map_or((text, false), |(head, tail)| (head, !tail.is_empty()));
    let mut out: String =
        String::from_utf8_lossy(text).chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if cut {
        out.push('…');
    }
    out.trim().to_owned()
}
