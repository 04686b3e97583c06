//! `exporter`: where spans go, and how they wait.

use super::headers::Headers;
use crate::config::units::{Bytes, Duration, HOUR, KIB, MIB, MILLISECOND, MINUTE};
use crate::{choice, object};

object! {
    /// Where spans go, and how they wait.
    pub struct Exporter schema {"oneOf": [{"required": ["otlp"]}, {"required": ["zipkin"]}]} {
        /// An OpenTelemetry Protocol receiver. Exactly one of `otlp` and `zipkin`.
        "otlp" => otlp: Option<Otlp> = None;
        /// A Zipkin v2 JSON receiver.
        "zipkin" => zipkin: Option<Zipkin> = None;
        /// When a batch leaves.
        "batch" => batch: Batch = Batch::default();
        /// How much may wait.
        "queue" => queue: Queue = Queue::default();
        /// What happens after a failure.
        "retry" => retry: Retry = Retry::default();
    }
}

object! {
    /// An OTLP receiver, by Kubernetes service and port or by the name of an Envoy cluster.
    pub struct Otlp flat receiver: Receiver = Receiver::default(),
        schema {"oneOf": [{"required": ["service"]}, {"required": ["cluster"], "properties": {"port": false}}]}
    {
        /// Encoding and transport.
        "protocol" => protocol: Protocol = Protocol::HttpProtobuf;
        /// Compression of the body.
        "compression" => compression: Compression = Compression::None;
    }
}

object! {
    /// A Zipkin v2 JSON receiver. The port must be given with `service`; usually 9411.
    pub struct Zipkin flat receiver: Receiver = Receiver { path: "/api/v2/spans".to_owned(), ..Receiver::default() },
        schema {"oneOf": [{"required": ["service", "port"]}, {"required": ["cluster"], "properties": {"port": false}}]}
    {
    }
}

object! {
    /// What OTLP and Zipkin receivers have in common.
    pub struct Receiver {
        /// Fully qualified service name; becomes the Envoy cluster `outbound|<port>||<service>`.
        "service" => service: Option<String> = None, schema {"minLength": 1, "maxLength": 254, "pattern": "^[A-Za-z0-9._-]+$"};
        /// Port of the service. Default for OTLP: 4318 over HTTP, 4317 over gRPC; needed for Zipkin, usually 9411.
        "port" => port: Option<u16> = None, in 1..=65535;
        /// An Envoy cluster by name, instead of `service`.
        "cluster" => cluster: Option<String> = None;
        /// The `:authority` of export calls. Default: `<service>:<port>`, or the cluster's name.
        "authority" => authority: Option<String> = None;
        /// Path of the endpoint (HTTP protocols only).
        "path" => path: String = "/v1/traces".to_owned(), schema {"pattern": "^/[!-~]*$"};
        /// Headers added to each export call. A value is text, or `{environment: {name, defaultValue}}`.
        "headers" => headers: Headers = Headers::default(),
            schema {"propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}};
        /// How long one call may take, 1 ms to 60 s: a call under way holds its batch in memory, and zero would be for ever in Envoy.
        "timeout" => timeout: Duration = Duration::from_secs(10), in MILLISECOND..=MINUTE;
    }
}

choice! {
    /// Encoding and transport of OTLP.
    pub enum Protocol {
        /// Binary protobuf over HTTP.
        "http/protobuf" => HttpProtobuf,
        /// JSON over HTTP.
        "http/json" => HttpJson,
        /// gRPC.
        "grpc" => Grpc,
    }
}

choice! {
    /// Compression of an export body.
    pub enum Compression {
        /// As it is.
        "none" => None,
        /// zlib (RFC 1950), made by Envoy.
        "deflate" => Deflate,
        /// gzip (RFC 1952).
        "gzip" => Gzip,
    }
}

impl Copy for Batch {}
impl Copy for Queue {}
impl Copy for Retry {}

object! {
    /// When a batch leaves: after `delay`, or as soon as `maxSpans` wait.
    pub struct Batch {
        /// Longest time a span waits for others before it is sent; 100 ms to 60 s.
        "delay" => delay: Duration = Duration::from_secs(1), in 100 * MILLISECOND..=MINUTE;
        /// Spans of one call; 1 to 8192.
        "maxSpans" => max_spans: u32 = 512, in 1..=8192;
    }
}

object! {
    /// How much may wait, per worker and direction.
    pub struct Queue {
        /// Encoded spans that wait, under way included; 64 KiB to 256 MiB.
        "maxBytes" => max_bytes: Bytes = Bytes(4 * MIB), in 64 * KIB..=256 * MIB;
    }
}

object! {
    /// Exponential backoff with full jitter after a retryable failure.
    pub struct Retry {
        /// Upper bound of the first wait; 10 ms to 10 min.
        "initial" => initial: Duration = Duration::from_secs(1), in 10 * MILLISECOND..=10 * MINUTE;
        /// Upper bound of any wait; 10 ms to 10 min.
        "max" => max: Duration = Duration::from_secs(30), in 10 * MILLISECOND..=10 * MINUTE;
        /// A batch older than this is dropped and counted, up to 1 h; zero: never retry.
        "maxElapsed" => max_elapsed: Duration = Duration::from_secs(120), in 0..=HOUR;
    }
}
