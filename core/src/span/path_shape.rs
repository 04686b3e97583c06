//! The shape of a path: which segments are names that a developer chose, and which are ids.
//!
//! ```text
//! /api/v1/users/42/orders/7   →   /api/v1/users/{id}/orders/{id}
//! ```
//! A segment that looks like a word stays; every other one becomes `{id}`. This is a guess: see [`super::name`].

/// Segments of a shape; the rest is `*`.
pub(super) const MAX_SEGMENTS: usize = 8;
/// Longest segment that can be a word.
pub(super) const MAX_WORD: usize = 32;
/// Longest gRPC service or method name.
const MAX_GRPC: usize = 100;

/// The shape of `/api/users/42` is `/api/users/{id}`. `None` for what is not a path: `*` of OPTIONS, the empty one of CONNECT.
pub(super) fn shape(path: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(path.len().min(128));
    let segments = path.strip_prefix(b"/")?.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    for (at, segment) in segments.enumerate() {
        if at >= MAX_SEGMENTS {
            out.push_str("/*");
            break;
        }
        // Matrix parameters (`;jsessionid=…`) are not part of the segment's name.
        let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        out.push('/');
        out.push_str(word(segment).unwrap_or("{id}"));
    }
    Some(if out.is_empty() { "/".to_owned() } else { out })
}

/// The segment if it looks like a word that a developer chose: it starts with a letter (or `.` or `_`), has only letters,
/// few digits and few separators, and does not look random. Numbers, UUIDs, dates, hashes, tokens, addresses, slugs and
/// anything encoded are not words.
fn word(segment: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(segment).ok().filter(|text| (1..=MAX_WORD).contains(&text.len()))?;
    if is_version(text) {
        return Some(text);
    }
    let separator = |byte: &u8| matches!(byte, b'-' | b'_' | b'.' | b'~' | b':');
    let count = |wanted: &dyn Fn(&u8) -> bool| segment.iter().filter(|byte| wanted(byte)).count();
    let letters = count(&u8::is_ascii_alphabetic);
    let digits = count(&u8::is_ascii_digit);
    let separators = count(&separator);
    let plain = letters.saturating_add(digits).saturating_add(separators) == segment.len();
    let starts = segment.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_'));
    let random = looks_hex(segment, letters)
        || has_random_case(segment, letters)
        || segment.split(|byte| separator(byte)).any(is_number_or_noise);
    (plain && starts && letters > 0 && digits <= 1 && separators <= 3 && !random).then_some(text)
}

/// `v1`, `v12`, `v1beta2`, `v1.2`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['v', 'V']) else { return false };
    rest.len() <= 9
        && rest.starts_with(|first: char| first.is_ascii_digit())
        && rest.split(|c: char| c.is_ascii_digit() || c == '.').all(|part| matches!(part, "" | "alpha" | "beta" | "rc"))
        && rest.bytes().filter(u8::is_ascii_digit).count() <= 3
}

/// `deadbeef`: eight or more hexadecimal digits and nothing else but dashes.
fn looks_hex(segment: &[u8], letters: usize) -> bool {
    letters >= 7 && segment.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') && segment.len() >= 8
}

/// `aGVsbG9Xb3`: camel case changes from lower to upper case at most once in three letters, base64 more often.
fn has_random_case(segment: &[u8], letters: usize) -> bool {
    let hump = |pair: &[u8]| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase());
    segment.windows(2).filter(|pair| hump(pair)).count().saturating_mul(3) > letters
}

/// A part between separators that is a number (`order-42`), or six letters and more without a vowel.
fn is_number_or_noise(part: &[u8]) -> bool {
    let vowel = |byte: &u8| matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    (!part.is_empty() && part.iter().all(u8::is_ascii_digit)) || (part.len() >= 6 && !part.iter().any(vowel))
}

/// `/package.Service/Method` → `package.Service/Method`: identifiers with dots, a slash, an identifier.
pub(super) fn grpc_method(path: &[u8]) -> Option<&str> {
    let full = std::str::from_utf8(path.strip_prefix(b"/")?).ok()?;
    let (service, method) = full.split_once('/')?;
    let identifier = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let fits = service.len() <= MAX_GRPC && method.len() <= MAX_GRPC;
    (fits && service.split('.').all(identifier) && identifier(method)).then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_are_ids_collapse_and_words_stay() {
        let table: &[(&str, &str, &str)] = &[
            ("/", "/", "root"),
            ("/api/users", "/api/users", "words"),
            ("/api/users/", "/api/users", "a trailing slash is nothing"),
            ("//api//users", "/api/users", "empty segments are nothing"),
            ("/api/users/42", "/api/users/{id}", "number"),
            ("/api/v1/users/42/orders/7", "/api/v1/users/{id}/orders/{id}", "several"),
            ("/apis/v1beta1/pods", "/apis/v1beta1/pods", "Kubernetes versions"),
            ("/u/550e8400-e29b-41d4-a716-446655440000", "/u/{id}", "UUID"),
            ("/u/550E8400E29B41D4A716446655440000", "/u/{id}", "UUID without dashes, upper case"),
            ("/c/deadbeef", "/c/{id}", "hex without a digit"),
            ("/c/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/c/{id}", "SHA-1"),
            ("/t/eyJhbGciOiJIUzI1NiJ9", "/t/{id}", "base64"),
            ("/t/aGVsbQxRkLmZoPw", "/t/{id}", "base64 without digits"),
            ("/m/jane.doe@example.com", "/m/{id}", "e-mail address"),
            ("/m/jane%40example.com", "/m/{id}", "encoded e-mail address"),
            ("/d/2024-02-29", "/d/{id}", "date"),
            ("/d/2024-02-29T12:00:00Z", "/d/{id}", "time"),
            ("/o/order-4711", "/o/{id}", "word with a number"),
            ("/o/ORD12345", "/o/{id}", "prefixed number"),
            ("/o/user42", "/o/{id}", "two digits are a number"),
            ("/oauth2/token", "/oauth2/token", "one digit is a name"),
            ("/.well-known/openid-configuration", "/.well-known/openid-configuration", "RFC 8615"),
            ("/static/index.html", "/static/index.html", "file"),
            ("/static/app.3f9a2c1b.js", "/static/{id}", "file with a hash"),
            ("/api/getUserById", "/api/getUserById", "camel case"),
            ("/api/user_profiles/search-all", "/api/user_profiles/search-all", "separators"),
            ("/v1/users:batchGet", "/v1/users:batchGet", "custom verb"),
            ("/blog/how-i-learned-to-stop-worrying", "/blog/{id}", "slug"),
            ("/x/qwrtpsdf", "/x/{id}", "no vowel"),
            ("/a;jsessionid=1234/b", "/a/b", "matrix parameter"),
            ("/../../etc/passwd", "/{id}/{id}/etc/passwd", "dots"),
            ("/%00%ff/\u{65e5}\u{672c}", "/{id}/{id}", "encoded and not ASCII"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*", "bounded depth"),
            ("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "/{id}", "too long"),
            ("/en-US/home", "/en-US/home", "locale"),
        ];
        for (path, expected, why) in table {
            assert_eq!(shape(path.as_bytes()).as_deref(), Some(*expected), "{why}: {path}");
        }
        assert_eq!(shape(b"*"), None);
        assert_eq!(shape(b""), None);
    }
}
