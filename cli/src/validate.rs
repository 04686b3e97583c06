//! Problems and warnings of one document: a WasmPlugin, or a `pluginConfig` alone.

use crate::spec;
use crate::wasmplugin::WasmPlugin;
use serde_json::{Value, json};
use sidespan_core::config::node::{At, read_object};
use sidespan_core::config::{Problem, Report, parse};

/// Problems and warnings of a WasmPlugin, its `pluginConfig` included.
pub(crate) fn plugin(resource: &Value) -> (Vec<Problem>, Vec<Problem>) {
    let (mut report, mut warnings) = (Report::default(), Report::default());
    let mut plugin = WasmPlugin::default();
    let is_whole = read_object(&mut plugin, At { value: resource, path: "" }, &mut report);
    if plugin.metadata.name.is_none() && plugin.metadata.generate_name.is_none() {
        report.absent("metadata", "`name` is missing", "give `name`");
    }
    // What is not there is reported; it would look wrong once more.
    if is_whole {
        spec::check(&plugin.spec, &mut report);
        spec::warn(&plugin.spec, &mut warnings);
    }
    let (mut problems, mut warnings) = (report.into_problems(), warnings.into_problems());
    // What is wrong was left out, and so looks absent.
    warnings.retain(|warning| !problems.iter().any(|problem| problem.path.starts_with(&warning.path)));
    let config = plugin.spec.plugin_config.map_or_else(|| json!({}), |config| config.0);
    let (in_config, about_config) = self::config(&config);
    problems.extend(in_config.into_iter().map(|problem| below("spec.pluginConfig", problem)));
    warnings.extend(about_config.into_iter().map(|problem| below("spec.pluginConfig", problem)));
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
