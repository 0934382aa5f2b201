//! The object store that backups lie in: manifests are listed, read, committed and pruned here. The data that they name is
//! written and read inside pods alone.

pub mod manifest;
pub mod settings;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, RetryConfig,
};

use manifest::{
    BackupName, Kind, Manifest, VERSION, owner_prefix, parse_manifest_name, parse_request_name,
    prefix, unsegment,
};
use settings::StoreSettings;

/// How often a commit looks for the next free sequence.
const COMMIT_ATTEMPTS: usize = 20;

/// Data without a manifest that is older belongs to a run that was cut.
const ORPHAN_AGE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// A bucket or a directory.
#[derive(Clone, Debug)]
pub struct Store {
    /// What data is written to and read from.
    pub inner: Arc<dyn ObjectStore>,
    /// Name of the bucket, as in names of backups.
    pub bucket: String,
}

/// A manifest as its name gives it away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub sequence: u64,
    pub name: String,
    /// When it was written, by the clock of the store.
    pub written: jiff::Timestamp,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the store: {0}")]
    Open(String),
    #[error("cannot {verb} {key} in the store: {reason}", reason = reason(.source))]
    Object {
        verb: &'static str,
        key: String,
        source: Error,
    },
    #[error("the manifest {0} is not understood: {1}")]
    Manifest(String, serde_json::Error),
    #[error("the manifest {0} has version {1}; only version 1 is known")]
    Version(String, u32),
    #[error("others commit backups of this workspace at the same time")]
    Contended,
}

impl StoreError {
    /// Whether the object is not in the store.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Object {
                source: Error::NotFound { .. },
                ..
            }
        )
    }

    /// Whether an object is there, but not what a guest writes.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Manifest(..) | Self::Version(..))
    }
}

impl Store {
    /// Opens a store to write to it: a directory is made, and what passes is retried for minutes.
    pub fn create(settings: &StoreSettings) -> Result<Self, StoreError> {
        if let StoreSettings::Local { path } = settings {
            std::fs::create_dir_all(path)
                .map_err(|e| StoreError::Open(format!("{}: {e}", path.display())))?;
        }
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 8,
            retry_timeout: Duration::from_secs(120),
        };
        Self::open_with(settings, retry)
    }

    /// Opens a store to look into it: somebody waits for the answer.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 3,
            retry_timeout: Duration::from_secs(10),
        };
        Self::open_with(settings, retry)
    }

    /// Opens it with another policy of retries.
    pub fn open_with(settings: &StoreSettings, retry: RetryConfig) -> Result<Self, StoreError> {
        let open = |error: Error| StoreError::Open(reason(&error));
        // A second call finds one installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new()
            .with_timeout(Duration::from_secs(300))
            .with_connect_timeout(Duration::from_secs(10));
        let inner: Arc<dyn ObjectStore> = match settings {
            StoreSettings::Local { path } => {
                // Without this the error names neither the path nor what is wrong with it.
                let failed = |e: io::Error| StoreError::Open(format!("{}: {e}", path.display()));
                std::fs::read_dir(path).map_err(failed)?;
                let directory = LocalFileSystem::new_with_prefix(path).map_err(open)?;
                // What is confirmed outlives a power cut.
                Arc::new(directory.with_fsync(true))
            }
            StoreSettings::S3 {
                bucket,
                region,
                endpoint,
                allow_http,
                path_style,
                access_key_id,
                secret_access_key,
            } => {
                // Without keys the environment and the node's identity give some.
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(options.with_allow_http(*allow_http))
                    .with_virtual_hosted_style_request(!path_style && endpoint.is_none())
                    .with_retry(retry);
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if let (Some(id), Some(key)) = (access_key_id, secret_access_key) {
                    builder = builder.with_access_key_id(id).with_secret_access_key(key);
                }
                Arc::new(builder.build().map_err(open)?)
            }
            StoreSettings::Gcs {
                bucket,
                credentials,
            } => {
                let mut builder = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(options)
                    .with_retry(retry);
                if let Some(credentials) = credentials {
                    builder = builder.with_service_account_key(credentials);
                }
                Arc::new(builder.build().map_err(open)?)
            }
            StoreSettings::Azure {
                account,
                container,
                access_key,
            } => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_account(account)
                    .with_container_name(container)
                    .with_client_options(options)
                    .with_retry(retry);
                if let Some(key) = access_key {
                    builder = builder.with_access_key(key);
                }
                Arc::new(builder.build().map_err(open)?)
            }
        };
        Ok(Self {
            inner,
            bucket: settings.bucket().to_owned(),
        })
    }

    /// A store over another implementation.
    pub fn over(inner: Arc<dyn ObjectStore>, bucket: &str) -> Self {
        Self {
            inner,
            bucket: bucket.to_owned(),
        }
    }

    /// Every workspace of an owner that has something in the store, in the order of their prefixes.
    pub async fn workspaces(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        let prefix = owner_prefix(owner);
        let listed = self
            .inner
            .list_with_delimiter(Some(&key(&prefix)?))
            .await
            .map_err(|source| failed("list", &prefix, source))?;
        let mut found: Vec<_> = listed
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename())
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().filter_map(unsegment).collect())
    }

    /// Every manifest of a workspace, the oldest first.
    pub async fn list(&self, owner: &str, workspace: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = prefix(owner, workspace);
        let listed = self
            .inner
            .list_with_delimiter(Some(&key(&prefix)?))
            .await
            .map_err(|source| failed("list", &prefix, source))?;
        let mut manifests: Vec<_> = listed
            .objects
            .iter()
            .filter_map(|object| {
                let name = object.location.filename()?;
                let sequence = parse_manifest_name(name)?.sequence;
                Some(Listed {
                    sequence,
                    name: name.to_owned(),
                    written: written(object),
                })
            })
            .collect();
        manifests.sort();
        Ok(manifests)
    }

    /// The name of the manifest that a name of a backup stands for; none if it was given before it was saved, and nothing was
    /// saved under it.
    pub async fn resolve(&self, name: &BackupName) -> Result<Option<String>, StoreError> {
        let Some(wanted) = parse_request_name(&name.manifest) else {
            return Ok(Some(name.manifest.clone()));
        };
        let listed = self.list(&name.owner, &name.workspace).await?;
        let mut newest_first = listed.into_iter().rev().map(|listed| listed.name);
        Ok(newest_first.find(|file| {
            let parsed = parse_manifest_name(file);
            parsed.is_some_and(|parsed| Some(wanted) == parsed.request.map(|id| (parsed.kind, id)))
        }))
    }

    /// The manifest of that name.
    pub async fn manifest(
        &self,
        owner: &str,
        workspace: &str,
        name: &str,
    ) -> Result<Manifest, StoreError> {
        let path = format!("{}/{name}", prefix(owner, workspace));
        let read = async { self.inner.get(&key(&path)?).await?.bytes().await };
        let bytes = read.await.map_err(|source| failed("read", &path, source))?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Manifest(path.clone(), error))?;
        if manifest.version != VERSION {
            return Err(StoreError::Version(path, manifest.version));
        }
        Ok(manifest)
    }

    /// The newest content of a workspace, whatever it was made for.
    pub async fn latest(
        &self,
        owner: &str,
        workspace: &str,
    ) -> Result<Option<(String, Manifest)>, StoreError> {
        let Some(last) = self.list(owner, workspace).await?.pop() else {
            return Ok(None);
        };
        let manifest = self.manifest(owner, workspace, &last.name).await?;
        Ok(Some((last.name, manifest)))
    }

    /// Writes the manifest under the next free sequence, which makes its data a backup.
    pub async fn commit(&self, mut manifest: Manifest) -> Result<Manifest, StoreError> {
        let (owner, workspace) = (manifest.owner.clone(), manifest.workspace.clone());
        for _ in 0..COMMIT_ATTEMPTS {
            let last = self.list(&owner, &workspace).await?.pop();
            manifest.sequence = last.map_or(0, |last| last.sequence) + 1;
            let name = manifest.file_name();
            let path = format!("{}/{name}", prefix(&owner, &workspace));
            let bytes = serde_json::to_vec(&manifest)
                .map_err(|error| StoreError::Manifest(path.clone(), error))?;
            let create = PutOptions {
                mode: PutMode::Create,
                ..PutOptions::default()
            };
            let put = async {
                let path = key(&path)?;
                self.inner.put_opts(&path, bytes.into(), create).await
            };
            match put.await {
                Ok(_) => return Ok(manifest),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                    // It may be this one, if the answer to it was lost.
                    let there = self.manifest(&owner, &workspace, &name).await?;
                    if there == manifest {
                        return Ok(manifest);
                    }
                }
                Err(source) => {
                    // An answer that was lost is no failure of the write.
                    return match self.manifest(&owner, &workspace, &name).await {
                        Ok(there) if there == manifest => Ok(manifest),
                        _ => Err(failed("write", &path, source)),
                    };
                }
            }
        }
        Err(StoreError::Contended)
    }

    /// Removes all but the last `keep` backups, and data that no manifest names. Snapshots stay.
    pub async fn prune(&self, owner: &str, workspace: &str, keep: usize) -> Result<(), StoreError> {
        let mut manifests = self.list(owner, workspace).await?;
        let mut backups: Vec<_> = manifests
            .iter()
            .filter(|m| parse_manifest_name(&m.name).is_some_and(|m| m.kind == Kind::Backup))
            .cloned()
            .collect();
        backups.truncate(backups.len().saturating_sub(keep));
        let mut released = HashSet::new();
        for old in &backups {
            released.insert(self.manifest(owner, workspace, &old.name).await?.data);
            self.delete(&format!("{}/{}", prefix(owner, workspace), old.name))
                .await?;
        }
        manifests.retain(|manifest| !backups.contains(manifest));
        let mut kept = HashSet::new();
        for manifest in &manifests {
            kept.insert(self.manifest(owner, workspace, &manifest.name).await?.data);
        }
        let data = format!("{}/data", prefix(owner, workspace));
        let objects: Vec<_> = self
            .inner
            .list(Some(&key(&data)?))
            .try_collect()
            .await
            .map_err(|source| failed("list", &data, source))?;
        let now = jiff::Timestamp::now();
        for object in objects {
            let path = object.location.as_ref();
            let age = now.duration_since(written(&object));
            if !kept.contains(path) && (released.contains(path) || age > ORPHAN_AGE) {
                self.delete(path).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.inner.delete(&key(path)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("delete", path, source)),
        }
    }
}

/// When an object was written, in whole seconds.
fn written(object: &ObjectMeta) -> jiff::Timestamp {
    let seconds = object.last_modified.timestamp();
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
}

/// A key that is encoded already.
pub fn key(path: &str) -> Result<Path, Error> {
    Ok(Path::parse(path)?)
}

/// Names what was tried with which key.
pub fn failed(verb: &'static str, key: &str, source: Error) -> StoreError {
    StoreError::Object {
        verb,
        key: key.to_owned(),
        source,
    }
}

impl From<Error> for StoreError {
    fn from(source: Error) -> Self {
        Self::Object {
            verb: "use",
            key: "a key".into(),
            source,
        }
    }
}

/// What a store's error comes down to, in plain words.
fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        {
            return "it is full".into();
        }
        cause = error.source();
    }
    let has = |part: &str| text.contains(part);
    let plain = match error {
        _ if has("NoSuchBucket") => Some("the bucket does not exist"),
        Error::NotFound { .. } => Some("it is not there"),
        _ if has("RequestTimeTooSkewed") => {
            Some("the clock of this node differs too much from that of the store")
        }
        _ if has("507 ") || has("QuotaExceeded") || has("StorageFull") => Some("it is full"),
        Error::PermissionDenied { .. } => Some("access is denied"),
        Error::Unauthenticated { .. } => Some("the credentials are not accepted"),
        _ => None,
    };
    if let Some(plain) = plain {
        return plain.into();
    }
    text.truncate(text.floor_char_boundary(400));
    text
}

#[cfg(test)]
mod tests;
