//! The volumes of a pod as directories.
//!
//! They are written before the first container starts. Later, files follow their Secrets and ConfigMaps within seconds,
//! each at once; those that are mounted by a subPath do, too. Sizes, media and read-only mounts are not enforced.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use super::Shared;
use super::directories::{self, Directories};
use super::fields;
use super::sources::Reader;

const DEFAULT_MODE: i32 = 0o644;
/// How often volumes follow their objects.
const REFRESH: Duration = Duration::from_secs(5);

/// Creates the volumes; returns where they are, by name. The error is the kubelet's text.
pub(crate) async fn mount(
    directories: &Directories,
    reader: &Reader,
    pod: &Pod,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut found = BTreeMap::new();
    for volume in volumes.into_iter().flatten() {
        let failed = |why: String| {
            let name = &volume.name;
            format!("MountVolume.SetUp failed for volume {name:?} : {why}")
        };
        let io = |error: io::Error| failed(error.to_string());
        let own = directories.volume(uid, &volume.name);
        if let Some(claim) = &volume.persistent_volume_claim {
            let name = &claim.claim_name;
            let missing = || failed(format!("persistentvolumeclaim {name:?} not found"));
            let uid = reader.claim(name).await.map_err(failed)?;
            let uid = uid.ok_or_else(missing)?;
            let path = directories.claim(namespace, name, &uid).map_err(io)?;
            found.insert(volume.name.clone(), path);
            continue;
        }
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            match host.type_.as_deref() {
                Some("DirectoryOrCreate") => fs::create_dir_all(&path).map_err(io)?,
                _ if !path.is_dir() => {
                    return Err(failed(format!("{path:?} is no directory")));
                }
                _ => {}
            }
            found.insert(volume.name.clone(), path);
            continue;
        }
        directories::create(&own).map_err(io)?;
        if volume.empty_dir.is_none() {
            let files = files(reader, pod, volume).await.map_err(failed)?;
            write(&own, &files).map_err(io)?;
        }
        found.insert(volume.name.clone(), own);
    }
    Ok(found)
}

/// Brings what changes in Secrets and ConfigMaps into the volumes of a pod, for ever.
pub(crate) async fn follow(shared: Arc<Shared>, reader: Reader, pod: Pod) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let changing: Vec<_> = volumes
        .filter(|one| one.secret.is_some() || one.config_map.is_some() || one.projected.is_some())
        .collect();
    while !changing.is_empty() {
        tokio::time::sleep(REFRESH).await;
        for volume in &changing {
            // What is gone or cannot be read leaves the files as they are.
            let Ok(files) = files(&reader, &pod, volume).await else {
                continue;
            };
            let path = shared.directories.volume(uid, &volume.name);
            if let Err(error) = update(&path, &files) {
                tracing::warn!(%error, uid, volume = volume.name, "a volume is not updated");
            }
        }
    }
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    path: String,
    mode: i32,
    bytes: Vec<u8>,
}

async fn files(reader: &Reader, pod: &Pod, volume: &Volume) -> Result<Vec<Content>, String> {
    let mut files = Vec::new();
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let data = reader.secret(name).await?;
        let object = Object {
            kind: "secret",
            name,
            optional: secret.optional,
        };
        let mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
        files.extend(object.files(data, secret.items.as_deref(), mode)?);
    } else if let Some(map) = &volume.config_map {
        let data = reader.config_map(&map.name).await?;
        let object = Object {
            kind: "configmap",
            name: &map.name,
            optional: map.optional,
        };
        let mode = map.default_mode.unwrap_or(DEFAULT_MODE);
        files.extend(object.files(data, map.items.as_deref(), mode)?);
    } else if let Some(downward) = &volume.downward_api {
        let mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
        files.extend(downward_files(pod, downward.items.as_deref(), mode)?);
    }
    let projected = volume.projected.as_ref();
    let mode = projected.and_then(|all| all.default_mode);
    let mode = mode.unwrap_or(DEFAULT_MODE);
    for source in projected
        .iter()
        .flat_map(|all| all.sources.iter().flatten())
    {
        if let Some(secret) = &source.secret {
            let data = reader.secret(&secret.name).await?;
            let object = Object {
                kind: "secret",
                name: &secret.name,
                optional: secret.optional,
            };
            files.extend(object.files(data, secret.items.as_deref(), mode)?);
        }
        if let Some(map) = &source.config_map {
            let data = reader.config_map(&map.name).await?;
            let object = Object {
                kind: "configmap",
                name: &map.name,
                optional: map.optional,
            };
            files.extend(object.files(data, map.items.as_deref(), mode)?);
        }
        if let Some(downward) = &source.downward_api {
            files.extend(downward_files(pod, downward.items.as_deref(), mode)?);
        }
    }
    Ok(files)
}

/// The object whose keys become files.
struct Object<'a> {
    kind: &'a str,
    name: &'a str,
    optional: Option<bool>,
}

impl Object<'_> {
    fn files(
        &self,
        data: Option<BTreeMap<String, Vec<u8>>>,
        items: Option<&[KeyToPath]>,
        mode: i32,
    ) -> Result<Vec<Content>, String> {
        let optional = self.optional == Some(true);
        let (kind, name) = (self.kind, self.name);
        let data = match data {
            None if !optional => return Err(format!("{kind} {name:?} not found")),
            data => data.unwrap_or_default(),
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            let all = data.into_iter();
            return Ok(all
                .map(|(path, bytes)| Content { path, mode, bytes })
                .collect());
        };
        let mut files = Vec::new();
        for item in items {
            match data.get(&item.key) {
                Some(bytes) => files.push(Content {
                    path: item.path.clone(),
                    mode: item.mode.unwrap_or(mode),
                    bytes: bytes.clone(),
                }),
                None if optional => {}
                None => {
                    return Err(format!("references non-existent {kind} key: {}", item.key));
                }
            }
        }
        Ok(files)
    }
}

fn downward_files(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
) -> Result<Vec<Content>, String> {
    let mut files = Vec::new();
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            fields::of_pod(pod, &field.field_path)?
        } else if let Some(field) = &item.resource_field_ref {
            let name = field.container_name.as_deref().unwrap_or_default();
            let spec = pod.spec.as_ref();
            let container = spec.and_then(|spec| spec.containers.iter().find(|c| c.name == name));
            let container = container.ok_or_else(|| format!("container {name:?} not found"))?;
            fields::of_container(container, &field.resource, field.divisor.as_ref())?
        } else {
            continue;
        };
        files.push(Content {
            path: item.path.clone(),
            mode: item.mode.unwrap_or(mode),
            bytes: text.into_bytes(),
        });
    }
    Ok(files)
}

/// Writes all files anew; what was there before goes.
fn write(volume: &Path, files: &[Content]) -> io::Result<()> {
    fs::remove_dir_all(volume)?;
    directories::create(volume)?;
    // Two sources of a projected volume may have the same path: the later one stays.
    files.iter().try_for_each(|file| put(volume, file))
}

/// Writes the files that have changed, and removes those that are not there any more.
fn update(volume: &Path, files: &[Content]) -> io::Result<()> {
    let wanted: BTreeMap<_, _> = files.iter().map(|f| (volume.join(&f.path), f)).collect();
    let mut open = vec![volume.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false if wanted.contains_key(&path) => {}
                false => fs::remove_file(path)?,
            }
        }
    }
    let changed = |path: &Path, file: &Content| fs::read(path).ok().as_ref() != Some(&file.bytes);
    let mut changes = wanted.iter().filter(|(path, file)| changed(path, file));
    changes.try_for_each(|(_, file)| put(volume, file))
}

/// Replaces a file at once.
fn put(volume: &Path, file: &Content) -> io::Result<()> {
    if !is_inside(&file.path) {
        let why = format!("{:?} is no path inside a volume", file.path);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let path = volume.join(&file.path);
    if let Some(parent) = path.parent() {
        directories::create(parent)?;
    }
    // No key has such a name.
    let new = path.with_file_name("..new");
    let _ = fs::remove_file(&new);
    let mut open = OpenOptions::new();
    let mut opened = open.write(true).create_new(true).mode(0o600).open(&new)?;
    opened.write_all(&file.bytes)?;
    let mode = u32::try_from(file.mode).unwrap_or(0o600) & 0o777;
    opened.set_permissions(Permissions::from_mode(mode))?;
    fs::rename(new, path)
}

/// Whether a relative path stays below its directory.
pub(crate) fn is_inside(path: &str) -> bool {
    let parts = Path::new(path).components();
    !path.is_empty() && { parts }.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_have_their_modes_and_nobody_else_enters() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        let object = Object {
            kind: "secret",
            name: "s",
            optional: None,
        };
        let data = BTreeMap::from([
            ("key".to_owned(), b"1".to_vec()),
            ("other".to_owned(), b"2".to_vec()),
        ]);
        let item = |path: &str, mode| KeyToPath {
            key: "key".to_owned(),
            path: path.to_owned(),
            mode,
        };
        let items = [item("a/b", None), item("c", Some(0o444))];
        let files = object.files(Some(data), Some(&items), 0o600).unwrap();
        directories::create(&volume).unwrap();
        fs::write(volume.join("old"), "").unwrap();
        write(&volume, &files).unwrap();
        assert_eq!(fs::read(volume.join("a/b")).unwrap(), b"1");
        assert_eq!(mode(&volume), 0o700);
        assert_eq!(mode(&volume.join("a/b")), 0o600);
        assert_eq!(mode(&volume.join("c")), 0o444);
        assert!(!volume.join("old").exists());
        let changed = Content {
            bytes: b"2".to_vec(),
            ..files[0].clone()
        };
        update(&volume, &[changed]).unwrap();
        assert_eq!(fs::read(volume.join("a/b")).unwrap(), b"2");
        assert_eq!(mode(&volume.join("a/b")), 0o600);
        assert!(!volume.join("c").exists());
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        let object = |optional| Object {
            kind: "configmap",
            name: "m",
            optional,
        };
        let items = [KeyToPath {
            key: "key".to_owned(),
            path: "p".to_owned(),
            mode: None,
        }];
        let error = |data| {
            let files = object(None).files(data, Some(&items), 0o644);
            files.unwrap_err()
        };
        assert_eq!(error(None), "configmap \"m\" not found");
        assert_eq!(
            error(Some(BTreeMap::new())),
            "references non-existent configmap key: key"
        );
        let none = object(Some(true)).files(None, Some(&items), 0o644);
        assert_eq!(none, Ok(Vec::new()));
    }

    #[test]
    fn no_file_leaves_its_volume() {
        for (path, inside) in [
            ("a/b", true),
            ("..data", true),
            ("../a", false),
            ("a/../../b", false),
            ("/a", false),
            ("", false),
        ] {
            assert_eq!(is_inside(path), inside, "{path:?}");
        }
    }
}
