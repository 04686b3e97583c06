//! What may stand as a header's name or value, and which headers hold secrets.

use crate::http::token::is_token;

/// Headers that carry credentials: captured only when named, and then with a warning.
const SENSITIVE: [&str; 11] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-client-cert",
    "x-goog-api-key",
    "x-vault-token",
];

/// Whether captures of this header are likely to leak credentials.
pub fn is_sensitive(header: &str) -> bool {
    SENSITIVE.contains(&header.to_ascii_lowercase().as_str())
}

/// What is wrong with a header's name, and a hint. `pseudo` is the hint for `:path` and its kind, which are no headers here.
#[inline(never)]
pub(super) fn header_name_fault(name: &str, pseudo: &'static str) -> Option<(String, &'static str)> {
    if is_token(name.as_bytes()) {
        return None;
    }
    let hint = match name.as_bytes().first() {
        None => "give a header's name",
        Some(b':') => pseudo,
        Some(_) => "letters, digits and - only, such as `x-tenant-id`",
    };
    Some((format!("{name:?} is not a header name"), hint))
}

/// Whether a value can break out of its header (RFC 9110 section 5.5 forbids CR, LF and NUL; other controls have no place).
#[inline(never)]
pub(super) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

/// The first name that occurs twice, ignoring case.
#[inline(never)]
pub(super) fn twice<'n>(names: &[&'n str]) -> Option<&'n str> {
    let mut counted = names.iter().enumerate();
    let again =
        |(index, name): &(usize, &&str)| names.iter().take(*index).any(|earlier| earlier.eq_ignore_ascii_case(name));
    counted.find(again).map(|(_, name)| *name)
}

/// A DNS name with an optional trailing dot: what a Kubernetes service or a `ServiceEntry` host looks like.
#[inline(never)]
pub(super) fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_header_names() {
        let table = [
            ("x-tenant-id", true),
            ("X-Tenant-Id", true),
            ("x_a!#$%&'*+.^`|~9", true),
            ("", false),
            (":path", false),
            ("x tenant", false),
            ("x-tenänt", false),
            ("x:y", false),
            ("x\r\ny", false),
        ];
        for (name, valid) in table {
            assert_eq!(header_name_fault(name, "").is_none(), valid, "{name:?}");
        }
    }

    #[test]
    fn only_dns_names_are_services() {
        let long = "a".repeat(64);
        let table = [
            ("otel-collector.istio-system.svc.cluster.local", true),
            ("collector.example.com.", true),
            ("collector", true),
            ("10.0.0.1", true),
            ("", false),
            ("collector:4318", false),
            ("http://collector", false),
            ("outbound|4318||collector", false),
            ("a..b", false),
            ("-a.b", false),
            (long.as_str(), false),
        ];
        for (name, valid) in table {
            assert_eq!(is_dns_name(name), valid, "{name:?}");
        }
    }

    #[test]
    fn names_are_compared_without_case_and_values_have_no_controls() {
        assert_eq!(twice(&["a", "b", "A"]), Some("A"));
        assert_eq!(twice(&["a", "b"]), None);
        assert!(is_sensitive("Authorization") && is_sensitive("x-api-key") && !is_sensitive("x-tenant-id"));
        assert!(is_header_value("team a\tü") && is_header_value(""));
        assert!(!is_header_value("a\r\nx: y") && !is_header_value("a\0") && !is_header_value("\u{7f}"));
    }
}
