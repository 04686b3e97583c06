//! Versions of Envoy.

/// The version that is provided by default.
pub const DEFAULT_ENVOY: &str = "1.40.0";

/// The versions known to exist as wheels with WebAssembly (that of 1.38.3 has none). Others are tried as well: the list
/// is only for messages.
pub const KNOWN_ENVOYS: &[&str] =
    &["1.36.2", "1.36.3", "1.36.4", "1.37.0", "1.38.2", "1.39.0", "1.39.1", "1.39.3", "1.40.0"];

/// The oldest Envoy that the filter supports; older ones in a func-e installation are ignored.
pub(super) const OLDEST: Number = (1, 36, 0);

/// Major, minor, patch.
type Number = (u32, u32, u32);

/// `1.38.3`, or `1.36.2.post1` as a Python package may say; the suffix does not count.
pub(crate) fn parse_version(text: &str) -> Option<Number> {
    let mut parts = text.split('.');
    let mut number = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    let version = (number()?, number()?, number()?);
    let suffix = match parts.next() {
        None => true,
        Some(suffix) => suffix
            .strip_prefix("post")
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())),
    };
    (suffix && parts.next().is_none()).then_some(version)
}
