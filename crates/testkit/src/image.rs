//! A small, deterministic writer of OCI layouts, independent of the code under test.
//!
//! Base images for tests and for the demo are made with it, so that a fault of our own exporter cannot
//! hide behind an equal fault of our own importer.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a layout written by [`write_layout`] holds: one image for this machine's architecture.
#[derive(Clone, Debug)]
pub struct Image {
    /// The tag under which the index lists it.
    pub tag: String,
    /// Uncompressed tar archives, base first.
    pub layers: Vec<PathBuf>,
    /// The default command.
    pub cmd: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// More entries of the config's `config` object, an object.
    pub more_config: Value,
    /// RFC 3339 time put into the config, so that the same input gives the same digests.
    pub created: String,
}

impl Image {
    /// Returns an image of one layer with the usual PATH and this command, created at the epoch.
    pub fn new(tag: &str, layer: &Path, cmd: &[&str]) -> Self {
        Self {
            tag: tag.to_owned(),
            layers: vec![layer.to_path_buf()],
            cmd: cmd.iter().map(|&word| word.to_owned()).collect(),
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ],
            more_config: json!({}),
            created: "1970-01-01T00:00:00Z".to_owned(),
        }
    }
}

/// Writes `image` as an OCI layout directory and returns its manifest's digest (`sha256:…`).
///
/// `dir` is made if missing. Source: OCI image-spec, image-layout.md.
pub fn write_layout(dir: &Path, image: &Image) -> io::Result<String> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let (digest, size) = add_blob(&blobs, &mut File::open(layer)?)?;
        layers.push(descriptor(
            "application/vnd.oci.image.layer.v1.tar",
            &digest,
            size,
        ));
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let mut run_config = json!({ "Env": image.env, "Cmd": image.cmd });
    for (key, value) in image.more_config.as_object().into_iter().flatten() {
        run_config[key.as_str()] = value.clone();
    }
    let config = json!({
        "created": image.created,
        "architecture": architecture(),
        "os": "linux",
        "config": run_config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": layers.iter().map(|_| json!({
            "created": image.created, "created_by": "root file system"
        })).collect::<Vec<_>>(),
    });
    let config = add_json(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers,
    });
    let mut manifest = add_json(&blobs, manifest_type, &manifest)?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": image.tag });
    manifest["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(digest)
}

/// Returns the architecture as OCI names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

fn add_json(blobs: &Path, media_type: &str, value: &Value) -> io::Result<Value> {
    let bytes = serde_json::to_vec_pretty(value)?;
    let (digest, size) = add_blob(blobs, &mut bytes.as_slice())?;
    Ok(descriptor(media_type, &digest, size))
}

/// Bytes in hex, two lower-case digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies `from` to the file named by its digest; returns digest and size in bytes.
fn add_blob(blobs: &Path, from: &mut impl Read) -> io::Result<(String, u64)> {
    let mut staged = tempfile::NamedTempFile::new_in(blobs)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        staged.write_all(&buffer[..n])?;
        size += n as u64;
    }
    let hex = hex(&hash.finalize());
    // The layout may be read by another user: temporary files are private, blobs are not.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(staged.path(), mode)?;
    staged
        .persist(blobs.join(&hex))
        .map_err(|error| error.error)?;
    Ok((format!("sha256:{hex}"), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    #[test]
    fn equal_input_gives_equal_layouts() {
        let dir = TempDir::new();
        let layer = dir.join("layer.tar");
        fs::write(&layer, vec![0; 1024]).expect("write an empty archive");
        let image = Image::new("latest", &layer, &["sh"]);
        let one = write_layout(&dir.join("one"), &image).expect("write a layout");
        let two = write_layout(&dir.join("two"), &image).expect("write a layout");
        assert_eq!(one, two);
        crate::assert_same_tree(dir.join("one"), dir.join("two"));
    }
}
