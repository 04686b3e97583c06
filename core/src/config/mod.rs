//! `pluginConfig`: what an operator can say, in the words of Istio's Telemetry API wherever it has one.
//!
//! The types are declared in `objects` with the macros of `declare`; a declaration gives the fields, their defaults and
//! words, the documentation, the reader and the JSON Schema. [`Config::parse`] reports every problem with its path and a
//! hint, never only the first; [`Config::warnings`] says what is legal but probably not meant. `null` for a member means
//! that it is absent.

mod declare;
pub mod describe;
mod formatter;
mod hints;
mod json;
mod names;
pub mod node;
mod normalize;
mod objects;
mod parse;
mod pattern;
mod report;
mod reserved;
#[cfg(feature = "schema")]
mod schema;
#[cfg(test)]
mod tests;
mod units;
mod validate;
mod warnings;

pub use self::formatter::{Fact, Formatter, HeaderBlock, Operator, Piece, Show};
pub use self::objects::{
    AnswerCallers, Batch, Cancelled, Compression, Config, CustomTag, Dialect, Direction, Errors, Exporter,
    FormatterTag, Literal, LiteralTag, Match, NamedTag, NativeTracer, Otlp, Parent, Propagation, PropertyTag, Protocol,
    Queue, Receiver, Retry, Rule, Sampling, SemanticConventions, Slow, Spans, Trust, Zipkin,
};
pub use self::parse::parse;
pub use self::pattern::{PathPattern, PathTemplate, StringPattern};
pub use self::report::{Problem, Report, member};
#[cfg(feature = "schema")]
pub use self::schema::{document, schema};
pub use self::units::{Bytes, Duration, Percentage, StatusPattern};
