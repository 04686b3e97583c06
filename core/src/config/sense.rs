//! Whether a well-formed configuration makes sense. The rules of sampling stand in [`super::rules`].

use super::check::{Report, member};
use super::names::{header_name_fault, is_dns_name, is_header_value, is_token, twice};
use super::{Batch, Config, CustomTag, Duration, Exporter, Otlp, Propagation, Queue, Retry, Spans, Zipkin, rules};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Headers of an export call that the exporter writes itself.
const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Longest wait for a collector: a call under way holds its batch in memory.
const TIMEOUT: RangeInclusive<u64> = 1..=60_000;
const DELAY: RangeInclusive<u64> = 100..=60_000;
const RETRY_WAIT: RangeInclusive<u64> = 10..=600_000;
const RETRY_ELAPSED: RangeInclusive<u64> = 0..=3_600_000;

/// Everything that makes no sense in `config`.
pub(super) fn check(config: &Config, report: &mut Report) {
    if let Some(exporter) = &config.exporter {
        check_exporter(exporter, report);
    }
    for key in config.resource.keys().filter(|key| key.trim().is_empty()) {
        report.add(&member("resource", key), "an empty key", "give the attribute a name");
    }
    for (key, tag) in &config.custom_tags {
        check_tag(key, tag, report);
    }
    check_propagation(&config.propagation, report);
    rules::check(&config.sampling, report);
    check_spans(&config.spans, report);
}

// === impl exporter ===

fn check_exporter(exporter: &Exporter, report: &mut Report) {
    match (&exporter.otlp, &exporter.zipkin) {
        (Some(_), Some(_)) => report.add("exporter", "has `otlp` and `zipkin`", "keep one of them"),
        (None, None) => report.absent(
            "exporter",
            "has neither `otlp` nor `zipkin`",
            "give one of them, or leave `exporter` out to propagate only",
        ),
        _ => {}
    }
    if let Some(otlp) = &exporter.otlp {
        check_otlp(otlp, report);
    }
    if let Some(zipkin) = &exporter.zipkin {
        check_zipkin(zipkin, report);
    }
    check_waiting(&exporter.batch, &exporter.queue, &exporter.retry, report);
}

/// What the two kinds of receiver have in common.
struct Receiver<'c> {
    path: &'static str,
    service: Option<&'c str>,
    port: Option<u16>,
    cluster: Option<&'c str>,
    authority: Option<&'c str>,
    url_path: &'c str,
    headers: &'c BTreeMap<String, String>,
    timeout: Duration,
}

fn check_otlp(otlp: &Otlp, report: &mut Report) {
    let receiver = Receiver {
        path: "exporter.otlp",
        service: otlp.service.as_deref(),
        port: otlp.port,
        cluster: otlp.cluster.as_deref(),
        authority: otlp.authority.as_deref(),
        url_path: &otlp.path,
        headers: &otlp.headers,
        timeout: otlp.timeout,
    };
    receiver.check(report);
}

fn check_zipkin(zipkin: &Zipkin, report: &mut Report) {
    let receiver = Receiver {
        path: "exporter.zipkin",
        service: zipkin.service.as_deref(),
        port: zipkin.port,
        cluster: zipkin.cluster.as_deref(),
        authority: zipkin.authority.as_deref(),
        url_path: &zipkin.path,
        headers: &zipkin.headers,
        timeout: zipkin.timeout,
    };
    receiver.check(report);
    if zipkin.service.is_some() && zipkin.port.is_none() {
        report.absent("exporter.zipkin", "has a `service` without its `port`", "give `port`, usually 9411");
    }
}

impl Receiver<'_> {
    fn check(&self, report: &mut Report) {
        self.check_address(report);
        if self.authority.is_some_and(|authority| authority.is_empty() || !is_visible(authority)) {
            report.add(&self.at("authority"), "is not an authority", "give host:port, or leave it out");
        }
        if !self.url_path.starts_with('/') || !is_visible(self.url_path) {
            report.add(&self.at("path"), "is not a path", "give a path that starts with `/`, such as /v1/traces");
        }
        check_headers(&self.at("headers"), self.headers, report);
        check_millis(&self.at("timeout"), self.timeout, TIMEOUT, "1ms", "60s", report);
    }

    fn check_address(&self, report: &mut Report) {
        match (self.service, self.cluster) {
            (Some(_), Some(_)) => report.add(self.path, "has `service` and `cluster`", "keep one of them"),
            (None, None) => report.absent(
                self.path,
                "has neither `service` nor `cluster`",
                "give `service`, such as otel-collector.istio-system.svc.cluster.local, or the name of an Envoy `cluster`",
            ),
            _ => {}
        }
        if self.service.is_some_and(|service| !is_dns_name(service)) {
            let hint = "give the service's full DNS name, without scheme and port: the port goes into `port`";
            report.add(&self.at("service"), "is not a DNS name", hint);
        }
        if self.cluster.is_some_and(|cluster| cluster.is_empty() || !is_visible(cluster)) {
            report.add(&self.at("cluster"), "is not a cluster name", "give a name that Envoy knows");
        }
        match self.port {
            Some(0) => report.add(&self.at("port"), "port 0", "give a port from 1 to 65535"),
            Some(_) if self.cluster.is_some() && self.service.is_none() => {
                report.add(
                    &self.at("port"),
                    "a port without `service`",
                    "a cluster has its own port: leave `port` out",
                );
            }
            _ => {}
        }
    }

    fn at(&self, key: &str) -> String {
        member(self.path, key)
    }
}

fn check_headers(path: &str, headers: &BTreeMap<String, String>, report: &mut Report) {
    for (name, value) in headers {
        let here = member(path, name);
        if let Some((problem, hint)) = header_name_fault(name) {
            report.add(&here, &problem, hint);
        } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            report.add(&here, "is written by the exporter itself", "leave it out");
        }
        if !is_header_value(value) {
            report.add(&here, "has a control character in its value", "a header's value is one line of text");
        }
    }
    if let Some(name) = twice(&headers.keys().map(String::as_str).collect::<Vec<_>>()) {
        report.add(&member(path, name), "given twice", "header names know no case: keep one of them");
    }
}

fn check_waiting(batch: &Batch, queue: &Queue, retry: &Retry, report: &mut Report) {
    check_millis("exporter.batch.delay", batch.delay, DELAY, "100ms", "60s", report);
    check_range("exporter.batch.maxSpans", batch.max_spans.into(), 1..=8192, report);
    if !(64 << 10..=256 << 20).contains(&queue.max_bytes.0) {
        let problem = format!("{} bytes is out of range", queue.max_bytes.0);
        report.add("exporter.queue.maxBytes", &problem, "give 64KiB to 256MiB, such as 4MiB");
    }
    check_millis("exporter.retry.initial", retry.initial, RETRY_WAIT, "10ms", "10m", report);
    check_millis("exporter.retry.max", retry.max, RETRY_WAIT, "10ms", "10m", report);
    check_millis("exporter.retry.maxElapsed", retry.max_elapsed, RETRY_ELAPSED, "0s (never retry)", "1h", report);
    if retry.initial > retry.max {
        report.add("exporter.retry.initial", "is longer than `max`", "waits grow from `initial` to `max`");
    }
}

fn check_millis(path: &str, value: Duration, range: RangeInclusive<u64>, from: &str, to: &str, report: &mut Report) {
    // Whole milliseconds, and nothing above the bound hidden in the rest.
    let beyond = value.0 > std::time::Duration::from_millis(*range.end());
    if beyond || !range.contains(&value.as_millis()) {
        report.add(path, &format!("{value} is out of range"), &format!("give {from} to {to}, such as 10s"));
    }
}

fn check_range(path: &str, value: u64, range: RangeInclusive<u64>, report: &mut Report) {
    if !range.contains(&value) {
        report.add(path, &format!("{value} is out of range"), &format!("give {} to {}", range.start(), range.end()));
    }
}

/// Neither blank nor control: what can stand in a request line.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

// === impl tags ===

fn check_tag(key: &str, tag: &CustomTag, report: &mut Report) {
    let path = member("customTags", key);
    if key.trim().is_empty() {
        report.add(&path, "an empty key", "give the tag a name");
    }
    match tag {
        CustomTag::Literal(_) => {}
        CustomTag::Environment(tag) => {
            if tag.name.is_empty() || tag.name.contains(['=', '\0']) {
                report.add(
                    &format!("{path}.environment.name"),
                    "is not the name of a variable",
                    "such as CLUSTER_NAME",
                );
            }
        }
        CustomTag::Header(tag) => check_header_name(&format!("{path}.header.name"), &tag.name, report),
        CustomTag::ResponseHeader(tag) => check_header_name(&format!("{path}.responseHeader.name"), &tag.name, report),
        CustomTag::ResponseTrailer(tag) => {
            check_header_name(&format!("{path}.responseTrailer.name"), &tag.name, report)
        }
        CustomTag::Formatter(tag) => {
            if let Err(problem) = formatter(&tag.value) {
                report.add(&format!("{path}.formatter.value"), &problem, "such as %PROTOCOL%; %% is a percent sign");
            }
        }
        CustomTag::Property(tag) => {
            if !is_property_path(&tag.path) {
                let hint =
                    "give the dotted path of an Envoy attribute, such as upstream.address; a dot in a segment is `\\.`";
                report.add(&format!("{path}.property.path"), "is not an attribute path", hint);
            }
        }
    }
}

fn check_header_name(path: &str, name: &str, report: &mut Report) {
    if let Some((problem, hint)) = header_name_fault(name) {
        report.add(path, &problem, hint);
    }
}

/// Segments between dots, none of them empty; `\.` is a dot in a segment.
fn is_property_path(path: &str) -> bool {
    let segments = path.replace("\\.", "_");
    !segments.contains(['\\', '\0']) && segments.split('.').all(|segment| !segment.trim().is_empty())
}

/// The one call site for the operators of `formatter`. Here only the shape is known: every `%` has its partner.
fn formatter(text: &str) -> Result<(), String> {
    if text.matches('%').count().is_multiple_of(2) { Ok(()) } else { Err("has a `%` without its partner".to_owned()) }
}

// === impl propagation ===

fn check_propagation(propagation: &Propagation, report: &mut Report) {
    for (path, list) in [("propagation.extract", &propagation.extract), ("propagation.inject", &propagation.inject)] {
        for (index, dialect) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier == dialect) {
                let here = report.element(path, index);
                report.add(&here, "given twice", "keep the first: order decides");
            }
        }
    }
    if let Some(name) = &propagation.trace_id_response_header {
        let path = "propagation.traceIdResponseHeader";
        check_header_name(path, name, report);
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            report.add(path, "already has a meaning in responses", "choose another, such as x-trace-id");
        }
    }
}

// === impl spans ===

fn check_spans(spans: &Spans, report: &mut Report) {
    check_range("spans.maxPathTagLength", spans.max_path_tag_length.into(), 1..=16_384, report);
    check_range("spans.maxAttributes", spans.max_attributes.into(), 1..=1024, report);
    check_range("spans.maxAttributeLength", spans.max_attribute_length.into(), 1..=65_536, report);
    let templates: Vec<String> = spans.path_templates.iter().map(|template| template.as_str().to_owned()).collect();
    check_names("spans.pathTemplates", &templates, |_| true, "", report);
    for (path, list) in
        [("spans.requestHeaders", &spans.request_headers), ("spans.responseHeaders", &spans.response_headers)]
    {
        check_names(path, list, is_token, "a header's name, such as `x-tenant-id`", report);
    }
    check_names(
        "spans.redactQuery",
        &spans.redact_query,
        is_query_key,
        "a parameter's name alone, such as `token`",
        report,
    );
    check_names("spans.baggage", &spans.baggage, is_token, "a baggage key, such as `tenant`", report);
}

fn check_names(path: &str, list: &[String], valid: fn(&str) -> bool, hint: &str, report: &mut Report) {
    for (index, entry) in list.iter().enumerate() {
        let here = report.element(path, index);
        if !valid(entry) {
            report.add(&here, &format!("{entry:?} cannot be a name"), hint);
        } else if list.iter().take(index).any(|earlier| earlier == entry) {
            report.add(&here, "given twice", "keep one of them");
        }
    }
}

fn is_query_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(['=', '&', '?', '#'])
}
