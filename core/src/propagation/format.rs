//! The formats, sets of them, and which of them a configuration reads and writes.

use crate::config::{Dialect, Propagation};

/// A way to write a context into headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// `traceparent`, `tracestate`.
    TraceContext,
    /// `b3`.
    B3Single,
    /// `x-b3-*`.
    B3Multi,
    /// `uber-trace-id`.
    Jaeger,
    /// `x-datadog-*`.
    Datadog,
    /// `x-amzn-trace-id`.
    XRay,
    /// `x-cloud-trace-context`.
    Gcp,
    /// `ot-tracer-*`.
    OtTrace,
}

/// Some of the formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatSet(u16);

/// The formats that the configuration reads, in its order, each once.
pub(super) fn order(config: &Propagation) -> impl Iterator<Item = Format> {
    let mut seen = FormatSet::default();
    config.extract.iter().flat_map(|dialect| extracted(*dialect)).copied().filter(move |format| seen.insert(*format))
}

/// The formats whose headers are rewritten if they come in.
pub(super) fn rewritable(config: &Propagation) -> FormatSet {
    let mut formats = FormatSet(Format::TraceContext.bit() | Format::B3Single.bit() | Format::B3Multi.bit());
    for dialect in &config.extract {
        extracted(*dialect).iter().for_each(|format| formats.0 |= format.bit());
    }
    config.inject.iter().for_each(|dialect| formats.0 |= injected(*dialect).bit());
    formats
}

pub(super) fn extracted(dialect: Dialect) -> &'static [Format] {
    match dialect {
        Dialect::TraceContext => &[Format::TraceContext],
        Dialect::B3 => &[Format::B3Single, Format::B3Multi],
        Dialect::B3Multi => &[Format::B3Multi],
        Dialect::Jaeger => &[Format::Jaeger],
        Dialect::Datadog => &[Format::Datadog],
        Dialect::XRay => &[Format::XRay],
        Dialect::Gcp => &[Format::Gcp],
        Dialect::OtTrace => &[Format::OtTrace],
    }
}

pub(super) fn injected(dialect: Dialect) -> Format {
    match dialect {
        Dialect::TraceContext => Format::TraceContext,
        Dialect::B3 => Format::B3Single,
        Dialect::B3Multi => Format::B3Multi,
        Dialect::Jaeger => Format::Jaeger,
        Dialect::Datadog => Format::Datadog,
        Dialect::XRay => Format::XRay,
        Dialect::Gcp => Format::Gcp,
        Dialect::OtTrace => Format::OtTrace,
    }
}

// === impl Format ===

impl Format {
    const ALL: [Self; 8] = [
        Self::TraceContext,
        Self::B3Single,
        Self::B3Multi,
        Self::Jaeger,
        Self::Datadog,
        Self::XRay,
        Self::Gcp,
        Self::OtTrace,
    ];

    /// The word of the configuration; both forms of B3 are `b3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TraceContext => "tracecontext",
            Self::B3Single | Self::B3Multi => "b3",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::XRay => "xray",
            Self::Gcp => "gcp",
            Self::OtTrace => "ottrace",
        }
    }

    fn bit(self) -> u16 {
        1u16.wrapping_shl(self as u32)
    }
}

// === impl FormatSet ===

impl FormatSet {
    /// Adds a format; true if it is new in the set.
    pub fn insert(&mut self, format: Format) -> bool {
        let new = !self.contains(format);
        self.0 |= format.bit();
        new
    }

    /// Whether `format` is in the set.
    pub fn contains(self, format: Format) -> bool {
        self.0 & format.bit() != 0
    }

    /// Whether the set has no format.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The formats of both sets.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The formats that are in both sets.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The formats, in the order of [`Format`].
    pub fn iter(self) -> impl Iterator<Item = Format> {
        Format::ALL.into_iter().filter(move |format| self.contains(*format))
    }
}

impl FromIterator<Format> for FormatSet {
    fn from_iter<I: IntoIterator<Item = Format>>(formats: I) -> Self {
        let mut set = Self::default();
        for format in formats {
            set.insert(format);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_sets_hold_each_format_once() {
        let mut set = FormatSet::default();
        assert!(set.is_empty());
        assert!(Format::ALL.into_iter().all(|format| set.insert(format)));
        assert!(!set.insert(Format::Gcp));
        assert_eq!(set.iter().collect::<Vec<_>>(), Format::ALL);
    }
}
