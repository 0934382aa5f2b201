//! The content of workspaces on Gitpod nodes: what the ws-daemon of the node is asked for, and the marks that its answers
//! become (docs/protocol.md#content-on-gitpod-nodes).

pub mod request;

use serde_json::{Value, json};

use super::report::shortened;
use crate::action::{Action, Mark, PodRef};
use crate::proto::contentservice::GitStatus;
use crate::workspaces::marks::annotation;

/// Longest text of all file and commit names of a git status: all annotations together may have 256 KiB.
const LONGEST_LISTS: usize = 16 * 1024;
/// Longest URL of a snapshot.
const LONGEST_URL: usize = 2048;

/// What the ws-daemon of a node does for one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStep {
    /// The pod that is marked with the outcome.
    pub pod: PodRef,
    /// Instance id.
    pub id: String,
    /// The node of the pod.
    pub node: String,
    pub what: What,
}

/// The steps of a life on a node, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Initialise the content.
    Fill,
    /// The pod is ready: make sure that the content is, too.
    AwaitFilled,
    /// The pod ended: find out whether there is content, and whether it is complete.
    BeginDisposal(Keeping),
    /// Take the snapshot of a prebuild.
    Snapshot,
    /// Save what is to be kept, and remove the content from the node.
    Dispose {
        keeping: Keeping,
        /// An attempt failed before.
        again: bool,
    },
}

/// What is kept of the content of a workspace that ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeping {
    /// A backup.
    pub backup: bool,
    /// The logs of its tasks.
    pub logs: bool,
}

impl Keeping {
    /// Whether its failure loses anything.
    fn is_anything(self) -> bool {
        self.backup || self.logs
    }
}

/// How a step went. Failures have the texts that clients see.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The content is initialised, or cannot be.
    Filled(Result<(), String>),
    /// The content is there, or will not be.
    Ready(Result<(), String>),
    /// Whether there is anything to dispose of.
    Found(Result<bool, String>),
    /// Where the snapshot is.
    Snapshot(Result<String, String>),
    /// The state of the working copy, if there is one.
    Disposed(Result<Option<GitStatus>, String>),
    /// The first attempt failed, and others follow.
    Retrying,
}

impl NodeStep {
    /// Says what is done.
    pub fn sentence(&self) -> String {
        let node = &self.node;
        let by = format!("by the ws-daemon of node {node}");
        match self.what {
            What::Fill => format!("initialize the content {by}"),
            What::AwaitFilled => format!("wait for the content to be initialized {by}"),
            What::BeginDisposal(_) => format!("look for the content to dispose of {by}"),
            What::Snapshot => format!("take a snapshot {by}"),
            What::Dispose { keeping, again } => {
                let again = if again { ", again" } else { "" };
                let saved = match (keeping.backup, keeping.logs) {
                    (true, _) => " with a backup",
                    (false, true) => " with its logs saved",
                    (false, false) => "",
                };
                format!("dispose of the content {by}{saved}{again}")
            }
        }
    }

    /// Returns the step as `explain` and golden files have it.
    pub fn to_json(&self) -> Value {
        let what = match self.what {
            What::Fill => json!("initialize"),
            What::AwaitFilled => json!("wait for initialization"),
            What::BeginDisposal(_) => json!("begin disposal"),
            What::Snapshot => json!("snapshot"),
            What::Dispose { keeping, again } => {
                json!({"dispose": {"backup": keeping.backup, "logs": keeping.logs, "again": again}})
            }
        };
        json!({"content": {"node": self.node, "step": what}})
    }

    /// Returns the writes that record an outcome.
    pub fn record(&self, outcome: Outcome) -> Vec<Action> {
        let mut mark = Mark::default();
        let mut set = |key: &str, value: String| drop(mark.set.insert(key.to_owned(), value));
        match outcome {
            Outcome::Filled(filled) => {
                set(annotation::ALREADY_INITIALIZING, "true".to_owned());
                if let Err(why) = filled {
                    set(annotation::EXPLICIT_FAIL, shortened(&why).to_owned());
                    set(annotation::FAILED_BEFORE_STOPPING, "true".to_owned());
                }
            }
            Outcome::Ready(Ok(())) => mark.remove.push(annotation::NEVER_READY.to_owned()),
            Outcome::Ready(Err(why)) => {
                set(annotation::EXPLICIT_FAIL, shortened(&why).to_owned());
                set(annotation::FAILED_BEFORE_STOPPING, "true".to_owned());
            }
            Outcome::Found(Ok(true)) => set(annotation::DISPOSAL_STATUS, status("started")),
            // Nothing of it is on the node.
            Outcome::Found(Ok(false)) => {
                let why = "the workspace daemon does not know the workspace".to_owned();
                set(annotation::DISPOSAL_STATUS, self.finished(Err(why)));
            }
            Outcome::Found(Err(why)) => {
                set(annotation::DISPOSAL_STATUS, self.finished(Err(why)));
            }
            Outcome::Snapshot(Ok(url)) if !url.is_empty() && url.len() <= LONGEST_URL => {
                set(annotation::SNAPSHOT, url);
            }
            Outcome::Snapshot(taken) => {
                let why = taken.err();
                let why = why.unwrap_or_else(|| "the workspace daemon named none".to_owned());
                let why = format!("cannot take snapshot: {}", shortened(&why));
                set(annotation::EXPLICIT_FAIL, why);
            }
            Outcome::Disposed(disposed) => {
                set(annotation::DISPOSAL_STATUS, self.finished(disposed));
            }
            Outcome::Retrying => set(annotation::DISPOSAL_STATUS, status("retrying")),
        }
        vec![Action::Mark(self.pod.clone(), mark)]
    }

    fn keeping(&self) -> Keeping {
        match self.what {
            What::BeginDisposal(keeping) | What::Dispose { keeping, .. } => keeping,
            What::Fill | What::AwaitFilled | What::Snapshot => Keeping::default(),
        }
    }

    /// `gitpod.io/disposalStatus` of a disposal that is over. Where nothing was to be kept, nothing is lost.
    fn finished(&self, disposed: Result<Option<GitStatus>, String>) -> String {
        let mut mark = json!({ "status": "finished" });
        match disposed {
            Ok(None) => {}
            Ok(Some(status)) => mark["gitStatus"] = git_status(&status),
            Err(why) if self.keeping().is_anything() => {
                mark["backupFailure"] = shortened(&why).into();
            }
            Err(_) => {}
        }
        mark.to_string()
    }
}

fn status(word: &str) -> String {
    json!({ "status": word }).to_string()
}

/// A git status as the mark holds it: lists are cut to fit, their totals stay.
fn git_status(status: &GitStatus) -> Value {
    let mut value = json!({
        "branch": shortened(&status.branch),
        "latest_commit": shortened(&status.latest_commit),
    });
    let lists = [
        (
            "uncommited_files",
            &status.uncommited_files,
            status.total_uncommited_files,
        ),
        (
            "untracked_files",
            &status.untracked_files,
            status.total_untracked_files,
        ),
        (
            "unpushed_commits",
            &status.unpushed_commits,
            status.total_unpushed_commits,
        ),
    ];
    for (name, entries, total) in lists {
        let mut left = LONGEST_LISTS / lists.len();
        let kept: Vec<&str> = entries
            .iter()
            .map(String::as_str)
            .take_while(|entry| {
                // As JSON has it, with its quotes and a comma.
                let size = json!(entry).to_string().len() + 1;
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .collect();
        if !kept.is_empty() {
            value[name] = json!(kept);
        }
        let listed = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let total = total.max(listed);
        if total > 0 {
            value[format!("total_{name}")] = total.into();
        }
    }
    value
}

#[cfg(test)]
mod tests;
