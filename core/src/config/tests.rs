//! The configuration as an operator meets it: a full example, every default, every way to get it wrong.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Nearly everything, as Istio hands it over.
const FULL: &str = r#"{
  "exporter": {
    "otlp": {"service": "otel-collector.istio-system.svc.cluster.local", "port": 4318, "protocol": "http/protobuf",
             "path": "/v1/traces", "headers": {"X-Scope-OrgID": "team-a"}, "timeout": "10s", "compression": "none"},
    "batch": {"delay": "1s", "maxSpans": 512},
    "queue": {"maxBytes": "4MiB"},
    "retry": {"initial": "1s", "max": "30s", "maxElapsed": "2m"}
  },
  "resource": {"deployment.environment.name": "production", "cloud.region": "us-west-2", "replicas": 3, "canary": false, "share": 0.5},
  "customTags": {
    "environment": {"literal": {"value": "production"}},
    "cluster": {"environment": {"name": "CLUSTER_NAME", "defaultValue": "k8s-prod"}},
    "tenant": {"header": {"name": "X-Tenant-Id", "defaultValue": "none"}},
    "protocol": {"formatter": {"value": "%PROTOCOL%"}},
    "upstream": {"property": {"path": "upstream.address"}}
  },
  "propagation": {"extract": ["tracecontext", "b3"], "inject": ["tracecontext"], "trust": "continue"},
  "sampling": {
    "randomSamplingPercentage": 1,
    "rules": [
      {"name": "payments", "match": {"namespace": ["payment"]}, "randomSamplingPercentage": 100},
      {"name": "probes", "match": {"path": ["/healthz", "/readyz"], "host": ["API.example.com"]}, "drop": true}
    ],
    "errors": {"percentage": 100, "httpStatus": ["5xx", 429], "grpcStatus": [2, 4, 12, 13, 14, 15], "maxPerSecond": 50, "wholePath": true},
    "slow": {"threshold": "1s", "percentage": 100, "maxPerSecond": 10}
  },
  "spans": {"semanticConventions": "stable", "pathTemplates": ["/api/users/{id}", "/orders/{order}/items/{item}"],
            "maxPathTagLength": 256, "requestHeaders": ["X-Tenant-Id"], "responseHeaders": [], "redactQuery": ["token", "signature"]}
}"#;

fn good(json: &str) -> Config {
    parse(json.as_bytes()).unwrap_or_else(|problems| panic!("{json}: {problems:?}"))
}

/// What is wrong, one line each.
fn bad(json: &[u8]) -> Vec<String> {
    parse(json).expect_err("must be refused").iter().map(ToString::to_string).collect()
}

fn text(value: &str) -> Literal {
    Literal::String(value.to_owned())
}

#[test]
fn the_documented_example_is_read_as_it_is_meant() {
    let config = good(FULL);
    let exporter = config.exporter.as_ref().expect("given");
    let expected = Otlp {
        receiver: Receiver {
            service: Some("otel-collector.istio-system.svc.cluster.local".to_owned()),
            port: Some(4318),
            headers: BTreeMap::from([("x-scope-orgid".to_owned(), "team-a".to_owned())]),
            ..Receiver::default()
        },
        ..Otlp::default()
    };
    assert_eq!(exporter.otlp.as_ref(), Some(&expected));
    assert_eq!((exporter.batch, exporter.queue, exporter.retry), Default::default());
    let resource = BTreeMap::from([
        ("deployment.environment.name".to_owned(), text("production")),
        ("cloud.region".to_owned(), text("us-west-2")),
        ("replicas".to_owned(), Literal::Int(3)),
        ("canary".to_owned(), Literal::Bool(false)),
        ("share".to_owned(), Literal::Double(0.5)),
    ]);
    assert_eq!(config.resource, resource);
    let named = |name: &str, default: &str| NamedTag { name: name.to_owned(), default_value: Some(default.to_owned()) };
    let tags = BTreeMap::from([
        ("environment".to_owned(), CustomTag::Literal(LiteralTag { value: "production".to_owned() })),
        ("cluster".to_owned(), CustomTag::Environment(named("CLUSTER_NAME", "k8s-prod"))),
        ("tenant".to_owned(), CustomTag::Header(named("x-tenant-id", "none"))),
        (
            "protocol".to_owned(),
            CustomTag::Formatter(FormatterTag { value: Formatter::parse("%PROTOCOL%").expect("known") }),
        ),
        (
            "upstream".to_owned(),
            CustomTag::Property(PropertyTag { path: "upstream.address".to_owned(), default_value: None }),
        ),
    ]);
    assert_eq!(config.custom_tags, tags);
    assert_eq!(config.propagation, Propagation::default());
    assert_eq!(config.sampling.rules.len(), 2);
    assert_eq!(config.sampling.rules[0].random_sampling_percentage, Percentage::new(100.0));
    assert_eq!(config.sampling.rules[0].matches.namespace, [StringPattern::Exact("payment".to_owned())]);
    assert!(config.sampling.rules[1].drop && config.sampling.rules[1].matches.path[0].matches(b"/healthz"));
    assert_eq!(config.sampling.rules[1].matches.host, [StringPattern::Exact("api.example.com".to_owned())]);
    assert_eq!(config.sampling.errors.http_status, [StatusPattern::Class(5), StatusPattern::Exact(429)]);
    let slow = Slow { threshold: Duration::from_secs(1), percentage: Percentage::all(), max_per_second: 10 };
    assert_eq!(config.sampling.slow, Some(slow));
    assert_eq!(config.spans.path_templates[1].as_str(), "/orders/{order}/items/{item}");
    assert_eq!(config.spans.request_headers, ["x-tenant-id"]);
    assert_eq!(config.spans.redact_query, ["token", "signature"]);
    assert_eq!(config.warnings(), []);
}

#[test]
fn every_default_is_the_documented_one() {
    let config = good("");
    assert_eq!(config, Config::default());
    assert_eq!((config.exporter.as_ref(), config.resource.len(), config.custom_tags.len()), (None, 0, 0));
    assert_eq!(config.native_tracer, NativeTracer::Replace, "nativeTracer");
    assert_eq!(config.propagation.extract, [Dialect::TraceContext, Dialect::B3], "propagation.extract");
    assert_eq!(config.propagation.inject, [Dialect::TraceContext], "propagation.inject");
    assert_eq!(config.propagation.trust, Trust::Continue, "propagation.trust");
    assert_eq!(config.propagation.trace_id_response_header, None, "propagation.traceIdResponseHeader");
    assert!(!config.propagation.expose_keep_signal, "propagation.exposeKeepSignal");
    assert!(!config.propagation.foreign_keep_signals, "propagation.foreignKeepSignals");
    assert_eq!(config.propagation.answer_callers, AnswerCallers::Auto, "propagation.answerCallers");
    assert_eq!(config.sampling.random_sampling_percentage.percent(), 1.0, "sampling.randomSamplingPercentage");
    assert_eq!(config.sampling.parent, Parent::Respect, "sampling.parent");
    assert_eq!(config.sampling.rules, [], "sampling.rules");
    assert_eq!(config.sampling.slow, None, "sampling.slow");
    let errors = &config.sampling.errors;
    assert_eq!(errors.percentage.percent(), 100.0, "sampling.errors.percentage");
    assert_eq!(errors.http_status, [StatusPattern::Class(5)], "sampling.errors.httpStatus");
    assert_eq!(errors.grpc_status, [2, 4, 12, 13, 14, 15], "sampling.errors.grpcStatus");
    assert_eq!(errors.max_per_second, 50, "sampling.errors.maxPerSecond");
    assert!(errors.whole_path, "sampling.errors.wholePath");
    assert!(!errors.client_disconnect, "sampling.errors.clientDisconnect");
    let spans = &config.spans;
    assert_eq!(spans.semantic_conventions, SemanticConventions::Stable, "spans.semanticConventions");
    assert_eq!(spans.path_templates, [], "spans.pathTemplates");
    assert_eq!(spans.max_path_tag_length, 256, "spans.maxPathTagLength");
    assert_eq!((&spans.request_headers[..], &spans.response_headers[..]), (&[][..], &[][..]), "spans.*Headers");
    assert_eq!((&spans.redact_query[..], &spans.baggage[..]), (&[][..], &[][..]), "spans.redactQuery, spans.baggage");
    assert!(spans.istio_tags, "spans.istioTags");
    assert_eq!(spans.max_attributes, 128, "spans.maxAttributes");
    assert_eq!(spans.max_attribute_length, 4096, "spans.maxAttributeLength");

    let config = good(r#"{"exporter": {"otlp": {"cluster": "otel"}}, "sampling": {"slow": {"threshold": "2s"}}}"#);
    let exporter = config.exporter.expect("given");
    assert_eq!(exporter.zipkin, None, "exporter.zipkin");
    assert_eq!(exporter.batch, Batch { delay: Duration::from_secs(1), max_spans: 512 }, "exporter.batch");
    assert_eq!(exporter.queue, Queue { max_bytes: Bytes(4_194_304) }, "exporter.queue.maxBytes");
    let retry = [1, 30, 120].map(Duration::from_secs);
    assert_eq!([exporter.retry.initial, exporter.retry.max, exporter.retry.max_elapsed], retry, "exporter.retry");
    let otlp = exporter.otlp.expect("given");
    assert_eq!(
        (otlp.receiver.service, otlp.receiver.port, otlp.receiver.authority),
        (None, None, None),
        "exporter.otlp.service, port, authority"
    );
    assert_eq!(otlp.protocol, Protocol::HttpProtobuf, "exporter.otlp.protocol");
    assert_eq!(otlp.receiver.path, "/v1/traces", "exporter.otlp.path");
    assert_eq!(otlp.receiver.headers, BTreeMap::new(), "exporter.otlp.headers");
    assert_eq!(otlp.receiver.timeout, Duration::from_secs(10), "exporter.otlp.timeout");
    assert_eq!(otlp.compression, Compression::None, "exporter.otlp.compression");
    let slow = config.sampling.slow.expect("given");
    assert_eq!((slow.percentage.percent(), slow.max_per_second), (100.0, 10), "sampling.slow.percentage, maxPerSecond");

    let config = good(r#"{"exporter": {"zipkin": {"cluster": "zipkin"}}}"#);
    let zipkin = config.exporter.and_then(|exporter| exporter.zipkin).expect("given");
    assert_eq!(
        (zipkin.receiver.service, zipkin.receiver.port, zipkin.receiver.authority),
        (None, None, None),
        "exporter.zipkin.service, port, authority"
    );
    assert_eq!(
        (zipkin.receiver.path.as_str(), zipkin.receiver.timeout),
        ("/api/v2/spans", Duration::from_secs(10)),
        "exporter.zipkin"
    );
    assert_eq!(zipkin.receiver.headers, BTreeMap::new(), "exporter.zipkin.headers");
}

#[test]
fn what_istio_and_editors_do_to_a_document_changes_nothing() {
    let table: &[(&str, &str, &str)] = &[
        ("", "{}", "an empty pluginConfig arrives as nothing"),
        (" \n\t", "{}", "blank"),
        ("null", "{}", "null as a whole"),
        (r#"{"sampling": null, "exporter": null, "customTags": null}"#, "{}", "null for a member is absence"),
        (r#"{"sampling": {"rules": null, "randomSamplingPercentage": null}}"#, "{}", "also further down"),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 4317.0}, "batch": {"maxSpans": 1e2}, "queue": {"maxBytes": 1048576.0}}}"#,
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 4317}, "batch": {"maxSpans": 100}, "queue": {"maxBytes": "1MiB"}}}"#,
            "doubles where whole numbers are asked",
        ),
        (
            r#"{"sampling": {"errors": {"httpStatus": [503.0, "5xx"], "grpcStatus": [14.0]}, "randomSamplingPercentage": 50.0}}"#,
            r#"{"sampling": {"errors": {"httpStatus": ["503", "5xx"], "grpcStatus": [14]}, "randomSamplingPercentage": 50}}"#,
            "in lists too",
        ),
    ];
    for (written, meant, why) in table {
        assert_eq!(good(written), good(meant), "{why}");
    }
}

#[test]
fn each_mistake_is_named_with_its_path_and_a_hint() {
    let table: &[(&str, &[&str])] = &[
        // Form.
        (
            r#"{"sampling": {"rules": [{"dorp": true}]}}"#,
            &["sampling.rules[0].dorp: unknown field `dorp` (did you mean `drop`?)"],
        ),
        (
            r#"{"sampling": {"random_sampling_percentage": 1}}"#,
            &[
                "sampling.random_sampling_percentage: unknown field `random_sampling_percentage` (did you mean `randomSamplingPercentage`?)",
            ],
        ),
        (
            r#"{"tracing": 1}"#,
            &[
                "tracing: unknown field `tracing` (one of `nativeTracer`, `exporter`, `resource`, `customTags`, `propagation`, `sampling`, `spans`)",
            ],
        ),
        (
            r#"{"tracing": null}"#,
            &[
                "tracing: unknown field `tracing` (one of `nativeTracer`, `exporter`, `resource`, `customTags`, `propagation`, `sampling`, `spans`)",
            ],
        ),
        (
            r#"{"sampling": {"randomSamplingPercentage": 101}}"#,
            &["sampling.randomSamplingPercentage: wrong value: 101 (give a percentage from 0 to 100)"],
        ),
        (
            r#"{"sampling": {"randomSamplingPercentage": -1}}"#,
            &["sampling.randomSamplingPercentage: wrong value: -1 (give a percentage from 0 to 100)"],
        ),
        (
            r#"{"sampling": {"randomSamplingPercentage": "1"}}"#,
            &[r#"sampling.randomSamplingPercentage: wrong value: "1" (give a percentage from 0 to 100)"#],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "timeout": 5}}}"#,
            &[r#"exporter.otlp.timeout: wrong value: 5 (give a duration with its unit, such as "10s" or "250ms")"#],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "timeout": "5"}}}"#,
            &[r#"exporter.otlp.timeout: wrong value: "5" (give a duration with its unit, such as "10s" or "250ms")"#],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "protocol": "http/protobuff"}}}"#,
            &["exporter.otlp.protocol: unknown value `http/protobuff` (did you mean `http/protobuf`?)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "protocol": 1}}}"#,
            &["exporter.otlp.protocol: wrong value: 1 (one of `http/protobuf`, `http/json`, `grpc`)"],
        ),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 70000}}}"#,
            &["exporter.otlp.port: wrong value: 70000 (give a whole number from 0 to 65535)"],
        ),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 43.5}}}"#,
            &["exporter.otlp.port: wrong value: 43.5 (give a whole number from 0 to 65535)"],
        ),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": "4318"}}}"#,
            &[r#"exporter.otlp.port: wrong value: "4318" (give a whole number from 0 to 65535)"#],
        ),
        (
            r#"{"exporter": {"otlp": {"service": 5}}}"#,
            &["exporter.otlp.service: wrong value: 5 (give text: put it in quotes)"],
        ),
        (r#"{"exporter": []}"#, &["exporter: wrong value: a list (give an object)"]),
        ("[]", &["pluginConfig: wrong value: a list (give an object)"]),
        ("3", &["pluginConfig: wrong value: 3 (give an object)"]),
        (r#"{"sampling": {"rules": {}}}"#, &["sampling.rules: wrong value: an object (give a list)"]),
        (r#"{"sampling": {"rules": [null]}}"#, &["sampling.rules[0]: wrong value: null (give an object)"]),
        (r#"{"sampling": {"slow": {"percentage": 5}}}"#, &["sampling.slow: `threshold` is missing (give `threshold`)"]),
        (
            r#"{"sampling": {"errors": {"httpStatus": ["5x"]}}}"#,
            &[
                r#"sampling.errors.httpStatus[0]: wrong value: "5x" (give an HTTP status such as 503 or "503", or a class such as "5xx")"#,
            ],
        ),
        (
            r#"{"sampling": {"errors": {"wholePath": "yes"}}}"#,
            &[r#"sampling.errors.wholePath: wrong value: "yes" (give true or false)"#],
        ),
        (
            r#"{"resource": {"cloud.region": ["a"]}}"#,
            &[r#"resource["cloud.region"]: wrong value: a list (give text, a number, true or false)"#],
        ),
        (
            r#"{"customTags": {"a": {}}}"#,
            &[
                "customTags.a: is empty (give exactly one of `literal`, `environment`, `header`, `responseHeader`, `responseTrailer`, `formatter`, `property`)",
            ],
        ),
        (
            r#"{"customTags": {"a": {"literal": {"value": "x"}, "header": {"name": "x"}}}}"#,
            &[
                "customTags.a: has several members (give exactly one of `literal`, `environment`, `header`, `responseHeader`, `responseTrailer`, `formatter`, `property`)",
            ],
        ),
        (
            r#"{"customTags": {"a": {"literal": {"value": 1}}}}"#,
            &["customTags.a.literal.value: wrong value: 1 (give text: put it in quotes)"],
        ),
        (
            r#"{"customTags": {"a": {"literal": {"vaule": "x"}}}}"#,
            &["customTags.a.literal.vaule: unknown field `vaule` (did you mean `value`?)"],
        ),
        (
            r#"{"customTags": {"a": {"literal": {"value": null}}}}"#,
            &["customTags.a.literal: `value` is missing (give `value`)"],
        ),
        (r#"{"customTags": {"a": {"literal": "x"}}}"#, &[r#"customTags.a.literal: wrong value: "x" (give an object)"#]),
        (r#"{"customTags": {"a": "literal"}}"#, &["customTags.a: wrong value: \"literal\" (give an object)"]),
        (
            r#"{"spans": {"pathTemplates": ["api/{id}"]}}"#,
            &[r#"spans.pathTemplates[0]: wrong value: "api/{id}" (give a path that starts with `/`)"#],
        ),
        (
            r#"{"spans": {"pathTemplates": ["/api/{id"]}}"#,
            &[
                r#"spans.pathTemplates[0]: wrong value: "/api/{id" (give balanced braces around whole segments, such as /api/users/{id})"#,
            ],
        ),
        (r#"{"spans": {}, "spans": {}}"#, &["spans: given twice (keep one of them)"]),
        (
            r#"{"sampling": {"rules": [{"drop": true, "drop": false}]}}"#,
            &["sampling.rules[0].drop: given twice (keep one of them)"],
        ),
        // Values together: the exporter.
        (
            r#"{"exporter": {}}"#,
            &[
                "exporter: has neither `otlp` nor `zipkin` (give one of them, or leave `exporter` out to propagate only)",
            ],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "a"}, "zipkin": {"cluster": "b"}}}"#,
            &["exporter: has `otlp` and `zipkin` (keep one of them)"],
        ),
        (
            r#"{"exporter": {"otlp": {}}}"#,
            &[
                "exporter.otlp: has neither `service` nor `cluster` (give `service`, such as otel-collector.istio-system.svc.cluster.local, or the name of an Envoy `cluster`)",
            ],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "a", "service": "b.c"}}}"#,
            &["exporter.otlp: has `service` and `cluster` (keep one of them)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "a", "port": 1}}}"#,
            &["exporter.otlp.port: a port without `service` (a cluster has its own port: leave `port` out)"],
        ),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 0}}}"#,
            &["exporter.otlp.port: 0 is out of range (give 1 to 65535)"],
        ),
        (
            r#"{"exporter": {"zipkin": {"service": "a.b"}}}"#,
            &["exporter.zipkin: has a `service` without its `port` (give `port`, usually 9411)"],
        ),
        (
            r#"{"exporter": {"otlp": {"service": "http://a.b:4318"}}}"#,
            &[
                "exporter.otlp.service: is not a DNS name (give the service's full DNS name, without scheme and port: the port goes into `port`)",
            ],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": ""}}}"#,
            &["exporter.otlp.cluster: is not a cluster name (give a name that Envoy knows)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "authority": "a b"}}}"#,
            &["exporter.otlp.authority: is not an authority (give host:port, or leave it out)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "path": "v1"}}}"#,
            &["exporter.otlp.path: is not a path (give a path that starts with `/`, such as /v1/traces)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "timeout": "0s"}}}"#,
            &["exporter.otlp.timeout: 0s is out of range (give 1ms to 60s)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "timeout": "60.0001s"}}}"#,
            &["exporter.otlp.timeout: 60.0001s is out of range (give 1ms to 60s)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {"a b": "x"}}}}"#,
            &[
                r#"exporter.otlp.headers["a b"]: "a b" is not a header name (letters, digits and - only, such as `x-tenant-id`)"#,
            ],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {"a": "x\r\ny: z"}}}}"#,
            &["exporter.otlp.headers.a: has a control character in its value (a header's value is one line of text)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {"Content-Type": "x"}}}}"#,
            &["exporter.otlp.headers.Content-Type: is reserved: HTTP itself needs it (leave it out)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {"Host": "a:1"}}}}"#,
            &["exporter.otlp.headers.Host: is reserved: HTTP itself needs it (use `authority`)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {":path": "/a"}}}}"#,
            &[
                r#"exporter.otlp.headers[":path"]: ":path" is not a header name (use `authority` and `path`; leave any other out)"#,
            ],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c", "headers": {"A": "x", "a": "y"}}}}"#,
            &["exporter.otlp.headers.a: given twice (header names know no case: keep one of them)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "batch": {"delay": "99ms"}}}"#,
            &["exporter.batch.delay: 99ms is out of range (give 100ms to 60s)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "batch": {"maxSpans": 0}}}"#,
            &["exporter.batch.maxSpans: 0 is out of range (give 1 to 8192)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "batch": {"maxSpans": 8193}}}"#,
            &["exporter.batch.maxSpans: 8193 is out of range (give 1 to 8192)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "queue": {"maxBytes": 65535}}}"#,
            &["exporter.queue.maxBytes: 65535 is out of range (give 64KiB to 256MiB)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "queue": {"maxBytes": "257MiB"}}}"#,
            &["exporter.queue.maxBytes: 257MiB is out of range (give 64KiB to 256MiB)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "retry": {"initial": "31s"}}}"#,
            &["exporter.retry.initial: is longer than `max` (waits grow from `initial` to `max`)"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}, "retry": {"maxElapsed": "2h"}}}"#,
            &["exporter.retry.maxElapsed: 7200s is out of range (give 0s to 3600s)"],
        ),
        // Values together: tags, resource, propagation, spans.
        (r#"{"resource": {"": "a"}}"#, &[r#"resource[""]: an empty key (give the attribute a name)"#]),
        (
            r#"{"customTags": {"": {"literal": {"value": "x"}}}}"#,
            &[r#"customTags[""]: an empty key (give the tag a name)"#],
        ),
        (
            r#"{"customTags": {"a": {"environment": {"name": ""}}}}"#,
            &["customTags.a.environment.name: is not the name of a variable (such as CLUSTER_NAME)"],
        ),
        (
            r#"{"customTags": {"a": {"header": {"name": "x y"}}}}"#,
            &[
                r#"customTags.a.header.name: "x y" is not a header name (letters, digits and - only, such as `x-tenant-id`)"#,
            ],
        ),
        (
            r#"{"customTags": {"a": {"header": {"name": ":path"}}}}"#,
            &[
                r#"customTags.a.header.name: ":path" is not a header name (use `formatter`, which reads it: %REQ(:PATH)%, %REQ(:METHOD)%, %REQ(:AUTHORITY)%)"#,
            ],
        ),
        (
            r#"{"customTags": {"a": {"responseHeader": {"name": ":status"}}}}"#,
            &[
                r#"customTags.a.responseHeader.name: ":status" is not a header name (use `formatter`: %RESPONSE_CODE% is the status)"#,
            ],
        ),
        (
            r#"{"customTags": {"a": {"formatter": {"value": "%PROTOCOL"}}}}"#,
            &[
                "customTags.a.formatter.value: a `%` without its partner; a percent sign is `%%` (docs/tags.md lists the operators; `property` gives any Envoy attribute)",
            ],
        ),
        (
            r#"{"customTags": {"a": {"property": {"path": "upstream..address"}}}}"#,
            &[
                r"customTags.a.property.path: is not an attribute path (give the dotted path of an Envoy attribute, such as upstream.address; a dot in a segment is `\.`)",
            ],
        ),
        (
            r#"{"propagation": {"extract": ["b3", "b3"]}}"#,
            &["propagation.extract[1]: given twice (keep the first: order decides)"],
        ),
        (
            r#"{"propagation": {"traceIdResponseHeader": "Content-Length"}}"#,
            &[
                "propagation.traceIdResponseHeader: is reserved: HTTP itself needs it (choose another name, such as x-trace-id)",
            ],
        ),
        (
            r#"{"spans": {"requestHeaders": ["a:b"]}}"#,
            &[r#"spans.requestHeaders[0]: "a:b" cannot be a name (a header's name, such as `x-tenant-id`)"#],
        ),
        (r#"{"spans": {"redactQuery": ["a", "a"]}}"#, &["spans.redactQuery[1]: given twice (keep one of them)"]),
        (r#"{"spans": {"maxPathTagLength": 0}}"#, &["spans.maxPathTagLength: 0 is out of range (give 1 to 16384)"]),
        // Values together: sampling.
        (
            r#"{"sampling": {"rules": [{"name": "x"}]}}"#,
            &[
                "sampling.rules[0]: decides nothing (give `randomSamplingPercentage`, `drop`, `parent`, `errors`, `slow`, `cancelled` or `keepSignals: false`)",
            ],
        ),
        (
            r#"{"sampling": {"rules": [{"drop": true, "randomSamplingPercentage": 1}]}}"#,
            &[
                "sampling.rules[0].randomSamplingPercentage: given together with `drop` (a dropped request has no span, also not for an error: keep one of the two)",
            ],
        ),
        (
            r#"{"sampling": {"rules": [{"randomSamplingPercentage": 1}, {"match": {"path": ["/a"]}, "drop": true}]}}"#,
            &[
                "sampling.rules[1]: is never reached: sampling.rules[0] has no `match` and takes everything (put the rule without `match` last)",
            ],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"path": ["/a"]}, "drop": true}, {"match": {"path": ["/a"]}, "parent": "ignore"}]}}"#,
            &[
                "sampling.rules[1]: is never reached: sampling.rules[0] has the same `match` (the first match wins: keep one of them)",
            ],
        ),
        (
            r#"{"sampling": {"errors": {"grpcStatus": [0]}}}"#,
            &["sampling.errors.grpcStatus[0]: 0 is OK, never an error (give codes from 1 to 16)"],
        ),
        (
            r#"{"sampling": {"rules": [{"errors": {"grpcStatus": [14, 17]}}]}}"#,
            &["sampling.rules[0].errors.grpcStatus[1]: 17 is not a gRPC status (give codes from 1 to 16)"],
        ),
        (
            r#"{"sampling": {"slow": {"threshold": "0s"}}}"#,
            &["sampling.slow.threshold: zero would make every request slow (give a time, such as 1s)"],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"method": ["get"]}, "drop": true}]}}"#,
            &[r#"sampling.rules[0].match.method[0]: "get" is not a method (methods are upper case: `GET`)"#],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"host": ["a.b:80"]}, "drop": true}]}}"#,
            &["sampling.rules[0].match.host[0]: has a port (hosts are compared without their port: leave it out)"],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"headers": {":path": "/a"}}, "drop": true}]}}"#,
            &[
                r#"sampling.rules[0].match.headers[":path"]: ":path" is not a header name (use `path`, `host` or `method`, which are no headers here)"#,
            ],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"path": ["a"]}, "drop": true}]}}"#,
            &[r#"sampling.rules[0].match.path[0]: wrong value: "a" (give a path that starts with `/`, or `*suffix`)"#],
        ),
        (
            r#"{"sampling": {"rules": [{"match": {"namespace": ["a*b"]}, "drop": true}]}}"#,
            &[
                r#"sampling.rules[0].match.namespace[0]: wrong value: "a*b" (give `exact`, `prefix*`, `*suffix` or `*`: one `*`, first or last)"#,
            ],
        ),
    ];
    for (json, expected) in table {
        assert_eq!(bad(json.as_bytes()), *expected, "{json}");
    }
}

#[test]
fn one_mistake_hides_no_other_and_paths_are_those_of_the_document() {
    let json = r#"{
      "exprter": {},
      "exporter": {"otlp": {"port": "x"}, "batch": {"delay": 1, "maxSpans": 0}},
      "sampling": {"rules": ["x", {"dorp": true}, 5, {"match": {"path": ["a", "/ok", "b"], "method": ["get"]}}]},
      "customTags": {"t": {"literal": {"value": 1, "more": 2}}, "u": {"header": {"name": "a b"}}}
    }"#;
    let found: Vec<String> =
        parse(json.as_bytes()).expect_err("wrong").into_iter().map(|problem| problem.path).collect();
    let mut sorted = found.clone();
    sorted.sort();
    let expected = [
        "customTags.t.literal.more",
        "customTags.t.literal.value",
        "customTags.u.header.name",
        "exporter.batch.delay",
        "exporter.batch.maxSpans",
        "exporter.otlp.port",
        "exprter",
        "sampling.rules[0]",
        "sampling.rules[1].dorp",
        "sampling.rules[2]",
        "sampling.rules[3]",
        "sampling.rules[3].match.method[0]",
        "sampling.rules[3].match.path[0]",
        "sampling.rules[3].match.path[2]",
    ];
    // Not named: that `exporter.otlp` has no service. Something in it was left out already.
    assert_eq!(sorted, expected, "{found:?}");
}

#[test]
fn what_is_no_json_is_a_problem_and_never_a_trap() {
    let deep = "[".repeat(100_000);
    let table: &[(&[u8], &str)] = &[
        (b"\xff\xfe{}", "pluginConfig: not UTF-8 after byte 0 (give JSON in UTF-8)"),
        (b"{\"a\": \"\xff\"}", "pluginConfig: not UTF-8 after byte 7 (give JSON in UTF-8)"),
        (b"{", "pluginConfig: not JSON: EOF while parsing an object at line 1 column 1"),
        (b"{} {}", "pluginConfig: not JSON: trailing characters at line 1 column 4"),
        (b"exporter: {}", "pluginConfig: not JSON: expected value at line 1 column 1"),
        (deep.as_bytes(), "pluginConfig: not JSON: recursion limit exceeded at line 1 column 128"),
    ];
    for (json, expected) in table {
        assert_eq!(bad(json), [*expected]);
    }
}

#[test]
fn a_flood_of_mistakes_is_cut_off() {
    let keys: Vec<String> = (0..1000).map(|n| format!("\"k{n}\": 1")).collect();
    let json = format!("{{{}}}", keys.join(","));
    assert_eq!(bad(json.as_bytes()).len(), 64);
}

#[test]
fn what_is_legal_but_doubtful_is_a_warning() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &[]),
        (r#"{"sampling": {"randomSamplingPercentage": 5}}"#, &["exporter"]),
        (r#"{"exporter": {"otlp": {"service": "collector", "port": 4318}}}"#, &["exporter.otlp.service"]),
        (
            r#"{"exporter": {"otlp": {"service": "a.b", "port": 4318, "protocol": "grpc", "compression": "deflate", "path": "/x"}}}"#,
            &["exporter.otlp.path", "exporter.otlp.compression", "exporter.otlp.port"],
        ),
        (r#"{"exporter": {"otlp": {"service": "a.b", "protocol": "grpc", "compression": "gzip"}}}"#, &[]),
        (r#"{"exporter": {"otlp": {"service": "a.b", "protocol": "http/json", "compression": "deflate"}}}"#, &[]),
        (r#"{"spans": {"requestHeaders": ["x-ok", "Authorization"]}}"#, &["spans.requestHeaders[1]"]),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}}, "customTags": {"a": {"responseHeader": {"name": "Set-Cookie"}}}}"#,
            &["customTags.a.responseHeader.name"],
        ),
        (r#"{"propagation": {"inject": []}}"#, &["propagation.inject"]),
        (r#"{"propagation": {"extract": []}}"#, &["propagation.extract"]),
        (r#"{"propagation": {"extract": [], "trust": "ignore"}}"#, &[]),
        (r#"{"propagation": {"extract": ["b3", "b3multi"]}}"#, &["propagation.extract"]),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}}, "sampling": {"errors": {"httpStatus": ["2xx", 404]}}}"#,
            &["sampling.errors.httpStatus[0]"],
        ),
        (
            r#"{"exporter": {"otlp": {"cluster": "c"}}, "sampling": {"rules": [
                {"name": "a", "match": {"path": ["/a"]}, "drop": true}, {"name": "a", "drop": true}]}}"#,
            &["sampling.rules[1].name"],
        ),
        (r#"{"spans": {"pathTemplates": ["/users/:id"]}}"#, &["spans.pathTemplates[0]"]),
        (r#"{"nativeTracer": "adopt"}"#, &[]),
        (
            r#"{"nativeTracer": "adopt", "propagation": {"extract": ["b3"], "inject": ["b3"], "trust": "restart"}}"#,
            &["propagation.extract", "propagation.inject", "propagation.trust"],
        ),
        (
            r#"{"nativeTracer": "adopt", "exporter": {"otlp": {"cluster": "c"}}, "sampling": {
                "randomSamplingPercentage": 5, "parent": "ignore",
                "rules": [
                    {"match": {"path": ["/a"]}, "randomSamplingPercentage": 1},
                    {"match": {"path": ["/b"]}, "parent": "ignore"}, {"drop": true}]}}"#,
            &[
                "sampling.parent",
                "sampling.randomSamplingPercentage",
                "sampling.rules[0].randomSamplingPercentage",
                "sampling.rules[1].parent",
            ],
        ),
    ];
    for (json, expected) in table {
        let warnings = good(json).warnings();
        let paths: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(paths, *expected, "{json}: {warnings:?}");
        assert!(warnings.iter().all(|warning| !warning.hint.is_empty()), "{json}");
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    // Words of the configuration, so that the deeper rooms are reached too.
    let words = "exporter|otlp|service|port|headers|sampling|rules|match|path|errors|grpcStatus|slow|threshold|customTags|literal|value|spans|pathTemplates|a\\.b|";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "1s|5xx|/a/\\{b\\}|[ -~]{0,8}|.{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(words, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse(&bytes).map(|config| config.warnings());
    }

    #[test]
    fn any_json_is_answered_and_a_refusal_names_something(json in any_json()) {
        if let Err(problems) = parse(json.to_string().as_bytes()) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| !problem.problem.is_empty()));
        }
    }

    #[test]
    fn a_changed_example_is_answered(at in 0..FULL.len(), byte in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse(&bytes);
    }
}
