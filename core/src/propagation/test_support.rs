//! Words that the tests of this room share: a trace and a span, headers as text, readings as text.

use super::model::{Extracted, Reading};
use crate::config::{Dialect, Propagation, Trust};
use crate::context::{Flags, SpanContext};
use crate::http::headers::{Header, HeaderEdit};
use crate::id::{SpanId, TraceId};

/// The trace that the tests speak of.
pub(super) const T: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span that the tests speak of.
pub(super) const S: &str = "00f067aa0ba902b7";

/// Another trace.
pub(super) const U: &str = "0af7651916cd43dd8448eb211c80319c";
/// Another span.
pub(super) const V: &str = "b7ad6b7169203331";
/// The lower half of `T`.
pub(super) const L: &str = "a3ce929d0e0e4736";

/// `T`, `S`, and no flags.
pub(super) fn context() -> SpanContext {
    SpanContext {
        trace_id: TraceId::from_hex(T.as_bytes()).expect("valid"),
        span_id: SpanId::from_hex(S.as_bytes()).expect("valid"),
        flags: Flags::default(),
    }
}

/// `{t}`, `{s}`, `{u}`, `{v}` and `{l}` filled in.
pub(super) fn show(text: &str) -> String {
    text.replace("{t}", T).replace("{s}", S).replace("{u}", U).replace("{v}", V).replace("{l}", L)
}

/// What is read, what is always written, and trust.
pub(super) fn config(extract: &[Dialect], inject: &[Dialect], trust: Trust) -> Propagation {
    Propagation { extract: extract.into(), inject: inject.into(), trust, ..Propagation::default() }
}

/// One header a line, `name: value`.
pub(super) fn headers(text: &str) -> Vec<Header<'_>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(':').expect("name: value")).map(|(n, v)| Header::new(n, v.trim())).collect()
}

/// `trace span state`, a bare `state`, or `-` for nothing; `-` in the place of an absent span.
pub(super) fn reading(reading: Option<Reading>) -> String {
    match reading {
        None => "-".to_owned(),
        Some(Reading::State(state)) => state.as_str().to_owned(),
        Some(Reading::Context(context)) => extracted(&context),
    }
}

/// `trace span state`.
pub(super) fn extracted(context: &Extracted) -> String {
    let span = context.span_id.map_or("-".to_owned(), |span| span.to_string());
    format!("{} {span} {}", context.trace_id, context.sampled.as_str())
}

/// What Envoy does with edits: replace keeps the first place, or adds at the end.
pub(super) fn apply(headers: &[Header<'_>], edits: &[HeaderEdit]) -> Vec<(String, Vec<u8>)> {
    let pair = |header: &Header<'_>| (String::from_utf8_lossy(header.name).into_owned(), header.value.to_vec());
    let mut out: Vec<_> = headers.iter().map(pair).collect();
    for edit in edits {
        let at = out.iter().position(|(name, _)| name == edit.name());
        out.retain(|(name, _)| name != edit.name());
        if let HeaderEdit::Set(name, value) = edit {
            out.insert(at.unwrap_or(out.len()).min(out.len()), (name.clone().into_owned(), value.clone()));
        }
    }
    out
}

/// Owned headers as borrowed ones.
pub(super) fn borrow(headers: &[(String, Vec<u8>)]) -> Vec<Header<'_>> {
    headers.iter().map(|(name, value)| Header::new(name, value)).collect()
}

/// One header a line.
pub(super) fn text(headers: &[(String, Vec<u8>)]) -> String {
    let line = |(name, value): &(String, Vec<u8>)| format!("{name}: {}", String::from_utf8_lossy(value));
    headers.iter().map(line).collect::<Vec<_>>().join("\n")
}
