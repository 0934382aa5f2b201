//! `start`: starts a workspace from a file and flags, and follows it until it runs.

use std::path::PathBuf;

use serde::Serialize;
use tokio::time::Instant;
use tonic::Code;

use super::connect::Connection;
use super::follow::{Event, Follow};
use super::wait::Wait;
use super::{request, words};
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::Output;
use crate::proto::wsman::*;
use crate::workspaces::classes;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start request as JSON or YAML; "-" is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Id of the workspace [default: the file's, or else a random one].
    #[arg(long)]
    id: Option<String>,

    /// Owner, instead of the file's.
    #[arg(long)]
    owner: Option<String>,

    /// Meta id, instead of the file's.
    #[arg(long, value_name = "ID")]
    meta_id: Option<String>,

    /// Workspace image, instead of the file's.
    #[arg(long)]
    image: Option<String>,

    /// Workspace class, instead of the file's.
    #[arg(long)]
    class: Option<String>,

    /// Prefix of the URLs, instead of the file's.
    #[arg(long)]
    prefix: Option<String>,

    /// Print the owner token.
    #[arg(long)]
    show_token: bool,

    #[command(flatten)]
    wait: Wait,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    id: String,
    url: String,
    owner_token: String,
}

/// Runs the verb.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let request = assemble(&args)?;
    let id = request.id.clone();
    // Subscribed before the start, so that not even the first update can be missed.
    let mut follow = match args.wait.wait {
        true => Some(Follow::open(connection, filter(&request), std::slice::from_ref(&id)).await?),
        false => None,
    };
    let since = Instant::now();
    let asked = request.spec.as_ref().map(|spec| spec.class.clone());
    let (answer, metadata) = connection
        .start_workspace(request)
        .await
        .map_err(|error| Failure::from(error).context(&id))?;
    let class = metadata.get(classes::METADATA);
    if let Some(class) = class.and_then(|class| class.to_str().ok())
        && let Some(asked) = asked.filter(|asked| !asked.is_empty() && asked != class)
    {
        note(&format!(
            "warning: the cluster has no class {asked:?}; {id} got class {class:?}"
        ));
    }
    print(&id, answer, args.show_token, out)?;
    match &mut follow {
        Some(follow) => until_running(&id, &args.wait, since, connection, follow, out).await,
        None => Ok(()),
    }
}

/// The file's request with the flags on top and a random id where there is none.
fn assemble(args: &Args) -> Result<StartWorkspaceRequest, Failure> {
    let mut request = request::read(&args.file)?;
    let set = |field: &mut String, flag: &Option<String>| {
        if let Some(value) = flag {
            field.clone_from(value);
        }
    };
    set(&mut request.id, &args.id);
    set(&mut request.service_prefix, &args.prefix);
    if args.owner.is_some() || args.meta_id.is_some() {
        let metadata = request.metadata.get_or_insert_default();
        set(&mut metadata.owner, &args.owner);
        set(&mut metadata.meta_id, &args.meta_id);
    }
    if args.image.is_some() || args.class.is_some() {
        let spec = request.spec.get_or_insert_default();
        set(&mut spec.workspace_image, &args.image);
        set(&mut spec.class, &args.class);
    }
    if request.id.is_empty() && args.id.is_none() {
        request.id = random_id()?;
    }
    Ok(request)
}

/// A random (version 4) UUID.
fn random_id() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("no random id, pass one with --id: {error}"),
        )
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

fn filter(request: &StartWorkspaceRequest) -> Option<MetadataFilter> {
    let metadata = request.metadata.as_ref()?;
    Some(MetadataFilter {
        owner: metadata.owner.clone(),
        meta_id: metadata.meta_id.clone(),
        annotations: Default::default(),
    })
}

fn print(
    id: &str,
    answer: StartWorkspaceResponse,
    show_token: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let hide = !show_token && !answer.owner_token.is_empty();
    let owner_token = if hide {
        words::HIDDEN.to_owned()
    } else {
        answer.owner_token
    };
    if !out.is_for_people() {
        return out.document(&Started {
            id: id.to_owned(),
            url: answer.url,
            owner_token,
        });
    }
    out.line([format!("Started {id}").into()])?;
    out.rows(
        "",
        vec![
            vec!["URL:".into(), answer.url.into()],
            vec!["Owner token:".into(), owner_token.into()],
        ],
    )
}

async fn until_running(
    id: &str,
    wait: &Wait,
    since: Instant,
    connection: &Connection,
    follow: &mut Follow,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut told = None;
    let mut look = |status: &WorkspaceStatus| {
        if told.replace(status.phase) != Some(status.phase) {
            progress(status, since, out)?;
        }
        verdict(status)
    };
    // A workspace that was started before by the same request may be at its goal already and never change again.
    match connection
        .describe_workspace(DescribeWorkspaceRequest { id: id.to_owned() })
        .await
    {
        Ok(answer) => {
            let status = answer.status.unwrap_or_default();
            if look(&status)?.is_some() {
                return Ok(());
            }
            follow.observe(status);
        }
        // A server whose reads lag behind its writes: the update will come on the stream.
        Err(error) if error.status.code() == Code::NotFound => {}
        Err(_) => follow.restart(),
    }
    let remains = format!("the workspace is left as it is; see: wsman client describe {id}");
    wait.until(follow, &remains, |event| match event {
        Event::Update { now, .. } => look(&now),
        Event::Gone(_) => Err(Failure::new(
            Exit::Failed,
            format!("{id} is gone before it was running"),
        )),
        // What was there before the start says nothing about this start.
        _ => Ok(None),
    })
    .await
}

fn progress(status: &WorkspaceStatus, since: Instant, out: &mut Output) -> Result<(), Failure> {
    let elapsed = format!("{:6.1}s  ", since.elapsed().as_secs_f64());
    let message = format!("  {}", words::message(status));
    if out.is_for_people() {
        return out.line([
            elapsed.into(),
            words::phase_piece(status, 12),
            message.into(),
        ]);
    }
    note(format!("{elapsed}{:12}{message}", words::phase(status)).trim_end());
    Ok(())
}

/// Done, failed, or not decided yet.
fn verdict(status: &WorkspaceStatus) -> Result<Option<()>, Failure> {
    if let Some(why) = words::failure(status) {
        return Err(Failure::new(Exit::Failed, format!("{} {why}", status.id)));
    }
    match status.phase() {
        WorkspacePhase::Running => Ok(Some(())),
        WorkspacePhase::Stopping | WorkspacePhase::Stopped => {
            let why = if status.message.is_empty() {
                String::new()
            } else {
                format!(": {}", status.message)
            };
            Err(Failure::new(
                Exit::Failed,
                format!("{} stopped before it was running{why}", status.id),
            ))
        }
        _ => Ok(None),
    }
}
