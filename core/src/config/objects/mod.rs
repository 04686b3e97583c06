//! The objects of `pluginConfig`: their fields, defaults, words and documentation, each declared once.

mod exporter;
mod propagation;
mod sampling;
mod spans;
mod tags;

pub use self::exporter::{Batch, Compression, Exporter, Otlp, Protocol, Queue, Receiver, Retry, Zipkin};
pub use self::propagation::{AnswerCallers, Dialect, Propagation, Trust};
pub use self::sampling::{Cancelled, Direction, Errors, Match, Parent, Rule, Sampling, Slow};
pub use self::spans::{SemanticConventions, Spans};
pub use self::tags::{CustomTag, FormatterTag, Literal, LiteralTag, NamedTag, PropertyTag};

use crate::{choice, object};
use std::collections::BTreeMap;

object! {
    /// The whole of `pluginConfig`. The default, an empty object, propagates only: no exporter, nothing leaves the proxy.
    pub struct Config {
        /// What becomes of Envoy's own tracer.
        "nativeTracer" => native_tracer: NativeTracer = NativeTracer::Replace;
        /// Where spans go. Absent: propagate only.
        "exporter" => exporter: Option<Exporter> = None;
        /// Resource attributes, added to what is detected and winning over it.
        "resource" => resource: BTreeMap<String, Literal> = BTreeMap::new(), schema {"propertyNames": {"minLength": 1}};
        /// Tags of each span: a `customTags` block of a Telemetry resource pastes in unchanged.
        "customTags" => custom_tags: BTreeMap<String, CustomTag> = BTreeMap::new(), schema {"propertyNames": {"minLength": 1}};
        /// Which trace headers are read and written.
        "propagation" => propagation: Propagation = Propagation::default();
        /// What is kept.
        "sampling" => sampling: Sampling = Sampling::default();
        /// What a span looks like.
        "spans" => spans: Spans = Spans::default();
    }
}

choice! {
    /// What becomes of Envoy's own tracer, which a Telemetry resource switches on and off.
    pub enum NativeTracer {
        /// It is off, and this filter takes its place: it propagates, samples by a rate, and exports.
        "replace" => Replace,
        /// It stays on, propagates and samples. This filter writes no request header, and exports what the native tracer did not
        /// sample and what turned out to matter (errors and their callers, slow and cancelled requests), under the ids that the
        /// native tracer sent. Rates (`randomSamplingPercentage`, `parent`) and the formats of `propagation` have no effect.
        "adopt" => Adopt,
    }
}
