//! The limits of a span: the number of attributes, the length of a value, the size of the span. What does not fit is counted.
//!
//! OpenTelemetry specification, "Attribute Limits": over the count, new keys are dropped and counted; over the length,
//! text is cut on a character boundary (arrays: each element).

use super::model::{Attribute, Value};
use std::borrow::Cow;

/// Most bytes of keys and values of one span. So the 512 spans of a batch stay below the 4 MiB that gRPC receivers accept by
/// default in nearly all cases, and one request cannot fill the queue.
pub(super) const MAX_SPAN_BYTES: usize = 32 * 1024;

/// The limits of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttributeLimits {
    /// Attributes of one span.
    pub count: usize,
    /// Characters of one value.
    pub value_length: usize,
}

/// Attributes within the limits, with unique keys. The most important ones must be added first.
#[derive(Debug)]
pub(super) struct BoundedAttributes {
    limits: AttributeLimits,
    attributes: Vec<Attribute>,
    bytes: usize,
    dropped: u32,
}

// === impl AttributeLimits ===

impl AttributeLimits {
    /// Most bytes of one value: a character has at most four.
    pub(super) fn value_bytes(&self) -> usize {
        self.value_length.saturating_mul(4).min(MAX_SPAN_BYTES)
    }
}

// === impl BoundedAttributes ===

impl BoundedAttributes {
    /// An empty list.
    pub(super) fn new(limits: AttributeLimits) -> Self {
        Self { limits, attributes: Vec::with_capacity(limits.count.min(40)), bytes: 0, dropped: 0 }
    }

    /// Adds an attribute, or replaces the value of one that has this key.
    #[inline]
    pub(super) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.put(key.into(), value.into());
    }

    fn put(&mut self, key: Cow<'static, str>, mut value: Value) {
        shorten(&mut value, self.limits.value_length);
        let length = self.attributes.len();
        let known = self.attributes.iter_mut().find(|attribute| attribute.key == key);
        let freed = known.as_ref().map_or(0, |attribute| size(&attribute.key, &attribute.value));
        let bytes = self.bytes.saturating_sub(freed).saturating_add(size(&key, &value));
        if bytes > MAX_SPAN_BYTES || (known.is_none() && length >= self.limits.count) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        match known {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { key, value }),
        }
    }

    /// Adds an attribute that may be absent.
    pub(super) fn set_some(&mut self, key: impl Into<Cow<'static, str>>, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// The attributes, and how many did not fit.
    pub(super) fn finish(self) -> (Vec<Attribute>, u32) {
        (self.attributes, self.dropped)
    }
}

#[inline]
fn shorten(value: &mut Value, limit: usize) {
    match value {
        Value::String(Cow::Owned(text)) => shorten_text(text, limit),
        Value::Strings(texts) => texts.iter_mut().for_each(|text| shorten_text(text, limit)),
        // Static texts are constants of this crate and short.
        Value::String(Cow::Borrowed(_)) | Value::Int(_) | Value::Bool(_) | Value::Double(_) => {}
    }
}

fn shorten_text(text: &mut String, limit: usize) {
    // A text has at least as many bytes as characters, so the characters of a usual value need not be counted.
    if text.len() > limit
        && let Some((end, _)) = text.char_indices().nth(limit)
    {
        text.truncate(end);
    }
}

/// The approximate size of an encoded attribute, in bytes.
#[inline]
fn size(key: &str, value: &Value) -> usize {
    let value = match value {
        Value::String(text) => text.len(),
        Value::Strings(texts) => texts.iter().map(|text| text.len().saturating_add(4)).sum(),
        Value::Int(_) | Value::Bool(_) | Value::Double(_) => 8,
    };
    key.len().saturating_add(value).saturating_add(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(count: usize, value_length: usize) -> BoundedAttributes {
        BoundedAttributes::new(AttributeLimits { count, value_length })
    }

    #[test]
    fn keys_are_unique_and_the_last_value_wins() {
        let mut all = bounded(8, 100);
        all.set("a", 1);
        all.set("b", true);
        all.set("a".to_owned(), "new");
        let (attributes, dropped) = all.finish();
        assert_eq!(attributes, [Attribute::new("a", "new"), Attribute::new("b", true)]);
        assert_eq!(dropped, 0);
    }

    #[test]
    fn over_the_count_new_keys_are_dropped_and_counted_but_old_ones_still_change() {
        let mut all = bounded(2, 100);
        for key in ["a", "b", "c", "d", "a"] {
            all.set(key, format!("{key}!"));
        }
        let (attributes, dropped) = all.finish();
        assert_eq!(attributes.len(), 2);
        assert_eq!(dropped, 2);
    }

    #[test]
    fn long_values_are_cut_in_characters_and_arrays_by_element() {
        let mut all = bounded(8, 3);
        all.set("text", "äöüß".to_owned());
        all.set("list", Value::Strings(vec!["abcd".to_owned(), "日本語文字".to_owned(), "x".to_owned()]));
        let (attributes, _) = all.finish();
        assert_eq!(attributes[0].value, "äöü".to_owned().into());
        assert_eq!(attributes[1].value, Value::Strings(vec!["abc".to_owned(), "日本語".to_owned(), "x".to_owned()]));
    }

    #[test]
    fn a_span_stays_below_its_total_size() {
        let mut all = bounded(128, 10_000);
        for at in 0..10 {
            all.set(format!("key{at}"), "x".repeat(9_000));
        }
        all.set("small", "still fits");
        let (attributes, dropped) = all.finish();
        assert_eq!((attributes.len(), dropped), (4, 7));
        assert_eq!(attributes[3].key, "small");
    }
}
