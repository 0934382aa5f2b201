//! Looks into the store of saved workspaces. It reads manifests; content never passes through here.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use wsman_store::manifest::{BackupName, Manifest, segment};
use wsman_store::settings::StoreSettings;
use wsman_store::{Listed, Store, StoreError};

use crate::config::Settings;
use crate::error::Error;
use crate::proto::wsman::backups::v1::{Backup, ListBackupsResponse};
use crate::workspaces::content::backups::{self, Cursor, Whose};

/// Manifests that one call reads at once.
const AT_ONCE: usize = 8;
/// Calls that look into the store at once: one that hangs may hold a thread.
const MOST_CALLS: usize = 32;

/// The configured store, opened when it is first needed.
#[derive(Debug, Clone)]
pub struct Backups {
    settings: watch::Receiver<Arc<Settings>>,
    opened: Arc<Mutex<Option<(StoreSettings, Store)>>>,
    calls: Arc<Semaphore>,
}

impl Backups {
    /// Looks into the store of the current configuration.
    pub fn new(settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self {
            settings,
            opened: Arc::default(),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
        }
    }

    /// Lists a page of backups: workspaces by name, and of each the newest first.
    ///
    /// # Errors
    /// [`Error::Precondition`] without a store, [`Error::Unavailable`] with the store's reason, [`Error::Deadline`].
    pub async fn page(
        &self,
        whose: &Whose,
        after: Option<&Cursor>,
        size: usize,
        deadline: Instant,
    ) -> Result<ListBackupsResponse, Error> {
        let listing = "listing the backups in the store";
        let page = self.within(listing, deadline, async |store| {
            page(&store, whose, after, size).await
        });
        page.await
    }

    /// Returns the newest backup of a workspace.
    ///
    /// # Errors
    /// Those of [`Self::page`].
    pub async fn last(
        &self,
        owner: &str,
        workspace: &str,
        deadline: Instant,
    ) -> Result<Option<(BackupName, Manifest)>, Error> {
        let looking = "looking for the last backup in the store";
        let last = self.within(looking, deadline, async |store| {
            let last = store.latest(owner, workspace).await?;
            Ok(last.map(|(manifest, read)| (name(&store, owner, workspace, manifest), read)))
        });
        last.await
    }

    async fn within<T>(
        &self,
        doing: &str,
        deadline: Instant,
        look: impl AsyncFnOnce(Store) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let looking = async {
            // It is never closed.
            let _permit = self.calls.acquire().await;
            look(self.store(doing)?)
                .await
                .map_err(|error| failed(doing, &error))
        };
        let late = |_| Error::Deadline {
            doing: doing.to_owned(),
        };
        timeout_at(deadline, looking).await.map_err(late)?
    }

    fn store(&self, doing: &str) -> Result<Store, Error> {
        let current = self.settings.borrow().clone();
        let guest = current.manager.guest.as_ref();
        let Some(configured) = guest.and_then(|guest| guest.store.as_ref()) else {
            return Err(Error::Precondition {
                state: "NO_CONTENT_BACKEND",
                why:
                    "there are no backups: guest.contentImage or content.storage is not configured"
                        .to_owned(),
            });
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((settings, store)) = &*opened
            && *settings == configured.settings
        {
            return Ok(store.clone());
        }
        let store = Store::open(&configured.settings).map_err(|error| failed(doing, &error))?;
        *opened = Some((configured.settings.clone(), store.clone()));
        Ok(store)
    }
}

fn failed(doing: &str, error: &dyn Display) -> Error {
    Error::Unavailable {
        why: format!("{doing} failed: {error}"),
        retry_after: None,
    }
}

async fn page(
    store: &Store,
    whose: &Whose,
    after: Option<&Cursor>,
    size: usize,
) -> Result<ListBackupsResponse, StoreError> {
    let mut workspaces = match &whose.workspace {
        Some(workspace) => vec![workspace.clone()],
        None => store.workspaces(&whose.owner).await?,
    };
    if let Some(after) = after {
        // The workspace of the last page may be gone.
        let reached = segment(&after.workspace);
        workspaces.retain(|workspace| segment(workspace) >= reached);
    }
    let mut found: Vec<BackupName> = Vec::new();
    for workspace in workspaces {
        let mut listed = store.list(&whose.owner, &workspace).await?;
        listed.reverse();
        if let Some(after) = after.filter(|after| after.workspace == workspace) {
            listed.retain(|listed| is_older(listed, after));
        }
        let names = listed.into_iter().map(|listed| listed.name);
        found.extend(names.map(|manifest| name(store, &whose.owner, &workspace, manifest)));
        // One more says that there is another page.
        if found.len() > size {
            break;
        }
    }
    let is_last = found.len() <= size;
    found.truncate(size);
    let next = found.last().filter(|_| !is_last).map(|last| Cursor {
        workspace: last.workspace.clone(),
        manifest: last.manifest.clone(),
    });
    let read = stream::iter(found)
        .map(|name| read(store, name))
        .buffered(AT_ONCE);
    let read: Vec<_> = read.collect().await;
    let read: Result<Vec<_>, StoreError> = read.into_iter().collect();
    Ok(ListBackupsResponse {
        backups: read?.into_iter().flatten().collect(),
        next_page_token: next.map(|cursor| cursor.token()).unwrap_or_default(),
    })
}

/// Whether a manifest comes after the last of the page before: that one may be gone.
fn is_older(listed: &Listed, last: &Cursor) -> bool {
    listed.name < last.manifest
}

/// `None` if it was removed meanwhile.
async fn read(store: &Store, name: BackupName) -> Result<Option<Backup>, StoreError> {
    match store
        .manifest(&name.owner, &name.workspace, &name.manifest)
        .await
    {
        Ok(manifest) => Ok(Some(backups::shown(&name, &manifest))),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) if error.is_unreadable() => {
            Ok(Some(backups::unreadable(&name, error.to_string())))
        }
        Err(error) => Err(error),
    }
}

fn name(store: &Store, owner: &str, workspace: &str, manifest: String) -> BackupName {
    BackupName {
        owner: owner.to_owned(),
        workspace: workspace.to_owned(),
        manifest,
        bucket: store.bucket.clone(),
    }
}
