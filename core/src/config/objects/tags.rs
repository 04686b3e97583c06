//! `resource` and `customTags`: attributes that the operator gives.

use crate::config::formatter::Formatter;
use crate::config::node::{At, Node};
use crate::config::report::Report;
use crate::{object, one_of};
use serde_json::Value;

/// A resource attribute's value.
#[derive(Clone, Debug, PartialEq)]
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

impl Node for Literal {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        match at.value {
            Value::String(text) => Some(Self::String(text.clone())),
            Value::Bool(truth) => Some(Self::Bool(*truth)),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Some(Self::Int(number)),
                None => number.as_f64().map(Self::Double),
            },
            _ => at.misfit("text, a number, true or false", report),
        }
    }
}

one_of! {
    /// One entry of `customTags`: exactly one of the kinds.
    pub enum CustomTag {
        /// The same value on each span.
        "literal" => Literal(LiteralTag),
        /// An environment variable of the proxy, as far as it is passed to the VM.
        "environment" => Environment(NamedTag),
        /// A request header.
        "header" => Header(NamedTag),
        /// A response header.
        "responseHeader" => ResponseHeader(NamedTag),
        /// A response trailer.
        "responseTrailer" => ResponseTrailer(NamedTag),
        /// An Envoy access-log format string, as far as an Envoy attribute can answer it.
        "formatter" => Formatter(FormatterTag),
        /// Any Envoy attribute, by its dotted path.
        "property" => Property(PropertyTag),
    }
}

object! {
    /// `literal: {value}`.
    pub struct LiteralTag {
        /// The value.
        "value" => value: String;
    }
}

object! {
    /// `environment`, `header`, `responseHeader`, `responseTrailer`: `{name, defaultValue}`.
    pub struct NamedTag {
        /// Name of the variable or header.
        "name" => name: String, schema {"minLength": 1};
        /// Used when it is absent. Without it a tag is left out; a header of export calls must have a value.
        "defaultValue" => default_value: Option<String> = None;
    }
}

object! {
    /// `formatter: {value}`.
    pub struct FormatterTag {
        /// The format string, such as `%PROTOCOL%`.
        "value" => value: Formatter;
    }
}

object! {
    /// `property: {path, defaultValue}`.
    pub struct PropertyTag {
        /// Dotted path, such as `upstream.address`; a literal dot in a segment is written `\.`.
        "path" => path: String, schema {"minLength": 1};
        /// Used when it is absent; without it the tag is left out.
        "defaultValue" => default_value: Option<String> = None;
    }
}
