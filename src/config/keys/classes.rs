//! The keys of a class: resources, pod templates, volumes.

use super::super::fields::Fields;
use super::super::file::{Amounts, Class, Pvc};
use super::super::format::Format;
use super::super::key::{Key, key};
use super::super::named_file::Role;
use super::super::rule::needs;

pub(super) fn class(f: &mut Fields) -> Class {
    let mut class = Class {
        name: f.text(key("name", "Name for people.").example("Standard")),
        description: f.text(
            key("description", "Description for people.")
                .unset("made from the resources")
                .example("Up to 2 cores, 4 GB RAM"),
        ),
        credits_per_minute: f.number(
            key("creditsPerMinute", "Price, as DescribeCluster reports it.")
                .default(0)
                .example(0.25),
            1e9,
        ),
        ..Class::default()
    };
    f.object(key("container", "Resources of the workspace container."), |container| {
        container.object(key("requests", "Guaranteed resources. Not more than the limits."), |f| {
            class.requests = Amounts {
                cpu: f.text(cores("cpu", "CPU, in cores.").example("500m")),
                ..amounts(f, "1Gi")
            };
        });
        container.object(key("limits", "Resource limits. An absent one is unlimited."), |f| {
            f.object(key("cpu", "CPU, in cores."), |f| {
                class.cpu_min = f.text(
                    cores("min", "Lower limit, which a node may enforce under load. Not more than `burst`.").example("1"),
                );
                class.limits.cpu = f.text(cores("burst", "Limit of the container.").example("2"));
            });
            class.limits = Amounts {
                cpu: std::mem::take(&mut class.limits.cpu),
                ..amounts(f, "4Gi")
            };
        });
    });
    f.object(key("templates", "Pod templates: YAML or JSON files with a Pod, merged into the pods of the class. Changes of the files take effect while the daemon runs. The environment variable `TELEPRESENCE_ROOT`, if set, is the prefix of the paths.").rules(|| needs(&[("regularPath", "defaultPath"), ("prebuildPath", "defaultPath"), ("imagebuildPath", "defaultPath")])), |f| {
        let mut path = |name, doc| {
            f.file(key(name, doc).example("/templates/default.yaml"), Role::Template)
        };
        class.default_path = path("defaultPath", "For every workspace.");
        class.regular_path = path("regularPath", "Merged on top of `defaultPath` for regular workspaces.");
        class.prebuild_path = path("prebuildPath", "Merged on top of `defaultPath` for prebuilds.");
        class.imagebuild_path = path("imagebuildPath", "Merged on top of `defaultPath` for image builds.");
        f.ignore("probePath");
    });
    class.backup_interval = f.duration_or_zero(
        key("backupInterval", "How often the content of a running workspace on a plain node is saved, if it changed; `0s`: only at its end.")
            .default("10m"),
    );
    class.git_secret = f.text(
        key("gitSecret", "Secret in the namespace of the workspaces, mounted only by the guest: `ssh-privatekey` is the key for SSH remotes, `known_hosts` has their host keys, beside `content.git.knownHostsFile`.")
            .format(Format::Subdomain)
            .unset("none")
            .example("git-ssh"),
    );
    class.pvc = f.object(
        key(
            "pvc",
            "PersistentVolumeClaim of regular workspaces with PERSISTENT_VOLUME_CLAIM.",
        ),
        pvc,
    );
    class.prebuild_pvc = f.object(
        key(
            "prebuildPVC",
            "PersistentVolumeClaim of prebuilds with PERSISTENT_VOLUME_CLAIM.",
        ),
        pvc,
    );
    class
}

fn amounts(f: &mut Fields, memory: &str) -> Amounts {
    Amounts {
        cpu: String::new(),
        memory: f.text(bytes("memory", "Memory, in bytes.").example(memory)),
        ephemeral_storage: f
            .text(bytes("ephemeral-storage", "Disk of the node, in bytes.").example("10Gi")),
        storage: f.text(
            bytes(
                "storage",
                "Quota of the workspace's content, in bytes; not part of the pod.",
            )
            .example("30Gi"),
        ),
    }
}

fn pvc(f: &mut Fields) -> Pvc {
    Pvc {
        size: f.text(
            key("size", "Size of the volume, in bytes.")
                .format(Format::Size)
                .example("30Gi"),
        ),
        storage_class: f.text(
            key("storageClass", "Storage class.")
                .format(Format::Subdomain)
                .unset("the cluster's default")
                .example("fast"),
        ),
        snapshot_class: f.text(
            key(
                "snapshotClass",
                "VolumeSnapshotClass of its snapshots. Restoring them from handles needs one.",
            )
            .format(Format::Subdomain)
            .unset("the cluster's default")
            .example("csi"),
        ),
    }
}

fn cores(name: &'static str, doc: &'static str) -> Key {
    key(name, doc).format(Format::Cores)
}

fn bytes(name: &'static str, doc: &'static str) -> Key {
    key(name, doc).format(Format::Bytes)
}
