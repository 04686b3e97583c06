//! The objects of `pluginConfig`: their fields, defaults, words and documentation, each declared once.

mod exporter;
mod headers;
mod propagation;
mod sampling;
mod spans;
mod tags;

pub use self::exporter::{Batch, Compression, Exporter, Otlp, Protocol, Queue, Receiver, Retry, Zipkin};
pub use self::headers::{HeaderVariable, Headers};
pub use self::propagation::{AnswerCallers, Dialect, Propagation, Trust};
pub use self::sampling::{Cancelled, Direction, Errors, Match, Parent, Rule, Sampling, Slow};
pub use self::spans::{SemanticConventions, Spans};
pub use self::tags::{CustomTag, FormatterTag, Literal, LiteralTag, NamedTag, PropertyTag};

use crate::object;
use std::collections::BTreeMap;

object! {
    /// The whole of `pluginConfig`. The default, an empty object, propagates only: no exporter, nothing leaves the proxy.
    pub struct Config {
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
