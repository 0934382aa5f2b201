//! The directories of a container: its home, and links to its volumes in place of a root file system.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::directories;
use super::environment::expand;
use super::paths::Paths;
use super::volumes::is_inside;

/// The termination log, unless the container names another path.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What a container sees of the file system.
#[derive(Clone, Debug)]
pub(crate) struct Rootfs {
    pub(crate) root: PathBuf,
    pub(crate) tmp: PathBuf,
    pub(crate) termination_log: PathBuf,
    /// Where it starts.
    pub(crate) directory: PathBuf,
    pub(crate) paths: Paths,
}

/// Creates the directories below `home`, and the links to the volumes.
pub(crate) fn build(
    home: &Path,
    container: &Container,
    volumes: &BTreeMap<String, PathBuf>,
    programs: &BTreeMap<String, PathBuf>,
    variables: &[(String, String)],
) -> Result<Rootfs, String> {
    let io = |error: io::Error| error.to_string();
    let (root, tmp) = (home.join("rootfs"), home.join("tmp"));
    directories::create(&root).map_err(io)?;
    directories::create(&tmp).map_err(io)?;
    let termination_log = home.join("termination-log");
    fs::write(&termination_log, "").map_err(io)?;

    let mut mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    // An outer mount comes before those inside it, which are then links in its volume.
    mounts.sort_by_key(|mount| mount.mount_path.len());
    let real = |(path, real): (&String, &PathBuf)| (path.clone(), real.display().to_string());
    let mut pairs: Vec<_> = programs.iter().map(real).collect();
    for mount in mounts {
        let path = mount.mount_path.trim_end_matches('/');
        let relative = path.trim_start_matches('/');
        if !is_inside(relative) {
            return Err(format!("mountPath {path:?} cannot be linked"));
        }
        let target = target(mount, volumes, variables)?;
        link(&root.join(relative), &target)
            .map_err(|error| format!("cannot link mountPath {path:?}: {error}"))?;
        pairs.push((format!("/{relative}"), target.display().to_string()));
    }
    let log = container.termination_message_path.as_deref();
    let log = log.unwrap_or(TERMINATION_LOG).to_owned();
    pairs.push((log, termination_log.display().to_string()));
    let paths = Paths::new(pairs);

    let directory = match container.working_dir.as_deref().unwrap_or_default() {
        "" | "/" => root.clone(),
        asked => match paths.find(asked) {
            Some(found) => PathBuf::from(found),
            None if is_inside(asked.trim_start_matches('/')) => {
                root.join(asked.trim_start_matches('/'))
            }
            None => return Err(format!("workingDir {asked:?} is no absolute path")),
        },
    };
    directories::create(&directory).map_err(io)?;
    Ok(Rootfs {
        root,
        tmp,
        termination_log,
        directory,
        paths,
    })
}

/// The directory or file that is mounted.
fn target(
    mount: &VolumeMount,
    volumes: &BTreeMap<String, PathBuf>,
    variables: &[(String, String)],
) -> Result<PathBuf, String> {
    let name = &mount.name;
    let volume = volumes.get(name);
    let volume = volume.ok_or_else(|| format!("volume {name:?} not found"))?;
    let lookup = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let plain = mount.sub_path.clone();
    let expanded = mount.sub_path_expr.as_ref();
    let expanded = expanded.map(|text| expand(text, lookup));
    let Some(sub_path) = plain.or(expanded).filter(|path| !path.is_empty()) else {
        return Ok(volume.clone());
    };
    if !is_inside(&sub_path) {
        return Err(format!(
            "subPath {sub_path:?} is outside of volume {name:?}"
        ));
    }
    let target = volume.join(sub_path);
    if !target.exists() {
        directories::create(&target).map_err(|error| error.to_string())?;
    }
    Ok(target)
}

/// Links to the target; the same link is left as it is, because another container may use it.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        directories::create(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            if fs::read_link(path)? == target {
                return Ok(());
            }
            fs::remove_file(path)?;
        }
        // A mount hides what is below it; here, only nothing can be hidden.
        Ok(found) if found.is_dir() => fs::remove_dir(path)?,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, path)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(folder: &Path, container: Value) -> Result<Rootfs, String> {
        let volumes = ["work", "cache"].map(|name| {
            let path = folder.join(name);
            fs::create_dir_all(&path).unwrap();
            (name.to_owned(), path)
        });
        let container = serde_json::from_value(container).unwrap();
        let variables = [("NAME".to_owned(), "x".to_owned())];
        let programs = [("/tool".to_owned(), PathBuf::from("/opt/tool"))].into();
        build(
            &folder.join("c"),
            &container,
            &volumes.into(),
            &programs,
            &variables,
        )
    }

    #[test]
    fn mounts_are_links_and_may_be_inside_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let container = json!({ "name": "c", "workingDir": "/work/src", "volumeMounts": [
            { "name": "cache", "mountPath": "/work/.cache", "subPathExpr": "$(NAME)" },
            { "name": "work", "mountPath": "/work/" },
        ] });
        let rootfs = built(folder.path(), container.clone()).unwrap();
        fs::write(rootfs.root.join("work/.cache/file"), "").unwrap();
        assert!(folder.path().join("cache/x/file").exists());
        assert_eq!(rootfs.directory, folder.path().join("work/src"));
        assert!(rootfs.directory.is_dir());
        let real = rootfs.paths.rewrite("--log=/dev/termination-log");
        assert_eq!(real, format!("--log={}", rootfs.termination_log.display()));
        assert_eq!(rootfs.paths.rewrite("/tool"), "/opt/tool");
        // A restart finds them.
        built(folder.path(), container).unwrap();
    }

    #[test]
    fn no_mount_leaves_the_container() {
        let folder = tempfile::tempdir().unwrap();
        for mount in [
            json!({ "name": "work", "mountPath": "/a/../../b" }),
            json!({ "name": "work", "mountPath": "/a", "subPath": "../b" }),
            json!({ "name": "none", "mountPath": "/a" }),
            json!({ "name": "work", "mountPath": "/" }),
        ] {
            let container = json!({ "name": "c", "volumeMounts": [mount] });
            assert!(built(folder.path(), container).is_err(), "{mount}");
        }
        let outside = json!({ "name": "c", "workingDir": "/../x" });
        assert!(built(folder.path(), outside).is_err());
    }
}
