//! `scripts/oci-image`: the images of a release are what registries and nodes expect, and the same bytes each time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Every digest and size is that of its file, and the layer holds the binary and nothing else.
#[test]
fn an_image_is_what_its_digests_say() {
    let folder = tempfile::tempdir().unwrap();
    let binary = elf(folder.path(), 62, "the program");
    let layout = folder.path().join("image");
    let manifest = written(&image(&binary, "example.com/tools/guest:1.2", &layout));

    let index = json(&fs::read(layout.join("index.json")).unwrap());
    let described = &index["manifests"][0];
    assert_eq!(described["digest"], manifest.as_str());
    assert_eq!(
        described["platform"],
        json!({ "architecture": "amd64", "os": "linux" })
    );
    let tag = &described["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(tag, "1.2");
    let manifest = json(&blob(&layout, described));
    let config = json(&blob(&layout, &manifest["config"]));
    assert_eq!(
        config["config"],
        json!({ "User": "65532:65532", "Entrypoint": ["/guest"] })
    );
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");

    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    let mut layer = Vec::new();
    let packed = blob(&layout, &layers[0]);
    GzDecoder::new(&*packed).read_to_end(&mut layer).unwrap();
    assert_eq!(
        config["rootfs"]["diff_ids"],
        json!([format!("sha256:{}", sha256(&layer))])
    );
    let (name, mode, owner, time) = (
        field(&layer, 0, 100),
        field(&layer, 100, 7),
        field(&layer, 108, 7),
        field(&layer, 136, 11),
    );
    assert_eq!(
        (name, mode, owner, time),
        ("guest", "0000755", "0000000", "00000000000")
    );
    let content = fs::read(&binary).unwrap();
    assert_eq!(&layer[512..512 + content.len()], content);
    assert!(layer[1024..].iter().all(|byte| *byte == 0), "a second file");

    // What an older `docker load` reads.
    let archive = fs::read(folder.path().join("image.tar")).unwrap();
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains(r#""RepoTags":["example.com/tools/guest:1.2"]"#));
}

#[test]
fn the_same_binary_gives_the_same_bytes() {
    let mut made = Vec::new();
    for umask in ["022", "077"] {
        let folder = tempfile::tempdir().unwrap();
        let binary = elf(folder.path(), 183, "the program");
        let layout = folder.path().join("image");
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(script());
        command.arg(&binary).arg("guest:1").arg(&layout);
        command.arg("/wsman-guest");
        written(&command.output().unwrap());
        fs::remove_file(binary).unwrap();
        made.push(contents(folder.path()));
    }
    assert_eq!(made[0].len(), 6, "{:?}", made[0].keys());
    assert!(made[0] == made[1], "two runs differ");
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    let (pc, other) = (
        elf(folder.path(), 62, ""),
        elf(folder.path(), 8, "another machine"),
    );
    let taken = folder.path().to_owned();
    let free = folder.path().join("image");
    for (binary, reference, layout, why) in [
        (&text, "guest:1", &free, "no ELF binary"),
        (&other, "guest:1", &free, "binary of an unknown machine: 8"),
        (&pc, "guest", &free, "no NAME:TAG: guest"),
        (&pc, "Guest:1", &free, "no NAME:TAG: Guest:1"),
        (&pc, "guest:1", &taken, "is there already"),
    ] {
        let output = image(binary, reference, layout);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains(why), "{errors}");
        assert!(!free.exists());
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oci-image")
}

fn image(binary: &Path, reference: &str, layout: &Path) -> Output {
    let mut command = Command::new(script());
    command.arg(binary).arg(reference).arg(layout);
    command.output().unwrap()
}

/// The digest that a run printed.
fn written(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The beginning of a binary for `machine`.
fn elf(folder: &Path, machine: u8, more: &str) -> PathBuf {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    bytes.resize(18, 0);
    bytes.extend([machine, 0]);
    bytes.extend(more.as_bytes());
    let path = folder.join(format!("binary-{machine}"));
    fs::write(&path, bytes).unwrap();
    path
}

/// What a descriptor names, if it is as the descriptor says.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let hash = descriptor["digest"].as_str().unwrap();
    let hash = hash.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(hash)).unwrap();
    assert_eq!(sha256(&bytes), hash);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A text of a tar header.
fn field(layer: &[u8], from: usize, length: usize) -> &str {
    let text = std::str::from_utf8(&layer[from..from + length]).unwrap();
    text.trim_end_matches('\0')
}

/// Every file below `folder`.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}
