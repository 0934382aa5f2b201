//! `guest` and `content`: who fills workspaces on plain nodes, and where their content is saved.

use serde_json::{Value, json};

use super::endpoints;
use super::faults::Faults;
use super::file;
use super::named_file::Contents;
use super::settings::{Git, Guest, Nodes, StorageKind, Store};
use crate::redact::show;

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
    endpoints::absolute_path("guest.command", &guest.command, faults);
    let directory = &content.storage.path;
    endpoints::absolute_path("content.storage.local.path", directory, faults);
    if *nodes != Nodes::Plain || guest.content_image.is_empty() {
        return None;
    }
    Some(Guest {
        image: guest.content_image,
        command: guest.command,
        store: store(&content.storage, files, faults),
        git: git(content.git, files, faults),
    })
}

fn store(storage: &file::Storage, files: &Contents, faults: &mut Faults) -> Option<Store> {
    let mut need = |given: &str, key: &str, what: &str| {
        let path = format!("content.storage.{key}");
        faults.unless(!given.is_empty(), &path, format!("is missing; {what}"));
    };
    let (bucket, value) = match storage.kind {
        StorageKind::None => return None,
        StorageKind::Local => {
            need(
                &storage.path,
                "local.path",
                "give a directory that every node has",
            );
            let path = storage.path.as_str();
            (path, json!({ "local": { "path": path } }))
        }
        StorageKind::S3 => {
            let s3 = &storage.s3;
            need(&s3.bucket, "s3.bucket", "give a bucket that exists");
            let (id, secret) = aws_credentials(&read(&s3.credentials_file, files));
            let value = s3_value(s3, None, &id, &secret);
            (s3.bucket.as_str(), value)
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
            let endpoint = format!("{scheme}://{}", minio.endpoint);
            let id = either(&minio.access_key_file, &minio.access_key, files);
            let secret = either(&minio.secret_key_file, &minio.secret_key, files);
            let value = s3_value(minio, Some(&endpoint), &id, &secret);
            (minio.bucket.as_str(), value)
        }
        StorageKind::Gcloud => {
            let gcloud = &storage.gcloud;
            need(&gcloud.bucket, "gcloud.bucket", "give a bucket that exists");
            let credentials = read(&gcloud.credentials_file, files);
            let value = json!({ "gcs": without_empty(json!({ "bucket": gcloud.bucket, "credentials": credentials })) });
            (gcloud.bucket.as_str(), value)
        }
        StorageKind::Azure => {
            let azure = &storage.azure;
            need(&azure.account, "azure.account", "give the storage account");
            need(
                &azure.bucket,
                "azure.container",
                "give a container that exists",
            );
            let key = read(&azure.credentials_file, files);
            let value = json!({ "azure": without_empty(json!({ "account": azure.account, "container": azure.bucket, "access_key": key })) });
            (azure.bucket.as_str(), value)
        }
    };
    Some(Store {
        kind: storage.kind,
        bucket: bucket.to_owned(),
        keep: storage.keep,
        value,
    })
}

fn s3_value(bucket: &file::Bucket, endpoint: Option<&str>, id: &str, secret: &str) -> Value {
    let mut value = without_empty(json!({
        "bucket": bucket.bucket,
        "region": bucket.region,
        "endpoint": endpoint.unwrap_or_default(),
        "access_key_id": id,
        "secret_access_key": secret,
    }));
    if let Some(endpoint) = endpoint {
        value["allow_http"] = endpoint.starts_with("http:").into();
        value["path_style"] = true.into();
    }
    json!({ "s3": value })
}

fn without_empty(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| value != "");
    }
    value
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
