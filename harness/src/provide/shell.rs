//! The two shells around the same core: what tests, demo and benchmark load into Envoy.

use super::files::path_variable;
use super::workspace::{module_path, target_dir};
use anyhow::{Context as _, Error, Result, bail};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How the filter is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// A proxy-wasm module.
    #[default]
    Wasm,
    /// A dynamic module: a shared library.
    Module,
}

/// The environment variable that selects the shell of a run: `wasm` or `module`.
pub const SHELL: &str = "SIDESPAN_SHELL";

// === impl Shell ===

impl Shell {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Wasm, Self::Module];

    /// What [`SHELL`] says; without it, wasm.
    ///
    /// # Errors
    /// If it says anything else.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(SHELL).ok().filter(|word| !word.is_empty()) {
            Some(word) => word.parse().with_context(|| format!("the environment variable {SHELL}")),
            None => Ok(Self::default()),
        }
    }

    /// The word on command lines and in [`SHELL`].
    pub fn word(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Module => "module",
        }
    }

    /// The environment variable that names another file than [`Shell::default_file`].
    pub fn variable(self) -> &'static str {
        match self {
            Self::Wasm => "SIDESPAN_WASM",
            Self::Module => "SIDESPAN_MODULE",
        }
    }

    /// Where `cargo xtask build` puts the filter.
    pub fn default_file(self) -> PathBuf {
        match self {
            Self::Wasm => module_path(),
            Self::Module => target_dir().join("libsidespan.so"),
        }
    }

    /// The path of the filter: what [`Shell::variable`] names, else [`Shell::default_file`].
    ///
    /// # Errors
    /// If there is no such file; the message names the command that makes it.
    pub fn file(self) -> Result<PathBuf> {
        let (path, origin) = match path_variable(self.variable()) {
            Some(path) => (path, self.variable()),
            None => (self.default_file(), "the default place"),
        };
        if !path.is_file() {
            bail!("no {self} filter at {} ({origin}): run `cargo xtask build` first", path.display());
        }
        Ok(std::path::absolute(path)?)
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Shell {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|shell| shell.word() == word);
        known.with_context(|| format!("{word:?} is no shell of the filter: wasm or module"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_read_from_its_own_word_only() {
        for shell in Shell::ALL {
            assert_eq!(shell.word().parse::<Shell>().unwrap(), shell);
        }
        assert!("so".parse::<Shell>().is_err());
    }
}
