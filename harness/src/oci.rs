//! The module as an OCI image, written without Docker, and its digest in a manifest.
//!
//! Istio takes an image whose last layer is `application/vnd.oci.image.layer.v1.tar+gzip` with a file `plugin.wasm`
//! (`pkg/wasm/imagefetcher.go`, "compat variant"). The same module always makes the same digest: no time, no owner, no name of a
//! machine is written.

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes the image as an OCI image layout (OCI Image Format 1.1, "Image Layout") to a folder, which is emptied first; returns the
/// digest of its manifest as hexadecimal digits.
///
/// # Errors
/// If the module cannot be read or the folder cannot be written.
pub fn write_layout(module: &Path, folder: &Path, version: &str) -> Result<String> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    if folder.join("oci-layout").is_file() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let layout = Layout { folder };
    fs::create_dir_all(folder.join("blobs/sha256")).with_context(|| format!("cannot create {}", folder.display()))?;
    let archive = archive(&module)?;
    let layer = layout.blob(LAYER, &compress(&archive)?)?;
    let config = json!({
        "architecture": "wasm", "os": "wasip1", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&archive))]},
    });
    let config = layout.blob(CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        "annotations": {
            "org.opencontainers.image.title": "sidespan",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    let manifest = manifest.to_string();
    let descriptor = layout.blob(MANIFEST, manifest.as_bytes())?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    Ok(digest(manifest.as_bytes()))
}

struct Layout<'a> {
    folder: &'a Path,
}

// === impl Layout ===

impl Layout<'_> {
    /// Writes a blob and returns its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        fs::write(self.folder.join("blobs/sha256").join(&digest), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    }
}

fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "plugin.wasm", module)?;
    Ok(archive.into_inner()?)
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    // 255: unknown system.
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Puts an image and the digest of its manifest into each `WasmPlugin` or `TrafficExtension` of a YAML text, and changes nothing
/// else, comments included. Returns how many it found.
///
/// A line `sha256:` that is commented out is put in force; where there is none, one is added below `url:`.
pub fn pin(manifest: &str, image: Option<&str>, digest: &str) -> (String, usize) {
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    let urls: Vec<usize> = (0..lines.len()).filter(|number| key(&lines[*number]) == Some("url")).collect();
    // From the end, so that an added line moves nothing that is still to come.
    for (position, number) in urls.iter().enumerate().rev() {
        let end = urls.get(position + 1).copied().unwrap_or(lines.len());
        let line = lines[*number].clone();
        let indent = &line[..line.len() - line.trim_start().len()];
        let list = if line.trim_start().starts_with('-') { "- " } else { "" };
        if let Some(image) = image {
            lines[*number] = format!("{indent}{list}url: oci://{image}");
        }
        let pinned = format!("{indent}{}sha256: {digest}", " ".repeat(list.len()));
        let same = |line: &String| {
            let line = line.trim_start();
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.strip_prefix("sha256: ").is_some_and(|value| value.trim().trim_matches('"').len() == 64)
        };
        match (*number..end).find(|number| same(&lines[*number])) {
            Some(found) => lines[found] = pinned,
            None => lines.insert(number + 1, pinned),
        }
    }
    let mut text = lines.join("\n");
    if manifest.ends_with('\n') {
        text.push('\n');
    }
    (text, urls.len())
}

/// `url` of the line `  url: oci://…`.
fn key(line: &str) -> Option<&str> {
    let (key, value) = line.trim_start().trim_start_matches("- ").split_once(": ")?;
    value.starts_with("oci://").then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_same_module_makes_the_same_digest_and_the_layer_holds_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let module = folder.path().join("m.wasm");
        fs::write(&module, b"\0asm-module")?;
        let layout = folder.path().join("layout");
        let first = write_layout(&module, &layout, "1")?;
        assert_eq!(write_layout(&module, &layout, "1")?, first);
        let blob = |descriptor: &Value| -> Result<Vec<u8>> {
            let digest = descriptor["digest"].as_str().unwrap_or_default().replace("sha256:", "");
            let bytes = fs::read(layout.join("blobs/sha256").join(&digest))?;
            assert_eq!((super::digest(&bytes), json!(bytes.len())), (digest, descriptor["size"].clone()));
            Ok(bytes)
        };
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        assert_eq!(index["manifests"][0]["digest"], format!("sha256:{first}"));
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])?)?;
        assert_eq!(
            (&manifest["config"]["mediaType"], &manifest["layers"][0]["mediaType"]),
            (&json!(CONFIG), &json!(LAYER))
        );
        let layer = blob(&manifest["layers"][0])?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&*layer));
        let mut entries = archive.entries()?;
        let mut file = entries.next().context("an entry")??;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut content)?;
        assert_eq!((file.path()?.as_ref(), content.as_slice()), (Path::new("plugin.wasm"), &b"\0asm-module"[..]));
        assert!(entries.next().is_none());
        fs::write(&module, b"\0asm-another")?;
        assert_ne!(write_layout(&module, &layout, "1")?, first);
        Ok(())
    }

    #[test]
    fn image_and_digest_are_put_in_and_nothing_else_changes() {
        let zeros = "0".repeat(64);
        let table = [
            (
                format!("spec:\n  url: oci://a/b:1 # why\n  # Pins.\n  # sha256: {zeros}\n  phase: AUTHN\n"),
                format!("spec:\n  url: oci://r/s:2\n  # Pins.\n  sha256: {DIGEST}\n  phase: AUTHN\n"),
                1,
                "a line that is commented out",
            ),
            (
                format!("spec:\n  url: oci://a/b:1\n  sha256: \"{zeros}\"\n"),
                format!("spec:\n  url: oci://r/s:2\n  sha256: {DIGEST}\n"),
                1,
                "an older digest",
            ),
            (
                "a:\n  url: oci://a/b:1\n---\nb:\n  url: oci://a/b:1\nc: 1\n".to_owned(),
                format!(
                    "a:\n  url: oci://r/s:2\n  sha256: {DIGEST}\n---\nb:\n  url: oci://r/s:2\n  sha256: {DIGEST}\nc: 1\n"
                ),
                2,
                "two documents without a digest",
            ),
            (
                "a: 1\nurl: https://example.com\n".to_owned(),
                "a: 1\nurl: https://example.com\n".to_owned(),
                0,
                "no image",
            ),
        ];
        for (manifest, expected, count, why) in table {
            assert_eq!(pin(&manifest, Some("r/s:2"), DIGEST), (expected, count), "{why}");
        }
        let (kept, _) = pin("  url: oci://a/b:1 # why\n", None, DIGEST);
        assert_eq!(kept, format!("  url: oci://a/b:1 # why\n  sha256: {DIGEST}\n"), "only the digest");
    }
}
