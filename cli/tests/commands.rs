//! The command as scripts use it: arguments, streams, exit codes.

use serde_json::Value;
use std::io::Write;
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
         spec:\n  url: oci://registry.example.com/sidespan:0.1.0\n  phase: AUTHN\n  failStrategy: FAIL_OPEN\n{more}"
    )
}

#[test]
fn each_mistake_in_a_file_is_a_line_with_its_place_and_a_hint() {
    let table: &[(String, &[&str])] = &[
        (plugin(""), &[]),
        (plugin("  pluginConfig: {sampling: {randomSamplingPercentage: 5}, exporter: {otlp: {cluster: c}}}\n"), &[]),
        (
            plugin("  pluginConfig:\n    sampling:\n      rules:\n        - match: {path: [/a]}\n          dorp: true\n"),
            &["-:12: spec.pluginConfig.sampling.rules[0].dorp: unknown field `dorp` (did you mean `drop`?)"],
        ),
        (
            plugin("  pluginConfig: {sampling: {errors: {wholePath: yes}}, customTags: {a: {literal: {value: no}}}}\n"),
            &["-:8: spec.pluginConfig.customTags.a.literal.value: wrong value: false (give text: put it in quotes)"],
        ),
        (plugin("  pluginConfig: [1]\n"), &["-:8: spec.pluginConfig: wrong value: a list (give an object)"]),
        (plugin("  prority: 1\n"), &["-:8: spec.prority: unknown field `prority` (did you mean `priority`?)"]),
        (plugin("  priority: high\n"), &["-:8: spec.priority: wrong value: \"high\" (give a whole number)"]),
        (
            plugin("").replace("AUTHN", "Authn"),
            &["-:6: spec.phase: unknown value `Authn` (did you mean `AUTHN`?)"],
        ),
        (plugin("").replace("  url: oci://registry.example.com/sidespan:0.1.0\n", ""), &["-:4: spec: `url` is missing (give `url`)"]),
        (plugin("").replace("oci://", "ftp://"), &["-:5: spec.url: unknown scheme `ftp` (oci, https, http or file)"]),
        (
            plugin("  sha256: sha256:0123\n"),
            &["-:8: spec.sha256: is not a SHA-256 digest (64 digits and letters a to f, in lower case, without `sha256:`)"],
        ),
        (
            plugin("  vmConfig: {env: [{name: A, value: x, valueFrom: HOST}, {name: A, value: 1}]}\n"),
            &[
                "-:8: spec.vmConfig.env[1].value: wrong value: 1 (give text: put it in quotes)",
                "-:8: spec.vmConfig.env[0].value: has no meaning with HOST (leave it out, or give `valueFrom: INLINE`)",
                "-:8: spec.vmConfig.env[1].name: `A` is given twice (keep one of them)",
            ],
        ),
        (
            plugin(&format!("  vmConfig: {{env: [{{name: A, value: {}}}]}}\n", "x".repeat(2049))),
            &["-:8: spec.vmConfig.env[0].value: is too long (at most 2048 bytes)"],
        ),
        (plugin("  match: [{ports: [{number: 80}, {number: 80}]}]\n"), &["-:8: spec.match[0].ports[1]: port 80 is given twice (keep one of them)"]),
        (
            plugin("  selector: {matchLabels: {a: b}}\n  targetRefs: [{kind: Gateway, name: g}]\n"),
            &["-:4: spec: has more than one of `selector`, `targetRef` and `targetRefs` (keep one of them)"],
        ),
        (plugin("  type: NETWORK\n"), &["-:8: spec.type: sidespan is an HTTP filter (leave `type` out, or give HTTP)"]),
        (plugin("  phase: AUTHN\n"), &["-:6: spec.phase: given twice (keep one of them)"]),
        (plugin("").replace("WasmPlugin", "WasmPlugins"), &["-:2: kind: unknown kind `WasmPlugins` (did you mean `WasmPlugin`?)"]),
        (plugin("").replace("name: sidespan, ", ""), &["-:3: metadata: `name` is missing (give `name`)"]),
        (
            plugin("").replace("v1alpha1", "v1"),
            &["-:1: apiVersion: unknown value `extensions.istio.io/v1` (did you mean `extensions.istio.io/v1alpha1`?)"],
        ),
        ("a: [1\nb: 2\n".to_owned(), &["-:2: neither YAML nor JSON: illegal placement of ':' indicator"]),
        ("{\"smpling\": {}}".to_owned(), &["-:1: smpling: unknown field `smpling` (did you mean `sampling`?)"]),
        ("sampling: {randomSamplingPercentage: 5%}".to_owned(), &["-:1: sampling.randomSamplingPercentage: wrong value: \"5%\" (give a percentage from 0 to 100)"]),
        (
            format!("kind: ConfigMap\napiVersion: v1\n---\n{}---\n{}", plugin(""), plugin("  x: 1\n")),
            &["-:19: spec.x: unknown field `x` (one of `selector`, `targetRefs`, `targetRef`, `url`, `sha256`, `imagePullPolicy`, `imagePullSecret`, `verificationKey`, `pluginConfig`, `pluginName`, `phase`, `priority`, `failStrategy`, `vmConfig`, `match`, `type`)"],
        ),
        (
            "kind: List\napiVersion: v1\nitems:\n- kind: WasmPlugin\n  apiVersion: extensions.istio.io/v1alpha1\n  metadata: {name: a}\n  spec: {url: a:1, phase: AUTHN, failStrategy: FAIL_OPEN, y: 1}\n".to_owned(),
            &["-:7: items[0].spec.y: unknown field `y` (one of `selector`, `targetRefs`, `targetRef`, `url`, `sha256`, `imagePullPolicy`, `imagePullSecret`, `verificationKey`, `pluginConfig`, `pluginName`, `phase`, `priority`, `failStrategy`, `vmConfig`, `match`, `type`)"],
        ),
    ];
    for (text, expected) in table {
        let output = sidespan(&["check", "-"], text);
        let found: Vec<&str> = stdout(&output).lines().collect();
        assert_eq!(found, *expected, "{text}");
        assert_eq!(output.status.code(), Some(i32::from(!expected.is_empty())), "{text}");
    }
}

#[test]
fn warnings_are_said_and_change_no_exit_code() {
    let table = [
        (plugin("").replace("FAIL_OPEN", "FAIL_CLOSE"), "spec.failStrategy"),
        (plugin("").replace("FAIL_OPEN", "FAIL_RELOAD"), "spec.failStrategy"),
        (plugin("").replace("  failStrategy: FAIL_OPEN\n", ""), "spec.failStrategy"),
        (plugin("").replace("AUTHN", "STATS"), "spec.phase"),
        (plugin("").replace(":0.1.0", ":latest"), "spec.url"),
        (plugin("").replace("example.com/sidespan:0.1.0", "example.com:5000/sidespan"), "spec.url"),
        (plugin("  match: [{mode: SERVER}]\n"), "spec.match"),
        (plugin("  vmConfig: {env: [{name: ISTIO_META_X, value: a}]}\n"), "spec.vmConfig.env[0]"),
        (
            plugin("  pluginConfig: {spans: {requestHeaders: [authorization]}}\n"),
            "spec.pluginConfig.spans.requestHeaders[0]",
        ),
        ("kind: ConfigMap\napiVersion: v1\n".to_owned(), ""),
    ];
    for (text, path) in table {
        let output = sidespan(&["check", "-", "--format", "json"], &text);
        let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(findings.as_array().map(Vec::len), Some(1), "{text}: {findings}");
        assert_eq!((&findings[0]["severity"], &findings[0]["path"]), (&"warning".into(), &path.into()), "{text}");
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
    let text = plugin("").replace("FAIL_OPEN", "FAIL_CLOSE");
    assert!(stdout(&sidespan(&["check", "-"], &text)).starts_with("-:7: warning: spec.failStrategy: FAIL_CLOSE"));
}

#[test]
fn a_file_that_is_not_there_is_a_problem_and_no_file_a_misuse() {
    let output = sidespan(&["check", "no/such/file.yaml"], "");
    assert!(stdout(&output).starts_with("no/such/file.yaml: cannot be read: "), "{}", stdout(&output));
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
