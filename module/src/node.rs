//! Who this proxy is: the environment of the process, and the node of the bootstrap that Envoy was started with.
//!
//! A module cannot ask Envoy for its node. The command line (`/proc/self/cmdline`) tells the file of the bootstrap and what it
//! overrides, as Envoy's documentation describes in "Command line options".

use crate::yaml;
use serde_json::{Map, Value};
use sidespan_core::http::headers::Header;
use sidespan_core::span::Environment;
use sidespan_core::span::attributes::{Attributes, Pairs};
use std::borrow::Cow;
use std::io::Read;
use std::sync::OnceLock;

/// A bootstrap is read up to here.
const MAX_BOOTSTRAP: u64 = 16 * 1024 * 1024;

/// The node of a bootstrap.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Node(Value);

/// The node of this process, read once.
pub(crate) fn of_process() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        let arguments = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let arguments = arguments.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        Node::from_arguments(&arguments.collect::<Vec<_>>(), read_file)
    })
}

/// The environment of the process; `std::env::vars` would panic on a value that is not UTF-8.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn read_file(path: &str) -> Option<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BOOTSTRAP).read_to_string(&mut text));
    match read {
        Ok(_) => Some(text),
        Err(error) => {
            log::warn!("the bootstrap {path} cannot be read, so the node is not known: {error}");
            None
        }
    }
}

// === impl Node ===

impl Node {
    /// From a command line of Envoy.
    fn from_arguments(arguments: &[String], read: impl Fn(&str) -> Option<String>) -> Self {
        let option = |names: &[&str]| option(arguments, names);
        let mut node = Map::new();
        let file = option(&["-c", "--config-path"]).and_then(|path| read(&path));
        // Envoy merges the text of `--config-yaml` into that of the file.
        for text in [file, option(&["--config-yaml"])].into_iter().flatten() {
            merge(&mut node, node_of(&text).unwrap_or_default());
        }
        for (name, key) in [("--service-node", "id"), ("--service-cluster", "cluster")] {
            if let Some(value) = option(&[name]) {
                node.insert(key.to_owned(), Value::String(value));
            }
        }
        if let Some(zone) = option(&["--service-zone"]) {
            let locality = serde_json::json!({"locality": {"zone": zone}});
            if let Value::Object(locality) = locality {
                merge(&mut node, locality);
            }
        }
        Self(Value::Object(node))
    }

    fn leaf(&self, path: &[u8]) -> Option<&str> {
        let path = std::str::from_utf8(path.strip_prefix(b"xds\0node\0")?).ok()?;
        path.split('\0').try_fold(&self.0, |value, segment| value.get(segment))?.as_str()
    }
}

impl Attributes for Node {
    fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.leaf(path).map(|text| Cow::Borrowed(text.as_bytes()))
    }

    fn get_map(&self, _: &[u8]) -> Option<Pairs> {
        None
    }

    fn request_headers(&self) -> Vec<Header<'_>> {
        Vec::new()
    }

    fn response_headers(&self) -> Vec<Header<'_>> {
        Vec::new()
    }

    fn response_trailers(&self) -> Vec<Header<'_>> {
        Vec::new()
    }
}

/// The value of an option: `--name value`, `--name=value` or `-n value`. The last one counts.
fn option(arguments: &[String], names: &[&str]) -> Option<String> {
    let mut found = None;
    for (place, argument) in arguments.iter().enumerate() {
        for name in names {
            if argument == name {
                found = arguments.get(place.saturating_add(1)).cloned().or(found);
            } else if let Some(value) = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                found = Some(value.to_owned());
            }
        }
    }
    found
}

/// The node of a bootstrap in JSON or YAML.
fn node_of(text: &str) -> Option<Map<String, Value>> {
    let bootstrap = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(bootstrap)) => Some(bootstrap),
        Ok(_) => None,
        Err(_) => yaml::mappings(text),
    };
    match bootstrap?.remove("node")? {
        Value::Object(node) => Some(node),
        _ => None,
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(arguments: &str, file: &str) -> Node {
        let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
        Node::from_arguments(&arguments, |path| (path == "boot").then(|| file.to_owned()))
    }

    fn text(node: &Node, path: &str) -> Option<String> {
        let path = format!("xds\0node\0{}", path.replace('.', "\0"));
        Some(String::from_utf8_lossy(&node.get(path.as_bytes())?).into_owned())
    }

    #[test]
    fn the_node_comes_from_the_bootstrap_in_json_or_yaml() {
        let json = r#"{"node": {"id": "n", "metadata": {"NAMESPACE": "shop", "LABELS": {"app": "x"}, "N": 1}}}"#;
        let yaml = "node:\n  id: n\n  metadata: {NAMESPACE: shop, LABELS: {app: x}}\n";
        for arguments in ["envoy -c boot", "envoy --config-path boot -l info", "envoy --config-path=boot"] {
            for file in [json, yaml] {
                let node = node(arguments, file);
                assert_eq!(text(&node, "id").as_deref(), Some("n"), "{arguments}");
                assert_eq!(text(&node, "metadata.NAMESPACE").as_deref(), Some("shop"));
                assert_eq!(text(&node, "metadata.LABELS.app").as_deref(), Some("x"));
                assert_eq!(
                    (text(&node, "metadata.N"), text(&node, "metadata"), text(&node, "x.y")),
                    (None, None, None)
                );
            }
        }
    }

    #[test]
    fn the_command_line_overrides_the_bootstrap() {
        let file = "node: {id: n, cluster: c, locality: {region: r, zone: z}}";
        let node = node("envoy -c boot --service-node m --service-cluster=d --service-zone y", file);
        for (path, expected) in [("id", "m"), ("cluster", "d"), ("locality.region", "r"), ("locality.zone", "y")] {
            assert_eq!(text(&node, path).as_deref(), Some(expected));
        }
    }

    #[test]
    fn without_a_readable_bootstrap_nothing_is_known() {
        for arguments in ["envoy", "envoy -c", "envoy -c other", "envoy --config-path"] {
            assert_eq!(text(&node(arguments, "node: {id: n}"), "id"), None, "{arguments}");
        }
        for broken in ["", "[1]", "node: 3", "{", "\u{0}"] {
            assert_eq!(text(&node("envoy -c boot", broken), "id"), None, "{broken}");
        }
    }
}
