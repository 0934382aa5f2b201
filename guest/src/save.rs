//! `content save`: backs a workspace up while it runs and when it ends.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::data::{DataError, FORMAT, Uploaded, upload};
use crate::git::Git;
use crate::git::status::status;
use crate::outcome::{Progress, Restored, SaveOutcome, SavedBackup};
use crate::path::RelPath;
use crate::plan::initializer::Spec;
use crate::plan::{Initializer, Plan, SaveSettings};
use crate::request::{self, Answer, Request};
use crate::walk::measure;
use wsman_store::manifest::{BackupName, GitStatus, Kind, Manifest};
use wsman_store::{Listed, Store, StoreError};

/// The file that says that the pod ends.
const STOPPING: &str = "stopping";

/// Tells the saver that the pod ends. Its signal comes after the other containers ended, which may be too late for it.
///
/// # Errors
/// If the file cannot be written.
pub fn announce_end(state: &Path) -> std::io::Result<()> {
    std::fs::write(state.join(STOPPING), "")
}

/// How often the directory of requests is read.
const POLL: Duration = Duration::from_millis(200);

/// How far the clocks of a node and of a store may be apart: stores refuse requests beyond it.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);

/// What a backup that is stopped may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read the workspace: {0}")]
    Tree(#[from] std::io::Error),
    #[error("a thread failed: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error("the plan asks for no saving")]
    NotAsked,
    #[error("the last backup did not finish within {0:?}")]
    Late(Duration),
    #[error("stopped")]
    Stopped,
}

/// Saves until `stop` is cancelled, then once more.
pub async fn run(
    plan: &Plan,
    state: &Path,
    progress: Progress,
    stop: CancellationToken,
) -> SaveOutcome {
    let Some(settings) = plan.save.clone() else {
        return SaveOutcome::failed(SaveError::NotAsked.to_string());
    };
    let mut saver = Saver {
        plan,
        settings,
        state,
        progress,
        data: None,
        last: None,
    };
    saver.find_last().await;
    saver.while_running(&stop).await;
    saver.finally().await
}

struct Saver<'a> {
    plan: &'a Plan,
    settings: SaveSettings,
    state: &'a Path,
    progress: Progress,
    /// What the store holds of the tree, and the tree's fingerprint before it was read.
    data: Option<([u8; 32], Uploaded)>,
    /// The newest backup.
    last: Option<Restored>,
}

impl Saver<'_> {
    /// What an earlier run, or an earlier life of the workspace, left.
    async fn find_last(&mut self) {
        let latest = async {
            let store = self.open()?;
            store.latest(&self.plan.owner, &self.plan.workspace).await
        };
        match timeout(Duration::from_secs(30), latest).await {
            Ok(Ok(Some((_, manifest)))) => self.last = Some(self.named(&manifest)),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.progress.say("save", &error.to_string()),
            Err(_) => self.progress.say("save", "the store does not answer"),
        }
    }

    async fn while_running(&mut self, stop: &CancellationToken) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = self.settings.interval;
        let later = |every: Option<Duration>| {
            Instant::now() + every.unwrap_or(Duration::from_secs(365 * 24 * 3600))
        };
        let mut next = later(every);
        // The share of the other containers in the pod's grace.
        let mut share_ends: Option<Instant> = None;
        loop {
            if share_ends.is_none() && self.state.join(STOPPING).exists() {
                share_ends = Some(Instant::now() + self.settings.main_share);
            }
            if share_ends.is_some_and(|end| end <= Instant::now()) {
                self.progress.say(
                    "save",
                    "the workspace has not ended in its share of the grace",
                );
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(next) => {
                    let token = CancellationToken::new();
                    let backup = self.backup(Kind::Backup, false, true, None, None, &token);
                    match bounded(backup, stop.cancelled(), &token).await {
                        Some(Ok(Some(saved))) => {
                            self.progress.say("save", &format!("backup {}", saved.backup.name));
                        }
                        Some(Err(error)) => {
                            self.progress.say("save", &format!("backup failed: {error}"));
                        }
                        Some(Ok(None)) | None => {}
                    }
                    next = later(every);
                }
                _ = poll.tick() => self.serve(stop.cancelled()).await,
            }
        }
    }

    /// The last backup, and after it what was asked for and not done yet: it costs no more than a manifest then.
    async fn finally(&mut self) -> SaveOutcome {
        let begun = Instant::now();
        let within = self.settings.final_timeout;
        let git = self.git_status().await;
        let token = CancellationToken::new();
        let kind = self.settings.kind;
        let backup = self.backup(kind, true, false, git.clone(), None, &token);
        let result = match bounded(backup, sleep(within), &token).await {
            Some(Ok(Some(saved))) => Ok(saved),
            Some(Ok(None)) => Err(SaveError::Stopped),
            Some(Err(error)) => Err(error),
            None => Err(SaveError::Late(within)),
        };
        if result.is_ok() {
            self.serve(sleep_until(begun + within)).await;
        }
        outcome(result, git, self.last.clone())
    }

    /// Answers every request that has no answer yet, until `end`.
    async fn serve(&mut self, end: impl Future<Output = ()>) {
        let requests = match request::pending(self.state) {
            Ok(requests) => requests,
            Err(error) => {
                self.progress
                    .say("save", &format!("cannot read requests: {error}"));
                return;
            }
        };
        tokio::pin!(end);
        for request in requests {
            let token = CancellationToken::new();
            let backup = self.backup_for(&request, &token);
            let answer = match bounded(backup, &mut end, &token).await {
                Some(Ok(Some(name))) => Answer::done(request.id, name),
                Some(Ok(None)) => continue,
                Some(Err(error)) => Answer::failed(request.id, error.to_string()),
                // The last backup comes first; the request is still there afterwards.
                None => return,
            };
            if let Err(error) = request::answer(self.state, &answer) {
                self.progress
                    .say("save", &format!("cannot answer a request: {error}"));
            }
        }
    }

    /// Makes the backup of a request, unless an earlier run made it and ended before it answered.
    async fn backup_for(
        &mut self,
        request: &Request,
        stop: &CancellationToken,
    ) -> Result<Option<String>, SaveError> {
        let (owner, workspace) = (&self.plan.owner, &self.plan.workspace);
        let store = self.open()?;
        let asked = request::asked_at(self.state, &request.id);
        let answers = |listed: &&Listed| asked.is_none_or(|asked| listed.written >= asked - CLOCKS);
        let listed = store.list(owner, workspace).await?;
        for listed in listed.iter().rev().take_while(answers) {
            // One that cannot be read answers nothing.
            let Ok(manifest) = store.manifest(owner, workspace, &listed.name).await else {
                continue;
            };
            let is_same = manifest.request.as_ref() == Some(&request.id);
            if is_same && manifest.instance == self.plan.instance {
                return Ok(Some(self.named(&manifest).name));
            }
        }
        let saved = self.backup(request.kind, false, false, None, Some(request), stop);
        Ok(saved.await?.map(|saved| saved.backup.name))
    }

    /// Makes one backup. With `if_changed` there is none when the store holds the tree as it is.
    async fn backup(
        &mut self,
        kind: Kind,
        is_final: bool,
        if_changed: bool,
        git: Option<GitStatus>,
        request: Option<&Request>,
        stop: &CancellationToken,
    ) -> Result<Option<SavedBackup>, SaveError> {
        let plan = self.plan;
        let root = plan.root.clone();
        let before = tokio::task::spawn_blocking(move || measure(&root))
            .await??
            .fingerprint;
        let held = self
            .data
            .as_ref()
            .filter(|(fingerprint, _)| *fingerprint == before);
        if held.is_some() && if_changed {
            return Ok(None);
        }
        let store = self.open()?;
        let uploaded = match held {
            Some((_, uploaded)) => uploaded.clone(),
            None => {
                let of = (plan.owner.as_str(), plan.workspace.as_str());
                upload(&store, &plan.root, of, plan.limits(), stop).await?
            }
        };
        let manifest = Manifest {
            version: 1,
            sequence: 0,
            kind,
            is_final,
            owner: plan.owner.clone(),
            workspace: plan.workspace.clone(),
            instance: plan.instance.clone(),
            data: uploaded.key.clone(),
            format: FORMAT.into(),
            size: uploaded.size,
            sha256: uploaded.sha256.clone(),
            files: uploaded.written.counted.files,
            bytes: uploaded.written.counted.bytes,
            created: jiff::Timestamp::now().to_string(),
            request: request.map(|request| request.id.clone()),
            early: request.is_some_and(|request| request.early),
            git,
        };
        let manifest = store.commit(manifest).await?;
        let restored = self.named(&manifest);
        let saved = SavedBackup {
            backup: restored.clone(),
            sequence: manifest.sequence,
            size: manifest.size,
            files: manifest.files,
            unreadable: uploaded.written.skipped.named.clone(),
        };
        self.last = Some(restored);
        self.data = Some((before, uploaded));
        if kind == Kind::Backup
            && let Err(error) = store
                .prune(&plan.owner, &plan.workspace, self.settings.keep)
                .await
        {
            // The backup stands; the next one tries again.
            self.progress
                .say("save", &format!("old backups stay: {error}"));
        }
        Ok(Some(saved))
    }

    fn open(&self) -> Result<Store, StoreError> {
        match &self.plan.store {
            Some(settings) => Store::create(settings),
            None => Err(StoreError::Open("the plan names none".into())),
        }
    }

    fn named(&self, manifest: &Manifest) -> Restored {
        let plan = self.plan;
        let bucket = plan.store.as_ref().map_or("", |store| store.bucket());
        let name = BackupName {
            owner: plan.owner.clone(),
            workspace: plan.workspace.clone(),
            manifest: manifest.file_name(),
            bucket: bucket.to_owned(),
        };
        Restored {
            name: name.to_string(),
            created: manifest.created.clone(),
            is_final: manifest.is_final,
        }
    }

    /// State of the working copy, if there is one and git can read it.
    async fn git_status(&self) -> Option<GitStatus> {
        let location = checkout_location(&self.plan.initializer)?;
        let location = RelPath::parse(location.as_bytes()).ok()?;
        let dir = self
            .plan
            .root
            .join(std::str::from_utf8(location.as_bytes()).ok()?);
        let home = self
            .state
            .join(format!("git-status-{}", std::process::id()));
        std::fs::create_dir_all(&home).ok()?;
        let _ = std::fs::write(home.join("config"), "[safe]\n\tdirectory = *\n");
        let git = Git::new(&home, "");
        let found = timeout(Duration::from_secs(60), status(&git, &dir)).await;
        let _ = std::fs::remove_dir_all(&home);
        match found {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                self.progress
                    .say("save", &format!("no git status: {error}"));
                None
            }
            Err(_) => {
                self.progress
                    .say("save", "no git status: it takes too long");
                None
            }
        }
    }
}

/// Where the first repository of the workspace lies.
fn checkout_location(initializer: &Initializer) -> Option<&str> {
    match initializer.spec()? {
        Spec::Git(git) => Some(&git.checkout_location),
        Spec::Prebuild(prebuild) => prebuild
            .git
            .first()
            .map(|git| git.checkout_location.as_str()),
        Spec::Composite(parts) => parts.iter().find_map(checkout_location),
        Spec::Backup(backup) => Some(&backup.checkout_location),
        Spec::Empty | Spec::Snapshot(_) | Spec::Download(_) => None,
    }
}

/// Runs `work` until `end`; then it is told to stop and may clean up.
async fn bounded<T>(
    work: impl Future<Output = T>,
    end: impl Future<Output = ()>,
    token: &CancellationToken,
) -> Option<T> {
    let mut work = Box::pin(work);
    tokio::select! {
        biased;
        result = &mut work => Some(result),
        () = end => {
            token.cancel();
            let _ = timeout(CLEAN_UP, work).await;
            None
        }
    }
}

fn outcome(
    result: Result<SavedBackup, SaveError>,
    git: Option<GitStatus>,
    last: Option<Restored>,
) -> SaveOutcome {
    match result {
        Ok(backup) => SaveOutcome {
            version: 1,
            ok: true,
            backup: Some(backup),
            git,
            message: None,
            last: None,
        },
        Err(error) => SaveOutcome {
            git,
            last,
            ..SaveOutcome::failed(error.to_string())
        },
    }
}
