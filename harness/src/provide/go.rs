//! Programs that are built from Go modules once and kept in the cache: nobody ships them as the tests need them.

use super::files::{Scratch, check_program, lock, path_variable};
use anyhow::{Context, Result, bail};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What takes time while Go programs are provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoProgress {
    /// Another process builds the same ones.
    Waiting,
    /// Go begins: it downloads modules first.
    Building,
    /// So many packages were compiled; those that Go has in its own cache are not among them.
    Compiled(usize),
}

/// A Go module in this workspace, and what is built from it.
pub(super) struct GoModule<'a> {
    /// Its folder, with `go.mod` and `go.sum`.
    pub sources: &'a Path,
    /// The other files that the programs depend on, relative to the folder.
    pub files: &'a [&'a str],
    /// What to build: folders such as `./kubectl`, or packages of modules that it requires.
    pub packages: &'a [&'a str],
    /// Build tags, separated by commas.
    pub tags: &'a str,
    /// The names of the programs.
    pub programs: &'a [&'a str],
    /// Holds `<version>/<program>`, and while it works `partial/`.
    pub cache: &'a Path,
    /// The program `go`.
    pub go: &'a str,
    /// What to say if there is no Go.
    pub missing: &'a str,
}

// === impl GoModule ===

impl GoModule<'_> {
    /// The folder with the programs, built if it is not there. `finish` may add files to it before it becomes visible.
    ///
    /// # Errors
    /// `missing` if there is no Go, or what Go said if it does not compile.
    pub(super) fn provide(
        &self,
        progress: &dyn Fn(GoProgress),
        finish: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.cache.join(self.version()?);
        if self.is_complete(&folder) {
            return Ok(folder);
        }
        fs::create_dir_all(self.cache).with_context(|| format!("cannot create {}", self.cache.display()))?;
        // Held until the end of this function.
        let _lock = lock(&self.cache.join("lock"), || progress(GoProgress::Waiting))?;
        if self.is_complete(&folder) {
            return Ok(folder);
        }
        progress(GoProgress::Building);
        let scratch = Scratch::new(self.cache.join("partial"))?;
        self.build(&scratch.0, progress)?;
        finish(&scratch.0)?;
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&scratch.0, &folder)?;
        for program in self.programs {
            check_program(&folder.join(program)).with_context(|| format!("go built no {program}"))?;
        }
        Ok(folder)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        self.programs.iter().all(|program| check_program(&folder.join(program)).is_ok())
    }

    fn build(&self, to: &Path, progress: &dyn Fn(GoProgress)) -> Result<()> {
        let mut command = self.go();
        // -v names each package that is compiled.
        command.args(["build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
        command
            .arg(to.join(""))
            .args(["-tags", self.tags])
            .args(self.packages)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("{}", self.missing),
            child => child.with_context(|| format!("cannot run {}", self.go))?,
        };
        let (mut compiled, mut said) = (0, Vec::new());
        for line in BufReader::new(child.stderr.take().context("a pipe was asked for")?).lines() {
            let line = line?;
            // The path of a package has no blank; a message has.
            if line.contains(' ') {
                said.push(line);
            } else {
                compiled += 1;
                progress(GoProgress::Compiled(compiled));
            }
        }
        if !child.wait()?.success() {
            said.retain(|line| !line.starts_with("go: downloading"));
            bail!(
                "go cannot build what is in {} (it needs the version that go.mod says, and a way to the Go module proxy):\n{}",
                self.sources.display(),
                said.join("\n")
            );
        }
        Ok(())
    }

    /// The folder of a module that this one requires, as Go has unpacked it.
    pub(super) fn folder_of(&self, module: &str) -> Result<PathBuf> {
        let output = self.go().args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]).output();
        let output = output.with_context(|| format!("cannot run {}", self.go))?;
        let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        if !folder.is_dir() {
            bail!("go does not say where {module} is: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(folder)
    }

    fn go(&self) -> Command {
        let mut command = Command::new(self.go);
        // A Go workspace around this folder does not concern it, and nothing here needs C.
        command.current_dir(self.sources).env("GOWORK", "off").env("CGO_ENABLED", "0").stdin(Stdio::null());
        command
    }

    /// Changes whenever the sources do. Not a checksum against malice: go.sum is.
    fn version(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        self.packages.hash(&mut hasher);
        if !self.tags.is_empty() {
            self.tags.hash(&mut hasher);
        }
        for name in ["go.mod", "go.sum"].iter().chain(self.files) {
            let path = self.sources.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

/// The folder of one module's programs, below `~/.cache/sidespan` or `XDG_CACHE_HOME`.
pub(super) fn cache_folder(name: &str) -> Result<PathBuf> {
    let cache = path_variable("XDG_CACHE_HOME").or_else(|| path_variable("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("neither HOME nor XDG_CACHE_HOME is set")?.join("sidespan").join(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn module<'a>(folder: &'a Path, cache: &'a Path, go: &'a str) -> GoModule<'a> {
        ["main.go", "go.mod", "go.sum"].iter().for_each(|name| fs::write(folder.join(name), name).unwrap());
        let (packages, programs) = (&["."], &["program"]);
        GoModule {
            sources: folder,
            files: &["main.go"],
            packages,
            tags: "",
            programs,
            cache,
            go,
            missing: "install Go",
        }
    }

    #[test]
    fn without_go_the_error_is_the_one_that_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let error = module(folder.path(), &cache, "go-that-is-not-there").provide(&|_| {}, &|_| Ok(()));
        assert_eq!(error.unwrap_err().to_string(), "install Go");
    }

    #[cfg(unix)]
    #[test]
    fn programs_are_built_once_and_again_when_a_source_changes() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        // Writes a program to the folder after -o.
        let go = folder.path().join("go");
        let script =
            "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp \"$0\" \"$2/program\"\necho a/package >&2\n";
        fs::write(&go, script).unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        let module = module(folder.path(), &cache, go.to_str().unwrap());
        let (builds, packages) = (Cell::new(0), Cell::new(0));
        let count = |progress| match progress {
            GoProgress::Building => builds.set(builds.get() + 1),
            GoProgress::Compiled(number) => packages.set(number),
            GoProgress::Waiting => {}
        };
        let run = || module.provide(&count, &|folder| Ok(fs::write(folder.join("extra"), "")?)).unwrap();
        let (first, second) = (run(), run());
        assert_eq!((first == second, builds.get(), packages.get()), (true, 1, 1));
        assert!(first.join("extra").is_file());
        fs::write(folder.path().join("go.mod"), "changed").unwrap();
        assert_ne!(run(), first);
        assert_eq!(builds.get(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn what_go_said_is_in_the_error() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        fs::write(&go, "#!/bin/sh\necho 'go: downloading x v1' >&2\necho 'x.go:1: no such thing' >&2\nexit 1\n")
            .unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        let cache = folder.path().join("cache");
        let error = module(folder.path(), &cache, go.to_str().unwrap()).provide(&|_| {}, &|_| Ok(())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("x.go:1: no such thing") && !text.contains("downloading x"), "{text}");
    }
}
