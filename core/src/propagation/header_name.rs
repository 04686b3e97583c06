//! The names of the headers that propagation reads or writes, and the format that each belongs to.

use super::format::Format;

/// A header that belongs to a trace context format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Name {
    TraceParent,
    TraceState,
    B3,
    B3TraceId,
    B3SpanId,
    B3Sampled,
    B3Flags,
    B3ParentSpanId,
    UberTraceId,
    DatadogTraceId,
    DatadogParentId,
    DatadogPriority,
    DatadogTags,
    XAmznTraceId,
    XCloudTraceContext,
    OtTraceId,
    OtSpanId,
    OtSampled,
}

// === impl Name ===

impl Name {
    pub(super) const COUNT: usize = 18;

    /// The header of this name, which must be in lower case. Most headers do not belong here: the first byte tells.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        if !matches!(name.first(), Some(b't' | b'b' | b'x' | b'u' | b'o')) {
            return None;
        }
        Some(match name {
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            b"b3" => Self::B3,
            b"x-b3-traceid" => Self::B3TraceId,
            b"x-b3-spanid" => Self::B3SpanId,
            b"x-b3-sampled" => Self::B3Sampled,
            b"x-b3-flags" => Self::B3Flags,
            b"x-b3-parentspanid" => Self::B3ParentSpanId,
            b"uber-trace-id" => Self::UberTraceId,
            b"x-datadog-trace-id" => Self::DatadogTraceId,
            b"x-datadog-parent-id" => Self::DatadogParentId,
            b"x-datadog-sampling-priority" => Self::DatadogPriority,
            b"x-datadog-tags" => Self::DatadogTags,
            b"x-amzn-trace-id" => Self::XAmznTraceId,
            b"x-cloud-trace-context" => Self::XCloudTraceContext,
            b"ot-tracer-traceid" => Self::OtTraceId,
            b"ot-tracer-spanid" => Self::OtSpanId,
            b"ot-tracer-sampled" => Self::OtSampled,
            _ => return None,
        })
    }

    /// The name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TraceParent => "traceparent",
            Self::TraceState => "tracestate",
            Self::B3 => "b3",
            Self::B3TraceId => "x-b3-traceid",
            Self::B3SpanId => "x-b3-spanid",
            Self::B3Sampled => "x-b3-sampled",
            Self::B3Flags => "x-b3-flags",
            Self::B3ParentSpanId => "x-b3-parentspanid",
            Self::UberTraceId => "uber-trace-id",
            Self::DatadogTraceId => "x-datadog-trace-id",
            Self::DatadogParentId => "x-datadog-parent-id",
            Self::DatadogPriority => "x-datadog-sampling-priority",
            Self::DatadogTags => "x-datadog-tags",
            Self::XAmznTraceId => "x-amzn-trace-id",
            Self::XCloudTraceContext => "x-cloud-trace-context",
            Self::OtTraceId => "ot-tracer-traceid",
            Self::OtSpanId => "ot-tracer-spanid",
            Self::OtSampled => "ot-tracer-sampled",
        }
    }

    /// The format that the header is a part of.
    pub(super) fn format(self) -> Format {
        match self {
            Self::TraceParent | Self::TraceState => Format::TraceContext,
            Self::B3 => Format::B3Single,
            Self::B3TraceId | Self::B3SpanId | Self::B3Sampled | Self::B3Flags | Self::B3ParentSpanId => {
                Format::B3Multi
            }
            Self::UberTraceId => Format::Jaeger,
            Self::DatadogTraceId | Self::DatadogParentId | Self::DatadogPriority | Self::DatadogTags => Format::Datadog,
            Self::XAmznTraceId => Format::XRay,
            Self::XCloudTraceContext => Format::Gcp,
            Self::OtTraceId | Self::OtSpanId | Self::OtSampled => Format::OtTrace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "traceparent",
        "tracestate",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
        "x-b3-parentspanid",
        "uber-trace-id",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "ot-tracer-traceid",
        "ot-tracer-spanid",
        "ot-tracer-sampled",
    ];

    #[test]
    fn every_name_has_its_own_slot_and_comes_back_as_it_was() {
        assert_eq!(NAMES.len(), Name::COUNT);
        for (slot, text) in NAMES.iter().enumerate() {
            let name = Name::of(text.as_bytes()).expect("known");
            assert_eq!((name as usize, name.as_str()), (slot, *text));
        }
    }

    #[test]
    fn names_that_only_look_alike_are_not_ours() {
        for name in ["", "trace-parent", "trace.parent", "traceparen", "traceparents", "b", "b33", "x-b3-", "baggage"] {
            assert_eq!(Name::of(name.as_bytes()), None, "{name}");
        }
        for name in ["x-datadog-origin", "uberctx-a", "ot-baggage-a", "x-request-id", ":path"] {
            assert_eq!(Name::of(name.as_bytes()), None, "{name} passes untouched");
        }
    }
}
