//! The RBAC rights that wsman needs, as one table, and which of them it has.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;
use tracing::{debug, error, info};

use super::act::Actor;
use crate::error::Error;

/// Timeout of all reviews.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Concurrent reviews.
const PARALLEL: usize = 4;

/// The verbs on one kind of object.
#[derive(Debug)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name.
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    /// Whether it is needed in the whole cluster instead of in the namespace.
    pub cluster: bool,
    /// Whether wsman runs without it, with fewer features.
    pub optional: bool,
    /// Its purpose.
    pub why: &'static str,
}

/// All rights that wsman uses.
pub static RIGHTS: [Right; 12] = [
    Right {
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        ..needed("pods", "everything that runs")
    },
    Right {
        verbs: &["get", "create", "patch", "delete"],
        ..needed("secrets", "protected variables and long SSH keys")
    },
    Right {
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        ..needed("services", "ports")
    },
    Right {
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        ..needed("configmaps", "activity, maintenance")
    },
    Right {
        group: "coordination.k8s.io",
        verbs: &["get", "list", "watch", "create", "patch"],
        ..needed("leases", "who runs the lifecycle")
    },
    Right {
        verbs: &["get", "create", "patch", "delete"],
        optional: true,
        ..needed("persistentvolumeclaims", "PERSISTENT_VOLUME_CLAIM")
    },
    Right {
        group: "snapshot.storage.k8s.io",
        verbs: &["get", "create", "delete"],
        optional: true,
        ..needed("volumesnapshots", "the content of volumes")
    },
    Right {
        group: "snapshot.storage.k8s.io",
        verbs: &["get", "create"],
        cluster: true,
        optional: true,
        ..needed("volumesnapshotcontents", "handles of volume snapshots")
    },
    Right {
        group: "snapshot.storage.k8s.io",
        verbs: &["get"],
        cluster: true,
        optional: true,
        ..needed(
            "volumesnapshotclasses",
            "restoring volume snapshots from handles",
        )
    },
    Right {
        verbs: &["create", "get"],
        optional: true,
        ..needed(
            "pods/exec",
            "snapshots and backups on request with guest.contentImage",
        )
    },
    Right {
        verbs: &["list", "watch"],
        ..needed("events", "failures that only events show")
    },
    Right {
        verbs: &["list", "watch"],
        cluster: true,
        optional: true,
        ..needed("nodes", "nodes that are lost, machines of pools")
    },
];

pub(crate) const fn needed(resource: &'static str, why: &'static str) -> Right {
    Right {
        group: "",
        resource,
        verbs: &[],
        cluster: false,
        optional: false,
        why,
    }
}

impl Right {
    /// The resource as in `kubectl auth can-i`.
    pub fn name(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

async fn ask(
    actor: Actor,
    right: &'static Right,
    verb: &'static str,
    deadline: Instant,
) -> (&'static Right, &'static str, Result<bool, Error>) {
    (right, verb, actor.may(right, verb, deadline).await)
}

/// Reviews which rights are missing and logs them in one line: those of all, and what nouns need beside them.
///
/// # Errors
/// None; it is cancelled.
pub async fn report(actor: Actor, more: &'static [Right]) -> anyhow::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut questions = Vec::new();
    for right in RIGHTS.iter().chain(more) {
        for verb in right.verbs {
            questions.push(ask(actor.clone(), right, verb, deadline));
        }
    }
    let mut answers = stream::iter(questions).buffered(PARALLEL);
    let (mut missing, mut optional) = (Vec::new(), Vec::new());
    while let Some((right, verb, answer)) = answers.next().await {
        match answer {
            Ok(true) => {}
            Ok(false) => {
                let list = if right.optional {
                    &mut optional
                } else {
                    &mut missing
                };
                list.push(format!("{verb} {} ({})", right.name(), right.why));
            }
            Err(error) => {
                debug!(%error, "cannot ask which rights there are");
                return std::future::pending().await;
            }
        }
    }
    let (missing, optional) = (missing.join(", "), optional.join(", "));
    if !missing.is_empty() {
        error!(missing, optional, "RIGHTS ARE MISSING");
    } else if !optional.is_empty() {
        info!(optional, "optional rights are missing");
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_the_same_rights() {
        let page = include_str!("../../docs/operations.md");
        for right in &RIGHTS {
            let group = match right.group {
                "" => String::new(),
                group => format!(" ({group})"),
            };
            let line = format!("{}{group}: {}", right.resource, right.verbs.join(", "));
            assert!(page.contains(&line), "docs/operations.md has no `{line}`");
        }
    }
}
