//! A tree into a [`Config`], with every misfit named, in one pass.
//!
//! By hand and through `dyn`, not by serde: derived code for these types weighs 250 kB in the module, more than all the
//! rest. The derived `Deserialize` is what the tests compare this file with, and what the JSON Schema is made from.
//! What does not fit is reported and keeps its default; `null` for a member means that it is absent.

use super::check::{Report, member};
use super::words::{list_of, misfit, unknown};
use super::*;
use serde_json::Value;

/// Reads what stands at a path into its place.
type Put<'f> = &'f mut dyn FnMut(At<'_>, &mut Report);

/// A node and where it stands.
#[derive(Clone, Copy)]
pub(super) struct At<'t> {
    pub value: &'t Value,
    pub path: &'t str,
}

/// The configuration that `tree` describes, as far as it fits.
pub(super) fn config(tree: &Value, report: &mut Report) -> Config {
    let mut out = Config::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("exporter", &mut |at, report| out.exporter = Some(exporter(at, report))),
        ("resource", &mut |at, report| {
            at.members(report, &mut |key, at, report| {
                if let Some(value) = literal(at, report) {
                    out.resource.insert(key.to_owned(), value);
                }
            });
        }),
        ("customTags", &mut |at, report| {
            at.members(report, &mut |key, at, report| {
                if let Some(tag) = custom_tag(at, report) {
                    out.custom_tags.insert(key.to_owned(), tag);
                }
            });
        }),
        ("propagation", &mut |at, report| out.propagation = propagation(at, report)),
        ("sampling", &mut |at, report| out.sampling = sampling(at, report)),
        ("spans", &mut |at, report| out.spans = spans(at, report)),
    ];
    At { value: tree, path: "" }.object(fields, report);
    out
}

fn exporter(at: At<'_>, report: &mut Report) -> Exporter {
    let mut out = Exporter::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("otlp", &mut |at, report| out.otlp = Some(otlp(at, report))),
        ("zipkin", &mut |at, report| out.zipkin = Some(zipkin(at, report))),
        ("batch", &mut |at, report| {
            let batch = &mut out.batch;
            let fields: &mut [(&str, Put<'_>)] = &mut [
                ("delay", &mut |at, report| at.duration(&mut batch.delay, report)),
                ("maxSpans", &mut |at, report| at.u32(&mut batch.max_spans, report)),
            ];
            at.object(fields, report);
        }),
        ("queue", &mut |at, report| {
            let fields: &mut [(&str, Put<'_>)] =
                &mut [("maxBytes", &mut |at, report| at.bytes(&mut out.queue.max_bytes, report))];
            at.object(fields, report);
        }),
        ("retry", &mut |at, report| {
            let retry = &mut out.retry;
            let fields: &mut [(&str, Put<'_>)] = &mut [
                ("initial", &mut |at, report| at.duration(&mut retry.initial, report)),
                ("max", &mut |at, report| at.duration(&mut retry.max, report)),
                ("maxElapsed", &mut |at, report| at.duration(&mut retry.max_elapsed, report)),
            ];
            at.object(fields, report);
        }),
    ];
    at.object(fields, report);
    out
}

fn otlp(at: At<'_>, report: &mut Report) -> Otlp {
    const PROTOCOLS: &[(&str, Protocol)] =
        &[("http/protobuf", Protocol::HttpProtobuf), ("http/json", Protocol::HttpJson), ("grpc", Protocol::Grpc)];
    const COMPRESSIONS: &[(&str, Compression)] =
        &[("none", Compression::None), ("deflate", Compression::Deflate), ("gzip", Compression::Gzip)];
    let mut out = Otlp::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("service", &mut |at, report| out.service = at.text(report)),
        ("port", &mut |at, report| out.port = at.port(report)),
        ("cluster", &mut |at, report| out.cluster = at.text(report)),
        ("authority", &mut |at, report| out.authority = at.text(report)),
        ("protocol", &mut |at, report| at.one_of(PROTOCOLS, &mut out.protocol, report)),
        ("path", &mut |at, report| at.string(&mut out.path, report)),
        ("headers", &mut |at, report| at.texts_by_name(&mut out.headers, report)),
        ("timeout", &mut |at, report| at.duration(&mut out.timeout, report)),
        ("compression", &mut |at, report| at.one_of(COMPRESSIONS, &mut out.compression, report)),
    ];
    at.object(fields, report);
    out
}

fn zipkin(at: At<'_>, report: &mut Report) -> Zipkin {
    let mut out = Zipkin::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("service", &mut |at, report| out.service = at.text(report)),
        ("port", &mut |at, report| out.port = at.port(report)),
        ("cluster", &mut |at, report| out.cluster = at.text(report)),
        ("authority", &mut |at, report| out.authority = at.text(report)),
        ("path", &mut |at, report| at.string(&mut out.path, report)),
        ("headers", &mut |at, report| at.texts_by_name(&mut out.headers, report)),
        ("timeout", &mut |at, report| at.duration(&mut out.timeout, report)),
    ];
    at.object(fields, report);
    out
}

fn literal(at: At<'_>, report: &mut Report) -> Option<Literal> {
    match at.value {
        Value::String(text) => Some(Literal::String(text.clone())),
        Value::Bool(truth) => Some(Literal::Bool(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Some(Literal::Int(number)),
            None => number.as_f64().map(Literal::Double),
        },
        _ => at.misfit("text, a number, true or false", report),
    }
}

/// The kinds of a custom tag, by the name of their one member.
const TAGS: [&str; 7] =
    ["literal", "environment", "header", "responseHeader", "responseTrailer", "formatter", "property"];

fn custom_tag(at: At<'_>, report: &mut Report) -> Option<CustomTag> {
    let Value::Object(object) = at.value else { return at.misfit("an object", report) };
    let mut given = object.iter().filter(|(_, value)| !value.is_null());
    let (Some((kind, value)), None) = (given.next(), given.next()) else {
        let several = object.values().filter(|value| !value.is_null()).count() > 1;
        let problem = if several { "has several members" } else { "is empty" };
        report.add(at.path, problem, &format!("give exactly one of {}", list_of(&TAGS)));
        return None;
    };
    let path = member(at.path, kind);
    let at = At { value, path: &path };
    match kind.as_str() {
        "literal" => at.named("value", None, report).map(|(value, _)| CustomTag::Literal(LiteralTag { value })),
        "formatter" => at.named("value", None, report).map(|(value, _)| CustomTag::Formatter(FormatterTag { value })),
        "environment" => named_tag(at, report).map(CustomTag::Environment),
        "header" => named_tag(at, report).map(CustomTag::Header),
        "responseHeader" => named_tag(at, report).map(CustomTag::ResponseHeader),
        "responseTrailer" => named_tag(at, report).map(CustomTag::ResponseTrailer),
        "property" => {
            let (path, default_value) = at.named("path", Some("defaultValue"), report)?;
            Some(CustomTag::Property(PropertyTag { path, default_value }))
        }
        _ => {
            report.add_pair(at.path, unknown("field", kind, &TAGS));
            None
        }
    }
}

fn named_tag(at: At<'_>, report: &mut Report) -> Option<NamedTag> {
    let (name, default_value) = at.named("name", Some("defaultValue"), report)?;
    Some(NamedTag { name, default_value })
}

fn propagation(at: At<'_>, report: &mut Report) -> Propagation {
    const TRUST: &[(&str, Trust)] =
        &[("continue", Trust::Continue), ("restart", Trust::Restart), ("ignore", Trust::Ignore)];
    let mut out = Propagation::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("extract", &mut |at, report| dialects(at, &mut out.extract, report)),
        ("inject", &mut |at, report| dialects(at, &mut out.inject, report)),
        ("trust", &mut |at, report| at.one_of(TRUST, &mut out.trust, report)),
        ("traceIdResponseHeader", &mut |at, report| out.trace_id_response_header = at.text(report)),
        ("exposeKeepSignal", &mut |at, report| at.truth(&mut out.expose_keep_signal, report)),
    ];
    at.object(fields, report);
    out
}

fn dialects(at: At<'_>, out: &mut Vec<Dialect>, report: &mut Report) {
    const DIALECTS: &[(&str, Dialect)] = &[
        ("tracecontext", Dialect::TraceContext),
        ("b3", Dialect::B3),
        ("b3multi", Dialect::B3Multi),
        ("jaeger", Dialect::Jaeger),
        ("datadog", Dialect::Datadog),
        ("xray", Dialect::XRay),
        ("gcp", Dialect::Gcp),
        ("ottrace", Dialect::OtTrace),
    ];
    at.choices(DIALECTS, out, report);
}

fn sampling(at: At<'_>, report: &mut Report) -> Sampling {
    let mut out = Sampling::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("randomSamplingPercentage", &mut |at, report| {
            if let Some(percentage) = at.percentage(report) {
                out.random_sampling_percentage = percentage;
            }
        }),
        ("parent", &mut |at, report| at.one_of(PARENT, &mut out.parent, report)),
        ("rules", &mut |at, report| {
            at.elements(report, &mut |at, report| {
                let fits = at.value.is_object();
                if fits {
                    out.rules.push(rule(at, report));
                } else {
                    at.misfit::<()>("an object", report);
                }
                fits
            });
        }),
        ("errors", &mut |at, report| out.errors = errors(at, report)),
        ("slow", &mut |at, report| out.slow = slow(at, report)),
    ];
    at.object(fields, report);
    out
}

const PARENT: &[(&str, Parent)] = &[("respect", Parent::Respect), ("ignore", Parent::Ignore)];

fn rule(at: At<'_>, report: &mut Report) -> Rule {
    let mut out = Rule::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("name", &mut |at, report| at.string(&mut out.name, report)),
        ("match", &mut |at, report| out.matches = matches(at, report)),
        ("randomSamplingPercentage", &mut |at, report| out.random_sampling_percentage = at.percentage(report)),
        ("drop", &mut |at, report| at.truth(&mut out.drop, report)),
        ("parent", &mut |at, report| {
            let mut parent = Parent::default();
            at.one_of(PARENT, &mut parent, report);
            out.parent = Some(parent);
        }),
        ("errors", &mut |at, report| out.errors = Some(errors(at, report))),
        ("slow", &mut |at, report| out.slow = slow(at, report)),
    ];
    at.object(fields, report);
    out
}

fn matches(at: At<'_>, report: &mut Report) -> Match {
    const DIRECTIONS: &[(&str, Direction)] =
        &[("inbound", Direction::Inbound), ("outbound", Direction::Outbound), ("gateway", Direction::Gateway)];
    let mut out = Match::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("direction", &mut |at, report| at.choices(DIRECTIONS, &mut out.direction, report)),
        ("namespace", &mut |at, report| patterns(at, &mut out.namespace, report)),
        ("workload", &mut |at, report| patterns(at, &mut out.workload, report)),
        ("labels", &mut |at, report| patterns_by_name(at, &mut out.labels, report)),
        ("host", &mut |at, report| patterns(at, &mut out.host, report)),
        ("method", &mut |at, report| at.texts(None, &mut |text| out.method.push(text), report)),
        ("path", &mut |at, report| {
            at.texts(Some(PathPattern::fault), &mut |text| out.path.push(text.into()), report);
        }),
        ("headers", &mut |at, report| patterns_by_name(at, &mut out.headers, report)),
    ];
    at.object(fields, report);
    out
}

fn patterns(at: At<'_>, out: &mut Vec<StringPattern>, report: &mut Report) {
    at.texts(Some(StringPattern::fault), &mut |text| out.push(text.into()), report);
}

fn patterns_by_name(at: At<'_>, out: &mut BTreeMap<String, StringPattern>, report: &mut Report) {
    at.members(report, &mut |key, at, report| {
        if let Some(text) = at.checked(Some(StringPattern::fault), report) {
            out.insert(key.to_owned(), text.into());
        }
    });
}

fn errors(at: At<'_>, report: &mut Report) -> Errors {
    let mut out = Errors::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("percentage", &mut |at, report| {
            if let Some(percentage) = at.percentage(report) {
                out.percentage = percentage;
            }
        }),
        ("httpStatus", &mut |at, report| {
            out.http_status.clear();
            at.elements(report, &mut |at, report| {
                let status = at.status(report);
                out.http_status.extend(status);
                status.is_some()
            });
        }),
        ("grpcStatus", &mut |at, report| {
            out.grpc_status.clear();
            at.elements(report, &mut |at, report| {
                let code =
                    at.whole(255, "a whole number from 0 to 255", report).and_then(|code| u8::try_from(code).ok());
                out.grpc_status.extend(code);
                code.is_some()
            });
        }),
        ("maxPerSecond", &mut |at, report| at.u32(&mut out.max_per_second, report)),
        ("wholePath", &mut |at, report| at.truth(&mut out.whole_path, report)),
        ("clientDisconnect", &mut |at, report| at.truth(&mut out.client_disconnect, report)),
    ];
    at.object(fields, report);
    out
}

fn slow(at: At<'_>, report: &mut Report) -> Option<Slow> {
    let (mut threshold, mut percentage, mut max_per_second) = (None, Percentage::all(), Slow::default_max_per_second());
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("threshold", &mut |at, report| {
            let mut value = Duration::default();
            at.duration(&mut value, report);
            threshold = Some(value);
        }),
        ("percentage", &mut |at, report| {
            if let Some(given) = at.percentage(report) {
                percentage = given;
            }
        }),
        ("maxPerSecond", &mut |at, report| at.u32(&mut max_per_second, report)),
    ];
    let fits = at.object(fields, report);
    match threshold {
        Some(threshold) => Some(Slow { threshold, percentage, max_per_second }),
        None if fits => {
            report.absent(at.path, "`threshold` is missing", "give `threshold`");
            None
        }
        None => None,
    }
}

fn spans(at: At<'_>, report: &mut Report) -> Spans {
    const CONVENTIONS: &[(&str, SemanticConventions)] = &[
        ("stable", SemanticConventions::Stable),
        ("old", SemanticConventions::Old),
        ("dup", SemanticConventions::Dup),
    ];
    let mut out = Spans::default();
    let fields: &mut [(&str, Put<'_>)] = &mut [
        ("semanticConventions", &mut |at, report| at.one_of(CONVENTIONS, &mut out.semantic_conventions, report)),
        ("pathTemplates", &mut |at, report| {
            at.texts(Some(PathTemplate::fault), &mut |text| out.path_templates.push(text.into()), report);
        }),
        ("maxPathTagLength", &mut |at, report| at.u32(&mut out.max_path_tag_length, report)),
        ("requestHeaders", &mut |at, report| at.texts(None, &mut |text| out.request_headers.push(text), report)),
        ("responseHeaders", &mut |at, report| at.texts(None, &mut |text| out.response_headers.push(text), report)),
        ("redactQuery", &mut |at, report| at.texts(None, &mut |text| out.redact_query.push(text), report)),
        ("baggage", &mut |at, report| at.texts(None, &mut |text| out.baggage.push(text), report)),
        ("istioTags", &mut |at, report| at.truth(&mut out.istio_tags, report)),
        ("maxAttributes", &mut |at, report| at.u32(&mut out.max_attributes, report)),
        ("maxAttributeLength", &mut |at, report| at.u32(&mut out.max_attribute_length, report)),
    ];
    at.object(fields, report);
    out
}

// === impl At: objects and lists ===

impl At<'_> {
    /// Gives each member to its field. Whether this is an object at all.
    fn object(self, fields: &mut [(&str, Put<'_>)], report: &mut Report) -> bool {
        let Value::Object(object) = self.value else {
            self.misfit::<()>("an object", report);
            return false;
        };
        for (key, value) in object {
            let path = member(self.path, key);
            match fields.iter_mut().find(|(name, _)| name == key) {
                Some(_) if value.is_null() => {}
                Some((_, put)) => put(At { value, path: &path }, report),
                None => {
                    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                    report.add_pair(&path, unknown("field", key, &names));
                }
            }
        }
        true
    }

    /// Gives each member of a map, that is an object with free keys.
    fn members(self, report: &mut Report, each: &mut dyn FnMut(&str, At<'_>, &mut Report)) {
        let Value::Object(object) = self.value else { return self.misfit::<()>("an object", report).unwrap_or(()) };
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let path = member(self.path, key);
            each(key, At { value, path: &path }, report);
        }
    }

    /// Gives each element of a list to `each`, which says whether it was taken.
    fn elements(self, report: &mut Report, each: &mut dyn FnMut(At<'_>, &mut Report) -> bool) {
        let Value::Array(list) = self.value else { return self.misfit::<()>("a list", report).unwrap_or(()) };
        for (index, value) in list.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            if !each(At { value, path: &path }, report) {
                report.lose(self.path, index);
            }
        }
    }

    /// A list of texts without fault.
    fn texts(self, fault: Option<Fault>, push: &mut dyn FnMut(String), report: &mut Report) {
        self.elements(report, &mut |at, report| match at.checked(fault, report) {
            Some(text) => {
                push(text);
                true
            }
            None => false,
        });
    }

    fn texts_by_name(self, out: &mut BTreeMap<String, String>, report: &mut Report) {
        self.members(report, &mut |key, at, report| {
            if let Some(text) = at.text(report) {
                out.insert(key.to_owned(), text);
            }
        });
    }

    /// An object with one text that must be there, and one that may.
    fn named(self, required: &str, optional: Option<&str>, report: &mut Report) -> Option<(String, Option<String>)> {
        let (mut first, mut second) = (None, None);
        let mut put_first = |at: At<'_>, report: &mut Report| first = at.text(report);
        let mut put_second = |at: At<'_>, report: &mut Report| second = at.text(report);
        let fits = match optional {
            Some(optional) => self.object(&mut [(required, &mut put_first), (optional, &mut put_second)], report),
            None => self.object(&mut [(required, &mut put_first)], report),
        };
        if fits && first.is_none() {
            report.absent(self.path, &format!("`{required}` is missing"), &format!("give `{required}`"));
        }
        first.map(|first| (first, second))
    }
}

// === impl At: values ===

/// What is expected instead, if a text does not fit.
type Fault = fn(&str) -> Option<&'static str>;

impl At<'_> {
    #[cold]
    fn misfit<T>(self, expected: &str, report: &mut Report) -> Option<T> {
        report.add_pair(self.path, misfit(self.value, expected));
        None
    }

    fn checked(self, fault: Option<Fault>, report: &mut Report) -> Option<String> {
        let Value::String(text) = self.value else { return self.misfit("text", report) };
        match fault.and_then(|fault| fault(text)) {
            Some(expected) => self.misfit(expected, report),
            None => Some(text.clone()),
        }
    }

    fn text(self, report: &mut Report) -> Option<String> {
        self.checked(None, report)
    }

    fn string(self, out: &mut String, report: &mut Report) {
        if let Some(text) = self.text(report) {
            *out = text;
        }
    }

    fn truth(self, out: &mut bool, report: &mut Report) {
        match self.value {
            Value::Bool(truth) => *out = *truth,
            _ => self.misfit::<()>("true or false", report).unwrap_or(()),
        }
    }

    /// A whole number from 0 to `most`.
    fn whole(self, most: u64, expected: &str, report: &mut Report) -> Option<u64> {
        match self.value.as_u64().filter(|number| *number <= most) {
            Some(number) => Some(number),
            None => self.misfit(expected, report),
        }
    }

    fn u32(self, out: &mut u32, report: &mut Report) {
        let number = self.whole(u32::MAX.into(), "a whole number from 0 to 4294967295", report);
        if let Some(Ok(number)) = number.map(u32::try_from) {
            *out = number;
        }
    }

    fn port(self, report: &mut Report) -> Option<u16> {
        self.whole(65_535, "a whole number from 0 to 65535", report).and_then(|port| u16::try_from(port).ok())
    }

    fn percentage(self, report: &mut Report) -> Option<Percentage> {
        let percentage = self.value.as_f64().and_then(Percentage::new);
        percentage.or_else(|| self.misfit("a percentage from 0 to 100", report))
    }

    fn duration(self, out: &mut Duration, report: &mut Report) {
        match self.value.as_str().and_then(Duration::parse) {
            Some(duration) => *out = duration,
            None => self.misfit::<()>(Duration::EXPECTED, report).unwrap_or(()),
        }
    }

    fn bytes(self, out: &mut Bytes, report: &mut Report) {
        let bytes = self.value.as_u64().map(Bytes).or_else(|| Bytes::parse(self.value.as_str()?));
        match bytes {
            Some(bytes) => *out = bytes,
            None => self.misfit::<()>(Bytes::EXPECTED, report).unwrap_or(()),
        }
    }

    fn status(self, report: &mut Report) -> Option<StatusPattern> {
        let status = match self.value {
            Value::String(text) => StatusPattern::parse(text),
            value => value.as_u64().and_then(|status| StatusPattern::parse(&status.to_string())),
        };
        status.or_else(|| self.misfit(StatusPattern::EXPECTED, report))
    }

    fn one_of<T: Copy>(self, table: &[(&str, T)], out: &mut T, report: &mut Report) {
        match table.iter().find(|(name, _)| self.value.as_str() == Some(*name)) {
            Some((_, value)) => *out = *value,
            None => {
                let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
                self.not_one_of(&names, report);
            }
        }
    }

    fn choices<T: Copy>(self, table: &[(&str, T)], out: &mut Vec<T>, report: &mut Report) {
        out.clear();
        let Some((_, first)) = table.first() else { return };
        self.elements(report, &mut |at, report| {
            let mut choice = *first;
            let known = at.value.as_str().is_some_and(|text| table.iter().any(|(name, _)| *name == text));
            at.one_of(table, &mut choice, report);
            if known {
                out.push(choice);
            }
            known
        });
    }

    #[cold]
    fn not_one_of(self, names: &[&str], report: &mut Report) {
        let pair = match self.value {
            Value::String(text) => unknown("value", text, names),
            value => (misfit(value, "").0, format!("one of {}", list_of(names))),
        };
        report.add_pair(self.path, pair);
    }
}
