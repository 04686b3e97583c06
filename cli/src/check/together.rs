//! Plugins that meet on one workload, and what a Telemetry does to them: across all files.

use super::code;
use super::finding::{Finding, Issue};
use super::resource::{Overlap, Plugin, Resource, What};
use super::telemetry;
use serde_json::Value;

/// Findings about pairs of resources. `root` is Istio's root namespace.
pub(super) fn check(resources: &[Resource], root: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, later) in resources.iter().enumerate() {
        let earlier = &resources[..index];
        if let Some(same) = earlier.iter().find(|it| it.unit == later.unit && it.is_same(later)) {
            findings.extend(same_resource(same, later));
            continue;
        }
        match &later.what {
            What::Plugin(plugin) => findings.extend(two_plugins(earlier, later, plugin, root)),
            What::Telemetry(tracing) => {
                findings.extend(ignored(earlier, later));
                findings.extend(beside(resources, later, tracing, root));
            }
        }
    }
    findings
}

fn said(about: &Resource, issue: Issue) -> Finding {
    let position = about.position(&issue.problem.path);
    Finding::new(&about.file, position, issue.below(about.prefix.trim_end_matches('.')))
}

fn same_resource(same: &Resource, later: &Resource) -> Option<Finding> {
    let equal = match (&same.what, &later.what) {
        (What::Plugin(one), What::Plugin(other)) => one.spec == other.spec,
        (What::Telemetry(one), What::Telemetry(other)) => one == other,
        _ => false,
    };
    let problem = format!("is the same resource as {}, with another content", same.described());
    let hint = match &same.what {
        What::Telemetry(tracing) => format!(
            "the one that is applied last replaces the other; do not apply this one, but add to the other: {}",
            telemetry::patch(same, tracing)
        ),
        What::Plugin(_) => "the one that is applied last replaces the other: keep one of them".to_owned(),
    };
    (!equal).then(|| said(later, Issue::new(&code::SAME_RESOURCE, "metadata.name", &problem, &hint)))
}

/// The first earlier plugin on the same pods.
fn two_plugins(earlier: &[Resource], later: &Resource, plugin: &Plugin, root: &str) -> Option<Finding> {
    let meets = |other: &&Resource| match &other.what {
        What::Plugin(it) => it.directions.iter().zip(plugin.directions).any(|(one, other)| *one && other),
        What::Telemetry(_) => false,
    };
    let mut overlaps: Vec<_> = earlier.iter().filter(meets).map(|other| (other.overlap(later, root), other)).collect();
    overlaps.sort_by_key(|(overlap, _)| *overlap != Overlap::Certain);
    let (overlap, other) = overlaps.into_iter().find(|(overlap, _)| *overlap != Overlap::None)?;
    let other = other.described();
    let issue = if overlap == Overlap::Certain {
        let problem = format!("applies to workloads of {other} too: each of their requests would have two spans");
        let hint = "give one plugin per workload: `selector`, or rules in one plugin (`sampling.rules[].match`)";
        Issue::new(&code::TWO_PLUGINS, "spec", &problem, hint)
    } else {
        let problem =
            format!("selects by other labels than {other}: a pod with both would have two spans of each request");
        Issue::new(&code::MAY_OVERLAP, "spec.selector", &problem, "make sure that no pod has the labels of both")
    };
    Some(said(later, issue))
}

/// A second Telemetry without selector in a namespace.
fn ignored(earlier: &[Resource], later: &Resource) -> Option<Finding> {
    let mut telemetries = earlier.iter().filter_map(|it| match &it.what {
        What::Telemetry(tracing) if it.unit == later.unit && it.namespace == later.namespace => Some((it, tracing)),
        _ => None,
    });
    let (other, tracing) = telemetries.find(|(it, _)| it.is_whole() && later.is_whole())?;
    let namespace = later.namespace.as_deref().map_or("the namespace".to_owned(), |name| format!("namespace {name}"));
    let problem = format!(
        "{namespace} has a Telemetry without selector already, {}: Istio takes the oldest one of them and ignores the others",
        other.described()
    );
    let hint = match telemetry::switched_off(tracing) {
        Some(_) => "keep one: that one switches Envoy's own tracer off already".to_owned(),
        None => format!("keep one; to switch Envoy's own tracer off in that one: {}", telemetry::patch(other, tracing)),
    };
    Some(said(later, Issue::new(&code::TELEMETRY_IGNORED, "metadata.name", &problem, &hint)))
}

/// Whether the namespace of a plugin has a Telemetry of its own that switches Envoy's own tracer off: that of the root namespace
/// does not count there then.
fn is_overridden(resources: &[Resource], telemetry: &Resource, plugin: &Resource) -> bool {
    let overrides = |it: &Resource| match &it.what {
        What::Telemetry(tracing) => {
            it.is_whole() && it.namespace == plugin.namespace && telemetry::switched_off(tracing).is_some()
        }
        What::Plugin(_) => false,
    };
    telemetry.namespace != plugin.namespace && resources.iter().any(overrides)
}

/// A Telemetry that turns Envoy's own tracer on or off against the mode of a plugin.
fn beside(resources: &[Resource], about: &Resource, tracing: &Value, root: &str) -> Option<Finding> {
    let plugins = |adopts: bool| {
        resources.iter().find(|it| match &it.what {
            What::Plugin(plugin) => {
                plugin.adopts == adopts && about.reaches(it, root) && !is_overridden(resources, about, it)
            }
            What::Telemetry(_) => false,
        })
    };
    if let Some((index, provider)) = telemetry::provider(tracing)
        && let Some(plugin) = plugins(false)
    {
        let problem = format!(
            "turns Envoy's own tracer on (provider `{provider}`), which overwrites the trace headers that {} writes",
            plugin.described()
        );
        let hint =
            format!("switch it off: {}; or set `nativeTracer: adopt` in the plugin", telemetry::patch(about, tracing));
        let path = format!("spec.tracing[{index}].providers");
        return Some(said(about, Issue::new(&code::NATIVE_TRACER, &path, &problem, &hint)));
    }
    let index = telemetry::switched_off(tracing)?;
    let plugin = plugins(true)?;
    let problem = format!("turns Envoy's own tracer off, and {} has `nativeTracer: adopt`", plugin.described());
    let path = format!("spec.tracing[{index}].disableSpanReporting");
    let hint = "leave `disableSpanReporting` out, or set `nativeTracer: replace` in the plugin";
    Some(said(about, Issue::new(&code::NATIVE_TRACER_OFF, &path, &problem, hint)))
}
