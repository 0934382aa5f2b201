//! The keys of `guest` and `content`: what fills workspaces on plain nodes, and where their content is saved.

use serde_json::json;

use super::super::fields::Fields;
use super::super::file::{Content, Git, Guest, Storage};
use super::super::format::Format;
use super::super::key::key;
use super::super::named_file::Role;
use super::super::settings::StorageKind;

pub(super) fn guest(f: &mut Fields) -> Guest {
    Guest {
        image: f.text(
            key("image", "Image with `wsman-guest` and nothing else, for what needs neither git nor a store.")
                .format(Format::Image)
                .unset("`contentImage`")
                .example("registry.example.com/wsman-guest:1.0"),
        ),
        content_image: f.text(
            key("contentImage", "Image with `wsman-guest`, git, git-lfs and ssh. With it, workspaces on plain nodes begin with their content, and are saved where `content.storage` says.")
                .format(Format::Image)
                .unset("off: only empty workspaces start on plain nodes")
                .example("registry.example.com/wsman-guest-git:1.0"),
        ),
        command: f.text(
            key("command", "Path of `wsman-guest` in both images.")
                .format(Format::Path)
                .default("/wsman-guest"),
        ),
    }
}

pub(super) fn content(f: &mut Fields) -> Content {
    Content {
        storage: f.object(
            key("storage", "Store of backups and snapshots of workspaces on plain nodes. The ws-daemon of Gitpod's nodes has its own."),
            storage,
        ),
        git: f.object(key("git", "How workspaces on plain nodes clone."), git),
    }
}

fn storage(f: &mut Fields) -> Storage {
    let mut storage = Storage::default();
    let kinds = [
        (json!(""), StorageKind::None),
        (json!("local"), StorageKind::Local),
        (json!("s3"), StorageKind::S3),
        (json!("minio"), StorageKind::Minio),
        (json!("gcloud"), StorageKind::Gcloud),
        (json!("azure"), StorageKind::Azure),
    ];
    storage.kind = f
        .choice(
            key(
                "kind",
                "Which of the blocks below counts; `minio` is any server of the S3 protocol.",
            )
            .default("")
            .example("s3"),
            &kinds,
        )
        .unwrap_or_default();
    storage.keep = f.whole(
        key(
            "keep",
            "Backups of a workspace that are kept. Snapshots stay until they are deleted.",
        )
        .default(3),
        1..=1_000,
    );
    f.object(key("local", "A directory that every node has."), |f| {
        storage.path = f.text(
            key(
                "path",
                "The directory, which the containers of the guest mount.",
            )
            .format(Format::Path)
            .example("/var/lib/wsman/content"),
        );
    });
    f.object(key("s3", "A bucket of Amazon S3."), |f| {
        storage.s3.bucket = bucket(f);
        storage.s3.region = region(f);
        storage.s3.credentials_file = f.file(
            key("credentialsFile", "File with `aws_access_key_id` and `aws_secret_access_key`, as of the AWS command line.")
                .unset("the role of the machine")
                .example("/secrets/s3/credentials"),
            Role::Credentials,
        );
    });
    f.object(
        key("minio", "A bucket of a server of the S3 protocol."),
        |f| {
            storage.minio.endpoint = f.text(
                key("endpoint", "Host and port.")
                    .format(Format::HostAndPort)
                    .example("minio.default.svc:9000"),
            );
            storage.minio.secure = f.flag(key("secure", "Whether it has TLS.").default(false));
            storage.minio.bucket = bucket(f);
            storage.minio.region = region(f);
            storage.minio.access_key =
                f.text(key("accessKey", "Id of the access key.").example("wsman"));
            storage.minio.secret_key_file = f.file(
                key("secretKeyFile", "File with the secret of the access key.")
                    .example("/secrets/minio/secret-key"),
                Role::Credentials,
            );
            storage.minio.access_key_file = f.file(
                key(
                    "accessKeyFile",
                    "File with the id of the access key, instead of `accessKey`.",
                )
                .example("/secrets/minio/access-key"),
                Role::Credentials,
            );
            storage.minio.secret_key = f.text(
                key(
                    "secretKey",
                    "The secret of the access key; `secretKeyFile` keeps it out of this file.",
                )
                .example("\u{2026}"),
            );
            f.ignore("parallelUpload");
        },
    );
    f.object(key("gcloud", "A bucket of Google Cloud Storage."), |f| {
        storage.gcloud.bucket = bucket(f);
        storage.gcloud.credentials_file = f.file(
            key("credentialsFile", "File with the key of a service account.")
                .unset("the identity of the machine")
                .example("/secrets/gcloud/key.json"),
            Role::Credentials,
        );
        for classic in [
            "region",
            "projectId",
            "parallelUpload",
            "tmpdir",
            "maximumBackupSize",
        ] {
            f.ignore(classic);
        }
    });
    f.object(key("azure", "A container of Azure Blob Storage."), |f| {
        storage.azure.account = f.text(key("account", "Storage account.").example("wsmancontent"));
        storage.azure.bucket =
            f.text(key("container", "Container of the account.").example("workspaces"));
        storage.azure.credentials_file = f.file(
            key("accessKeyFile", "File with an access key of the account.")
                .unset("the identity of the machine")
                .example("/secrets/azure/access-key"),
            Role::Credentials,
        );
    });
    for classic in ["stage", "backupTrail", "blobQuota"] {
        f.ignore(classic);
    }
    storage
}

fn bucket(f: &mut Fields) -> String {
    f.text(key("bucket", "Bucket, which must exist.").example("workspaces"))
}

fn region(f: &mut Fields) -> String {
    f.text(
        key("region", "Region of the bucket.")
            .unset("`us-east-1`")
            .example("eu-central-1"),
    )
}

fn git(f: &mut Fields) -> Git {
    Git {
        known_hosts_file: f.file(
            key("knownHostsFile", "Host keys of SSH remotes, as in `known_hosts`.")
                .example("/secrets/git/known_hosts"),
            Role::KnownHosts,
        ),
        accept_new_host_keys: f.flag(
            key("acceptNewHostKeys", "Accept the host key of an SSH remote that `knownHostsFile` has not.")
                .default(false),
        ),
        allow_file_remotes: f.flag(
            key("allowFileRemotes", "Accept `file://` remotes and paths: directories of the guest's container.")
                .default(false),
        ),
        instead_of: f.texts(
            key("insteadOf", "Prefixes of URLs and their replacements, `prefix=replacement`, as for SSH URLs of submodules.")
                .format(Format::Text)
                .example(json!(["git@github.com:=https://github.com/"])),
        ),
    }
}
