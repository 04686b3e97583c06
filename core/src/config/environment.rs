//! Header values from environment variables: resolved once, when a configuration takes effect.
//!
//! No message contains a value: it may be a secret.

use super::names::is_header_value;
use super::objects::{Config, Headers, NamedTag};
use super::report::{Problem, Report, member};
use std::collections::BTreeMap;

impl Config {
    /// Gives each header that names an environment variable the variable's value. White space around it, such as the line
    /// feed at the end of a Kubernetes Secret, is no part of it (RFC 9110 section 5.5). An empty variable counts as one
    /// that is not set.
    ///
    /// # Errors
    /// Every variable that is not set and has no default, and every value that cannot be a header's value.
    pub fn resolve(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Vec<Problem>> {
        let mut report = Report::default();
        if let Some(exporter) = &mut self.exporter {
            if let Some(otlp) = &mut exporter.otlp {
                resolve(&mut otlp.receiver.headers, environment, "exporter.otlp.headers", &mut report);
            }
            if let Some(zipkin) = &mut exporter.zipkin {
                resolve(&mut zipkin.receiver.headers, environment, "exporter.zipkin.headers", &mut report);
            }
        }
        if report.is_empty() { Ok(()) } else { Err(report.into_problems()) }
    }
}

#[inline(never)]
fn resolve(headers: &mut Headers, environment: &BTreeMap<String, String>, path: &str, report: &mut Report) {
    for (name, variable) in std::mem::take(&mut headers.variables) {
        match value(&variable, environment) {
            Ok(value) => {
                headers.text.insert(name, value.to_owned());
            }
            Err([problem, hint]) => {
                report.add(
                    &member(path, &name),
                    &format!("the environment variable `{}` {problem}", variable.name),
                    hint,
                );
            }
        }
    }
}

/// The value, or a problem and its hint.
fn value<'v>(variable: &'v NamedTag, environment: &'v BTreeMap<String, String>) -> Result<&'v str, [&'static str; 2]> {
    let set = environment.get(&variable.name).map(|value| value.trim_ascii()).filter(|value| !value.is_empty());
    match set.or(variable.default_value.as_deref()) {
        None => Err(["is not set", "pass it with `vmConfig.env`, or give `defaultValue`"]),
        Some(value) if !is_header_value(value) => {
            Err(["has a control character in its value", "a header's value is one line of text"])
        }
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of the header `h` with this environment, or the problems.
    fn header(variable: &str, environment: &[(&str, &str)]) -> Result<String, Vec<String>> {
        let text = format!(
            r#"{{"exporter": {{"otlp": {{"cluster": "c", "headers": {{"H": {{"environment": {variable}}}}}}}}}}}"#
        );
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut config = Config::parse(text.as_bytes()).expect("valid");
        let resolved = config.resolve(&environment);
        resolved.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let headers = config.exporter.expect("given").otlp.expect("given").receiver.headers;
        assert!(headers.variables.is_empty());
        Ok(headers.text["h"].clone())
    }

    #[test]
    fn a_header_has_the_value_of_its_variable_else_its_default() {
        let table = [
            (r#"{"name": "A"}"#, "Bearer x", "Bearer x"),
            (r#"{"name": "A"}"#, " Bearer x \r\n", "Bearer x"),
            (r#"{"name": "A", "defaultValue": "d"}"#, "x", "x"),
            (r#"{"name": "A", "defaultValue": "d"}"#, "", "d"),
            (r#"{"name": "A", "defaultValue": "d"}"#, " \n", "d"),
            (r#"{"name": "B", "defaultValue": "d"}"#, "x", "d"),
            (r#"{"name": "B", "defaultValue": ""}"#, "x", ""),
        ];
        for (variable, value, expected) in table {
            assert_eq!(header(variable, &[("A", value)]), Ok(expected.to_owned()), "{variable}");
        }
    }

    #[test]
    fn a_variable_that_is_missing_or_no_header_value_is_a_problem_that_does_not_show_the_value() {
        let missing = "exporter.otlp.headers.h: the environment variable `A` is not set \
            (pass it with `vmConfig.env`, or give `defaultValue`)";
        let bad = "exporter.otlp.headers.h: the environment variable `A` has a control character in its value \
            (a header's value is one line of text)";
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[], missing),
            (&[("A", "")], missing),
            (&[("a", "secret")], missing),
            (&[("A", "secret\r\nx-injected: 1")], bad),
            (&[("A", "se\0cret")], bad),
        ];
        for (environment, expected) in table {
            assert_eq!(header(r#"{"name": "A"}"#, environment), Err(vec![expected.to_owned()]), "{environment:?}");
        }
    }
}
