//! Span names of low cardinality: `{method} {target}`, and `package.Service/Method` for gRPC.
//!
//! Semantic conventions: a name is `{method} {target}` with a target of low cardinality, else `{method}`; it never
//! falls back to the path. So there are three sources of a target, and the first that has one wins:
//!
//! 1. a template of the configuration: it is also `http.route` (server) or `url.template` (client);
//! 2. the *shape* of the path (see [`super::path_shape`]). A shape is a guess, so it is in the name and in a client's
//!    `url.template`, never in `http.route`;
//! 3. nothing: the name is the method.
//!
//! The number of shapes has no bound either: a scanner can ask for a hundred thousand paths. So a shape must also be in a
//! table. It has [`MAX_PROVEN`] places for shapes that were answered with anything but 4xx, and [`MAX_UNPROVEN`] places for
//! others. When the table is full, a name has no target. The names of one configuration and worker are therefore at most
//! `11 methods × (templates + MAX_PROVEN + MAX_UNPROVEN + 1)`, whatever clients send, and scanners, who get 4xx, cannot
//! take the places of real routes. gRPC methods share the table.

use super::path_shape::{grpc_method, shape};
use crate::config::PathTemplate;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Places for shapes that a server answered.
pub(super) const MAX_PROVEN: usize = 500;
/// Places for shapes that nobody answered yet.
pub(super) const MAX_UNPROVEN: usize = 100;

/// Methods of RFC 9110, RFC 5789 (PATCH) and the QUERY method; case-sensitive.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// The part of a name that comes from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameTarget<'a> {
    /// A configured template.
    Template(&'a str),
    /// The shape of the path: a guess.
    Shape(String),
    /// The name is the method alone.
    None,
}

/// The templates of one configuration, and the shapes and methods that have been in names so far.
#[derive(Debug, Default)]
pub(super) struct SpanNames {
    templates: Vec<PathTemplate>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: BTreeSet<Box<str>>,
    unproven: usize,
}

/// The method if it is known, `None` for `_OTHER`.
pub(super) fn known_method(method: &[u8]) -> Option<&'static str> {
    METHODS.iter().find(|known| known.as_bytes() == method).copied()
}

// === impl SpanNames ===

impl SpanNames {
    /// Names by these templates, of which the first that matches wins.
    pub(super) fn new(templates: &[PathTemplate]) -> Self {
        Self { templates: templates.to_vec(), table: Mutex::default() }
    }

    /// The target of an HTTP request. `path` has no query; `proven`: the status says that a server knew the path.
    pub(super) fn http(&self, path: &[u8], proven: bool) -> NameTarget<'_> {
        if let Some(template) = self.templates.iter().find(|template| template.matches(path)) {
            return NameTarget::Template(template.as_str());
        }
        match shape(path) {
            Some(shape) if self.has_place(&shape, proven) => NameTarget::Shape(shape),
            _ => NameTarget::None,
        }
    }

    /// `package.Service/Method` of a gRPC path. `None` if the path does not have this form or the table is full.
    pub(super) fn grpc<'p>(&self, path: &'p [u8], proven: bool) -> Option<&'p str> {
        grpc_method(path).filter(|method| self.has_place(method, proven))
    }

    fn has_place(&self, shape: &str, proven: bool) -> bool {
        // Never waits: a thread that finds the table in use gives a name without a target.
        let Ok(mut table) = self.table.try_lock() else { return false };
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

// === impl NameTarget ===

impl NameTarget<'_> {
    /// `{method} {target}`, or the method alone. A method that is not known is `HTTP`.
    pub(super) fn name(&self, method: &[u8]) -> String {
        let method = known_method(method).unwrap_or("HTTP");
        match self.as_str() {
            Some(target) => format!("{method} {target}"),
            None => method.to_owned(),
        }
    }

    /// The template or the shape.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Template(text) => Some(text),
            Self::Shape(text) => Some(text),
            Self::None => None,
        }
    }

    /// The value of `http.route`: a template only, because a shape is a guess.
    pub(super) fn route(&self) -> Option<&str> {
        match self {
            Self::Template(text) => Some(text),
            Self::Shape(_) | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::path_shape::{MAX_SEGMENTS, MAX_WORD};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_template_wins_and_is_the_only_route() {
        let templates: Vec<PathTemplate> =
            ["/api/users/{id}", "/files/*"].map(|text| PathTemplate::from(text.to_owned())).into();
        let names = SpanNames::new(&templates);
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
        let names = SpanNames::default();
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
        let names = SpanNames::default();
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
        let names = SpanNames::default();
        let mut random = Random(7);
        for _ in 0..10_000 {
            names.http(random.path().as_bytes(), false);
        }
        assert_eq!(names.http(b"/api/users/42", false), NameTarget::None, "its own places are taken");
        assert_eq!(names.http(b"/api/users/42", true).name(b"GET"), "GET /api/users/{id}");
        assert_eq!(names.http(b"/api/users/43", false).name(b"GET"), "GET /api/users/{id}", "known from now on");
    }

    proptest! {
        #[test]
        fn any_path_has_a_short_printable_name(path in any::<Vec<u8>>()) {
            let name = SpanNames::default().http(&path, true).name(b"GET");
            prop_assert!(name.len() <= 4 + MAX_SEGMENTS * (MAX_WORD + 1) + 2);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }
}
