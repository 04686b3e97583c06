//! What is legal in a `pluginConfig` but probably not meant, beyond what the filter itself warns of.

use super::code;
use super::finding::Issue;
use super::rules;
use super::surroundings::Surroundings;
use super::variables;
use sidespan_core::config::{Config, Otlp, Percentage, Protocol, Receiver, Zipkin, is_sensitive_header, member};

/// Everything about a configuration that is valid.
pub(super) fn check(config: &Config, around: &Surroundings) -> Vec<Issue> {
    let mut issues = Vec::new();
    match &config.exporter {
        None => issues.push(Issue::new(
            &code::NO_EXPORTER,
            "exporter",
            "is absent: contexts are propagated, but no span leaves the proxy",
            "give `exporter.otlp.service` to send spans",
        )),
        Some(exporter) => {
            exporter.otlp.iter().for_each(|otlp| check_otlp(otlp, around, &mut issues));
            exporter.zipkin.iter().for_each(|zipkin| check_zipkin(zipkin, around, &mut issues));
        }
    }
    variables::check(config, around, &mut issues);
    check_rates(config, &mut issues);
    rules::check(&config.sampling.rules, &mut issues);
    issues
}

// === exporter ===

fn check_otlp(otlp: &Otlp, around: &Surroundings, issues: &mut Vec<Issue>) {
    let path = "exporter.otlp";
    let grpc = otlp.protocol == Protocol::Grpc;
    let receiver = &otlp.receiver;
    check_receiver(path, receiver, around.port(receiver, if grpc { 4317 } else { 4318 }), around, issues);
    match around.port(receiver, 0) {
        Some(4317) if !grpc => {
            port(path, receiver, 4317, "OTLP over gRPC", "give port 4318, or `protocol: grpc`", issues)
        }
        Some(4318) if grpc => {
            port(path, receiver, 4318, "OTLP over HTTP", "give port 4317, or leave `protocol` out", issues);
        }
        Some(9411) => {
            port(path, receiver, 9411, "Zipkin", "give port 4318 (gRPC: 4317), or use `exporter.zipkin`", issues)
        }
        _ => {}
    }
}

fn check_zipkin(zipkin: &Zipkin, around: &Surroundings, issues: &mut Vec<Issue>) {
    let (path, receiver) = ("exporter.zipkin", &zipkin.receiver);
    check_receiver(path, receiver, around.port(receiver, 9411), around, issues);
    if let Some(usual @ (4317 | 4318)) = around.port(receiver, 0) {
        port(path, receiver, usual, "OTLP", "give port 9411, or use `exporter.otlp`", issues);
    }
}

fn port(path: &str, receiver: &Receiver, port: u16, of: &str, hint: &str, issues: &mut Vec<Issue>) {
    let key = if receiver.port.is_some() { "port" } else { "cluster" };
    let problem = format!("{port} is the usual port of {of}");
    issues.push(Issue::new(&code::PORT, &member(path, key), &problem, hint));
}

/// `port`: that of the receiver, as far as it is known.
fn check_receiver(path: &str, receiver: &Receiver, port: Option<u16>, around: &Surroundings, issues: &mut Vec<Issue>) {
    if let Some(cluster) = receiver.cluster.as_deref().filter(|_| around.in_istio) {
        let mut parts = cluster.splitn(4, '|');
        let hint = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("outbound"), Some(port), Some(_), Some(host)) if !host.is_empty() => {
                format!("give `service: {host}` and `port: {port}`")
            }
            _ => "give `service`, the full DNS name of the collector's Kubernetes service".to_owned(),
        };
        let problem = format!("names the Envoy cluster {cluster:?}: in Istio, clusters are made from services");
        issues.push(Issue::new(&code::CLUSTER_IN_MESH, &member(path, "cluster"), &problem, &hint));
    }
    if let (Some(clusters), Some(name)) = (&around.clusters, cluster_name(receiver, port))
        && !clusters.contains_key(&name)
    {
        let key = if receiver.cluster.is_some() { "cluster" } else { "service" };
        let known: Vec<_> = clusters.keys().map(|name| format!("`{name}`")).collect();
        let hint = match known.len() {
            0 => "add the cluster to `static_resources.clusters`".to_owned(),
            _ => format!("one of {}, or add it to `static_resources.clusters`", known.join(", ")),
        };
        let problem =
            format!("names the Envoy cluster `{name}`, which this file does not have: all spans would be dropped");
        issues.push(Issue::new(&code::UNKNOWN_CLUSTER, &member(path, key), &problem, &hint));
    }
    for name in receiver.headers.text.keys().filter(|name| is_sensitive_header(name)) {
        let hint = "give `{environment: {name: …}}`, and the value in an environment variable of the proxy";
        let path = member(&member(path, "headers"), name);
        issues.push(Issue::new(
            &code::LITERAL_SECRET,
            &path,
            "has a credential that stands in the configuration",
            hint,
        ));
    }
}

/// The Envoy cluster that a receiver is called by; a service's as Istio names it.
fn cluster_name(receiver: &Receiver, port: Option<u16>) -> Option<String> {
    let of_service = || Some(format!("outbound|{}||{}", port?, receiver.service.as_ref()?));
    receiver.cluster.clone().or_else(of_service)
}

// === rates ===

fn check_rates(config: &Config, issues: &mut Vec<Issue>) {
    let sampling = &config.sampling;
    let mut rates = vec![("sampling.randomSamplingPercentage".to_owned(), sampling.random_sampling_percentage)];
    let late = |path: &str, slow: Option<Percentage>, others: [Option<Percentage>; 2]| {
        [("errors", others[0]), ("slow", slow), ("cancelled", others[1])]
            .into_iter()
            .filter_map(|(key, rate)| Some((format!("{path}.{key}.percentage"), rate?)))
            .collect::<Vec<_>>()
    };
    let slow = sampling.slow.as_ref().map(|slow| slow.percentage);
    rates.extend(late("sampling", slow, [Some(sampling.errors.percentage), Some(sampling.cancelled.percentage)]));
    for (index, rule) in sampling.rules.iter().enumerate() {
        let path = format!("sampling.rules[{index}]");
        rates.extend(rule.random_sampling_percentage.map(|rate| (format!("{path}.randomSamplingPercentage"), rate)));
        let others = [
            rule.errors.as_ref().map(|errors| errors.percentage),
            rule.cancelled.as_ref().map(|cancelled| cancelled.percentage),
        ];
        rates.extend(late(&path, rule.slow.as_ref().map(|slow| slow.percentage), others));
    }
    for (path, rate) in rates {
        let percent = rate.percent();
        if percent > 0.0 && percent < 0.1 {
            let problem = format!("{percent} % is 1 request in {:.0}", 100.0 / percent);
            let hint =
                format!("the unit is percent: if the fraction {percent} was meant, give {}", shortest(percent * 100.0));
            issues.push(Issue::new(&code::LOW_RATE, &path, &problem, &hint));
        }
    }
}

/// Without the rounding errors of a product.
fn shortest(number: f64) -> f64 {
    format!("{number:.6}").parse().unwrap_or(number)
}
