//! The schema, the checker and the shipped files agree.

use serde_json::{Value, json};
use sidespan_cli::{
    check::{ROOT_NAMESPACE, check_files, check_text},
    schema::{schema, traffic_extension},
    yaml,
};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// `wasmplugin.yaml` and every YAML file under `examples/` that has a WasmPlugin in it. (What kustomize makes of `deploy/` is checked in
/// `tests/istio/manifests.rs`.)
fn shipped() -> Vec<PathBuf> {
    let (mut files, mut folders) = (vec![root().join("wasmplugin.yaml")], vec![root().join("examples")]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match path.extension().and_then(|end| end.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("yaml" | "yml") => files.push(path),
                _ => {}
            }
        }
    }
    files.retain(|file| fs::read_to_string(file).expect("readable").contains("kind: WasmPlugin"));
    files.sort();
    files
}

fn plugins(file: &Path) -> Vec<Value> {
    let documents = yaml::read(&fs::read_to_string(file).expect("readable")).expect("YAML");
    documents.into_iter().map(|document| document.value).filter(|value| value["kind"] == "WasmPlugin").collect()
}

#[test]
fn every_shipped_file_passes_the_check_without_a_warning() {
    let files = shipped();
    assert!(!files.is_empty(), "{files:?}");
    // One by one: the examples are not meant to be applied together.
    for file in files {
        let outcome = check_files(&[&file], ROOT_NAMESPACE);
        let findings: Vec<_> = outcome.findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, Vec::<String>::new());
        assert!(outcome.checked >= 1, "{}", file.display());
    }
}

#[test]
fn every_shipped_plugin_is_valid_by_the_schema() {
    let plugin_schema = jsonschema::validator_for(&schema(true)).expect("a schema");
    let config_schema = jsonschema::validator_for(&schema(false)).expect("a schema");
    for file in shipped() {
        for plugin in plugins(&file) {
            assert_eq!(errors(&plugin_schema, &plugin), Vec::<String>::new(), "{}", file.display());
            assert_eq!(
                errors(&config_schema, &plugin["spec"]["pluginConfig"]),
                Vec::<String>::new(),
                "{}",
                file.display()
            );
        }
    }
}

/// The same as a TrafficExtension: what concerns the module goes into `wasm`.
fn as_extension(mut plugin: Value) -> Value {
    let mut wasm = json!({});
    for field in ["url", "sha256", "imagePullPolicy", "pluginName", "pluginConfig", "failStrategy", "vmConfig"] {
        if let Some(value) = plugin["spec"].as_object_mut().and_then(|spec| spec.remove(field)) {
            wasm[field] = value;
        }
    }
    plugin["kind"] = json!("TrafficExtension");
    plugin["spec"]["wasm"] = wasm;
    plugin
}

#[test]
fn every_shipped_plugin_is_a_valid_traffic_extension_too_by_schema_and_check() {
    let validator = jsonschema::validator_for(&traffic_extension()).expect("a schema");
    for plugin in shipped().iter().flat_map(|file| plugins(file)) {
        assert!(!errors(&validator, &plugin).is_empty(), "a WasmPlugin is none");
        let extension = as_extension(plugin);
        assert_eq!(errors(&validator, &extension), Vec::<String>::new());
        let outcome = check_text("extension", &extension.to_string());
        assert_eq!((outcome.findings, outcome.checked), (vec![], 1));
    }
}

fn errors(validator: &jsonschema::Validator, instance: &Value) -> Vec<String> {
    validator.iter_errors(instance).map(|error| error.to_string()).collect()
}

#[test]
fn the_production_plugin_is_set_up_so_that_it_cannot_hurt() {
    let [plugin] = &plugins(&root().join("wasmplugin.yaml"))[..] else { panic!("one plugin") };
    let spec = &plugin["spec"];
    assert_eq!((&spec["phase"], &spec["failStrategy"]), (&json!("AUTHN"), &json!("FAIL_OPEN")));
    assert_eq!(spec["match"], json!([{"mode": "CLIENT_AND_SERVER"}]));
    assert!(spec["vmConfig"]["env"].as_array().expect("a list").iter().all(|variable| variable["valueFrom"] == "HOST"));
    let text = fs::read_to_string(root().join("wasmplugin.yaml")).expect("readable");
    let documents = yaml::read(&text).expect("YAML");
    assert_eq!(documents.len(), 1, "it brings no other resource: nothing of a team's is changed, or deleted with it");
}

#[test]
fn what_the_schema_takes_and_refuses_so_does_the_filter() {
    let validator = jsonschema::validator_for(&schema(false)).expect("a schema");
    let otlp = |more: Value| {
        let mut otlp = json!({"service": "a.b", "port": 4318});
        otlp.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"exporter": {"otlp": otlp}})
    };
    let good = [
        json!({}),
        json!({"exporter": null, "sampling": {"slow": null}}),
        otlp(json!({"timeout": "1m", "protocol": "grpc", "headers": {"X-A": "b"}})),
        otlp(
            json!({"headers": {"a": {"environment": {"name": "A"}}, "b": {"environment": {"name": "B", "defaultValue": "c"}}}}),
        ),
        json!({"exporter": {"zipkin": {"service": "a.b", "port": 9411}, "queue": {"maxBytes": 1_048_576.0}}}),
        json!({"exporter": {"otlp": {"cluster": "c"}, "queue": {"maxBytes": "64 KiB"}, "retry": {"maxElapsed": "0"}}}),
        json!({"resource": {"a": "b", "c": 1, "d": 0.5, "e": true}}),
        json!({"customTags": {"a": {"literal": {"value": ""}}, "b": {"property": {"path": "request.id", "defaultValue": "-"}}}}),
        json!({"sampling": {"randomSamplingPercentage": 0.01, "rules": [{"match": {"path": ["/a*", "*.js", "/a/{b}/c"]}, "drop": true}]}}),
        json!({"sampling": {"errors": {"httpStatus": ["5xx", 429, "404"], "grpcStatus": [1, 16]}}}),
        json!({"spans": {"pathTemplates": ["/", "/a/{b}", "/static/*"], "semanticConventions": "dup"}}),
        json!({"propagation": {"extract": ["b3multi", "jaeger", "datadog", "xray", "gcp", "ottrace"], "traceIdResponseHeader": "x-trace-id"}}),
    ];
    let bad = [
        json!([]),
        json!({"smpling": {}}),
        json!({"exporter": {}}),
        json!({"exporter": {"otlp": {"cluster": "a"}, "zipkin": {"cluster": "b"}}}),
        json!({"exporter": {"otlp": {}}}),
        otlp(json!({"headers": {"a": 5}})),
        otlp(json!({"headers": {"a": {}}})),
        otlp(json!({"headers": {"a": {"environment": {}}}})),
        otlp(json!({"headers": {"a": {"environment": {"name": "A"}, "value": "b"}}})),
        json!({"exporter": {"otlp": {"cluster": "a", "service": "b"}}}),
        json!({"exporter": {"otlp": {"cluster": "a", "port": 1}}}),
        json!({"exporter": {"zipkin": {"service": "a.b"}}}),
        otlp(json!({"port": 0})),
        otlp(json!({"port": 70000})),
        otlp(json!({"port": "4318"})),
        otlp(json!({"service": "http://a"})),
        otlp(json!({"protocol": "http"})),
        otlp(json!({"compression": "GZIP"})),
        otlp(json!({"timeout": 10})),
        otlp(json!({"timeout": "10"})),
        otlp(json!({"timeout": "1d"})),
        otlp(json!({"path": "v1/traces"})),
        otlp(json!({"headers": {"a b": "c"}})),
        otlp(json!({"headers": {"a": 1}})),
        json!({"exporter": {"otlp": {"cluster": "c"}, "batch": {"maxSpans": 0}}}),
        json!({"exporter": {"otlp": {"cluster": "c"}, "batch": {"maxSpans": 8193}}}),
        json!({"exporter": {"otlp": {"cluster": "c"}, "queue": {"maxBytes": "4mib"}}}),
        json!({"exporter": {"otlp": {"cluster": "c"}, "queue": {"maxBytes": -1}}}),
        json!({"resource": {"a": []}}),
        json!({"resource": {"": "a"}}),
        json!({"customTags": {"a": {}}}),
        json!({"customTags": {"a": {"literal": {"value": "x"}, "header": {"name": "x"}}}}),
        json!({"customTags": {"a": {"literal": {}}}}),
        json!({"customTags": {"a": {"literal": {"value": "x", "more": 1}}}}),
        json!({"customTags": {"a": {"header": {"name": ""}}}}),
        json!({"propagation": {"extract": ["w3c"]}}),
        json!({"propagation": {"inject": ["b3", "b3"]}}),
        json!({"propagation": {"trust": "always"}}),
        json!({"propagation": {"traceIdResponseHeader": "a:b"}}),
        json!({"sampling": {"randomSamplingPercentage": 101}}),
        json!({"sampling": {"randomSamplingPercentage": "1"}}),
        json!({"sampling": {"rules": {}}}),
        json!({"sampling": {"rules": [{"name": "x"}]}}),
        json!({"sampling": {"rules": [{"drop": false}]}}),
        json!({"sampling": {"rules": [{"match": {"path": ["a"]}, "drop": true}]}}),
        json!({"sampling": {"rules": [{"match": {"path": ["/a/{b"]}, "drop": true}]}}),
        json!({"sampling": {"rules": [{"match": {"namespace": ["a*b"]}, "drop": true}]}}),
        json!({"sampling": {"rules": [{"match": {"method": ["get"]}, "drop": true}]}}),
        json!({"sampling": {"rules": [{"match": {"direction": ["in"]}, "drop": true}]}}),
        json!({"sampling": {"errors": {"httpStatus": ["5x"]}}}),
        json!({"sampling": {"errors": {"httpStatus": [600]}}}),
        json!({"sampling": {"errors": {"grpcStatus": [0]}}}),
        json!({"sampling": {"errors": {"grpcStatus": [17]}}}),
        json!({"sampling": {"slow": {"percentage": 5}}}),
        json!({"spans": {"pathTemplates": ["a"]}}),
        json!({"spans": {"pathTemplates": ["/a/{}"]}}),
        json!({"spans": {"pathTemplates": ["/a/*/b"]}}),
        json!({"spans": {"requestHeaders": ["a:b"]}}),
        json!({"spans": {"maxPathTagLength": 0}}),
        json!({"spans": {"maxAttributes": 1025}}),
    ];
    for (configs, expected) in [(&good[..], true), (&bad[..], false)] {
        for config in configs {
            assert_eq!(validator.is_valid(config), expected, "the schema: {config}");
            let parsed = sidespan_core::config::parse(config.to_string().as_bytes());
            assert_eq!(parsed.is_ok(), expected, "the filter: {config}: {parsed:?}");
        }
    }
}

#[test]
fn every_field_of_the_schema_is_described() {
    fn undescribed(schema: &Value, path: &str, out: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let described = property.get("description").is_some() || property.is_boolean();
            if !described {
                out.push(format!("{path}.{name}"));
            }
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            undescribed(definition, name, out);
        }
    }
    for schema in [schema(false), schema(true), traffic_extension()] {
        let mut out = Vec::new();
        undescribed(&schema, "", &mut out);
        assert_eq!(out, Vec::<String>::new());
    }
}
