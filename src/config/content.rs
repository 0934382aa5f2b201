//! `guest` and `content`: who fills workspaces on plain nodes, and where their content is saved.

use wsman_store::settings::StoreSettings;

use super::endpoints;
use super::faults::Faults;
use super::file;
use super::named_file::Contents;
use super::settings::{Git, Guest, GuestProgram, Nodes, StorageKind, Store};
use crate::redact::show;

/// Returns the program of pods: in its own image, or in that of the content.
pub(super) fn guest_program(guest: &file::Guest, faults: &mut Faults) -> Option<GuestProgram> {
    endpoints::image("guest.image", &guest.image, faults);
    endpoints::image("guest.contentImage", &guest.content_image, faults);
    endpoints::absolute_path("guest.command", &guest.command, faults);
    let mut images = [&guest.image, &guest.content_image].into_iter();
    let image = images.find(|image| !image.is_empty())?;
    Some(GuestProgram {
        image: image.clone(),
        command: guest.command.clone(),
    })
}

/// Returns the guest of plain nodes; Gitpod's nodes have their ws-daemon.
pub(super) fn guest(
    guest: file::Guest,
    content: file::Content,
    nodes: &Nodes,
    files: &Contents,
    faults: &mut Faults,
) -> Option<Guest> {
    endpoints::host_and_port(
        "content.storage.minio.endpoint",
        &content.storage.minio.endpoint,
        faults,
    );
    let directory = &content.storage.path;
    endpoints::absolute_path("content.storage.local.path", directory, faults);
    if *nodes != Nodes::Plain {
        return None;
    }
    // Checked without an image, too: it may be set later.
    let store = store(&content.storage, files, faults);
    let git = git(content.git, files, faults);
    (!guest.content_image.is_empty()).then_some(Guest {
        image: guest.content_image,
        command: guest.command,
        store,
        git,
    })
}

fn store(storage: &file::Storage, files: &Contents, faults: &mut Faults) -> Option<Store> {
    let mut need = |given: &str, key: &str, what: &str| {
        let path = format!("content.storage.{key}");
        faults.unless(
            !given.is_empty(),
            &path,
            format!("is missing, but this kind needs it; {what}"),
        );
    };
    let settings = match storage.kind {
        StorageKind::None => return None,
        StorageKind::Local => {
            need(
                &storage.path,
                "local.path",
                "give a directory that every node has",
            );
            StoreSettings::Local {
                path: storage.path.clone().into(),
            }
        }
        StorageKind::S3 => {
            let s3 = &storage.s3;
            need(&s3.bucket, "s3.bucket", "give a bucket that exists");
            let (id, secret) = aws_credentials(&read(&s3.credentials_file, files));
            StoreSettings::S3 {
                bucket: s3.bucket.clone(),
                region: given(s3.region.clone()),
                endpoint: None,
                allow_http: false,
                path_style: false,
                access_key_id: given(id),
                secret_access_key: given(secret),
            }
        }
        StorageKind::Minio => {
            let minio = &storage.minio;
            need(&minio.bucket, "minio.bucket", "give a bucket that exists");
            need(
                &minio.endpoint,
                "minio.endpoint",
                "give host and port, such as \"minio.default.svc:9000\"",
            );
            let scheme = if minio.secure { "https" } else { "http" };
            let id = either(&minio.access_key_file, &minio.access_key, files);
            let secret = either(&minio.secret_key_file, &minio.secret_key, files);
            StoreSettings::S3 {
                bucket: minio.bucket.clone(),
                region: given(minio.region.clone()),
                endpoint: Some(format!("{scheme}://{}", minio.endpoint)),
                allow_http: !minio.secure,
                path_style: true,
                access_key_id: given(id),
                secret_access_key: given(secret),
            }
        }
        StorageKind::Gcloud => {
            let gcloud = &storage.gcloud;
            need(&gcloud.bucket, "gcloud.bucket", "give a bucket that exists");
            StoreSettings::Gcs {
                bucket: gcloud.bucket.clone(),
                credentials: given(read(&gcloud.credentials_file, files)),
            }
        }
        StorageKind::Azure => {
            let azure = &storage.azure;
            need(&azure.account, "azure.account", "give the storage account");
            need(
                &azure.bucket,
                "azure.container",
                "give a container that exists",
            );
            StoreSettings::Azure {
                account: azure.account.clone(),
                container: azure.bucket.clone(),
                access_key: given(read(&azure.credentials_file, files)),
            }
        }
    };
    Some(Store {
        keep: storage.keep,
        settings,
    })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn read(path: &str, files: &Contents) -> String {
    let text = files.get(path).and_then(|text| text.as_ref().ok());
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn either(path: &str, value: &str, files: &Contents) -> String {
    match path {
        "" => value.to_owned(),
        path => read(path, files),
    }
}

/// Reads the file of the AWS command line: its first id and its first secret.
fn aws_credentials(text: &str) -> (String, String) {
    let find = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(name, _)| name.trim() == wanted);
        found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    (find("aws_access_key_id"), find("aws_secret_access_key"))
}

fn git(git: file::Git, files: &Contents, faults: &mut Faults) -> Git {
    let mut instead_of = Vec::new();
    for (at, pair) in git.instead_of.iter().enumerate() {
        match pair.split_once('=') {
            Some((prefix, with)) if !prefix.is_empty() && !with.is_empty() => {
                instead_of.push((prefix.to_owned(), with.to_owned()));
            }
            _ => faults.add(
                format!("content.git.insteadOf[{at}]"),
                format!("is {}; must be `prefix=replacement`", show(pair)),
            ),
        }
    }
    Git {
        known_hosts: read(&git.known_hosts_file, files),
        accept_new_host_keys: git.accept_new_host_keys,
        allow_file_remotes: git.allow_file_remotes,
        instead_of,
    }
}
