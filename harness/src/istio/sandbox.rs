//! How an agent is started, so that it finds the folder it insists on and leaves nothing behind.
//!
//! `pilot-agent` keeps modules in `/var/lib/istio/data` and nowhere else. It also leaves its Envoy running when it is killed. Both
//! are solved by namespaces of its own: a mount namespace in which `/var/lib` is empty but for that folder, and a process namespace
//! that ends with its first process.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What this machine allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// Namespaces, as root.
    Root,
    /// Namespaces in a user namespace.
    User,
    /// None, but `/var/lib/istio/data` can be written.
    None,
}

const DATA: &str = "/var/lib/istio/data";

/// The first argument is the folder to show as [`DATA`], the rest is the command.
const SCRIPT: &str = "mount -t tmpfs none /var/lib && mkdir -p /var/lib/istio/data && mount --bind \"$1\" /var/lib/istio/data \
                      && shift && exec \"$@\"";

// === impl Sandbox ===

impl Sandbox {
    /// What works here, tried once.
    ///
    /// # Errors
    /// If nothing does; the error says what to do.
    pub(super) fn find() -> Result<Self> {
        static FOUND: OnceLock<Option<Sandbox>> = OnceLock::new();
        let tried = FOUND.get_or_init(|| [Self::Root, Self::User].into_iter().find(|sandbox| sandbox.works()));
        match tried {
            Some(sandbox) => Ok(*sandbox),
            None if can_write_data() => Ok(Self::None),
            None => bail!(
                "pilot-agent stores modules in {DATA}, which cannot be made here, and `unshare` may not make a mount namespace \
                 where it could.\nEither of these helps:\n\
                 \x20 - sudo install -d -o $(id -u) {DATA}\n\
                 \x20 - allow user namespaces (on Ubuntu: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
            ),
        }
    }

    fn works(self) -> bool {
        let Ok(folder) = tempfile::tempdir() else { return false };
        let mut command = self.command(Path::new("true"), folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// `program` with `data` as the folder for modules; arguments may be added.
    pub(super) fn command(self, program: &Path, data: &Path) -> Command {
        let mut command = Command::new("unshare");
        match self {
            Self::None => return Command::new(program),
            Self::User => drop(command.arg("--map-root-user")),
            Self::Root => {}
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", SCRIPT, "sh"]);
        command.arg(data).arg(program);
        command
    }

    /// The process to signal: `unshare` itself passes no signal on.
    pub(super) fn inner(self, process: u32) -> Result<u32> {
        if self == Self::None {
            return Ok(process);
        }
        let path = format!("/proc/{process}/task/{process}/children");
        let children = fs::read_to_string(&path).with_context(|| path.clone())?;
        let child = children.split_whitespace().next().with_context(|| format!("{path}: no child"))?;
        Ok(child.parse()?)
    }
}

fn can_write_data() -> bool {
    fs::create_dir_all(DATA).is_ok() && tempfile::tempfile_in(DATA).is_ok()
}
