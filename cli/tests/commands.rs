//! The command as scripts use it: arguments, streams, exit codes.

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the command with a text on standard input.
fn sidespan(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidespan"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // A command that refuses its arguments may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

/// A WasmPlugin without fault, with something more in its spec.
fn plugin(more: &str) -> String {
    format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: sidespan, namespace: istio-system}}\n\
         spec:\n  url: oci://registry.example.com/sidespan:0.1.0\n  phase: AUTHN\n  failStrategy: FAIL_OPEN\n  \
         pluginConfig: {{exporter: {{otlp: {{service: otel.obs.svc.cluster.local}}}}}}\n{more}"
    )
}

/// A folder of this test run with these files in it.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    for (file, text) in files {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().expect("below the folder")).expect("a folder");
        fs::write(file, text).expect("writable");
    }
    folder
}

/// The lines of `sidespan check` for paths below a folder, which is `DIR` in them.
fn checked(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let paths: Vec<String> = arguments.iter().map(|it| folder.join(it).display().to_string()).collect();
    let arguments: Vec<&str> = std::iter::once("check").chain(paths.iter().map(String::as_str)).collect();
    let output = sidespan(&arguments, "");
    stdout(&output).lines().map(|line| line.replace(&folder.display().to_string(), "DIR")).collect()
}

#[test]
fn errors_exit_with_1_and_warnings_only_if_strict() {
    let table = [
        (plugin(""), 0, 0),
        (plugin("").replace("FAIL_OPEN", "FAIL_CLOSE"), 0, 1),
        (plugin("  priority: high\n"), 1, 1),
        ("kind: ConfigMap\napiVersion: v1\n".to_owned(), 0, 0),
        (String::new(), 1, 1),
    ];
    for (text, code, strict) in table {
        assert_eq!(sidespan(&["check", "-"], &text).status.code(), Some(code), "{text}");
        assert_eq!(sidespan(&["check", "--strict", "-"], &text).status.code(), Some(strict), "{text}");
    }
}

#[test]
fn json_has_the_same_fields_for_each_finding() {
    let text = plugin("  priority: high\n").replace("FAIL_OPEN", "FAIL_CLOSE");
    let output =
        sidespan(&["check", "-", "--output", "json"], &format!("{text}---\nkind: ConfigMap\napiVersion: v1\n"));
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = serde_json::json!([
        {"file": "-", "line": 7, "column": 3, "path": "spec.failStrategy", "severity": "warning", "code": "doubtful",
         "message": "FAIL_CLOSE, Istio's default, refuses traffic if the module cannot be fetched or fails",
         "hint": "give FAIL_OPEN: a tracer must not cost requests"},
        {"file": "-", "line": 9, "column": 3, "path": "spec.priority", "severity": "error", "code": "invalid",
         "message": "wrong value: \"high\"", "hint": "give a whole number"},
        {"file": "-", "line": 11, "column": 1, "path": "", "severity": "note", "code": "passed-over",
         "message": "passed over: kind ConfigMap", "hint": ""},
    ]);
    assert_eq!(findings, expected);
    assert_eq!(output.stderr, b"", "the summary is for people");
    let output = sidespan(&["check", "no/such/file.yaml", "--output", "json"], "");
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [finding] = findings.as_array().map(Vec::as_slice).unwrap_or_default() else { panic!("{findings}") };
    assert_eq!(
        (&finding["line"], &finding["column"], &finding["code"]),
        (&Value::Null, &Value::Null, &"unreadable".into())
    );
}

#[test]
fn plugins_of_several_files_meet_on_one_workload() {
    let other = plugin("").replace("name: sidespan, namespace: istio-system", "name: tracing, namespace: shop");
    let folder = folder("several-files", &[("a.yaml", &plugin("")), ("b.yaml", &other), ("c.json", "{}")]);
    assert_eq!(checked(&folder, &["a.yaml"]), Vec::<String>::new());
    assert_eq!(checked(&folder, &["b.yaml"]), Vec::<String>::new());
    let line = "DIR/b.yaml:4:1: error: spec: applies to workloads of WasmPlugin istio-system/sidespan in DIR/a.yaml:1 too: each of \
                their requests would have two spans (give one plugin per workload: `selector`, or rules in one plugin \
                (`sampling.rules[].match`)) [two-plugins]";
    assert_eq!(checked(&folder, &["a.yaml", "b.yaml"]), [line]);
    let root = ["a.yaml", "b.yaml"].map(|file| folder.join(file).display().to_string());
    let output = sidespan(&["check", "--root-namespace", "mesh", &root[0], &root[1]], "");
    assert_eq!(
        (stdout(&output), output.status.code()),
        ("", Some(0)),
        "istio-system is a namespace like any other then"
    );
}

#[test]
fn a_telemetry_is_compared_with_the_plugins_that_it_reaches() {
    let telemetry = |namespace: &str, spec: &str| {
        format!(
            "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        )
    };
    let native = "tracing: [{providers: [{name: jaeger}]}]";
    let off = "tracing: [{disableSpanReporting: true}]";
    let shop = |more: &str| plugin(more).replace("istio-system", "shop");
    let waypoint = shop("  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]\n");
    let frontend = shop("  selector: {matchLabels: {app: frontend}}\n");
    let selected = |app: &str| format!("selector: {{matchLabels: {{app: {app}}}}}, {native}");
    let table = [
        (vec![plugin(""), telemetry("istio-system", native)], "native-tracer", "both in the root namespace"),
        (vec![plugin(""), telemetry("shop", native)], "native-tracer", "the plugin applies to all namespaces"),
        (vec![shop(""), telemetry("istio-system", native)], "native-tracer", "the Telemetry applies to all namespaces"),
        (vec![shop(""), telemetry("istio-system", native), telemetry("shop", off)], "", "overridden in the namespace"),
        (vec![shop(""), telemetry("cart", native)], "", "another namespace"),
        (vec![plugin(""), telemetry("istio-system", off)], "", "off"),
        (vec![waypoint, telemetry("istio-system", native)], "native-tracer", "a waypoint"),
        (vec![frontend.clone(), telemetry("shop", &selected("cart"))], "", "other labels"),
        (vec![frontend, telemetry("shop", &selected("frontend"))], "native-tracer", "the same labels"),
        (vec![plugin(""), telemetry("shop", &selected("cart"))], "native-tracer", "some pods"),
    ];
    for (documents, code, why) in table {
        let output = sidespan(&["check", "--output", "json", "-"], &documents.join("---\n"));
        let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let codes: Vec<_> = findings.as_array().into_iter().flatten().map(|finding| &finding["code"]).collect();
        assert_eq!(codes, if code.is_empty() { vec![] } else { vec![code] }, "{why}");
    }
}

#[test]
fn a_folder_is_read_with_all_its_folders_and_patches_of_a_kustomization_are_passed_over() {
    let kustomization =
        "kind: Kustomization\nresources: [../base]\npatches: [{path: rate.yaml, target: {kind: WasmPlugin}}]\n";
    let files = [
        ("deploy/base/kustomization.yaml", "resources: [plugin.yaml]\n"),
        ("deploy/base/plugin.yaml", &plugin("  prority: 1\n")),
        ("deploy/overlay/kustomization.yaml", kustomization),
        ("deploy/overlay/rate.yaml", "- {op: add, path: /spec/priority, value: 5}\n"),
        ("deploy/overlay/second.yaml", &plugin("").replace("istio-system", "shop")),
        ("deploy/.hidden/x.yaml", "a: [\n"),
        ("deploy/notes.txt", "a: [\n"),
        ("empty/notes.txt", ""),
    ];
    let folder = folder("folders", &files);
    let expected = [
        "DIR/deploy/base/kustomization.yaml: note: passed over: a kustomization",
        "DIR/deploy/base/plugin.yaml:9:3: error: spec.prority: unknown field `prority` (did you mean `priority`?)",
        "DIR/deploy/overlay/kustomization.yaml: note: passed over: a kustomization",
        "DIR/deploy/overlay/rate.yaml: note: passed over: a patch of DIR/deploy/overlay/kustomization.yaml (check the result: \
         kubectl kustomize … | sidespan check -)",
    ];
    assert_eq!(checked(&folder, &["deploy"]), expected, "what is in two kustomizations is not compared");
    assert_eq!(checked(&folder, &["empty"]), ["DIR/empty: error: has no *.yaml, *.yml or *.json file in it [empty]"]);
}

#[test]
fn the_summary_counts_what_was_checked_and_found() {
    let output = sidespan(&["check", "-"], &format!("{}---\nkind: ConfigMap\napiVersion: v1\n", plugin("  x: 1\n")));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "1 configuration checked, 1 passed over: 1 error, 0 warnings\n"
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_no_file_a_misuse() {
    let output = sidespan(&["check", "no/such/file.yaml"], "");
    assert!(stdout(&output).starts_with("no/such/file.yaml: error: cannot be read: "), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(sidespan(&["check"], "").status.code(), Some(2));
    assert_eq!(sidespan(&["chekc"], "").status.code(), Some(2));
}

#[test]
fn explain_answers_each_line_in_its_place() {
    let output = sidespan(&["explain"], "{\n\n{\"request\": 1}\n");
    let answers: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.iter().map(|answer| answer["line"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(3)]);
    assert!(answers.iter().all(|answer| answer["error"].is_string()));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(sidespan(&["explain"], "").status.code(), Some(0));
}

#[test]
fn explain_needs_no_value_for_a_header_from_the_environment() {
    let headers = r#"{"authorization": {"environment": {"name": "OTLP_TOKEN"}}}"#;
    let line = format!(
        r#"{{"config": {{"exporter": {{"otlp": {{"cluster": "c", "headers": {headers}}}}}}}, "request": {{}}}}"#
    );
    let output = sidespan(&["explain"], &format!("{line}\n"));
    let answer: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!((&answer["error"], output.status.code()), (&Value::Null, Some(0)), "{answer}");
}

#[test]
fn explain_keeps_a_success_for_an_error_below_it_and_tells_the_caller() {
    for (direction, told) in [("inbound", true), ("outbound", false), ("gateway", false)] {
        let line = serde_json::json!({
            "config": {"exporter": {"otlp": {"cluster": "collector"}}, "sampling": {"randomSamplingPercentage": 0}},
            "direction": direction,
            "request": {"headers": [["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]],
                        "path": "/", "method": "GET"},
            "response": {"status": 200, "headers": [["server-timing", "db;dur=53"]]},
            "marked": true,
        });
        let output = sidespan(&["explain"], &format!("{line}\n"));
        let answer: Value = serde_json::from_str(stdout(&output)).expect("JSON");
        let decision = &answer["decision"];
        assert_eq!((&decision["reason"], &decision["threshold"]), (&"marked".into(), &"0".into()), "{answer}");
        let signal = answer["responseHeaders"].to_string();
        assert_eq!(signal.contains("trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-"), told, "{direction}: {signal}");
    }
}

#[test]
fn explain_says_what_would_be_exported_beside_a_native_tracer() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let came = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let sent =
        |flags: &str| serde_json::json!({"headers": [["traceparent", format!("00-{TRACE}-b7ad6b7169203331-{flags}")]]});
    // Status, an error below, what the tracer sent, what becomes of it, kept, reason, span id.
    let table = [
        (503, false, sent("00"), Some("adopted"), true, "error", Some("b7ad6b7169203331")),
        (200, true, sent("00"), Some("adopted"), true, "marked", Some("b7ad6b7169203331")),
        (503, false, sent("01"), Some("exports"), false, "native", None),
        (200, false, sent("00"), None, false, "none", None),
        (200, false, sent("01"), None, false, "none", None),
        (503, false, Value::Null, Some("absent"), true, "error", None),
    ];
    for (status, marked, native, expected, keep, reason, span_id) in table {
        for headers in [serde_json::json!([["traceparent", came]]), serde_json::json!([])] {
            let line = serde_json::json!({
                "config": {"nativeTracer": "adopt", "exporter": {"otlp": {"cluster": "collector"}}},
                "request": {"headers": headers}, "response": {"status": status}, "marked": marked, "native": native,
            });
            let output = sidespan(&["explain"], &format!("{line}\n"));
            let answer: Value = serde_json::from_str(stdout(&output)).expect("JSON");
            let case = format!("{line}: {answer}");
            assert_eq!(answer["native"].as_str(), expected, "{case}");
            let decision = &answer["decision"];
            assert_eq!((decision["keep"].as_bool(), decision["reason"].as_str()), (Some(keep), Some(reason)), "{case}");
            let span = &answer["span"];
            assert_eq!(span.is_object(), keep, "{case}");
            if let Some(span_id) = span_id {
                let parent = if headers == serde_json::json!([]) { None } else { Some("00f067aa0ba902b7") };
                let found = (span["traceId"].as_str(), span["spanId"].as_str(), span["parentSpanId"].as_str());
                assert_eq!((found.0, found.1), (Some(TRACE), Some(span_id)), "{case}");
                assert_eq!(found.2.filter(|parent| !parent.is_empty()), parent, "{case}");
            }
        }
    }
}

#[test]
fn explain_refuses_what_a_native_tracer_sent_where_this_filter_takes_its_place() {
    let output = sidespan(&["explain"], "{\"request\": {}, \"native\": {\"headers\": []}}\n");
    assert!(stdout(&output).contains("native: has a meaning with `nativeTracer: adopt`"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
}
