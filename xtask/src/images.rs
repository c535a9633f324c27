//! Container images made here: no registry is reachable, and none is needed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::layout::Layout;
use crate::progress::Progress;
use crate::sh;

pub(crate) const BUSYBOX: &str = "docker.io/local/busybox:1";
pub(crate) const PAUSE: &str = "docker.io/local/pause:1";

/// Imports what the node does not have yet.
pub(crate) fn ensure(layout: &Layout, ctr: &Path, progress: &Progress) -> Result<()> {
    let ctr = || {
        let mut command = Command::new(ctr);
        command.arg("--address").arg(layout.containerd_socket()).args(["-n", "k8s.io", "images"]);
        command
    };
    let present = sh::output(ctr().args(["list", "-q"]))?;
    if [BUSYBOX, PAUSE].iter().all(|image| present.lines().any(|line| line == *image)) {
        return Ok(());
    }
    let archive = layout.data("images.tar");
    fs::create_dir_all(layout.data(""))?;
    write_archive(&archive)?;
    sh::output(ctr().arg("import").arg(&archive))?;
    fs::remove_file(&archive)?;
    progress.say(format!("images: {BUSYBOX}, {PAUSE}"));
    Ok(())
}

/// An OCI archive with both images over one busybox layer.
fn write_archive(path: &Path) -> Result<()> {
    let mut archive = Archive { builder: Builder::new(File::create(path)?) };
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let layer = busybox_layer()?;
    let layer_digest = archive.blob(&layer)?;
    // The pause process only has to stay: the sandbox ends with SIGKILL.
    let images = [(BUSYBOX, json!(["sh"])), (PAUSE, json!(["sleep", "2147483647"]))];
    let mut manifests = Vec::new();
    for (name, command) in images {
        manifests.push(archive.image(name, &command, &layer, &layer_digest)?);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    archive.file("index.json", 0o644, &serde_json::to_vec(&index)?)?;
    archive.builder.into_inner()?.flush()?;
    Ok(())
}

struct Archive<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> Archive<W> {
    fn image(&mut self, name: &str, command: &Value, layer: &[u8], digest: &str) -> Result<Value> {
        let config = serde_json::to_vec(&json!({
            "architecture": go_architecture(),
            "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Cmd": command, "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [digest] },
        }))?;
        let config_digest = self.blob(&config)?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest,
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest,
                "size": layer.len(),
            }],
        }))?;
        Ok(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.blob(&manifest)?,
            "size": manifest.len(),
            "annotations": { "io.containerd.image.name": name },
        }))
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<String> {
        let hash = hex::encode(Sha256::digest(bytes));
        self.file(&format!("blobs/sha256/{hash}"), 0o644, bytes)?;
        Ok(format!("sha256:{hash}"))
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode);
        header.set_size(bytes.len().try_into()?);
        self.builder.append_data(&mut header, path, bytes)?;
        Ok(())
    }

    fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode);
        self.builder.append_data(&mut header, path, std::io::empty())?;
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777);
        self.builder.append_link(&mut header, path, target)?;
        Ok(())
    }
}

fn busybox_layer() -> Result<Vec<u8>> {
    let mut busybox = Vec::new();
    File::open("/bin/busybox")
        .and_then(|mut file| file.read_to_end(&mut busybox))
        .context("/bin/busybox is missing (package busybox-static)")?;
    let applets = sh::output(Command::new("/bin/busybox").arg("--list"))?;
    let mut layer = Archive { builder: Builder::new(Vec::new()) };
    for (path, mode) in
        [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777), ("var/", 0o755)]
    {
        layer.directory(path, mode)?;
    }
    layer.file("bin/busybox", 0o755, &busybox)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/bin/sh\n";
    layer.file("etc/passwd", 0o644, users.as_bytes())?;
    layer.file("etc/group", 0o644, b"root:x:0:\nuser:x:1000:\nnobody:x:65534:\n")?;
    Ok(layer.builder.into_inner()?)
}

/// Time zero everywhere: the same busybox gives the same digest.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
