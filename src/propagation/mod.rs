//! Headers in, header edits out: which trace a request belongs to, and what the next hop is told.
//!
//! - Formats are read in the configured order and the first *valid* one wins. A malformed header counts as absent.
//! - Formats that name the same trace are one: W3C ids and `tracestate` are kept whichever comes first, debug in any of
//!   them is debug, else the winner's state counts. A 64-bit id is the same trace as the 128-bit id that ends with it.
//! - Formats that name other traces become links.
//! - What leaves is what the configuration injects plus every format that came in, valid or not, all with one context.
//!   So no two headers disagree, and none is stale. An opt-in format that the configuration does not name is not touched.
//!
//! The sources disagree on much of this (OpenTelemetry: last wins; Envoy and Datadog: first wins; Zipkin: B3 wins).

mod b3_multi;
pub mod b3_single;
pub mod baggage;
pub mod datadog;
pub mod gcp;
pub mod headers;
pub mod jaeger;
mod number;
mod ottrace;
#[cfg(test)]
mod properties;
mod scan;
#[cfg(test)]
mod tests_common;
pub mod traceparent;
pub mod tracestate;
pub mod xray;

pub use self::headers::{Header, HeaderEdit};
pub use self::tracestate::TraceState;

use self::scan::{Edits, Scan};
use crate::config::{self, Dialect, Trust};
use crate::context::{Flags, Sampled, SpanContext};
use crate::id::{SpanId, TraceId};

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

/// The context of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The format that won.
    pub format: Format,
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span; X-Ray (behind a load balancer) and Datadog (from Synthetics) may name none.
    pub span_id: Option<SpanId>,
    /// The caller's decision.
    pub sampled: Sampled,
    /// The W3C random flag; never set by other formats.
    pub random: bool,
    /// Only from W3C Trace Context of the same trace; else empty.
    pub trace_state: TraceState,
}

/// What the headers of a request say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The formats of which any header came, valid or not: W3C and B3 always, others if the configuration names them.
    pub present: FormatSet,
    /// The context to continue; `None`: start a new trace.
    pub extracted: Option<Extracted>,
    /// B3's decision without ids, for the trace that starts here. Only if nothing was extracted and the caller is trusted.
    pub instruction: Option<Sampled>,
    /// Contexts of other traces; with [`Trust::Restart`] first the one that would have been continued.
    pub links: Vec<SpanContext>,
}

/// What the next hop is told.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Trace, our span, flags. The sampled flag counts only where `sampled` is deferred.
    pub context: SpanContext,
    /// The decision.
    pub sampled: Sampled,
    /// Written beside `traceparent`; may be empty.
    pub trace_state: &'a TraceState,
}

/// What the headers of one format say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A context.
    Context(Extracted),
    /// A decision without ids (B3 only); never deferred.
    State(Sampled),
}

/// Reads the context of a request. Names in `headers` are lower case. Without any trace header nothing is allocated.
pub fn extract(headers: &[Header<'_>], config: &config::Propagation) -> Incoming {
    let scan = Scan::new(headers);
    let present = scan.formats().intersection(rewritable(config));
    if present.is_empty() || config.trust == Trust::Ignore {
        return Incoming { present, ..Incoming::default() };
    }
    let mut incoming = read_all(&scan, config);
    incoming.present = present;
    if config.trust == Trust::Restart {
        let distrusted = incoming.extracted.take().and_then(|winner| winner.context());
        incoming.links.splice(0..0, distrusted);
        incoming.instruction = None;
    }
    incoming
}

/// The edits after which the headers tell `outgoing` in every format that came in or is configured, and nothing else.
/// A header that is right already is not edited.
pub fn edits(
    headers: &[Header<'_>],
    incoming: &Incoming,
    outgoing: &Outgoing<'_>,
    config: &config::Propagation,
) -> Vec<HeaderEdit> {
    let scan = Scan::new(headers);
    let mut edits = Edits::new(&scan);
    let formats = incoming.present.union(config.inject.iter().map(|dialect| injected(*dialect)).collect());
    for format in formats.iter() {
        match format {
            Format::TraceContext if formats.contains(Format::Datadog) && datadog::can_say(outgoing) => {
                traceparent::write(outgoing, &datadog::in_step(outgoing), &mut edits);
            }
            Format::TraceContext => traceparent::write(outgoing, outgoing.trace_state, &mut edits),
            Format::B3Single => b3_single::write(outgoing, &mut edits),
            Format::B3Multi => b3_multi::write(outgoing, &mut edits),
            Format::Jaeger => jaeger::write(outgoing, &mut edits),
            Format::Datadog => datadog::write(outgoing, &mut edits),
            Format::XRay => xray::write(outgoing, &mut edits),
            Format::Gcp => gcp::write(outgoing, &mut edits),
            Format::OtTrace => ottrace::write(outgoing, &mut edits),
        }
    }
    edits.into_vec()
}

/// Equal, or equal in the lower 64 bits where one of them has no more.
pub fn same_trace(one: TraceId, other: TraceId) -> bool {
    one == other || (one.low64() == other.low64() && (one.high64() == 0 || other.high64() == 0))
}

/// The formats that the configuration reads, in its order, each once.
fn order(config: &config::Propagation) -> impl Iterator<Item = Format> {
    let mut seen = FormatSet::default();
    config.extract.iter().flat_map(|dialect| extracted(*dialect)).copied().filter(move |format| seen.insert(*format))
}

/// The formats that are rewritten if they come in.
fn rewritable(config: &config::Propagation) -> FormatSet {
    let core = [Format::TraceContext, Format::B3Single, Format::B3Multi];
    core.into_iter().chain(order(config)).chain(config.inject.iter().map(|dialect| injected(*dialect))).collect()
}

fn extracted(dialect: Dialect) -> &'static [Format] {
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

fn injected(dialect: Dialect) -> Format {
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

/// Everything but `present` and trust.
fn read_all(scan: &Scan<'_, '_>, config: &config::Propagation) -> Incoming {
    let mut incoming = Incoming::default();
    let mut with_trace_state = false;
    for format in order(config).filter(|format| scan.formats().contains(*format)) {
        match read(format, scan, config) {
            Some(Reading::Context(context)) => with_trace_state |= incoming.meet(context),
            Some(Reading::State(state)) => incoming.instruction = incoming.instruction.or(Some(state)),
            None => {}
        }
    }
    if let Some(winner) = &mut incoming.extracted {
        // A state without ids speaks of this very request: debug is honoured, the rest is the winner's to say.
        if incoming.instruction.take() == Some(Sampled::Debug) {
            winner.sampled = Sampled::Debug;
        }
        if with_trace_state {
            winner.trace_state = scan.trace_state();
        }
    }
    incoming
}

fn read(format: Format, scan: &Scan<'_, '_>, config: &config::Propagation) -> Option<Reading> {
    match format {
        Format::TraceContext => traceparent::extract(scan),
        Format::B3Single => return b3_single::extract(scan),
        Format::B3Multi => return b3_multi::extract(scan),
        Format::Jaeger => jaeger::extract(scan),
        Format::Datadog => datadog::extract(scan),
        Format::XRay => xray::extract(scan),
        // "One-way": read only where `traceparent` does not speak.
        Format::Gcp if config.extract.contains(&Dialect::TraceContext) && traceparent::extract(scan).is_some() => None,
        Format::Gcp => gcp::extract(scan),
        Format::OtTrace => ottrace::extract(scan),
    }
    .map(Reading::Context)
}

// === impl Incoming ===

impl Incoming {
    /// Takes in the next context in order; true if it is W3C's and of the winner's trace.
    fn meet(&mut self, context: Extracted) -> bool {
        let w3c = context.format == Format::TraceContext;
        match &mut self.extracted {
            None => self.extracted = Some(context),
            Some(winner) if same_trace(winner.trace_id, context.trace_id) => winner.merge(&context),
            Some(_) => {
                self.link(context.context());
                return false;
            }
        }
        w3c
    }

    /// One link for one span, however many formats name it.
    fn link(&mut self, context: Option<SpanContext>) {
        let known = |new: &SpanContext| {
            self.links.iter().any(|old| old.span_id == new.span_id && same_trace(old.trace_id, new.trace_id))
        };
        let new = context.filter(|new| !known(new));
        self.links.extend(new);
    }
}

// === impl Extracted ===

impl Extracted {
    fn new(format: Format, trace_id: TraceId, span_id: Option<SpanId>, sampled: Sampled) -> Self {
        Self { format, trace_id, span_id, sampled, random: false, trace_state: TraceState::empty() }
    }

    /// The part that a child or a link needs; `None` without a span.
    pub fn context(&self) -> Option<SpanContext> {
        let sampled = matches!(self.sampled, Sampled::Accept | Sampled::Debug);
        let flags = Flags::new(sampled, self.random);
        self.span_id.map(|span_id| SpanContext { trace_id: self.trace_id, span_id, flags })
    }

    /// Adds what another format says of the same trace.
    fn merge(&mut self, other: &Self) {
        if other.format == Format::TraceContext {
            (self.trace_id, self.span_id, self.random) = (other.trace_id, other.span_id, other.random);
        } else if self.trace_id.high64() == 0 && self.format != Format::TraceContext {
            // The other id is as long or longer.
            self.trace_id = other.trace_id;
        }
        self.span_id = self.span_id.or(other.span_id);
        if other.sampled == Sampled::Debug {
            self.sampled = Sampled::Debug;
        }
    }
}

// === impl Outgoing ===

impl Outgoing<'_> {
    /// The sampled flag, for formats that cannot defer: then it is the one that the context was made with.
    fn flag(&self) -> bool {
        self.sampled.decision().unwrap_or(self.context.flags.sampled())
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
    /// True if it was not in it before.
    pub fn insert(&mut self, format: Format) -> bool {
        let new = !self.contains(format);
        self.0 |= format.bit();
        new
    }

    /// Whether `format` is in it.
    pub fn contains(self, format: Format) -> bool {
        self.0 & format.bit() != 0
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In the order of [`Format`].
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
    use super::tests_common::{S, T, apply, context, extracted, headers, show, text};
    use super::*;

    // Another trace, another span, and the lower half of `T`.
    const U: &str = "0af7651916cd43dd8448eb211c80319c";
    const V: &str = "b7ad6b7169203331";
    const L: &str = "a3ce929d0e0e4736";

    fn full(text: &str) -> String {
        show(text).replace("{u}", U).replace("{v}", V).replace("{l}", L)
    }

    fn config(extract: &[Dialect], inject: &[Dialect], trust: Trust) -> config::Propagation {
        config::Propagation { extract: extract.into(), inject: inject.into(), trust, ..Default::default() }
    }

    /// `format trace span state [tracestate] [=> link …]`, a bare instruction, or `-`.
    fn incoming(text: &str, config: &config::Propagation) -> String {
        let text = full(text);
        let incoming = extract(&headers(&text), config);
        assert!(incoming.extracted.is_none() || incoming.instruction.is_none());
        let mut out = match (&incoming.extracted, incoming.instruction) {
            (Some(winner), _) => format!("{:?} {} {}", winner.format, extracted(winner), winner.trace_state),
            (None, Some(state)) => state.as_str().to_owned(),
            (None, None) => "-".to_owned(),
        };
        for link in &incoming.links {
            out = format!("{} => {} {}", out.trim(), link.trace_id, link.span_id);
        }
        out.trim().to_owned()
    }

    #[test]
    fn the_first_valid_format_wins_and_the_same_trace_is_one() {
        use Dialect::*;
        let w3c_first = &[TraceContext, B3][..];
        let b3_first = &[B3, TraceContext][..];
        let all = &[TraceContext, B3, Jaeger, Datadog, XRay, Gcp, OtTrace][..];
        let w3c = "traceparent: 00-{t}-{s}-00\n";
        let table: &[(&[Dialect], &str, &str, &str)] = &[
            (w3c_first, "", "-", "nothing"),
            (w3c_first, "{w3c}", "TraceContext {t} {s} deny", "W3C alone"),
            (w3c_first, "{w3c}tracestate: a=1\ntracestate: b=2", "TraceContext {t} {s} deny a=1,b=2", "its state"),
            (w3c_first, "{w3c}tracestate: a=1,a=", "TraceContext {t} {s} deny", "a bad state harms only itself"),
            (w3c_first, "tracestate: a=1", "-", "a state without a parent is not read"),
            (w3c_first, "traceparent: 00-{t}-{s}-01-\ntracestate: a=1", "-", "nor is one of a bad parent"),
            (w3c_first, "{w3c}{w3c}tracestate: a=1", "-", "the same traceparent twice"),
            (w3c_first, "{w3c}traceparent: 00-{u}-{v}-01", "-", "two of them"),
            (w3c_first, "traceparent: 00-{u}-{v}-01\n{w3c}", "-", "in the other order"),
            (w3c_first, "{w3c}{w3c}b3: {u}-{v}-1", "B3Single {u} {v} accept", "then the next format has its turn"),
            (
                w3c_first,
                "traceparent: bogus\ntracestate: a=1\nb3: {t}-{s}",
                "B3Single {t} {s} defer",
                "without the state",
            ),
            (w3c_first, "b3: {t}-{s}-1\ntracestate: a=1", "B3Single {t} {s} accept", "B3 has no state"),
            (w3c_first, "b3: {l}-{s}-1", "B3Single 0000000000000000{l} {s} accept", "64 bits are padded"),
            (
                w3c_first,
                "b3: {t}-{s}-\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0",
                "B3Multi {t} {s} deny",
                "a malformed single falls back to multi",
            ),
            (
                w3c_first,
                "b3: {t}-{s}-1\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0",
                "B3Single {t} {s} accept",
                "single over multi",
            ),
            (
                w3c_first,
                "b3: {t}-{s}-1\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: invalid",
                "B3Single {t} {s} accept",
                "a malformed multi harms no single",
            ),
            (
                w3c_first,
                "{w3c}b3: {t}-{v}-1",
                "TraceContext {t} {s} deny",
                "the same trace: the winner's ids and state",
            ),
            (b3_first, "{w3c}b3: {t}-{v}-1", "B3Single {t} {s} accept", "W3C's ids and the winner's state"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {t}-{v}-1", "B3Single {t} {s} accept a=1", "and W3C's tracestate"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {l}-{v}-1", "B3Single {t} {s} accept a=1", "the right 64 bits count"),
            (w3c_first, "{w3c}tracestate: a=1\nb3: {l}-{v}-1", "TraceContext {t} {s} deny a=1", "in either order"),
            (w3c_first, "{w3c}b3: {t}-{v}-d", "TraceContext {t} {s} debug", "debug in any of them is debug"),
            (b3_first, "{w3c}b3: {t}-{v}-d", "B3Single {t} {s} debug", "in either order"),
            (
                w3c_first,
                "b3: {t}-{s}-0\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-flags: 1",
                "B3Single {t} {s} debug",
                "also between the two forms of B3",
            ),
            (w3c_first, "{w3c}x-b3-flags: 1", "TraceContext {t} {s} debug", "debug without ids is of this request"),
            (w3c_first, "{w3c}b3: 1", "TraceContext {t} {s} deny", "other states without ids are not"),
            (w3c_first, "{w3c}b3: {u}-{v}-1", "TraceContext {t} {s} deny => {u} {v}", "another trace is a link"),
            (b3_first, "{w3c}tracestate: a=1\nb3: {u}-{v}-1", "B3Single {u} {v} accept => {t} {s}", "W3C too"),
            (
                w3c_first,
                "{w3c}b3: {u}-{v}-d",
                "TraceContext {t} {s} deny => {u} {v}",
                "debug of another trace is not ours",
            ),
            (
                w3c_first,
                "{w3c}b3: {u}-{v}-1\nx-b3-traceid: {u}\nx-b3-spanid: {v}",
                "TraceContext {t} {s} deny => {u} {v}",
                "one link for one span",
            ),
            (w3c_first, "b3: 0", "deny", "a decision without ids"),
            (w3c_first, "b3: 1", "accept", "accept"),
            (w3c_first, "b3: d", "debug", "debug"),
            (w3c_first, "x-b3-sampled: 0", "deny", "multi"),
            (w3c_first, "x-b3-flags: 1", "debug", "multi debug"),
            (w3c_first, "b3: 0\nx-b3-sampled: 1", "deny", "single over multi"),
            (w3c_first, "traceparent: bogus\nb3: 0", "deny", "beside something malformed"),
            (w3c_first, "uber-trace-id: {t}:{s}:0:1", "-", "opt-in formats are not read unasked"),
            (&[TraceContext], "b3: {t}-{s}-1", "-", "nor is B3 if it is left out"),
            (&[B3Multi], "b3: {t}-{s}-1\nx-b3-sampled: 0", "deny", "nor the other form"),
            (&[B3, B3Multi, B3], "b3: {t}-{s}-1", "B3Single {t} {s} accept", "a format named twice counts once"),
            (&[], "{w3c}", "-", "no format at all"),
            (all, "uber-trace-id: {t}:{s}:0:3", "Jaeger {t} {s} debug", "Jaeger"),
            (all, "{w3c}uber-trace-id: {t}:{v}:0:3", "TraceContext {t} {s} debug", "Jaeger's debug"),
            (all, "x-cloud-trace-context: {t}/139592093;o=1", "Gcp {t} 000000000852019d accept", "Google"),
            (all, "{w3c}x-cloud-trace-context: {u}/1;o=1", "TraceContext {t} {s} deny", "Google only without W3C"),
            (
                &[Gcp, TraceContext],
                "{w3c}x-cloud-trace-context: {u}/1;o=1",
                "TraceContext {t} {s} deny",
                "in any order",
            ),
            (
                &[Gcp],
                "{w3c}x-cloud-trace-context: {u}/7;o=1",
                "Gcp {u} 0000000000000007 accept",
                "W3C is not read here",
            ),
            (all, "traceparent: 00\nx-cloud-trace-context: {u}/7", "Gcp {u} 0000000000000007 defer", "nor can it be"),
            (all, "x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", "XRay {t} - defer", "no parent span"),
            (
                &[XRay, B3],
                "x-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736\nb3: {t}-{s}-1",
                "XRay {t} {s} defer",
                "the parent comes from the other format",
            ),
            (
                all,
                "b3: {u}-{v}-1\nx-amzn-trace-id: Root=1-4bf92f35-77b34da6a3ce929d0e0e4736",
                "B3Single {u} {v} accept",
                "no span, no link",
            ),
            (
                &[OtTrace, B3],
                "ot-tracer-traceid: {l}\not-tracer-spanid: {v}\nb3: {t}-{s}-1",
                "OtTrace {t} {v} defer",
                "the longer id is the whole one",
            ),
        ];
        for (order, input, expected, why) in table {
            let config = config(order, &[TraceContext], Trust::Continue);
            assert_eq!(incoming(&input.replace("{w3c}", w3c), &config), full(expected), "{why}: {input}");
        }
    }

    #[test]
    fn a_caller_that_is_not_trusted_is_not_continued() {
        let order = &[Dialect::TraceContext, Dialect::B3][..];
        let input = "traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {u}-{v}-d";
        let table: &[(Trust, &str, &str)] = &[
            (Trust::Continue, input, "TraceContext {t} {s} accept a=1 => {u} {v}"),
            (Trust::Restart, input, "- => {t} {s} => {u} {v}"),
            (Trust::Restart, "b3: d", "-"),
            (Trust::Restart, "traceparent: bogus", "-"),
            (Trust::Ignore, input, "-"),
            (Trust::Ignore, "b3: 0", "-"),
        ];
        for (trust, input, expected) in table {
            assert_eq!(incoming(input, &config(order, &[], *trust)), full(expected), "{trust:?}: {input}");
        }
    }

    #[test]
    fn the_random_flag_is_only_w3cs_to_give() {
        let config = config::Propagation::default();
        let random = |text: &str| extract(&headers(&full(text)), &config).extracted.map(|winner| winner.random);
        assert_eq!(random("traceparent: 00-{t}-{s}-03"), Some(true));
        assert_eq!(random("traceparent: 00-{t}-{s}-01"), Some(false));
        assert_eq!(random("b3: {t}-{s}-1"), Some(false));
        assert_eq!(random("traceparent: 00-{t}-{s}-02\nb3: {u}-{v}-1"), Some(true));
    }

    #[test]
    fn formats_are_present_if_any_header_of_theirs_came() {
        use Format::*;
        let table: &[(&str, &[Dialect], &[Dialect], &[Format], &str)] = &[
            ("x-request-id: 1", &[], &[], &[], "nothing"),
            ("tracestate: a=1", &[], &[], &[TraceContext], "half of W3C"),
            ("b3: what\nx-b3-parentspanid: 1", &[], &[], &[B3Single, B3Multi], "invalid, and not even read"),
            ("uber-trace-id: 1", &[], &[], &[], "an opt-in format that nobody named is none of our business"),
            ("uber-trace-id: 1", &[Dialect::Jaeger], &[], &[Jaeger], "read"),
            ("uber-trace-id: 1", &[], &[Dialect::Jaeger], &[Jaeger], "written"),
            ("x-datadog-origin: rum", &[Dialect::Datadog], &[], &[], "an origin alone is no context"),
        ];
        for (input, extract_from, inject, expected, why) in table {
            for trust in [Trust::Continue, Trust::Restart, Trust::Ignore] {
                let incoming = extract(&headers(input), &config(extract_from, inject, trust));
                assert_eq!(incoming.present.iter().collect::<Vec<_>>(), *expected, "{why}");
            }
        }
    }

    /// The headers after the edits, for `T`, `V`, a state and a tracestate.
    fn after(input: &str, config: &config::Propagation, sampled: Sampled, trace_state: &str) -> String {
        let input = full(input);
        let before = headers(&input);
        let trace_state = &TraceState::parse([trace_state.as_bytes()]);
        let context = SpanContext { span_id: SpanId::from_hex(V.as_bytes()).expect("valid"), ..context() };
        let outgoing = Outgoing { context, sampled, trace_state };
        text(&apply(&before, &edits(&before, &extract(&before, config), &outgoing, config)))
    }

    #[test]
    fn what_leaves_is_what_is_configured_and_what_came() {
        use Dialect::*;
        use Sampled::*;
        let core = &config(&[TraceContext, B3], &[TraceContext], Trust::Continue);
        let to_b3 = &config(&[TraceContext, B3], &[B3, B3Multi], Trust::Continue);
        let none = &config(&[TraceContext, B3], &[], Trust::Continue);
        let all = &[TraceContext, B3, Jaeger, Datadog, XRay, Gcp, OtTrace];
        let read_all = &config(all, &[], Trust::Continue);
        let write_all = &config(&[TraceContext], all, Trust::Continue);
        let multi = "x-b3-traceid: {t}\nx-b3-spanid: {v}";
        let stale = "x-b3-traceid: 1\nx-b3-spanid: {s}\nx-b3-sampled: 1\nx-b3-flags: 0\nx-b3-parentspanid: {s}";
        let root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736";
        let table: &[(&str, &config::Propagation, Sampled, &str, &str, &str)] = &[
            ("", core, Accept, "", "traceparent: 00-{t}-{v}-01", "the configured format"),
            ("", core, Deny, "", "traceparent: 00-{t}-{v}-00", "not sampled"),
            ("", core, Debug, "", "traceparent: 00-{t}-{v}-01", "debug is sampled"),
            ("", core, Defer, "", "traceparent: 00-{t}-{v}-00", "an undecided flag is 0"),
            ("", core, Accept, "ot=th:0", "traceparent: 00-{t}-{v}-01\ntracestate: ot=th:0", "with a state"),
            ("", none, Accept, "ot=th:0", "", "nothing in, nothing configured"),
            ("x-a: 1", none, Accept, "", "x-a: 1", "others stay"),
            ("traceparent: bogus", none, Accept, "", "traceparent: 00-{t}-{v}-01", "an invalid one is rewritten"),
            (
                "traceparent: 1\nx-a: 1\ntraceparent: 2",
                none,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01\nx-a: 1",
                "two are one",
            ),
            ("tracestate: a=1", none, Accept, "", "traceparent: 00-{t}-{v}-01", "a state of no trace goes"),
            (
                "traceparent: 00-{t}-{s}-01\ntracestate:",
                core,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01",
                "an empty one too",
            ),
            (
                "tracestate: a=1,\ntracestate: b=2",
                core,
                Accept,
                "a=1,b=2",
                "tracestate: a=1,\ntracestate: b=2\ntraceparent: 00-{t}-{v}-01",
                "one that says the same stays as it came",
            ),
            (
                "tracestate: a=1\ntracestate: b=2",
                core,
                Accept,
                "ot=th:0,a=1,b=2",
                "tracestate: ot=th:0,a=1,b=2\ntraceparent: 00-{t}-{v}-01",
                "a changed one is combined",
            ),
            ("b3: {t}-{s}-1-{s}", core, Accept, "", "b3: {t}-{v}-1\ntraceparent: 00-{t}-{v}-01", "no parent id in b3"),
            ("b3: {l}-{s}", core, Deny, "", "b3: {t}-{v}-0\ntraceparent: 00-{t}-{v}-00", "the whole id"),
            ("b3: {t}-{s}-d", core, Debug, "", "b3: {t}-{v}-d\ntraceparent: 00-{t}-{v}-01", "debug stays debug"),
            ("b3: 0", core, Deny, "", "b3: {t}-{v}-0\ntraceparent: 00-{t}-{v}-00", "a bare state gets ids"),
            ("b3: {t}-{s}", none, Defer, "", "b3: {t}-{v}", "a deferred decision stays deferred"),
            (stale, none, Accept, "", "{multi}\nx-b3-sampled: 1", "stale flags and parent go"),
            (stale, none, Deny, "", "{multi}\nx-b3-sampled: 0", "deny"),
            (stale, none, Debug, "", "{multi}\nx-b3-flags: 1", "debug is not sampled as well"),
            (stale, none, Defer, "", "{multi}", "no state"),
            ("x-b3-parentspanid: {s}", none, Accept, "", "{multi}\nx-b3-sampled: 1", "a part of B3 is B3"),
            (
                "b3: {u}-{s}-1\nx-b3-sampled: 0",
                none,
                Accept,
                "",
                "b3: {t}-{v}-1\nx-b3-sampled: 1\n{multi}",
                "both agree",
            ),
            ("", to_b3, Accept, "a=1", "b3: {t}-{v}-1\n{multi}\nx-b3-sampled: 1", "no tracestate without traceparent"),
            (
                "uber-trace-id: {u}:1:0:1\nx-cloud-trace-context: {u}/1",
                core,
                Accept,
                "",
                "uber-trace-id: {u}:1:0:1\nx-cloud-trace-context: {u}/1\ntraceparent: 00-{t}-{v}-01",
                "opt-in ones pass",
            ),
            ("uber-trace-id: {u}:1:0:1", read_all, Accept, "", "uber-trace-id: {t}:{v}:0:1", "unless they are named"),
            (
                "traceparent: 00-{t}-{s}-01\nx-cloud-trace-context: {u}/1",
                read_all,
                Accept,
                "",
                "traceparent: 00-{t}-{v}-01\nx-cloud-trace-context: {t}/13235353014750950193;o=1",
                "Google must not disagree",
            ),
            (
                "x-amzn-trace-id: Self=1-a-b;{root};Sampled=?;Lineage=x:1",
                read_all,
                Deny,
                "",
                "x-amzn-trace-id: {root};Parent={v};Sampled=0;Self=1-a-b;Lineage=x:1",
                "other fields are kept",
            ),
            (
                "x-amzn-trace-id: Root=1-0af76519-16cd43dd8448eb211c80319c;Lineage=x:1",
                read_all,
                Defer,
                "",
                "x-amzn-trace-id: {root};Parent={v};Sampled=?",
                "not those of another trace",
            ),
            (
                "baggage: a=1, b\nuberctx-a: \u{e9}\not-baggage-b: 2\nx-datadog-origin: rum",
                read_all,
                Accept,
                "",
                "baggage: a=1, b\nuberctx-a: \u{e9}\not-baggage-b: 2\nx-datadog-origin: rum",
                "baggage passes",
            ),
            (
                "",
                write_all,
                Accept,
                "dd=s:2;p:{s}",
                "traceparent: 00-{t}-{v}-01\ntracestate: dd=s:2;p:{v}\nb3: {t}-{v}-1\nuber-trace-id: {t}:{v}:0:1\n\
                 x-datadog-trace-id: 11803532876627986230\nx-datadog-parent-id: 13235353014750950193\n\
                 x-datadog-sampling-priority: 2\nx-datadog-tags: _dd.p.tid=4bf92f3577b34da6\n\
                 x-amzn-trace-id: {root};Parent={v};Sampled=1\nx-cloud-trace-context: {t}/13235353014750950193;o=1\n\
                 ot-tracer-traceid: {l}\not-tracer-spanid: {v}\not-tracer-sampled: true",
                "all at once",
            ),
        ];
        for (input, config, sampled, trace_state, expected, why) in table {
            let (input, expected) = (input.replace("{root}", root), expected.replace("{root}", root));
            let expected = full(&expected.replace("{multi}", multi));
            assert_eq!(after(&input, config, *sampled, &full(trace_state)), expected, "{why}: {input}");
        }
    }

    #[test]
    fn a_header_that_is_right_is_not_edited() {
        let config = config::Propagation::default();
        let right = full("traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {t}-{s}-1");
        let before = headers(&right);
        let incoming = extract(&before, &config);
        let trace_state = &TraceState::parse([&b"a=1"[..]]);
        let outgoing = Outgoing { context: context(), sampled: Sampled::Accept, trace_state };
        assert_eq!(edits(&before, &incoming, &outgoing, &config), []);
    }

    #[test]
    fn a_deferred_context_keeps_the_flag_that_it_was_made_with() {
        let config = config::Propagation::default();
        let context = SpanContext { flags: Flags::new(true, true), ..context() };
        let outgoing = Outgoing { context, sampled: Sampled::Defer, trace_state: &TraceState::empty() };
        let expected = HeaderEdit::Set("traceparent".into(), format!("00-{T}-{S}-03").into_bytes());
        assert_eq!(edits(&[], &Incoming::default(), &outgoing, &config), [expected]);
    }

    #[test]
    fn format_sets_hold_each_format_once() {
        let mut set = FormatSet::default();
        assert!(set.is_empty());
        assert!(Format::ALL.into_iter().all(|format| set.insert(format)));
        assert!(!set.insert(Format::Gcp));
        assert_eq!(set.iter().collect::<Vec<_>>(), Format::ALL);
    }
}
