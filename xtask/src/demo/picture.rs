//! Pictures of the demo's page, made by Chromium.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names under which distributions install it.
const PROGRAMS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Width and height of a picture in CSS pixels: the summary, the mesh and the first trace.
const SIZE: &str = "--window-size=1180,1080";
/// Pixels of the picture for a CSS pixel.
const SCALE: &str = "--force-device-scale-factor=1.25";

/// The browser: what `CHROMIUM_BIN` names, else Chromium or Chrome in the `PATH`.
///
/// # Errors
/// If there is none.
pub(crate) fn browser() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "CHROMIUM_BIN: {} is no file", path.display());
        return Ok(path);
    }
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let mut places = PROGRAMS.iter().flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    places
        .find(|path| path.is_file())
        .context("no Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM_BIN to its path")
}

/// Writes `demo.png` and `demo-dark.png` into the folder.
///
/// # Errors
/// If the browser cannot be run.
pub(super) fn write(browser: &Path, page: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("--picture {}", folder.display()))?;
    for (scheme, name) in [("light", "demo.png"), ("dark", "demo-dark.png")] {
        let file = folder.join(name);
        take(browser, page, scheme, &file).with_context(|| format!("a picture with {}", browser.display()))?;
        println!("picture  {}", file.display());
    }
    Ok(())
}

/// The fragment of the address selects the colour scheme; see the page's script.
fn take(browser: &Path, page: &Path, scheme: &str, file: &Path) -> Result<()> {
    // A profile of its own, so that a browser of the user is not touched.
    let profile = page.with_file_name("browser-profile");
    let mut command = Command::new(browser);
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", SIZE, SCALE])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--screenshot={}", std::path::absolute(file)?.display()))
        .arg(format!("file://{}#{scheme}", std::path::absolute(page)?.display()));
    let output = command.stdin(Stdio::null()).output()?;
    let _ = fs::remove_dir_all(&profile);
    ensure!(output.status.success() && file.is_file(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
