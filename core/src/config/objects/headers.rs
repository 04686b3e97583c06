//! `exporter.*.headers`: headers of export calls, as text or from environment variables.

use super::tags::NamedTag;
use crate::config::node::{At, Node};
use crate::config::report::Report;
use crate::one_of;
use serde_json::Value;
use std::collections::BTreeMap;

/// Headers of export calls. The two kinds are apart because one more type of map would weigh 3 kB in the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// Names and values.
    pub text: BTreeMap<String, String>,
    /// Names, and the variables that have the values until [`Config::resolve`](crate::config::Config::resolve) moves them to `text`.
    pub variables: Vec<(String, NamedTag)>,
}

one_of! {
    /// A header's value that does not stand in the configuration, because it may be a secret.
    pub enum HeaderVariable {
        /// An environment variable. It must be set and not empty, unless there is a `defaultValue`.
        "environment" => Environment(NamedTag),
    }
}

impl Node for Headers {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let mut headers = Self::default();
        at.members(report, &mut |name, at, report| match at.value {
            Value::Object(_) => {
                if let Some(HeaderVariable::Environment(variable)) = HeaderVariable::read(at, report) {
                    headers.variables.push((name.to_owned(), variable));
                }
            }
            _ => {
                if let Some(text) = String::read(at, report) {
                    headers.text.insert(name.to_owned(), text);
                }
            }
        })?;
        Some(headers)
    }
}
