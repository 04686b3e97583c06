//! All findings, and how they are written.

use super::code::{self, Severity};
use super::finding::Finding;
use std::io::{self, Write};

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// A line each.
    #[default]
    Text,
    /// A JSON array.
    Json,
}

/// All findings, and what was looked at.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In the order of the files and lines.
    pub findings: Vec<Finding>,
    /// Plugins and configurations that were checked.
    pub checked: usize,
}

impl Outcome {
    /// Adds a finding, unless the same was said about the same place: YAML aliases repeat what they name.
    pub(super) fn add(&mut self, finding: Finding) {
        let place = |it: &Finding| (it.line, it.column);
        let same =
            |it: &Finding| it.file == finding.file && place(it) == place(&finding) && it.message == finding.message;
        if finding.line.is_none() || !self.findings.iter().any(same) {
            self.findings.push(finding);
        }
    }

    /// By file in the order of `files`, then by place.
    pub(super) fn sort(&mut self, files: &[String]) {
        let file = |finding: &Finding| files.iter().position(|file| *file == finding.file);
        self.findings.sort_by_key(|finding| (file(finding), finding.line, finding.column));
    }

    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// No error and, if `strict`, no warning.
    pub fn is_good(&self, strict: bool) -> bool {
        self.count(Severity::Error) == 0 && !(strict && self.count(Severity::Warning) > 0)
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let passed_over = self.findings.iter().filter(|finding| finding.code == code::PASSED_OVER.name).count();
        let passed_over = if passed_over == 0 { String::new() } else { format!(", {passed_over} passed over") };
        format!(
            "{} checked{passed_over}: {}, {}",
            plural(self.checked, "configuration"),
            plural(self.count(Severity::Error), "error"),
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
