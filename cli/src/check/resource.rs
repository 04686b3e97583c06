//! What a Kubernetes resource selects, for the checks that compare resources.

use crate::yaml::{Document, Position};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

/// Where a resource stands, and what it is called.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) file: String,
    pub(super) document: Rc<Document>,
    /// Prefix of its paths, such as `items[2].`.
    pub(super) prefix: String,
    /// Resources of different folders with a `kustomization.yaml` are not applied together.
    pub(super) unit: Option<PathBuf>,
    pub(super) kind: String,
    pub(super) name: String,
    /// `None`: that of `kubectl`.
    pub(super) namespace: Option<String>,
    /// Labels that a pod must have.
    pub(super) labels: BTreeMap<String, String>,
    /// Group, kind and name of each target.
    pub(super) targets: Vec<[String; 3]>,
    pub(super) what: What,
}

/// What matters of it.
#[derive(Debug)]
pub(super) enum What {
    /// sidespan on the selected pods.
    Plugin(Plugin),
    /// The `spec.tracing` of a Telemetry.
    Telemetry(Value),
}

/// A plugin, as far as others can be in its way.
#[derive(Debug)]
pub(super) struct Plugin {
    /// Directions: outbound and gateways, inbound.
    pub(super) directions: [bool; 2],
    /// `nativeTracer: adopt`.
    pub(super) adopts: bool,
    /// All of `spec`.
    pub(super) spec: Value,
}

/// How the pods of two resources relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    None,
    /// Different labels, which the same pod may have.
    Possible,
    /// One selects all that the other does.
    Certain,
}

// === impl Resource ===

impl Resource {
    /// The facts of a resource; where it stands is added by the caller.
    pub(super) fn new(value: &Value, what: What) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let labels = ["/spec/selector/matchLabels", "/spec/workloadSelector/labels"];
        let labels = labels.iter().find_map(|pointer| value.pointer(pointer)?.as_object());
        let labels = labels.into_iter().flatten();
        let targets = value.pointer("/spec/targetRefs").and_then(Value::as_array).into_iter().flatten();
        let target = |target: &Value| {
            ["group", "kind", "name"].map(|key| target.get(key).and_then(Value::as_str).unwrap_or_default().to_owned())
        };
        Self {
            file: String::new(),
            document: Rc::default(),
            prefix: String::new(),
            unit: None,
            kind: text("/kind").unwrap_or_default(),
            name: text("/metadata/name").unwrap_or_default(),
            namespace: text("/metadata/namespace"),
            labels: labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            targets: targets.chain(value.pointer("/spec/targetRef")).map(target).collect(),
            what,
        }
    }

    /// Where a path of the resource stands.
    pub(super) fn position(&self, path: &str) -> Option<Position> {
        let path = format!("{}{path}", self.prefix);
        self.document.position(path.trim_end_matches('.'))
    }

    /// `WasmPlugin istio-system/sidespan in a.yaml:3`.
    pub(super) fn described(&self) -> String {
        let line = self.position("").map_or_else(String::new, |position| format!(":{}", position.line));
        let namespace = self.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        format!("{} {namespace}{} in {}{line}", self.kind, self.name, self.file)
    }

    /// Whether this is the same resource of the cluster.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.kind.clone(), it.namespace.clone(), it.name.clone());
        !self.name.is_empty() && key(self) == key(other)
    }

    /// Whether it selects all of its namespace.
    pub(super) fn is_whole(&self) -> bool {
        self.labels.is_empty() && self.targets.is_empty()
    }

    /// Whether this, a Telemetry, applies to pods of a plugin. Without selector it also applies to waypoints, which have targets.
    pub(super) fn reaches(&self, plugin: &Self, root: &str) -> bool {
        self.may_meet(plugin, root) && (self.is_whole() || self.overlap(plugin, root) != Overlap::None)
    }

    fn may_meet(&self, other: &Self, root: &str) -> bool {
        let in_root = |it: &Self| it.namespace.as_deref() == Some(root);
        self.unit == other.unit && (self.namespace == other.namespace || in_root(self) || in_root(other))
    }

    /// How the pods of both relate. `root` is Istio's root namespace, whose resources apply to the whole mesh.
    pub(super) fn overlap(&self, other: &Self, root: &str) -> Overlap {
        if !self.may_meet(other, root) {
            return Overlap::None;
        }
        // What has targets (waypoints, gateways) is not reached by what has none.
        if !self.targets.is_empty() || !other.targets.is_empty() {
            let shared = self.targets.iter().any(|target| other.targets.contains(target));
            return if shared { Overlap::Certain } else { Overlap::None };
        }
        let contradicts = |(key, value): (&String, &String)| other.labels.get(key).is_some_and(|other| other != value);
        if self.labels.iter().any(contradicts) {
            return Overlap::None;
        }
        let within =
            |narrow: &Self, wide: &Self| wide.labels.iter().all(|(key, value)| narrow.labels.get(key) == Some(value));
        if within(self, other) || within(other, self) { Overlap::Certain } else { Overlap::Possible }
    }
}

// === impl Plugin ===

impl Plugin {
    /// `config` is its `pluginConfig`.
    pub(super) fn new(value: &Value, config: Option<&Value>) -> Self {
        let matches = value.pointer("/spec/match").and_then(Value::as_array).filter(|matches| !matches.is_empty());
        let has = |modes: [&str; 3]| {
            matches.is_none_or(|matches| {
                matches.iter().any(|it| it.get("mode").and_then(Value::as_str).is_none_or(|mode| modes.contains(&mode)))
            })
        };
        Self {
            directions: [
                has(["CLIENT", "CLIENT_AND_SERVER", "UNDEFINED"]),
                has(["SERVER", "CLIENT_AND_SERVER", "UNDEFINED"]),
            ],
            adopts: config.and_then(|config| config.get("nativeTracer")).is_some_and(|mode| mode == "adopt"),
            spec: value.get("spec").cloned().unwrap_or_default(),
        }
    }
}
