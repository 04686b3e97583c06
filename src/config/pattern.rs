//! Patterns of rules and names: exact, `prefix*`, `*suffix`, `*`, and paths with `{segment}`.

use serde::Deserialize;

/// `exact`, `prefix*`, `*suffix`, or `*` for anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum PathPattern {
    /// No `{segment}` in it.
    String(StringPattern),
    /// At least one `{segment}`.
    Template(PathTemplate),
}

/// A route such as `/api/users/{id}`: a `{name}` segment takes any one non-empty segment, a last `*` any rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
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

impl From<String> for PathTemplate {
    fn from(text: String) -> Self {
        Self { text }
    }
}
