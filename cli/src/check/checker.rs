//! Texts to findings, one after the other; what concerns several of them is found at the end.

use super::code;
use super::document;
use super::embedded;
use super::files;
use super::finding::{Finding, Issue};
use super::outcome::Outcome;
use super::resource::Resource;
use super::together;
use crate::yaml::{self, Document, Position};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Istio's default root namespace (`meshConfig.rootNamespace`).
pub const ROOT_NAMESPACE: &str = "istio-system";

/// Checks files, folders and texts.
#[derive(Debug)]
pub struct Checker {
    outcome: Outcome,
    resources: Vec<Resource>,
    root_namespace: String,
    /// Files that were checked, in this order.
    files: Vec<String>,
}

/// Checks files and folders; `-` is standard input.
pub fn check_files(arguments: &[impl AsRef<Path>], root_namespace: &str) -> Outcome {
    let mut checker = Checker::new(root_namespace);
    for argument in arguments {
        checker.argument(argument.as_ref());
    }
    checker.finish()
}

/// Checks one text. `name` stands for its file.
pub fn check_text(name: &str, text: &str) -> Outcome {
    let mut checker = Checker::new(ROOT_NAMESPACE);
    checker.text(name, text, None);
    checker.finish()
}

// === impl Checker ===

impl Checker {
    /// `root_namespace` is that of Istio.
    pub fn new(root_namespace: &str) -> Self {
        let root_namespace = root_namespace.to_owned();
        Self { outcome: Outcome::default(), resources: Vec::new(), root_namespace, files: Vec::new() }
    }

    fn argument(&mut self, argument: &Path) {
        let name = argument.display().to_string();
        match files::expand(argument) {
            Ok(files) if files.is_empty() => {
                let issue = Issue::new(&code::EMPTY, "", "has no *.yaml, *.yml or *.json file in it", "");
                self.add(&name, None, issue);
            }
            Ok(files) => files.iter().for_each(|file| self.file(file)),
            Err(error) => self.add(&name, None, unreadable(&error)),
        }
    }

    fn file(&mut self, file: &Path) {
        let name = file.display().to_string();
        self.files.push(name.clone());
        if files::is_kustomization(file) {
            return self.add(&name, None, Issue::new(&code::PASSED_OVER, "", "passed over: a kustomization", ""));
        }
        if let Some(kustomization) = files::patched_by(file) {
            let message = format!("passed over: a patch of {}", kustomization.display());
            let hint = "check the result: kubectl kustomize … | sidespan check -";
            return self.add(&name, None, Issue::new(&code::PASSED_OVER, "", &message, hint));
        }
        match files::read(file) {
            Ok(text) => self.text(&name, &text, files::unit(file)),
            Err(error) => self.add(&name, None, unreadable(&error)),
        }
    }

    /// Checks one text. Resources of different `unit`s are not applied together.
    pub fn text(&mut self, file: &str, text: &str, unit: Option<PathBuf>) {
        if !self.files.iter().any(|known| known == file) {
            self.files.push(file.to_owned());
        }
        let documents = match yaml::read(text) {
            Ok(documents) => documents,
            Err(broken) => return self.add(file, broken.position, broken_text(text, &broken.problem)),
        };
        if documents.iter().all(|document| document.value.is_null()) {
            let hint = "give a WasmPlugin, a TrafficExtension, a configuration of Envoy, or a pluginConfig alone";
            return self.add(file, None, Issue::new(&code::EMPTY, "", "is empty: there is nothing to check", hint));
        }
        for document in documents {
            self.document(file, text, Rc::new(document), unit.as_ref());
        }
    }

    fn document(&mut self, file: &str, text: &str, document: Rc<Document>, unit: Option<&PathBuf>) {
        for path in &document.twice {
            let issue = Issue::new(&code::DUPLICATE_KEY, path, "given twice", "keep one of them");
            self.add(file, document.position(path), issue);
        }
        let found = document::check(&document.value);
        self.outcome.checked += found.checked;
        for issue in found.issues {
            self.add(file, embedded::position(&document, text, &issue.problem.path), issue);
        }
        for resource in found.resources {
            let (file, document, unit) = (file.to_owned(), Rc::clone(&document), unit.cloned());
            self.resources.push(Resource { file, document, unit, ..resource });
        }
    }

    fn add(&mut self, file: &str, position: Option<Position>, issue: Issue) {
        self.outcome.add(Finding::new(file, position, issue));
    }

    /// What concerns several resources is found now.
    pub fn finish(mut self) -> Outcome {
        together::check(&self.resources, &self.root_namespace).into_iter().for_each(|it| self.outcome.add(it));
        // Documents that were passed over have their notes.
        if self.outcome.checked == 0 && self.outcome.findings.is_empty() {
            let file = if self.files.len() == 1 { self.files[0].as_str() } else { "all files" };
            let hint = "give a WasmPlugin, a TrafficExtension, a configuration of Envoy, or a pluginConfig alone";
            let issue = Issue::new(&code::NOTHING_CHECKED, "", "no plugin and no `pluginConfig` was found", hint);
            self.outcome.add(Finding::new(file, None, issue));
        }
        self.outcome.sort(&self.files);
        self.outcome
    }
}

fn unreadable(error: &std::io::Error) -> Issue {
    Issue::new(&code::UNREADABLE, "", &format!("cannot be read: {error}"), "")
}

/// What is said about a text that is neither YAML nor JSON.
fn broken_text(text: &str, problem: &str) -> Issue {
    if text.split_once("{{").is_none_or(|(_, rest)| !rest.contains("}}")) {
        return Issue::new(&code::SYNTAX, "", &format!("neither YAML nor JSON: {problem}"), "");
    }
    let kinds = ["WasmPlugin", "TrafficExtension", "EnvoyFilter", "EnvoyExtensionPolicy", "pluginConfig"];
    if kinds.iter().any(|kind| text.contains(kind)) {
        let hint = "render it first: helm template … | sidespan check -";
        return Issue::new(&code::TEMPLATE, "", "is a template (`{{ … }}`), which cannot be checked as it is", hint);
    }
    Issue::new(&code::PASSED_OVER, "", "passed over: a template without a plugin", "")
}
