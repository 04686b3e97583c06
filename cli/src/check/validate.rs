//! Problems and warnings of one document: a WasmPlugin, a TrafficExtension, or a `pluginConfig` alone.

use crate::spec;
use crate::traffic_extension::{self, TrafficExtension};
use crate::wasmplugin::{Metadata, Spec, WasmPlugin};
use serde_json::{Value, json};
use sidespan_core::config::node::{At, read_object};
use sidespan_core::config::{Problem, Report, parse};

/// Problems and warnings of a WasmPlugin, its `pluginConfig` included.
pub(crate) fn plugin(resource: &Value) -> (Vec<Problem>, Vec<Problem>) {
    let (mut report, mut plugin) = (Report::default(), WasmPlugin::default());
    let is_whole = read_object(&mut plugin, At { value: resource, path: "" }, &mut report);
    around(&plugin.metadata, plugin.spec, is_whole, report, str::to_owned)
}

/// Problems and warnings of a TrafficExtension, its `pluginConfig` included.
pub(crate) fn traffic_extension(resource: &Value) -> (Vec<Problem>, Vec<Problem>) {
    let (mut report, mut extension) = (Report::default(), TrafficExtension::default());
    let is_whole = read_object(&mut extension, At { value: resource, path: "" }, &mut report);
    around(&extension.metadata, extension.spec.into(), is_whole, report, traffic_extension::place)
}

/// `report` is what reading has found; `place` is where a path of a WasmPlugin's `spec` is in the resource.
fn around(
    metadata: &Metadata,
    spec: Spec,
    is_whole: bool,
    mut report: Report,
    place: fn(&str) -> String,
) -> (Vec<Problem>, Vec<Problem>) {
    if metadata.name.is_none() && metadata.generate_name.is_none() {
        report.absent("metadata", "`name` is missing", "give `name`");
    }
    let (mut refused, mut warnings) = (Report::default(), Report::default());
    // What is not there is reported; it would look wrong once more.
    if is_whole {
        spec::check(&spec, &mut refused);
        spec::warn(&spec, &mut warnings);
    }
    let placed = |problem: Problem| Problem { path: place(&problem.path), ..problem };
    let mut problems = report.into_problems();
    problems.extend(refused.into_problems().into_iter().map(placed));
    let mut warnings: Vec<Problem> = warnings.into_problems().into_iter().map(placed).collect();
    // What is wrong was left out, and so looks absent.
    warnings.retain(|warning| !problems.iter().any(|problem| problem.path.starts_with(&warning.path)));
    let config = spec.plugin_config.map_or_else(|| json!({}), |config| config.0);
    let (in_config, about_config) = self::config(&config);
    let parent = place("spec.pluginConfig");
    problems.extend(in_config.into_iter().map(|problem| below(&parent, problem)));
    warnings.extend(about_config.into_iter().map(|problem| below(&parent, problem)));
    (problems, warnings)
}

/// Problems and warnings of a `pluginConfig`, by the very code of the filter.
pub(crate) fn config(config: &Value) -> (Vec<Problem>, Vec<Problem>) {
    match parse(config.to_string().as_bytes()) {
        Ok(config) => (Vec::new(), config.warnings()),
        Err(problems) => (problems, Vec::new()),
    }
}

fn below(parent: &str, problem: Problem) -> Problem {
    let path = match problem.path.as_str() {
        "" => parent.to_owned(),
        path if path.starts_with('[') => format!("{parent}{path}"),
        path => format!("{parent}.{path}"),
    };
    Problem { path, ..problem }
}
