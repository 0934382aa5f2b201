//! `stop`: asks workspaces to stop, and waits until they are gone.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::Instant;

use super::connect::Connection;
use super::follow::{Event, Follow};
use super::wait::Wait;
use crate::cli::exit::{self, Failure, note};
use crate::cli::output::Output;
use crate::proto::wsman::{
    StopWorkspacePolicy, StopWorkspaceRequest, WorkspacePhase, WorkspaceStatus,
};

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids of the workspaces.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    /// With a grace of 1 second instead of 30.
    #[arg(long, conflicts_with = "abort")]
    now: bool,

    /// At once and without a backup: what is not saved is lost.
    #[arg(long)]
    abort: bool,

    #[command(flatten)]
    wait: Wait,
}

/// Runs the verb. Every workspace is tried; the first failure decides the exit code.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let policy = match (args.now, args.abort) {
        (_, true) => StopWorkspacePolicy::Abort,
        (true, _) => StopWorkspacePolicy::Immediately,
        _ => StopWorkspacePolicy::Normally,
    };
    let mut follow = match args.wait.wait {
        true => Some(Follow::open(connection, None, &args.ids).await?),
        false => None,
    };
    let since = Instant::now();
    let mut asked = BTreeSet::new();
    let mut failure = None;
    for id in &args.ids {
        let request = StopWorkspaceRequest {
            id: id.clone(),
            policy: policy.into(),
        };
        match connection.stop_workspace(request).await {
            Ok(_) => {
                asked.insert(id.clone());
                if out.is_for_people() {
                    out.line([format!("Stopping {id}").into()])?;
                } else {
                    out.record(&json!({"id": id, "policy": policy.as_str_name()}))?;
                }
            }
            Err(error) => {
                let error = Failure::from(error).context(id);
                match failure {
                    None => failure = Some(error),
                    Some(_) => exit::print(&error),
                }
            }
        }
    }
    if let Some(follow) = &mut follow {
        until_stopped(asked, &args.wait, since, follow, out).await?;
    }
    failure.map_or(Ok(()), Err)
}

async fn until_stopped(
    mut left: BTreeSet<String>,
    wait: &Wait,
    since: Instant,
    follow: &mut Follow,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut present = BTreeSet::new();
    let mut complete = false;
    wait.until(follow, "the workspaces keep stopping", |event| {
        let ended = match event {
            Event::Initial(status) => {
                is_stopped(&status)
                    .then_some(status.id.clone())
                    .or_else(|| {
                        present.insert(status.id.clone());
                        None
                    })
            }
            Event::Update { now, .. } => is_stopped(&now).then_some(now.id),
            Event::Gone(last) => Some(last.id),
            Event::Complete => {
                complete = true;
                None
            }
            _ => None,
        };
        if let Some(id) = ended.filter(|id| left.remove(id)) {
            say(
                &format!("Stopped {id} after {:.1}s", since.elapsed().as_secs_f64()),
                out,
            )?;
        }
        if complete {
            let absent: Vec<_> = left.difference(&present).cloned().collect();
            for id in absent {
                left.remove(&id);
                say(&format!("There is no {id}"), out)?;
            }
        }
        Ok((complete && left.is_empty()).then_some(()))
    })
    .await
}

fn is_stopped(status: &WorkspaceStatus) -> bool {
    status.phase() == WorkspacePhase::Stopped
}

fn say(text: &str, out: &mut Output) -> Result<(), Failure> {
    if out.is_for_people() {
        return out.line([text.into()]);
    }
    note(text);
    Ok(())
}
