//! `pluginConfig`: what an operator can say, in the words of Istio's Telemetry API wherever it has one.
//!
//! Every struct refuses unknown keys. [`Config::parse`] reports every problem with its path and a hint, never only the
//! first; [`Config::warnings`] says what is legal but probably not meant. `null` for a member means that it is absent.

mod check;
mod names;
mod pattern;
mod read;
mod rules;
#[cfg(feature = "schema")]
mod schema;
mod sense;
mod settle;
mod tree;
mod units;
mod warn;
pub mod words;

pub use self::check::{Problem, Report, member, parse};
pub use self::pattern::{PathPattern, PathTemplate, StringPattern};
#[cfg(feature = "schema")]
pub use self::schema::schema;
pub use self::units::{Bytes, Duration, Percentage, StatusPattern};

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The whole of `pluginConfig`. The default, an empty object, propagates only: no exporter, nothing leaves the proxy.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Where spans go. Absent: propagate only.
    pub exporter: Option<Exporter>,
    /// Resource attributes, added to what is detected and winning over it.
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = {"minLength": 1})))]
    pub resource: BTreeMap<String, Literal>,
    /// Tags of each span: a `customTags` block of a Telemetry resource pastes in unchanged.
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = {"minLength": 1})))]
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// Which trace headers are read and written.
    pub propagation: Propagation,
    /// What is kept.
    pub sampling: Sampling,
    /// What a span looks like.
    pub spans: Spans,
}

/// Where spans go, and how they wait.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("oneOf" = [{"required": ["otlp"]}, {"required": ["zipkin"]}])))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exporter {
    /// An OpenTelemetry Protocol receiver. Exactly one of `otlp` and `zipkin`.
    pub otlp: Option<Otlp>,
    /// A Zipkin v2 JSON receiver.
    pub zipkin: Option<Zipkin>,
    /// When a batch leaves.
    pub batch: Batch,
    /// How much may wait.
    pub queue: Queue,
    /// What happens after a failure.
    pub retry: Retry,
}

/// An OTLP receiver, by Kubernetes service and port or by the name of an Envoy cluster.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("oneOf" = [{"required": ["service"]}, {"required": ["cluster"], "properties": {"port": false}}])))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Otlp {
    /// Fully qualified service name; becomes the Envoy cluster `outbound|<port>||<service>`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 254), regex(pattern = "^[A-Za-z0-9._-]+$")))]
    pub service: Option<String>,
    /// Port of the service. Default: 4318 for HTTP, 4317 for gRPC.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub port: Option<u16>,
    /// An Envoy cluster by name, instead of `service`.
    pub cluster: Option<String>,
    /// The `:authority` of export calls. Default: `<service>:<port>`, or the cluster's name.
    pub authority: Option<String>,
    /// Encoding and transport.
    pub protocol: Protocol,
    /// Path of the traces endpoint (HTTP protocols only).
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/[!-~]*$")))]
    pub path: String,
    /// Headers added to each export call.
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})))]
    pub headers: BTreeMap<String, String>,
    /// How long one call may take; more than zero (zero would be infinite in Envoy).
    pub timeout: Duration,
    /// Compression of the body.
    pub compression: Compression,
}

/// Encoding and transport of OTLP.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Protocol {
    /// Binary protobuf over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// JSON over HTTP.
    #[serde(rename = "http/json")]
    HttpJson,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// Compression of an export body.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// zlib (RFC 1950), made by Envoy.
    Deflate,
    /// gzip (RFC 1952).
    Gzip,
}

/// A Zipkin v2 JSON receiver.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("oneOf" = [{"required": ["service", "port"]}, {"required": ["cluster"], "properties": {"port": false}}])))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Zipkin {
    /// Fully qualified service name; becomes the Envoy cluster `outbound|<port>||<service>`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 254), regex(pattern = "^[A-Za-z0-9._-]+$")))]
    pub service: Option<String>,
    /// Port of the service, needed with it; usually 9411.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub port: Option<u16>,
    /// An Envoy cluster by name, instead of `service`.
    pub cluster: Option<String>,
    /// The `:authority` of export calls.
    pub authority: Option<String>,
    /// Path of the spans endpoint.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/[!-~]*$")))]
    pub path: String,
    /// Headers added to each export call.
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})))]
    pub headers: BTreeMap<String, String>,
    /// How long one call may take; more than zero.
    pub timeout: Duration,
}

/// When a batch leaves: after `delay`, or as soon as `maxSpans` wait.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Batch {
    /// Longest time a span waits for company; 100 ms to 60 s.
    pub delay: Duration,
    /// Spans of one call; 1 to 8192.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 8192)))]
    pub max_spans: u32,
}

/// How much may wait, per worker and direction.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queue {
    /// Encoded spans that wait, under way included; 64 KiB to 256 MiB.
    pub max_bytes: Bytes,
}

/// Exponential backoff with full jitter after a retryable failure.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Upper bound of the first wait.
    pub initial: Duration,
    /// Upper bound of any wait.
    pub max: Duration,
    /// A batch older than this is dropped and counted; zero: never retry.
    pub max_elapsed: Duration,
}

/// A resource attribute's value.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(untagged))]
pub enum Literal {
    /// Text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Double(f64),
}

/// One entry of `customTags`: exactly one of the kinds.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum CustomTag {
    /// The same value on each span.
    Literal(LiteralTag),
    /// An environment variable of the proxy, as far as it is passed to the VM.
    Environment(NamedTag),
    /// A request header.
    Header(NamedTag),
    /// A response header.
    ResponseHeader(NamedTag),
    /// A response trailer.
    ResponseTrailer(NamedTag),
    /// An Envoy access-log format string, as far as an Envoy attribute can answer it.
    Formatter(FormatterTag),
    /// Any Envoy attribute, by its dotted path.
    Property(PropertyTag),
}

/// `literal: {value}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LiteralTag {
    /// The value.
    pub value: String,
}

/// `environment`, `header`, `responseHeader`, `responseTrailer`: `{name, defaultValue}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedTag {
    /// Name of the variable or header.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub name: String,
    /// Used when it is absent; without it the tag is left out.
    #[serde(default)]
    pub default_value: Option<String>,
}

/// `formatter: {value}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FormatterTag {
    /// The format string, such as `%PROTOCOL%`.
    pub value: String,
}

/// `property: {path, defaultValue}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PropertyTag {
    /// Dotted path, such as `upstream.address`; a literal dot in a segment is written `\.`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub path: String,
    /// Used when it is absent; without it the tag is left out.
    #[serde(default)]
    pub default_value: Option<String>,
}

/// A trace header format by the name that operators know.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// W3C Trace Context.
    TraceContext,
    /// B3: extracts single and multi, injects single.
    B3,
    /// B3 in several headers.
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

/// What an incoming context is worth.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It is continued.
    #[default]
    Continue,
    /// A new trace starts, with a link to it.
    Restart,
    /// A new trace starts as if nothing had come in.
    Ignore,
}

/// Which trace headers are read and written.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Propagation {
    /// Formats read, in order; the first valid one wins.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    pub extract: Vec<Dialect>,
    /// Formats always written; each format that came in is rewritten too.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    pub inject: Vec<Dialect>,
    /// What an incoming context is worth.
    pub trust: Trust,
    /// A response header that tells the client the trace id (for support tickets). Absent: none.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")))]
    pub trace_id_response_header: Option<String>,
    /// Leaves the keep signal in responses to applications and outside clients, instead of removing it.
    pub expose_keep_signal: bool,
}

/// What is kept.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sampling {
    /// Share of traces that start here and are kept whatever happens, in percent. Istio's default: 1.
    pub random_sampling_percentage: Percentage,
    /// Whether a parent's decision is respected.
    pub parent: Parent,
    /// First match wins.
    pub rules: Vec<Rule>,
    /// Failing requests.
    pub errors: Errors,
    /// Slow requests. Absent: none is kept for its duration.
    pub slow: Option<Slow>,
}

/// Whether a parent's sampling decision is respected.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Parent {
    /// It is.
    #[default]
    Respect,
    /// The own rate applies; consistent, because the randomness is the trace's.
    Ignore,
}

/// One sampling rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("anyOf" = [{"required": ["randomSamplingPercentage"]}, {"required": ["drop"], "properties": {"drop": {"const": true}}}, {"required": ["parent"]}, {"required": ["errors"]}, {"required": ["slow"]}])))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// For logs and metrics.
    pub name: String,
    /// All given conditions must hold; an empty match takes everything.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The rate of matching requests.
    pub random_sampling_percentage: Option<Percentage>,
    /// No span at all, also not for an error.
    pub drop: bool,
    /// Overrides `sampling.parent`.
    pub parent: Option<Parent>,
    /// Overrides `sampling.errors`, as a whole.
    pub errors: Option<Errors>,
    /// Overrides `sampling.slow`, as a whole.
    pub slow: Option<Slow>,
}

/// Conditions of a rule. A list holds if any of its entries does.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// `inbound`, `outbound`, `gateway`.
    pub direction: Vec<Direction>,
    /// The workload's Kubernetes namespace.
    pub namespace: Vec<StringPattern>,
    /// The workload's name.
    pub workload: Vec<StringPattern>,
    /// Labels of the workload; all must match.
    pub labels: BTreeMap<String, StringPattern>,
    /// `:authority`, without the port.
    pub host: Vec<StringPattern>,
    /// HTTP method, upper case.
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = "^[A-Z_-]+$"))))]
    pub method: Vec<String>,
    /// Path without the query: exact, `prefix*`, `*suffix`, `/a/{segment}/b`.
    pub path: Vec<PathPattern>,
    /// Request headers; all must match.
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})))]
    pub headers: BTreeMap<String, StringPattern>,
}

/// Which side of the workload a listener serves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
    /// Through a gateway or waypoint.
    Gateway,
}

/// What counts as an error, and how many are kept.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Errors {
    /// Share of errors kept, in percent.
    pub percentage: Percentage,
    /// Statuses that are errors: numbers, or classes such as `5xx`. No status at all always is one.
    pub http_status: Vec<StatusPattern>,
    /// gRPC status codes that are errors.
    #[cfg_attr(feature = "schema", schemars(inner(range(min = 1, max = 16))))]
    pub grpc_status: Vec<u8>,
    /// Late keeps a second and worker under an error storm; the traces of largest randomness survive. `0`: no cap.
    pub max_per_second: u32,
    /// Keep every span from the root to the error.
    pub whole_path: bool,
    /// Whether the client going away before the response counts as an error.
    pub client_disconnect: bool,
}

/// What counts as slow, and how many are kept.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slow {
    /// At least this long.
    pub threshold: Duration,
    /// Share of slow requests kept, in percent.
    #[serde(default = "Percentage::all")]
    pub percentage: Percentage,
    /// Late keeps a second and worker. `0`: no cap.
    #[serde(default = "Slow::default_max_per_second")]
    pub max_per_second: u32,
}

/// Which names of the semantic conventions are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SemanticConventions {
    /// `http.request.method` and its kin.
    #[default]
    Stable,
    /// `http.method` and its kin.
    Old,
    /// Both.
    Dup,
}

/// What a span looks like.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spans {
    /// Which names are written.
    pub semantic_conventions: SemanticConventions,
    /// Routes that name spans: `/api/users/{id}`; first match wins.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    pub path_templates: Vec<PathTemplate>,
    /// Longest `url.path`, in bytes, cut on a character boundary.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 16_384)))]
    pub max_path_tag_length: u32,
    /// Request headers captured as `http.request.header.<name>`.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))))]
    pub request_headers: Vec<String>,
    /// Response headers captured as `http.response.header.<name>`.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))))]
    pub response_headers: Vec<String>,
    /// Query parameters whose values are redacted, besides the default list.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    pub redact_query: Vec<String>,
    /// Baggage keys that become `baggage.<key>` attributes.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    #[cfg_attr(feature = "schema", schemars(inner(regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))))]
    pub baggage: Vec<String>,
    /// The five `istio.*` tags of Istio's native tracing.
    pub istio_tags: bool,
    /// Most attributes of one span; more are dropped and counted on the span.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1024)))]
    pub max_attributes: u32,
    /// Longest attribute value, in characters.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65_536)))]
    pub max_attribute_length: u32,
}

// === impl Literal ===

// By hand, because serde's `untagged` would buffer the value and lose the reason of a misfit.
impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Literal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Literal, E> {
                Ok(Literal::String(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Literal, E> {
                Ok(Literal::Bool(truth))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Literal, E> {
                Ok(Literal::Int(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Literal, E> {
                Ok(i64::try_from(number).map_or(Literal::Double(number as f64), Literal::Int))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Literal, E> {
                Ok(Literal::Double(number))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

// === impl Default: the one place of each default value ===

impl Default for Otlp {
    fn default() -> Self {
        Self {
            service: None,
            port: None,
            cluster: None,
            authority: None,
            protocol: Protocol::default(),
            path: "/v1/traces".to_owned(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            compression: Compression::default(),
        }
    }
}

impl Default for Zipkin {
    fn default() -> Self {
        Self {
            service: None,
            port: None,
            cluster: None,
            authority: None,
            path: "/api/v2/spans".to_owned(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { delay: Duration::from_secs(1), max_spans: 512 }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_bytes: Bytes(4 * 1024 * 1024) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(30), max_elapsed: Duration::from_secs(120) }
    }
}

impl Default for Propagation {
    fn default() -> Self {
        Self {
            extract: vec![Dialect::TraceContext, Dialect::B3],
            inject: vec![Dialect::TraceContext],
            trust: Trust::default(),
            trace_id_response_header: None,
            expose_keep_signal: false,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            random_sampling_percentage: Percentage::ISTIO_DEFAULT,
            parent: Parent::default(),
            rules: Vec::new(),
            errors: Errors::default(),
            slow: None,
        }
    }
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            percentage: Percentage::all(),
            http_status: vec![StatusPattern::Class(5)],
            grpc_status: vec![2, 4, 12, 13, 14, 15],
            max_per_second: 50,
            whole_path: true,
            client_disconnect: false,
        }
    }
}

impl Slow {
    fn default_max_per_second() -> u32 {
        10
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            semantic_conventions: SemanticConventions::default(),
            path_templates: Vec::new(),
            max_path_tag_length: 256,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            redact_query: Vec::new(),
            baggage: Vec::new(),
            istio_tags: true,
            max_attributes: 128,
            max_attribute_length: 4096,
        }
    }
}
