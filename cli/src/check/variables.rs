//! Environment variables that a configuration reads, and whether they are passed to the filter.

use super::code;
use super::finding::Issue;
use super::surroundings::Surroundings;
use sidespan_core::config::{Config, CustomTag, NamedTag, Operator, Piece, Receiver, member};

/// Findings about variables that are not passed; none where it is unknown what is passed.
pub(super) fn check(config: &Config, around: &Surroundings, issues: &mut Vec<Issue>) {
    let Some(passed) = &around.variables else { return };
    let mut missing = |path: String, variable: &NamedTag, codes: [(&'static code::Code, &str); 2]| {
        if passed.names.contains(&variable.name) {
            return;
        }
        let (code, what) = codes[usize::from(variable.default_value.is_some())];
        let problem = format!("the variable `{}` is not passed to the filter: {what}", variable.name);
        issues.push(Issue::new(code, &path, &problem, &passed.how.replace("{}", &variable.name)));
    };
    let tag = [(&code::TAG_VARIABLE, "no span has the tag"), (&code::TAG_VARIABLE, "the tag always has its default")];
    for (key, custom) in &config.custom_tags {
        let path = member("customTags", key);
        match custom {
            CustomTag::Environment(variable) => missing(format!("{path}.environment.name"), variable, tag),
            CustomTag::Formatter(formatter) => {
                for piece in formatter.value.pieces() {
                    if let Piece::Operator(Operator::Environment(name), _) = piece {
                        let variable = NamedTag { name: name.clone(), default_value: None };
                        let what = [(&code::TAG_VARIABLE, "the operator gives nothing"), tag[1]];
                        missing(format!("{path}.formatter.value"), &variable, what);
                    }
                }
            }
            _ => {}
        }
    }
    let header = [
        (&code::HEADER_VARIABLE, "the filter refuses the configuration"),
        (&code::HEADER_DEFAULT, "the header always has its default"),
    ];
    for (path, receiver) in receivers(config) {
        for (name, variable) in &receiver.headers.variables {
            missing(format!("{}.environment.name", member(path, name)), variable, header);
        }
    }
}

fn receivers(config: &Config) -> impl Iterator<Item = (&'static str, &Receiver)> {
    let exporter = config.exporter.iter();
    exporter.flat_map(|exporter| {
        let otlp = exporter.otlp.iter().map(|otlp| ("exporter.otlp.headers", &otlp.receiver));
        otlp.chain(exporter.zipkin.iter().map(|zipkin| ("exporter.zipkin.headers", &zipkin.receiver)))
    })
}
