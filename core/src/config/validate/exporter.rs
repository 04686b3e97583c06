//! `exporter`: exactly one receiver, and an address that Envoy can call.

use super::attributes::check_variable;
use crate::config::names::{header_name_fault, is_dns_name, is_header_value, twice};
use crate::config::objects::{Exporter, Headers, Receiver};
use crate::config::report::{Report, member};
use crate::config::reserved::{self, Target};

pub(super) fn check(exporter: &Exporter, report: &mut Report) {
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
        check_receiver("exporter.otlp", &otlp.receiver, report);
    }
    if let Some(zipkin) = &exporter.zipkin {
        check_receiver("exporter.zipkin", &zipkin.receiver, report);
        if zipkin.receiver.service.is_some() && zipkin.receiver.port.is_none() {
            report.absent("exporter.zipkin", "has a `service` without its `port`", "give `port`, usually 9411");
        }
    }
    if exporter.retry.initial > exporter.retry.max {
        report.add("exporter.retry.initial", "is longer than `max`", "waits grow from `initial` to `max`");
    }
}

fn check_receiver(path: &str, receiver: &Receiver, report: &mut Report) {
    check_address(path, receiver, report);
    if receiver.authority.as_deref().is_some_and(|authority| authority.is_empty() || !is_visible(authority)) {
        report.add(&member(path, "authority"), "is not an authority", "give host:port, or leave it out");
    }
    if !receiver.path.starts_with('/') || !is_visible(&receiver.path) {
        report.add(&member(path, "path"), "is not a path", "give a path that starts with `/`, such as /v1/traces");
    }
    check_headers(&member(path, "headers"), &receiver.headers, report);
}

fn check_address(path: &str, receiver: &Receiver, report: &mut Report) {
    match (&receiver.service, &receiver.cluster) {
        (Some(_), Some(_)) => report.add(path, "has `service` and `cluster`", "keep one of them"),
        (None, None) => report.absent(
            path,
            "has neither `service` nor `cluster`",
            "give `service`, such as otel-collector.istio-system.svc.cluster.local, or the name of an Envoy `cluster`",
        ),
        _ => {}
    }
    if receiver.service.as_deref().is_some_and(|service| !is_dns_name(service)) {
        let hint = "give the service's full DNS name, without scheme and port: the port goes into `port`";
        report.add(&member(path, "service"), "is not a DNS name", hint);
    }
    if receiver.cluster.as_deref().is_some_and(|cluster| cluster.is_empty() || !is_visible(cluster)) {
        report.add(&member(path, "cluster"), "is not a cluster name", "give a name that Envoy knows");
    }
    if receiver.port.is_some() && receiver.cluster.is_some() && receiver.service.is_none() {
        report.add(&member(path, "port"), "a port without `service`", "a cluster has its own port: leave `port` out");
    }
}

fn check_headers(path: &str, headers: &Headers, report: &mut Report) {
    for (name, value) in &headers.text {
        check_header(&member(path, name), name, Some(value), report);
    }
    for (name, variable) in &headers.variables {
        let here = member(path, name);
        check_header(&here, name, variable.default_value.as_deref(), report);
        check_variable(&format!("{here}.environment"), &variable.name, report);
    }
    let names = headers.text.keys().chain(headers.variables.iter().map(|(name, _)| name));
    if let Some(name) = twice(&names.map(String::as_str).collect::<Vec<_>>()) {
        report.add(&member(path, name), "given twice", "header names know no case: keep one of them");
    }
}

#[inline(never)]
fn check_header(path: &str, name: &str, value: Option<&str>, report: &mut Report) {
    if let Some((problem, hint)) = header_name_fault(name, "use `authority` and `path`; leave any other out") {
        report.add(path, &problem, hint);
    } else if let Some(problem) = reserved::fault(name, Target::Exports) {
        let hint = if name.eq_ignore_ascii_case("host") { "use `authority`" } else { "leave it out" };
        report.add(path, problem, hint);
    }
    if value.is_some_and(|value| !is_header_value(value)) {
        report.add(path, "has a control character in its value", "a header's value is one line of text");
    }
}

/// Neither blank nor control: what can stand in a request line.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
