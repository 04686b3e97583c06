//! Redaction: secrets in query strings and URLs are replaced, and bytes that are not text.
//!
//! Semantic conventions for HTTP spans, notes on `url.full` and `url.query`: the values of signature parameters are
//! replaced by `REDACTED`, credentials are removed.

use crate::http::percent;

/// The parameters that the semantic conventions list, then parameters whose values are always secrets. Names are compared
/// after percent-decoding and without regard to case.
const DEFAULT_PARAMETERS: &[&str] = &[
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "access_token",
    "id_token",
    "refresh_token",
    "client_secret",
    "password",
    "passwd",
    "api_key",
    "apikey",
];

const REDACTED: &str = "REDACTED";

/// Most bytes that are read. A text is cut after redaction, because half of a secret is still a secret.
const MAX_SCAN: usize = 8192;

/// The query parameters whose values are replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Redaction {
    /// Lower-case.
    extra: Vec<String>,
}

// === impl Redaction ===

impl Redaction {
    /// The default parameters and those that the operator adds.
    pub(super) fn new(extra: &[String]) -> Self {
        Self { extra: extra.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// A query (without `?`) with every secret value replaced, as safe text of at most `limit` bytes.
    pub(super) fn query(&self, query: &[u8], limit: usize) -> String {
        let query = safe_text(query, MAX_SCAN);
        let mut out = String::with_capacity(query.len());
        for part in query.split_inclusive(['&', ';']) {
            let (pair, delimiter) = match part.strip_suffix(['&', ';']) {
                Some(pair) => (pair, part.get(pair.len()..).unwrap_or_default()),
                None => (part, ""),
            };
            match pair.split_once('=') {
                Some((name, _)) if self.is_secret(name) => {
                    out.push_str(name);
                    out.push('=');
                    out.push_str(REDACTED);
                }
                _ => out.push_str(&without_credentials(pair)),
            }
            out.push_str(delimiter);
        }
        cut(&mut out, limit);
        out
    }

    /// A path or URL with its query, as safe text; path and query each of at most `limit` bytes.
    pub(super) fn target(&self, target: &[u8], limit: usize) -> String {
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let mut path = without_credentials(&safe_text(parts.next().unwrap_or_default(), MAX_SCAN));
        cut(&mut path, limit);
        match parts.next() {
            Some(query) => format!("{path}?{}", self.query(query, limit)),
            None => path,
        }
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = percent::decode(name.as_bytes());
        let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
        let name = name.trim();
        DEFAULT_PARAMETERS.contains(&name) || self.extra.iter().any(|extra| extra == name)
    }
}

/// Replaces `https://user:secret@host` by `https://REDACTED:REDACTED@host` everywhere in the text.
pub(super) fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find(['/', '?', '#', '&', ' ']).unwrap_or(after.len());
        let end = after.find("://").map_or(end, |nested| nested.min(end));
        let (authority, tail) = after.split_at_checked(end).unwrap_or((after, ""));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("REDACTED:REDACTED@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Any bytes as text of at most `limit` bytes, cut on a character boundary. Bytes that are not UTF-8 and control characters
/// become U+FFFD.
pub(super) fn safe_text(bytes: &[u8], limit: usize) -> String {
    if bytes.len() <= limit && bytes.iter().fold(true, |plain, byte| plain & matches!(byte, 0x20..=0x7e)) {
        // Most texts are plain ASCII: one pass without an early exit, which compilers turn into fast code.
        return String::from_utf8(bytes.to_vec()).unwrap_or_default();
    }
    // A few bytes more than the limit, so that a character across it is seen whole and then cut off whole.
    let head = bytes.get(..limit.saturating_add(4)).unwrap_or(bytes);
    let mut text = match std::str::from_utf8(head) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => String::from_utf8_lossy(head).replace(char::is_control, "\u{fffd}"),
    };
    cut(&mut text, limit);
    text
}

/// Cuts to at most `limit` bytes, on a character boundary.
pub(super) fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secret_values_of_a_query_are_replaced() {
        let table: &[(&str, &str, &str)] = &[
            ("q=shoes&page=2", "q=shoes&page=2", "nothing secret"),
            ("X-Amz-Signature=abc&x=1", "X-Amz-Signature=REDACTED&x=1", "the conventions' list"),
            ("sig=a&Signature=b&AWSAccessKeyId=c", "sig=REDACTED&Signature=REDACTED&AWSAccessKeyId=REDACTED", "all"),
            ("X-Goog-Signature=a;sig=b", "X-Goog-Signature=REDACTED;sig=REDACTED", "semicolons separate too"),
            ("tOkEn=abc", "tOkEn=REDACTED", "configured, any case"),
            ("%74oken=abc", "%74oken=REDACTED", "an encoded name is the same name"),
            ("token", "token", "no value, nothing to hide"),
            ("token=", "token=REDACTED", "an empty value looks like any other"),
            ("token=a=b=c&x=1", "token=REDACTED&x=1", "the whole value goes"),
            ("tokens=3", "tokens=3", "another name"),
            ("access_token=a&password=b", "access_token=REDACTED&password=REDACTED", "never anything but secrets"),
            ("next=https://u:p@host/x", "next=https://REDACTED:REDACTED@host/x", "credentials within a value"),
            ("", "", "empty"),
            ("&&=&", "&&=&", "junk stays junk"),
        ];
        let redaction = Redaction::new(&["Token".to_owned()]);
        for (input, expected, why) in table {
            assert_eq!(redaction.query(input.as_bytes(), 4096), *expected, "{why}");
        }
    }

    #[test]
    fn credentials_disappear_from_urls() {
        for (input, expected) in [
            ("https://user:secret@host/a", "https://REDACTED:REDACTED@host/a"),
            ("https://user@host", "https://REDACTED:REDACTED@host"),
            ("https://host/a@b", "https://host/a@b"),
            ("a://b://c:d@e", "a://b://REDACTED:REDACTED@e"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_credentials(input), expected);
        }
    }

    #[test]
    fn a_cut_never_uncovers_half_a_credential() {
        let redaction = Redaction::default();
        assert_eq!(redaction.target(b"/p/https://user:secret@host", 20), "/p/https://REDACTED:");
        assert_eq!(redaction.query(b"u=https://user:secret@host&sig=abc", 16), "u=https://REDACT");
    }

    #[test]
    fn any_bytes_become_safe_text_cut_on_a_character_boundary() {
        let table: &[(&[u8], usize, &str)] = &[
            (b"abc", 10, "abc"),
            (b"abc", 2, "ab"),
            ("aé".as_bytes(), 2, "a"),
            ("aé".as_bytes(), 3, "aé"),
            ("日本語".as_bytes(), 7, "日本"),
            (b"a\xffb", 10, "a\u{fffd}b"),
            (b"a\r\nb\0", 20, "a\u{fffd}\u{fffd}b\u{fffd}"),
            (b"abc", 0, ""),
        ];
        for (input, limit, expected) in table {
            assert_eq!(safe_text(input, *limit), *expected);
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives(junk in "[ -~]{0,40}", secret in "[a-z]{12}") {
            let query = format!("{junk}&token={secret}");
            let redaction = Redaction::new(&["token".to_owned()]);
            prop_assert!(!redaction.query(query.as_bytes(), 4096).contains(&secret) || junk.contains(&secret));
        }

        #[test]
        fn text_never_exceeds_its_limit(bytes in any::<Vec<u8>>(), limit in 0usize..40) {
            let text = safe_text(&bytes, limit);
            prop_assert!(text.len() <= limit && !text.contains(char::is_control));
        }
    }
}
