//! `sidespan check`: files to findings.

use crate::validate;
use crate::yaml::{self, Document};
use serde::Serialize;
use serde_json::Value;
use sidespan_core::config::Problem;
use std::io::{self, Read, Write};
use std::path::Path;

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// A line each.
    #[default]
    Text,
    /// A JSON array.
    Json,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not work.
    Error,
    /// It works, but probably not as meant.
    Warning,
}

/// One thing to say about a file.
#[derive(Debug, PartialEq, Serialize)]
pub struct Finding {
    /// As given on the command line.
    pub file: String,
    /// From 1, where it is known.
    pub line: Option<usize>,
    /// Where in the document; empty for the whole.
    pub path: String,
    /// How bad.
    pub severity: Severity,
    /// What.
    pub problem: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// All findings, and what was looked at.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In the order of the files and lines.
    pub findings: Vec<Finding>,
    /// Plugins and configurations that were checked.
    pub checked: usize,
    /// Documents of other kinds.
    pub skipped: usize,
}

/// Checks files; `-` is standard input.
pub fn check_files(files: &[impl AsRef<Path>]) -> Outcome {
    let mut outcome = Outcome::default();
    for file in files {
        let name = file.as_ref().display().to_string();
        match read(file.as_ref()) {
            Ok(text) => outcome.check_text(&name, &text),
            Err(error) => outcome.add(&name, None, Severity::Error, whole(&format!("cannot be read: {error}"), "")),
        }
    }
    outcome
}

fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file)?;
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

fn whole(problem: &str, hint: &str) -> Problem {
    Problem { path: String::new(), problem: problem.to_owned(), hint: hint.to_owned() }
}

// === impl Outcome ===

impl Outcome {
    /// Checks one text.
    pub fn check_text(&mut self, file: &str, text: &str) {
        let documents = match yaml::read(text) {
            Ok(documents) => documents,
            Err(broken) => {
                let line = Some(broken.line).filter(|line| *line > 0);
                let problem = format!("neither YAML nor JSON: {}", broken.problem);
                return self.add(file, line, Severity::Error, whole(&problem, ""));
            }
        };
        let (checked, first) = (self.checked, self.findings.len());
        for document in &documents {
            self.check_document(file, document);
        }
        if self.checked == checked && self.findings.len() == first {
            let problem =
                whole("has nothing to check", "give a WasmPlugin, a TrafficExtension, or a pluginConfig alone");
            self.add(file, None, Severity::Warning, problem);
        }
        self.findings[first..].sort_by_key(|finding| finding.line);
    }

    fn check_document(&mut self, file: &str, document: &Document) {
        for path in &document.twice {
            let problem = Problem { path: path.clone(), ..whole("given twice", "keep one of them") };
            self.add(file, document.line(path), Severity::Error, problem);
        }
        self.check_value(file, document, "", &document.value);
    }

    /// `prefix` is the path of `value` within the document: `items[2]` in a List.
    fn check_value(&mut self, file: &str, document: &Document, prefix: &str, value: &Value) {
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, version) = (word("kind"), word("apiVersion"));
        let result = match kind {
            "WasmPlugin" => validate::plugin(value),
            // One with a script in Lua is somebody else's.
            "TrafficExtension" if value.pointer("/spec/lua").is_none() => validate::traffic_extension(value),
            "List" => {
                for (index, item) in value.get("items").and_then(Value::as_array).into_iter().flatten().enumerate() {
                    self.check_value(file, document, &format!("{prefix}items[{index}]."), item);
                }
                return;
            }
            // Nearly right: `kubectl` would refuse it too, but later.
            _ if kind.eq_ignore_ascii_case("wasmplugin")
                || (version.starts_with("extensions.istio.io/") && !is_extension(kind)) =>
            {
                let problem = format!("unknown kind `{kind}`");
                (vec![Problem { path: "kind".to_owned(), ..whole(&problem, "did you mean `WasmPlugin`?") }], Vec::new())
            }
            "" if version.is_empty() && value.is_null() => return,
            "" if version.is_empty() => validate::config(value),
            _ => {
                self.skipped += 1;
                return;
            }
        };
        self.checked += 1;
        let (problems, warnings) = result;
        let rated = problems.into_iter().map(|problem| (Severity::Error, problem));
        for (severity, mut problem) in rated.chain(warnings.into_iter().map(|problem| (Severity::Warning, problem))) {
            problem.path = format!("{prefix}{}", problem.path);
            self.add(file, document.line(&problem.path), severity, problem);
        }
    }

    fn add(&mut self, file: &str, line: Option<usize>, severity: Severity, problem: Problem) {
        let Problem { path, problem, hint } = problem;
        self.findings.push(Finding { file: file.to_owned(), line, path, severity, problem, hint });
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// No problem; warnings do not count.
    pub fn is_good(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} passed over", self.skipped) };
        format!(
            "{} checked{skipped}: {}, {}",
            plural(self.checked, "configuration"),
            plural(self.count(Severity::Error), "problem"),
            plural(self.count(Severity::Warning), "warning")
        )
    }

    /// Writes the findings.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        if format == Format::Json {
            serde_json::to_writer_pretty(&mut *out, &self.findings)?;
            return writeln!(out);
        }
        self.findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.severity == Severity::Warning {
            write!(f, ": warning")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.problem)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

/// The newer API of the same group.
fn is_extension(kind: &str) -> bool {
    kind == "TrafficExtension"
}
