//! Edits to the trace headers of a request: a header that is already right is not touched, because each write makes Envoy
//! forget the route that it chose.

use super::header_name::Name;
use super::trace_headers::{Seen, TraceHeaders};
use crate::http::headers::HeaderEdit;
use std::borrow::Cow;

/// A list of edits, made against the headers as they came.
#[derive(Debug)]
pub(super) struct Edits<'s, 'h, 'a> {
    headers: &'s TraceHeaders<'h, 'a>,
    list: Vec<HeaderEdit>,
}

// === impl Edits ===

impl<'s, 'h, 'a> Edits<'s, 'h, 'a> {
    pub(super) fn new(headers: &'s TraceHeaders<'h, 'a>) -> Self {
        Self { headers, list: Vec::new() }
    }

    /// The headers as they came.
    pub(super) fn headers(&self) -> &'s TraceHeaders<'h, 'a> {
        self.headers
    }

    /// Makes this the only value of `name`.
    pub(super) fn set(&mut self, name: Name, value: &[u8]) {
        if self.headers.get(name) != Seen::Once(value) {
            self.list.push(HeaderEdit::Set(Cow::Borrowed(name.as_str()), value.to_vec()));
        }
    }

    /// Removes every value of `name`.
    pub(super) fn remove(&mut self, name: Name) {
        if self.headers.get(name) != Seen::Absent {
            self.list.push(HeaderEdit::Remove(Cow::Borrowed(name.as_str())));
        }
    }

    /// Sets a value, or removes the header if there is none.
    pub(super) fn set_or_remove(&mut self, name: Name, value: Option<&[u8]>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    pub(super) fn into_vec(self) -> Vec<HeaderEdit> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Header;

    #[test]
    fn a_repeated_header_has_no_value_and_edits_touch_only_what_is_wrong() {
        let headers = [Header::new("b3", "0"), Header::new("traceparent", "a"), Header::new("traceparent", "a")];
        let headers = TraceHeaders::new(&headers);
        assert_eq!(headers.get(Name::TraceParent), Seen::Repeated(b"a"));
        assert_eq!(headers.get(Name::TraceParent).once(), None);
        assert_eq!(headers.get(Name::B3).once(), Some(&b"0"[..]));
        let mut edits = Edits::new(&headers);
        edits.set(Name::B3, b"0");
        edits.remove(Name::B3Flags);
        edits.set(Name::TraceParent, b"a");
        assert_eq!(edits.into_vec(), [HeaderEdit::Set("traceparent".into(), b"a".to_vec())]);
    }
}
