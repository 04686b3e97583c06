//! Patterns of rules and names: exact, `prefix*`, `*suffix`, `*`, and paths with `{segment}`.

use super::node::{At, Node};
use super::report::Report;

/// `exact`, `prefix*`, `*suffix`, or `*` for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringPattern {
    /// Anything, also nothing.
    Any,
    /// Byte for byte.
    Exact(String),
    /// Starts with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
}

/// A [`StringPattern`], or a path in which `{name}` stands for one whole segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// No `{segment}` in it.
    String(StringPattern),
    /// At least one `{segment}`.
    Template(PathTemplate),
}

/// A route such as `/api/users/{id}`: a `{name}` segment takes any one non-empty segment, a last `*` any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
}

// === impl StringPattern ===

impl StringPattern {
    /// Whether `value` is meant.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Suffix(text) => value.ends_with(text.as_bytes()),
        }
    }
}

impl From<String> for StringPattern {
    fn from(text: String) -> Self {
        if text == "*" {
            Self::Any
        } else if let Some(prefix) = text.strip_suffix('*') {
            Self::Prefix(prefix.to_owned())
        } else if let Some(suffix) = text.strip_prefix('*') {
            Self::Suffix(suffix.to_owned())
        } else {
            Self::Exact(text)
        }
    }
}

impl StringPattern {
    /// ASCII letters in lower case, for names that know no case.
    pub fn make_ascii_lowercase(&mut self) {
        match self {
            Self::Any => {}
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => text.make_ascii_lowercase(),
        }
    }

    /// What is expected instead, if `text` is no pattern.
    fn fault(text: &str) -> Option<&'static str> {
        let inner = text.strip_suffix('*').or_else(|| text.strip_prefix('*')).unwrap_or(text);
        inner.contains('*').then_some("`exact`, `prefix*`, `*suffix` or `*`: one `*`, first or last")
    }
}

impl Node for StringPattern {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        at.text(Self::fault, report).map(Self::from)
    }
}

// === impl PathPattern ===

impl PathPattern {
    /// Whether `path` (without its query) is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::String(pattern) => pattern.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl From<String> for PathPattern {
    fn from(text: String) -> Self {
        if text.contains('{') { Self::Template(text.into()) } else { Self::String(text.into()) }
    }
}

impl PathPattern {
    /// What is expected instead, if `text` is no pattern.
    fn fault(text: &str) -> Option<&'static str> {
        if text.contains(['?', '#']) {
            Some("a path without its query")
        } else if text.contains(['{', '}']) {
            PathTemplate::fault(text)
        } else if !text.starts_with(['/', '*']) {
            Some("a path that starts with `/`, or `*suffix`")
        } else {
            StringPattern::fault(text)
        }
    }
}

impl Node for PathPattern {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        at.text(Self::fault, report).map(Self::from)
    }
}

// === impl PathTemplate ===

impl PathTemplate {
    /// The template as written: the value of `http.route`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` (without its query) has this shape.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut template = self.text.as_bytes().split(|byte| *byte == b'/');
        let mut segments = path.split(|byte| *byte == b'/');
        loop {
            match (template.next(), segments.next()) {
                (None, None) => return true,
                (Some(b"*"), Some(_)) => return true,
                (Some(expected), Some(found)) => {
                    let placeholder = expected.starts_with(b"{") && expected.ends_with(b"}");
                    if !(if placeholder { !found.is_empty() } else { expected == found }) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

impl PathTemplate {
    /// What is expected instead, if `text` is no template.
    fn fault(text: &str) -> Option<&'static str> {
        let Some(path) = text.strip_prefix('/') else { return Some("a path that starts with `/`") };
        if text.contains(['?', '#']) {
            return Some("a path without its query");
        }
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if name.unwrap_or(segment).contains(['{', '}']) {
                return Some("balanced braces around whole segments, such as /api/users/{id}");
            }
            if name == Some("") {
                return Some("a name in each placeholder, such as {id}");
            }
            if segment.contains('*') && (segment != "*" || segments.peek().is_some()) {
                return Some("`*` only as the last segment; {name} takes one segment");
            }
        }
        None
    }
}

impl Node for PathTemplate {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        at.text(Self::fault, report).map(Self::from)
    }
}

impl From<String> for PathTemplate {
    fn from(text: String) -> Self {
        Self { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_exact_a_prefix_a_suffix_or_anything() {
        let table: &[(&str, &str, bool)] = &[
            ("payment", "payment", true),
            ("payment", "payments", false),
            ("payment", "Payment", false),
            ("pay*", "payment", true),
            ("pay*", "pay", true),
            ("pay*", "repay", false),
            ("*ment", "payment", true),
            ("*ment", "mental", false),
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, value, expected) in table {
            assert_eq!(
                StringPattern::from((*pattern).to_owned()).matches(value.as_bytes()),
                *expected,
                "{pattern} {value}"
            );
        }
        assert!(StringPattern::from("a*".to_owned()).matches(b"a\xff"), "values are bytes");
    }

    #[test]
    fn a_template_takes_whole_segments() {
        let table: &[(&str, &str, bool)] = &[
            ("/api/users/{id}", "/api/users/42", true),
            ("/api/users/{id}", "/api/users/", false),
            ("/api/users/{id}", "/api/users", false),
            ("/api/users/{id}", "/api/users/42/", false),
            ("/api/users/{id}", "/api/users/42/x", false),
            ("/orders/{order}/items/{item}", "/orders/1/items/2", true),
            ("/orders/{order}/items/{item}", "/orders//items/2", false),
            ("/static/*", "/static/js/app.js", true),
            ("/static/*", "/static", false),
            ("/", "/", true),
            ("/", "", false),
        ];
        for (template, path, expected) in table {
            assert_eq!(
                PathTemplate::from((*template).to_owned()).matches(path.as_bytes()),
                *expected,
                "{template} {path}"
            );
        }
    }

    #[test]
    fn a_path_pattern_is_a_string_pattern_unless_it_has_braces() {
        let table: &[(&str, &str, bool)] = &[
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/live", false),
            ("/health*", "/healthz/live", true),
            ("*.js", "/static/app.js", true),
            ("/a/{b}/c", "/a/x/c", true),
            ("/a/{b}/c", "/a/x/d", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(
                PathPattern::from((*pattern).to_owned()).matches(path.as_bytes()),
                *expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let strings =
            [("a*", true), ("*a", true), ("*", true), ("", true), ("a*b", false), ("**", false), ("*a*", false)];
        for (text, valid) in strings {
            assert_eq!(StringPattern::fault(text).is_none(), valid, "{text}");
        }
        let templates: &[(&str, bool)] = &[
            ("/api/users/{id}", true),
            ("/static/*", true),
            ("/", true),
            ("api/users", false),
            ("", false),
            ("/a/{id", false),
            ("/a/id}", false),
            ("/a/{i{d}", false),
            ("/a/{id}.json", false),
            ("/a/{}", false),
            ("/a/*/b", false),
            ("/a*", false),
            ("/a?b=c", false),
        ];
        for (text, valid) in templates {
            assert_eq!(PathTemplate::fault(text).is_none(), *valid, "{text}");
        }
        let paths = [
            ("/a*", true),
            ("*.js", true),
            ("*", true),
            ("/a/{b}", true),
            ("a", false),
            ("", false),
            ("/a/*/b", false),
        ];
        for (text, valid) in paths {
            assert_eq!(PathPattern::fault(text).is_none(), valid, "{text}");
        }
    }
}
