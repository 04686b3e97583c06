//! What is legal but probably not meant: warnings, never a reason to refuse.

use super::names::is_sensitive;
use super::objects::{
    Compression, Config, CustomTag, Dialect, Errors, Exporter, NativeTracer, Otlp, Parent, Propagation, Protocol,
    Receiver, Rule, Sampling, Spans, Trust,
};
use super::report::{Report, member};
use super::units::StatusPattern;

/// Reports everything worth knowing about `config`.
pub(super) fn check(config: &Config, report: &mut Report) {
    match &config.exporter {
        Some(exporter) => check_exporter(exporter, report),
        None if config.sampling != Sampling::default() || !config.custom_tags.is_empty() => report.add(
            "exporter",
            "is absent: contexts are propagated, but no span is made",
            "give `exporter.otlp.service` to send spans",
        ),
        None => {}
    }
    check_captures(config, report);
    match config.native_tracer {
        NativeTracer::Replace => check_propagation(config, report),
        NativeTracer::Adopt => check_adopt(config, report),
    }
    check_errors("sampling.errors", &config.sampling.errors, report);
    for (index, rule) in config.sampling.rules.iter().enumerate() {
        let path = format!("sampling.rules[{index}]");
        if let Some(errors) = &rule.errors {
            check_errors(&member(&path, "errors"), errors, report);
        }
        let same = |other: &&Rule| !rule.name.is_empty() && other.name == rule.name;
        if config.sampling.rules.iter().take(index).find(same).is_some() {
            report.add(
                &member(&path, "name"),
                &format!("{:?} names two rules", rule.name),
                "metrics cannot tell them apart",
            );
        }
    }
    check_templates(&config.spans, report);
}

fn check_exporter(exporter: &Exporter, report: &mut Report) {
    if let Some(otlp) = &exporter.otlp {
        check_service("exporter.otlp.service", &otlp.receiver, report);
        if otlp.protocol == Protocol::Grpc {
            check_grpc(otlp, report);
        }
    }
    if let Some(zipkin) = &exporter.zipkin {
        check_service("exporter.zipkin.service", &zipkin.receiver, report);
    }
}

fn check_service(path: &str, receiver: &Receiver, report: &mut Report) {
    if receiver.service.as_deref().is_some_and(|service| !service.contains('.')) {
        let hint = "Istio names its clusters by the full name: <service>.<namespace>.svc.cluster.local";
        report.add(path, "is a short name", hint);
    }
}

fn check_grpc(otlp: &Otlp, report: &mut Report) {
    if otlp.receiver.path != Receiver::default().path {
        report.add("exporter.otlp.path", "has no effect with `protocol: grpc`", "leave it out");
    }
    if otlp.compression == Compression::Deflate {
        let hint = "use gzip: a receiver that does not know the compression refuses every call, and spans are dropped";
        report.add("exporter.otlp.compression", "is not known to most gRPC receivers, the Collector's included", hint);
    }
    if otlp.receiver.port == Some(4318) {
        report.add(
            "exporter.otlp.port",
            "4318 is the usual port of OTLP over HTTP",
            "OTLP over gRPC usually listens on 4317",
        );
    }
}

/// Credentials that would become attributes: legal, because the operator named them.
fn check_captures(config: &Config, report: &mut Report) {
    let lists = [
        ("spans.requestHeaders", &config.spans.request_headers),
        ("spans.responseHeaders", &config.spans.response_headers),
    ];
    for (path, list) in lists {
        for (index, _) in list.iter().enumerate().filter(|(_, name)| is_sensitive(name)) {
            warn_secret(&format!("{path}[{index}]"), report);
        }
    }
    for (key, tag) in &config.custom_tags {
        let (kind, tag) = match tag {
            CustomTag::Header(tag) => ("header", tag),
            CustomTag::ResponseHeader(tag) => ("responseHeader", tag),
            CustomTag::ResponseTrailer(tag) => ("responseTrailer", tag),
            _ => continue,
        };
        if is_sensitive(&tag.name) {
            warn_secret(&format!("{}.{kind}.name", member("customTags", key)), report);
        }
    }
}

fn warn_secret(path: &str, report: &mut Report) {
    report.add(path, "captures a header that carries credentials", "whoever reads the traces reads them: leave it out");
}

fn check_propagation(config: &Config, report: &mut Report) {
    let propagation = &config.propagation;
    if propagation.inject.is_empty() {
        let hint = "a request that comes in without a context leaves without one: name a format";
        report.add("propagation.inject", "is empty", hint);
    }
    if propagation.extract.is_empty() && propagation.trust == Trust::Continue {
        let hint = "no context is ever continued; `trust: ignore` says so plainly";
        report.add("propagation.extract", "is empty", hint);
    }
    if propagation.extract.contains(&Dialect::B3) && propagation.extract.contains(&Dialect::B3Multi) {
        report.add("propagation.extract", "has `b3` and `b3multi`", "`b3` reads both forms: leave `b3multi` out");
    }
}

/// What Envoy's own tracer decides, and no filter can change.
fn check_adopt(config: &Config, report: &mut Report) {
    let (sampling, given) = (&config.sampling, &config.propagation);
    let default = Propagation::default();
    let no_effect = "has no effect with `nativeTracer: adopt`";
    let formats = "Envoy's own tracer reads and writes the headers: leave it out";
    let rates = "the rate is that of Envoy's own tracer, in the Telemetry resource: leave it out";
    let members = [
        ("propagation.extract", given.extract != default.extract, formats),
        ("propagation.inject", given.inject != default.inject, formats),
        ("propagation.trust", given.trust != default.trust, formats),
        ("sampling.parent", sampling.parent != Parent::Respect, rates),
        (
            "sampling.randomSamplingPercentage",
            sampling.random_sampling_percentage != Sampling::default().random_sampling_percentage,
            rates,
        ),
    ];
    for (path, _, hint) in members.into_iter().filter(|(_, given, _)| *given) {
        report.add(path, no_effect, hint);
    }
    for (index, rule) in sampling.rules.iter().enumerate() {
        let path = format!("sampling.rules[{index}]");
        if rule.random_sampling_percentage.is_some() {
            report.add(&member(&path, "randomSamplingPercentage"), no_effect, rates);
        }
        if rule.parent.is_some() {
            report.add(&member(&path, "parent"), no_effect, rates);
        }
    }
}

fn check_errors(path: &str, errors: &Errors, report: &mut Report) {
    let success = |pattern: &StatusPattern| match pattern {
        StatusPattern::Exact(status) => *status < 400,
        StatusPattern::Class(class) => *class < 4,
    };
    for (index, _) in errors.http_status.iter().enumerate().filter(|(_, pattern)| success(pattern)) {
        let path = format!("{path}.httpStatus[{index}]");
        report.add(
            &path,
            "counts answers below 400 as errors",
            "errors are kept whatever the rate: this may keep everything",
        );
    }
}

fn check_templates(spans: &Spans, report: &mut Report) {
    for (index, template) in spans.path_templates.iter().enumerate() {
        if template.as_str().contains("/:") {
            let path = format!("spans.pathTemplates[{index}]");
            report.add(&path, "takes `:name` literally", "write a placeholder as `{name}`");
        }
    }
}
