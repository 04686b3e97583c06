//! What Istio does with the `spec` of a WasmPlugin: what it refuses, and what is probably not meant.

use crate::wasmplugin::{EnvVar, FailStrategy, Mode, Phase, PluginType, Spec, ValueFrom};
use sidespan_core::config::Report;
use std::collections::BTreeSet;

/// Reports what Istio refuses.
pub(crate) fn check(spec: &Spec, report: &mut Report) {
    let targets = [spec.selector.is_some(), spec.target_ref.is_some(), !spec.target_refs.is_empty()];
    if targets.iter().filter(|given| **given).count() > 1 {
        report.add("spec", "has more than one of `selector`, `targetRef` and `targetRefs`", "keep one of them");
    }
    if spec.target_refs.len() > 16 {
        report.add("spec.targetRefs", &format!("{} entries", spec.target_refs.len()), "at most 16");
    }
    check_url(spec, report);
    let lengths = [
        ("spec.imagePullSecret", spec.image_pull_secret.as_deref(), 253),
        ("spec.pluginName", spec.plugin_name.as_deref(), 256),
    ];
    for (path, text, most) in lengths {
        if text.is_some_and(|text| text.is_empty() || text.len() > most) {
            report.add(path, "is empty or too long", &format!("1 to {most} characters"));
        }
    }
    if spec.plugin_type == Some(PluginType::Network) {
        report.add("spec.type", "sidespan is an HTTP filter", "leave `type` out, or give HTTP");
    }
    check_env(&spec.vm_config.env, report);
    for (index, selector) in spec.matches.iter().enumerate() {
        let path = format!("{}.ports", report.element("spec.match", index));
        let mut seen = BTreeSet::new();
        for (index, port) in selector.ports.iter().enumerate().filter(|(_, port)| port.number > 0) {
            if !seen.insert(port.number) {
                let here = report.element(&path, index);
                report.add(&here, &format!("port {} is given twice", port.number), "keep one of them");
            }
        }
    }
}

fn check_url(spec: &Spec, report: &mut Report) {
    let scheme = spec.url.split_once("://").map_or("oci", |(scheme, _)| scheme);
    if spec.url.is_empty() {
        report.add("spec.url", "is empty", "give the image, such as oci://registry.example.com/sidespan:0.1.0");
    } else if !["oci", "http", "https", "file"].contains(&scheme) {
        report.add("spec.url", &format!("unknown scheme `{scheme}`"), "oci, https, http or file");
    }
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    let Some(sha256) = spec.sha256.as_deref().filter(|sha256| !sha256.is_empty()) else { return };
    if !is_digest(sha256) {
        report.add(
            "spec.sha256",
            "is not a SHA-256 digest",
            "64 digits and letters a to f, in lower case, without `sha256:`",
        );
    }
    if spec.url.split_once("@sha256:").is_some_and(|(_, digest)| digest != sha256) {
        report.add("spec.sha256", "differs from the digest in `url`", "give it once");
    }
}

/// A C identifier of at most 256 letters.
fn is_variable(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn check_env(env: &[EnvVar], report: &mut Report) {
    if env.len() > 256 {
        report.add("spec.vmConfig.env", &format!("{} entries", env.len()), "at most 256");
    }
    let mut seen = BTreeSet::new();
    for (index, variable) in env.iter().enumerate() {
        let path = report.element("spec.vmConfig.env", index);
        let name = &variable.name;
        if !is_variable(name) {
            report.add(&format!("{path}.name"), "is not a variable's name", "letters, digits and _, such as POD_NAME");
        }
        if !seen.insert(name) {
            report.add(&format!("{path}.name"), &format!("`{name}` is given twice"), "keep one of them");
        }
        if variable.value.as_ref().is_some_and(|value| value.len() > 2048) {
            report.add(&format!("{path}.value"), "is too long", "at most 2048 bytes");
        }
        if variable.value_from == Some(ValueFrom::Host) && variable.value.is_some() {
            report.add(
                &format!("{path}.value"),
                "has no meaning with HOST",
                "leave it out, or give `valueFrom: INLINE`",
            );
        }
    }
}

/// Reports what is probably not meant.
pub(crate) fn warn(spec: &Spec, report: &mut Report) {
    match spec.fail_strategy {
        Some(FailStrategy::Open) => {}
        Some(FailStrategy::Reload) => report.add(
            "spec.failStrategy",
            "FAIL_RELOAD refuses traffic if the module cannot be fetched, and for a second or so before each reload",
            "give FAIL_OPEN: a tracer must not cost requests",
        ),
        Some(FailStrategy::Close) | None => report.add(
            "spec.failStrategy",
            "FAIL_CLOSE, Istio's default, refuses traffic if the module cannot be fetched or fails",
            "give FAIL_OPEN: a tracer must not cost requests",
        ),
    }
    if spec.phase != Some(Phase::Authn) {
        let hint = "give AUTHN: then requests that authentication or authorization rejects have full spans too";
        report.add("spec.phase", "is not AUTHN", hint);
    }
    let last = spec.url.rsplit('/').next().unwrap_or_default();
    let image = !spec.url.contains("://") || spec.url.starts_with("oci://");
    let pinned = last.contains("@sha256:") || spec.sha256.as_ref().is_some_and(|digest| !digest.is_empty());
    if image && !pinned && (!last.contains(':') || last.ends_with(":latest")) {
        report.add("spec.url", "names no version", "give a tag or a digest, so that every proxy runs the same module");
    }
    let modes: Vec<Mode> = spec.matches.iter().map(|selector| selector.mode.unwrap_or(Mode::ClientAndServer)).collect();
    let both = modes.iter().any(|mode| matches!(mode, Mode::ClientAndServer | Mode::Undefined))
        || (modes.contains(&Mode::Client) && modes.contains(&Mode::Server));
    if !modes.is_empty() && !both {
        let hint = "give CLIENT_AND_SERVER; a gateway alone may do with CLIENT";
        report.add("spec.match", "takes one direction only: the path from the root to an error has gaps", hint);
    }
    if spec.verification_key.is_some() {
        report.add("spec.verificationKey", "is not implemented by Istio", "pin the image by its digest");
    }
    for (index, variable) in spec.vm_config.env.iter().enumerate() {
        let path = format!("spec.vmConfig.env[{index}]");
        if variable.name.starts_with("ISTIO_META_") {
            report.add(&path, "is removed by Istio's agent", "choose another name");
        }
        if variable.value_from != Some(ValueFrom::Host) && variable.value.is_none() {
            report.add(&path, "has neither `value` nor `valueFrom: HOST`", "give one of them");
        }
    }
}
