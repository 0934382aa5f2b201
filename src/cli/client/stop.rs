//! `stop`: asks workspaces to stop, by id, by owner or all of them, and waits until they are gone.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use super::connect::Connection;
use super::follow::{Event, Follow};
use super::list::Selection;
use super::wait::Wait;
use super::words;
use crate::cli::confirm;
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::Output;
use crate::proto::wsman::{
    DescribeWorkspaceRequest, GetWorkspacesRequest, StopWorkspacePolicy, StopWorkspaceRequest,
    WorkspaceConditionBool, WorkspacePhase, WorkspaceStatus,
};

/// Most workspaces that a question lists.
const SHOWN: usize = 10;

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids of the workspaces.
    #[arg(required_unless_present_any = ["owner", "all"], conflicts_with_all = ["owner", "all"], value_name = "ID")]
    ids: Vec<String>,

    /// Every workspace of this owner; asks for a confirmation.
    #[arg(long, value_name = "OWNER", conflicts_with = "all")]
    owner: Option<String>,

    /// Every workspace; asks for a confirmation.
    #[arg(long)]
    all: bool,

    /// Do not ask for a confirmation.
    #[arg(short, long)]
    yes: bool,

    /// End with 3 if there is no workspace with one of the ids, or none at all.
    #[arg(long)]
    strict: bool,

    /// With a grace period of 1 second instead of 30.
    #[arg(long, conflicts_with = "abort")]
    now: bool,

    /// At once and without a backup: unsaved content is lost.
    #[arg(long)]
    abort: bool,

    #[command(flatten)]
    wait: Wait,
}

/// Stops every workspace; the first failure sets the exit code.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let ids = match args.all || args.owner.is_some() {
        true => select(&args, connection).await?,
        false => args.ids.clone(),
    };
    if ids.is_empty() {
        return match args.strict {
            true => Err(Failure::new(
                Exit::NotFound,
                "there is no workspace to stop",
            )),
            false => print("There is no workspace to stop", out),
        };
    }
    let mut follow = match args.wait.wait {
        true => Some(Follow::open(connection, None, &ids).await?),
        false => None,
    };
    let since = Instant::now();
    let (mut asked, mut absent, mut failure) = (BTreeSet::new(), Vec::new(), None);
    for id in &ids {
        match ask(id, &args, connection).await {
            Ok(true) => {
                asked.insert(id.clone());
                if out.is_for_people() {
                    out.line([format!("Stopping {id}").into()])?;
                } else {
                    out.record(&json!({"id": id, "policy": args.policy().as_str_name()}))?;
                }
            }
            Ok(false) => {
                absent.push(id.clone());
                print(&format!("There is no {id}"), out)?;
            }
            Err(error) => match failure {
                None => failure = Some(error.context(id)),
                Some(_) => out.failure(&error.context(id)),
            },
        }
    }
    if let Some(follow) = &mut follow {
        until_stopped(asked, &args.wait, since, follow, out).await?;
    }
    if failure.is_none() && args.strict && !absent.is_empty() {
        let message = format!("no such workspace: {}", absent.join(", "));
        return Err(Failure::new(Exit::NotFound, message));
    }
    failure.map_or(Ok(()), Err)
}

impl Args {
    fn policy(&self) -> StopWorkspacePolicy {
        match (self.now, self.abort) {
            (_, true) => StopWorkspacePolicy::Abort,
            (true, _) => StopWorkspacePolicy::Immediately,
            _ => StopWorkspacePolicy::Normally,
        }
    }
}

/// The workspaces to stop together, after a confirmation.
async fn select(args: &Args, connection: &Connection) -> Result<Vec<String>, Failure> {
    let selection = Selection {
        owner: args.owner.clone(),
        ..Selection::default()
    };
    let request = GetWorkspacesRequest {
        must_match: selection.filter(),
    };
    let mut listed = connection.call(request).await?.status;
    listed.retain(|status| !is_stopped(status));
    words::sort(&mut listed);
    let ids: Vec<String> = listed.into_iter().map(|status| status.id).collect();
    if !ids.is_empty() && !args.yes {
        let which = match ids.len() {
            1 => "1 workspace".to_owned(),
            count => format!("{count} workspaces"),
        };
        let whose = args.owner.as_ref().map(|owner| format!(" of {owner}"));
        let mut named = ids
            .iter()
            .take(SHOWN)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if ids.len() > SHOWN {
            named.push_str(", ...");
        }
        let whose = whose.unwrap_or_default();
        let address = connection.address();
        confirm::ask(
            &format!("this stops {which}{whose} on {address}: {named}"),
            "--yes",
        )?;
    }
    Ok(ids)
}

/// Stops one workspace; returns whether it exists. The protocol answers OK in both cases.
async fn ask(id: &str, args: &Args, connection: &Connection) -> Result<bool, Failure> {
    let described = connection
        .call(DescribeWorkspaceRequest { id: id.to_owned() })
        .await;
    let is_absent = described.is_err_and(|error| error.status.code() == Code::NotFound);
    let request = StopWorkspaceRequest {
        id: id.to_owned(),
        policy: args.policy().into(),
    };
    match connection.call(request).await {
        Ok(_) => Ok(!is_absent),
        Err(error) if is_absent && error.status.code() == Code::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn until_stopped(
    mut left: BTreeSet<String>,
    wait: &Wait,
    since: Instant,
    follow: &mut Follow<WorkspaceStatus>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut present = BTreeSet::new();
    let mut complete = false;
    let goal = match left.first() {
        Some(id) if left.len() == 1 => format!("{id} to stop"),
        _ => format!("{} workspaces to stop", left.len()),
    };
    wait.until(follow, &goal, "the workspaces keep stopping", |event| {
        let ended = match event {
            Event::Initial(status) => {
                if !is_stopped(&status) {
                    present.insert(status.id.clone());
                }
                Some(status).filter(is_stopped)
            }
            Event::Update { now, .. } => Some(*now).filter(is_stopped),
            Event::Gone(last) => Some(last),
            Event::Complete => {
                complete = true;
                None
            }
            _ => None,
        };
        if let Some(last) = ended.filter(|last| left.remove(&last.id)) {
            let (id, after) = (&last.id, since.elapsed().as_secs_f64());
            print(
                &format!("Stopped {id} after {after:.1}s{}", outcome(&last)),
                out,
            )?;
        }
        if complete {
            let absent: Vec<_> = left.difference(&present).cloned().collect();
            for id in absent {
                left.remove(&id);
                print(&format!("There is no {id}"), out)?;
            }
        }
        Ok((complete && left.is_empty()).then_some(()))
    })
    .await
}

/// What became of its work.
fn outcome(last: &WorkspaceStatus) -> String {
    let conditions = last.conditions.as_ref();
    let saved = conditions.is_some_and(|all| {
        all.final_backup_complete() == WorkspaceConditionBool::True && is_stopped(last)
    });
    match words::failure(last) {
        Some(why) => format!(": {why}"),
        None if saved => ", its content is saved".to_owned(),
        None => String::new(),
    }
}

fn is_stopped(status: &WorkspaceStatus) -> bool {
    status.phase() == WorkspacePhase::Stopped
}

fn print(text: &str, out: &mut Output) -> Result<(), Failure> {
    if out.is_for_people() {
        return out.line([text.into()]);
    }
    note(text);
    Ok(())
}
