//! Tokens (RFC 9110 section 5.6.2): what header names, methods and baggage keys are made of.
//!
//! ```text
//! token = 1*tchar
//! tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
//! ```

/// Whether `text` is a token: one or more `tchar`.
#[inline(never)]
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_letters_digits_and_fifteen_signs() {
        let table = [
            ("x-tenant-id", true),
            ("X-Tenant-Id", true),
            ("x_a!#$%&'*+.^`|~9", true),
            ("", false),
            (":path", false),
            ("x tenant", false),
            ("x-ten\u{e4}nt", false),
            ("x:y", false),
            ("x\r\ny", false),
            ("(key)", false),
        ];
        for (text, expected) in table {
            assert_eq!(is_token(text.as_bytes()), expected, "{text:?}");
        }
    }
}
