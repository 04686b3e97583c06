//! What the trace headers of a request say: a second reading, strict and sharing nothing with the filter's own parsers.

use anyhow::{Context as _, Result, bail, ensure};
use sidespan_harness::upstream::Recorded;

/// What one format says; only what it can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The format.
    pub format: &'static str,
    /// 32 hexadecimal digits; formats of 64 bits say the last 16.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub span: String,
    /// `None`: left open.
    pub sampled: Option<bool>,
}

/// The formats that a filter always sees to.
pub const CORE: &[&str] = &["traceparent", "b3", "x-b3"];

/// All formats.
pub const ALL: &[&str] = &[
    "traceparent",
    "b3",
    "x-b3",
    "uber-trace-id",
    "x-datadog",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "ot-tracer",
];

/// What the headers say in `formats`, in that order.
///
/// # Errors
/// If a header is malformed, repeated, left over or empty, or if two formats disagree.
pub fn read(request: &Recorded, formats: &[&'static str]) -> Result<Vec<Said>> {
    let mut all = Vec::new();
    for format in formats {
        all.extend(one(request, format).with_context(|| format!("{format} in {:?}", request.headers))?);
    }
    ensure!(request.values("tracestate").iter().all(|value| !value.trim_ascii().is_empty()), "an empty tracestate");
    ensure!(
        request.values("tracestate").is_empty() || !request.values("traceparent").is_empty(),
        "tracestate without traceparent"
    );
    for pair in all.windows(2) {
        agree(&pair[0], &pair[1])?;
    }
    Ok(all)
}

fn one(request: &Recorded, format: &'static str) -> Result<Option<Said>> {
    match format {
        "traceparent" => only(request, "traceparent")?.map(|value| traceparent(&value)).transpose(),
        "b3" => only(request, "b3")?.map(|value| b3(&value)).transpose(),
        "x-b3" => x_b3(request),
        "uber-trace-id" => only(request, "uber-trace-id")?.map(|value| jaeger(&value)).transpose(),
        "x-datadog" => datadog(request),
        "x-amzn-trace-id" => only(request, "x-amzn-trace-id")?.map(|value| xray(&value)).transpose(),
        "x-cloud-trace-context" => only(request, "x-cloud-trace-context")?.map(|value| gcp(&value)).transpose(),
        "ot-tracer" => ot(request),
        other => bail!("no format {other}"),
    }
}

fn agree(one: &Said, other: &Said) -> Result<()> {
    let short = |said: &Said| ["x-datadog-64", "ot-tracer"].contains(&said.format);
    let (a, b) = if short(one) || short(other) {
        (&one.trace[16..], &other.trace[16..])
    } else {
        (&one.trace[..], &other.trace[..])
    };
    // What cannot be left open in one format may be left open in another.
    let states = one.sampled.is_none() || other.sampled.is_none() || one.sampled == other.sampled;
    ensure!(a == b && one.span == other.span && states, "{one:?} disagrees with {other:?}");
    Ok(())
}

fn only(request: &Recorded, name: &str) -> Result<Option<String>> {
    match request.values(name).as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(String::from_utf8(value.to_vec())?)),
        several => bail!("{name} came {} times", several.len()),
    }
}

fn hex(text: &str, digits: usize) -> Result<String> {
    let good = text.len() == digits && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    ensure!(good && text.chars().any(|c| c != '0'), "{text:?} is no id of {digits} digits");
    Ok(text.to_owned())
}

fn decimal(text: &str) -> Result<String> {
    let number: u64 = text.parse()?;
    ensure!(number != 0 && number.to_string() == text, "{text:?} is no decimal id");
    Ok(format!("{number:016x}"))
}

fn traceparent(value: &str) -> Result<Said> {
    let parts: Vec<&str> = value.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { bail!("{value:?}") };
    let sampled = match flags {
        "00" | "02" => false,
        "01" | "03" => true,
        other => bail!("flags {other:?}"),
    };
    Ok(Said { format: "traceparent", trace: hex(trace, 32)?, span: hex(span, 16)?, sampled: Some(sampled) })
}

fn b3(value: &str) -> Result<Said> {
    let parts: Vec<&str> = value.split('-').collect();
    let (trace, span, sampled) = match parts[..] {
        [trace, span] => (trace, span, None),
        [trace, span, "0"] => (trace, span, Some(false)),
        [trace, span, "1" | "d"] => (trace, span, Some(true)),
        _ => bail!("{value:?}"),
    };
    Ok(Said { format: "b3", trace: hex(trace, 32)?, span: hex(span, 16)?, sampled })
}

fn x_b3(request: &Recorded) -> Result<Option<Said>> {
    ensure!(request.values("x-b3-parentspanid").is_empty(), "a stale parent");
    let state = (only(request, "x-b3-sampled")?, only(request, "x-b3-flags")?);
    let sampled = match (state.0.as_deref(), state.1.as_deref()) {
        (None, None) => None,
        (Some("0"), None) => Some(false),
        (Some("1"), None) | (None, Some("1")) => Some(true),
        other => bail!("sampled and flags {other:?}"),
    };
    match (only(request, "x-b3-traceid")?, only(request, "x-b3-spanid")?) {
        (Some(trace), Some(span)) => {
            Ok(Some(Said { format: "x-b3", trace: hex(&trace, 32)?, span: hex(&span, 16)?, sampled }))
        }
        (None, None) if sampled.is_none() => Ok(None),
        half => bail!("half of it: {half:?}"),
    }
}

fn jaeger(value: &str) -> Result<Said> {
    let parts: Vec<&str> = value.split(':').collect();
    let [trace, span, "0", flags] = parts[..] else { bail!("{value:?}") };
    let sampled = match flags {
        "0" => false,
        "1" | "3" => true,
        other => bail!("flags {other:?}"),
    };
    Ok(Said { format: "uber-trace-id", trace: hex(trace, 32)?, span: hex(span, 16)?, sampled: Some(sampled) })
}

fn datadog(request: &Recorded) -> Result<Option<Said>> {
    let ids = (only(request, "x-datadog-trace-id")?, only(request, "x-datadog-parent-id")?);
    let (Some(trace), Some(span)) = ids else {
        ensure!(ids == (None, None), "half of it: {ids:?}");
        return Ok(None);
    };
    let priority = only(request, "x-datadog-sampling-priority")?.map(|text| text.parse::<i32>()).transpose()?;
    let tags = only(request, "x-datadog-tags")?.unwrap_or_default();
    let high = tags.split(',').find_map(|tag| tag.strip_prefix("_dd.p.tid="));
    let (format, high) = match high {
        Some(high) => ("x-datadog", hex(high, 16)?),
        None => ("x-datadog-64", "0".repeat(16)),
    };
    let trace = format!("{high}{}", decimal(&trace)?);
    Ok(Some(Said { format, trace, span: decimal(&span)?, sampled: priority.map(|priority| priority > 0) }))
}

fn xray(value: &str) -> Result<Said> {
    let field = |name: &str| {
        let found: Vec<&str> = value.split(';').filter_map(|field| field.strip_prefix(name)).collect();
        ensure!(found.len() == 1, "{name} stands {} times in {value:?}", found.len());
        Ok(found[0])
    };
    let root = field("Root=1-")?;
    let (time, rest) = root.split_once('-').context("root")?;
    let sampled = match field("Sampled=")? {
        "1" => Some(true),
        "0" => Some(false),
        "?" => None,
        other => bail!("Sampled={other}"),
    };
    ensure!(time.len() == 8, "{root}");
    let trace = hex(&format!("{time}{rest}"), 32)?;
    Ok(Said { format: "x-amzn-trace-id", trace, span: hex(field("Parent=")?, 16)?, sampled })
}

fn gcp(value: &str) -> Result<Said> {
    let (trace, rest) = value.split_once('/').context("no span")?;
    let (span, sampled) = match rest.split_once(';') {
        None => (rest, None),
        Some((span, "o=1")) => (span, Some(true)),
        Some((span, "o=0")) => (span, Some(false)),
        Some((_, other)) => bail!("option {other:?}"),
    };
    Ok(Said { format: "x-cloud-trace-context", trace: hex(trace, 32)?, span: decimal(span)?, sampled })
}

fn ot(request: &Recorded) -> Result<Option<Said>> {
    let ids = (only(request, "ot-tracer-traceid")?, only(request, "ot-tracer-spanid")?);
    let (Some(trace), Some(span)) = ids else {
        ensure!(ids == (None, None), "half of it: {ids:?}");
        return Ok(None);
    };
    let sampled = match only(request, "ot-tracer-sampled")?.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => bail!("ot-tracer-sampled: {other}"),
    };
    let trace = format!("{}{}", "0".repeat(16), hex(&trace, 16)?);
    Ok(Some(Said { format: "ot-tracer", trace, span: hex(&span, 16)?, sampled }))
}
