//! Files and folders of the command line.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Names that `kubectl kustomize` looks for.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The files of an argument: itself, or every `*.yaml`, `*.yml` and `*.json` in a folder and its folders, sorted, without hidden ones.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn expand(argument: &Path) -> io::Result<Vec<PathBuf>> {
    if !argument.is_dir() {
        return Ok(vec![argument.to_owned()]);
    }
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().to_str().is_some_and(|name| name.starts_with('.'))
    };
    let mut files = Vec::new();
    for entry in WalkDir::new(argument).sort_by_file_name().into_iter().filter_entry(|entry| !hidden(entry)) {
        let path = entry?.into_path();
        let end = path.extension().and_then(|end| end.to_str());
        if path.is_file() && end.is_some_and(|end| ["yaml", "yml", "json"].contains(&end)) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The text of a file; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub(super) fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file)?;
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// The nearest folder around a file that has a `kustomization.yaml`.
pub(super) fn unit(file: &Path) -> Option<PathBuf> {
    let mut folders = file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    folders.find(|folder| kustomization(folder).is_some()).map(Path::to_owned)
}

/// Whether a file has the name of a kustomization; it needs no `kind`.
pub(super) fn is_kustomization(file: &Path) -> bool {
    file.file_name().is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known))
}

fn kustomization(folder: &Path) -> Option<PathBuf> {
    KUSTOMIZATIONS.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// The kustomization in the file's folder that uses the file as a patch. A patch is no whole resource.
pub(super) fn patched_by(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    let kustomization = kustomization(folder)?;
    let document = crate::yaml::read(&read(&kustomization).ok()?).ok()?.into_iter().next()?.value;
    let list = |key: &str| document.get(key).and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let patches = list("patches").into_iter().chain(list("patchesJson6902"));
    let paths = patches.filter_map(|patch| patch.get("path").cloned()).chain(list("patchesStrategicMerge"));
    let is_file = |path: serde_json::Value| path.as_str().is_some_and(|path| folder.join(path) == file);
    paths.into_iter().any(is_file).then_some(kustomization)
}
