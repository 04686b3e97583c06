//! Wrong inputs, and the exact lines that `sidespan check` prints for each: `wrong_inputs.txt`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p sidespan-cli --test wrong_inputs` writes what is printed now into that file. Read every line
//! of it as an operator would before you commit it.

use sidespan_cli::check::{Severity, check_text, code};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A plugin without fault, up to what a case adds at the end of its `spec`.
const PLUGIN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: sidespan, namespace: istio-system}
spec:
  url: oci://registry.example.com/sidespan:0.1.0
  phase: AUTHN
  failStrategy: FAIL_OPEN
";

struct Case {
    name: String,
    /// With `{plugin}` in it, which stands for [`PLUGIN`].
    input: String,
    expected: String,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wrong_inputs.txt")
}

/// The comment at the beginning, and the cases.
fn cases(text: &str) -> (String, Vec<Case>) {
    let mut parts = text.split("=== ");
    let comment = parts.next().unwrap_or_default().to_owned();
    let case = |part: &str| {
        let (name, rest) = part.split_once('\n').expect("a name");
        let (input, expected) = rest.split_once(">>> says\n").unwrap_or_else(|| panic!("{name}: no `>>> says`"));
        Case { name: name.to_owned(), input: input.to_owned(), expected: expected.trim_end().to_owned() }
    };
    (comment, parts.map(case).collect())
}

fn printed(case: &Case) -> String {
    let outcome = check_text("FILE", &case.input.replace("{plugin}\n", PLUGIN));
    outcome.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_wrong_input_has_exactly_these_lines() {
    let (comment, cases) = cases(&fs::read_to_string(file()).expect("readable"));
    assert!(cases.len() >= 80, "{}", cases.len());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let text = |case: &Case| format!("=== {}\n{}>>> says\n{}\n\n", case.name, case.input, printed(case));
        fs::write(file(), format!("{comment}{}", cases.iter().map(text).collect::<String>())).expect("writable");
        return;
    }
    for case in &cases {
        assert_eq!(printed(case), case.expected, "{}", case.name);
        assert!(!case.expected.is_empty(), "{}: nothing is said", case.name);
    }
}

#[test]
fn every_kind_of_finding_has_a_wrong_input() {
    let (_, cases) = cases(&fs::read_to_string(file()).expect("readable"));
    let mut seen = BTreeSet::new();
    for case in &cases {
        let outcome = check_text("FILE", &case.input.replace("{plugin}\n", PLUGIN));
        seen.extend(outcome.findings.iter().map(|finding| finding.code));
        let severity = |finding: &sidespan_cli::check::Finding| {
            code::ALL.iter().find(|code| code.name == finding.code).map(|code| code.severity)
        };
        assert!(outcome.findings.iter().all(|finding| severity(finding) == Some(finding.severity)), "{}", case.name);
    }
    // A file that is not there is no text; commands.rs has it.
    let missing: Vec<_> = code::ALL.iter().map(|code| code.name).filter(|name| !seen.contains(name)).collect();
    assert_eq!(missing, ["unreadable"]);
    assert!(code::ALL.iter().any(|code| code.severity == Severity::Note));
}
