//! One plugin, or one `pluginConfig`: what is refused, and what is probably not meant.

use super::advice;
use super::code;
use super::finding::Issue;
use super::spec;
use super::surroundings::{Surroundings, Variables};
use crate::traffic_extension::{self, TrafficExtension};
use crate::wasmplugin::{Metadata, Spec, WasmPlugin};
use serde_json::{Value, json};
use sidespan_core::config::node::{At, read_object};
use sidespan_core::config::{Problem, Report, parse};

/// A WasmPlugin, its `pluginConfig` included.
pub(super) fn plugin(resource: &Value) -> Vec<Issue> {
    let (mut report, mut plugin) = (Report::default(), WasmPlugin::default());
    let is_whole = read_object(&mut plugin, At { value: resource, path: "" }, &mut report);
    around(&plugin.metadata, plugin.spec, is_whole, report, str::to_owned)
}

/// A TrafficExtension, its `pluginConfig` included.
pub(super) fn traffic_extension(resource: &Value) -> Vec<Issue> {
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
) -> Vec<Issue> {
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
    let problems = problems.into_iter().map(|problem| Issue { code: &code::INVALID, problem });
    let warnings = warnings.into_iter().map(|problem| Issue { code: &code::DOUBTFUL, problem });
    let mut issues: Vec<Issue> = problems.chain(warnings).collect();
    let variables = Variables {
        names: spec.vm_config.env.iter().map(|variable| variable.name.clone()).collect(),
        how: "add `{name: {}, valueFrom: HOST}` to `vmConfig.env`",
    };
    let surroundings = Surroundings { in_istio: true, variables: Some(variables), clusters: None };
    let config = match spec.plugin_config {
        Some(config) => config.0,
        None if is_whole => json!({}),
        // It may stand where the module should.
        None => return issues,
    };
    let parent = place("spec.pluginConfig");
    issues.extend(text(&config.to_string(), &surroundings).into_iter().map(|issue| issue.below(&parent)));
    issues
}

/// A `pluginConfig` as the filter gets it, by the very code of the filter.
pub(super) fn text(json: &str, around: &Surroundings) -> Vec<Issue> {
    match parse(json.as_bytes()) {
        Err(problems) => problems.into_iter().map(|problem| Issue { code: &code::INVALID, problem }).collect(),
        Ok(config) => {
            let advice = advice::check(&config, around);
            let warnings = config.warnings().into_iter().map(|problem| Issue { code: &code::DOUBTFUL, problem });
            // One finding about a path is enough; that with a code of its own says more.
            let known = |warning: &Issue| advice.iter().any(|it| it.problem.path == warning.problem.path);
            let mut issues: Vec<Issue> = warnings.filter(|warning| !known(warning)).collect();
            issues.extend(advice);
            issues
        }
    }
}
