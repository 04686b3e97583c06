//! Span names that group: `{method} {http.route}`, and `package.Service/Method` for gRPC.
//!
//! Semantic conventions: a name is `{method} {target}` with a target of low cardinality, else `{method}`; it never
//! falls back to the path. So there are three sources of a target, the first that answers wins:
//!
//! 1. a template of the configuration: it is also `http.route` (server) or `url.template` (client);
//! 2. the *shape* of the path: segments that look like words stay, all others become `{id}`, at most [`MAX_SEGMENTS`] of
//!    them. A shape is a guess, so it is in the name and in a client's `url.template`, never in `http.route`;
//! 3. nothing: the name is the method.
//!
//! Words are unbounded too: a scanner can ask for a hundred thousand of them. So shapes must also find a place in a table:
//! [`MAX_PROVEN`] for shapes that were answered (with anything but 4xx), [`MAX_UNPROVEN`] for those never answered. A full
//! table gives names without a target. Names of one configuration and worker are therefore at most
//! `11 methods × (templates + MAX_PROVEN + MAX_UNPROVEN + 1)`, whatever clients send, and scanners, who get 4xx, cannot
//! take the places of real routes. gRPC methods share the table.

use crate::config::PathTemplate;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Segments of a shape; the rest is `*`.
pub const MAX_SEGMENTS: usize = 8;
/// Places for shapes that a server answered.
pub const MAX_PROVEN: usize = 500;
/// Places for shapes that nobody answered yet.
pub const MAX_UNPROVEN: usize = 100;

/// Longest segment that can be a word.
const MAX_WORD: usize = 32;
/// Longest gRPC service or method name.
const MAX_GRPC: usize = 100;

/// Methods of RFC 9110, RFC 5789 (PATCH) and the QUERY method; case-sensitive.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// What of a path may stand in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A configured template.
    Template(&'a str),
    /// The shape of the path: a guess.
    Shape(String),
    /// Nothing of it.
    None,
}

/// The rules of one configuration and the names it has given so far.
#[derive(Debug, Default)]
pub struct Names {
    templates: Vec<PathTemplate>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: BTreeSet<Box<str>>,
    unproven: usize,
}

/// The method if it is known, `None` for `_OTHER`.
pub fn known_method(method: &[u8]) -> Option<&'static str> {
    METHODS.iter().find(|known| known.as_bytes() == method).copied()
}

// === impl Names ===

impl Names {
    /// First match wins.
    pub fn new(templates: &[PathTemplate]) -> Self {
        Self { templates: templates.to_vec(), table: Mutex::default() }
    }

    /// The target of an HTTP request. `path` is without query; `proven` says that a server knew it.
    pub fn http(&self, path: &[u8], proven: bool) -> Target<'_> {
        if let Some(template) = self.templates.iter().find(|template| template.matches(path)) {
            return Target::Template(template.as_str());
        }
        match shape(path) {
            Some(shape) if self.has_place(&shape, proven) => Target::Shape(shape),
            _ => Target::None,
        }
    }

    /// `package.Service/Method` of a gRPC path, if it has that form and the table a place for it; else it is `_OTHER`.
    pub fn grpc<'p>(&self, path: &'p [u8], proven: bool) -> Option<&'p str> {
        grpc_method(path).filter(|method| self.has_place(method, proven))
    }

    fn has_place(&self, shape: &str, proven: bool) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.known.contains(shape) {
            return true;
        }
        let taken = if proven { table.known.len().saturating_sub(table.unproven) } else { table.unproven };
        if taken >= if proven { MAX_PROVEN } else { MAX_UNPROVEN } {
            return false;
        }
        table.unproven = table.unproven.saturating_add(usize::from(!proven));
        table.known.insert(shape.into())
    }
}

// === impl Target ===

impl Target<'_> {
    /// `{method} {target}`, or the method alone. A method that is not known is `HTTP`.
    pub fn name(&self, method: &[u8]) -> String {
        let method = known_method(method).unwrap_or("HTTP");
        match self.as_str() {
            Some(target) => format!("{method} {target}"),
            None => method.to_owned(),
        }
    }

    /// Template or shape.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Template(text) => Some(text),
            Self::Shape(text) => Some(text),
            Self::None => None,
        }
    }

    /// What may be called `http.route`.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Template(text) => Some(text),
            Self::Shape(_) | Self::None => None,
        }
    }
}

/// `/api/users/42` → `/api/users/{id}`. `None` for what is no path: `*` of OPTIONS, the empty one of CONNECT.
fn shape(path: &[u8]) -> Option<String> {
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

/// `aGVsbG9Xb3`: camel case has a hump for at least each three letters, base64 more.
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
fn grpc_method(path: &[u8]) -> Option<&str> {
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
    use proptest::prelude::*;

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

    #[test]
    fn a_template_wins_and_is_the_only_route() {
        let templates: Vec<PathTemplate> =
            ["/api/users/{id}", "/files/*"].map(|text| PathTemplate::from(text.to_owned())).into();
        let names = Names::new(&templates);
        let table: &[(&str, &str, &str, Option<&str>)] = &[
            ("GET", "/api/users/jane", "GET /api/users/{id}", Some("/api/users/{id}")),
            ("GET", "/files/a/b/c", "GET /files/*", Some("/files/*")),
            ("POST", "/api/orders/17", "POST /api/orders/{id}", None),
            ("OPTIONS", "*", "OPTIONS", None),
            ("CONNECT", "", "CONNECT", None),
            ("BREW", "/pots/1", "HTTP /pots/{id}", None),
            ("get", "/", "HTTP /", None),
            ("", "", "HTTP", None),
        ];
        for (method, path, name, route) in table {
            let target = names.http(path.as_bytes(), true);
            assert_eq!((target.name(method.as_bytes()).as_str(), target.route()), (*name, *route), "{method} {path}");
        }
    }

    #[test]
    fn grpc_names_have_the_form_of_a_method_or_are_other() {
        let names = Names::default();
        for (path, expected) in [
            ("/pkg.v1.Greeter/SayHello", Some("pkg.v1.Greeter/SayHello")),
            ("/Greeter/Say_Hello2", Some("Greeter/Say_Hello2")),
            ("/grpc.health.v1.Health/Check", Some("grpc.health.v1.Health/Check")),
            ("/pkg.Greeter", None),
            ("/pkg.Greeter/Say/Hello", None),
            ("/pkg..Greeter/Say", None),
            ("/pkg.Greeter/", None),
            ("/pkg.Greeter/4711", None),
            ("/pkg.Greeter/%41", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(names.grpc(path.as_bytes(), true), expected, "{path}");
        }
    }

    /// xorshift64*: the same paths in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            usize::try_from(high.checked_rem(bound).expect("not zero")).expect("small")
        }

        /// Words with vowels, so that most of them pass for words; numbers and junk in between.
        fn path(&mut self) -> String {
            let mut path = String::new();
            for _ in 0..=self.below(5) {
                path.push('/');
                match self.below(4) {
                    0 => path.push_str(&self.below(1 << 30).to_string()),
                    1 => (0..self.below(20))
                        .for_each(|_| path.push(char::from(b'!'.saturating_add(self.below(90) as u8)))),
                    _ => (0..=self.below(4)).for_each(|_| {
                        path.push(char::from(b"bcdfghklmnprstvw"[self.below(16)]));
                        path.push(char::from(b"aeiou"[self.below(5)]));
                    }),
                }
            }
            path
        }
    }

    #[test]
    fn a_hundred_thousand_random_paths_give_a_bounded_number_of_names() {
        let names = Names::default();
        let mut random = Random(42);
        let mut given = BTreeSet::new();
        for _ in 0..100_000 {
            let (path, proven) = (random.path(), random.below(2) == 0);
            given.insert(names.http(path.as_bytes(), proven).name(b"GET"));
            let grpc = format!("/{}.Service/Do", path.trim_matches('/'));
            given.extend(names.grpc(grpc.as_bytes(), proven).map(str::to_owned));
        }
        assert!(given.len() <= MAX_PROVEN + MAX_UNPROVEN + 1, "{}", given.len());
        assert!(given.len() > 100, "words must pass, or this proves nothing");
    }

    #[test]
    fn a_scanner_cannot_take_the_places_of_real_routes() {
        let names = Names::default();
        let mut random = Random(7);
        for _ in 0..10_000 {
            names.http(random.path().as_bytes(), false);
        }
        assert_eq!(names.http(b"/api/users/42", false), Target::None, "its own places are taken");
        assert_eq!(names.http(b"/api/users/42", true).name(b"GET"), "GET /api/users/{id}");
        assert_eq!(names.http(b"/api/users/43", false).name(b"GET"), "GET /api/users/{id}", "known from now on");
    }

    proptest! {
        #[test]
        fn any_path_has_a_short_printable_name(path in any::<Vec<u8>>()) {
            let name = Names::default().http(&path, true).name(b"GET");
            prop_assert!(name.len() <= 4 + MAX_SEGMENTS * (MAX_WORD + 1) + 2);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }
}
