//! `start`: starts a workspace from a file and flags, and follows it until it runs.

use std::path::PathBuf;

use serde_json::json;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt;

use super::connect::{CallError, Connection};
use super::control::Level;
use super::follow::{Event, Follow};
use super::wait::Wait;
use super::{content, keys, request, words};
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::Output;
use crate::proto::contentservice::{EmptyInitializer, WorkspaceInitializer, workspace_initializer};
use crate::proto::wsman::*;
use crate::random;
use crate::workspaces::classes;

/// Arguments of `start`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A file holds everything that a request may; flags win over it. Without a file, --image is enough: \
the workspace belongs to the user of this machine and has no content but that of --git, --from or --restore."
)]
pub(super) struct Args {
    /// Start request as JSON or YAML; "-" is standard input.
    #[arg(short, long, value_name = "FILE", required_unless_present = "image")]
    file: Option<PathBuf>,

    /// Workspace image, instead of the file's.
    #[arg(long)]
    image: Option<String>,

    /// Name: the id, and where they are not given the meta id and the prefix, too.
    #[arg(long, conflicts_with = "id")]
    name: Option<String>,

    /// Id of the workspace [default: the file's, or else a random one].
    #[arg(long)]
    id: Option<String>,

    /// Owner, instead of the file's.
    #[arg(long)]
    owner: Option<String>,

    /// Meta id, instead of the file's.
    #[arg(long, value_name = "ID")]
    meta_id: Option<String>,

    /// Workspace class, instead of the file's.
    #[arg(long)]
    class: Option<String>,

    /// Prefix of the URLs, instead of the file's.
    #[arg(long)]
    prefix: Option<String>,

    /// A variable of the environment, beside the file's; may be repeated.
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = words::pair)]
    variables: Vec<(String, String)>,

    /// A port that is exposed, such as 8080 or 8080:public, beside the file's; may be repeated.
    #[arg(short = 'p', long = "port", value_name = "PORT[:public]", value_parser = port)]
    ports: Vec<PortSpec>,

    /// An annotation, beside the file's; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = words::pair)]
    annotations: Vec<(String, String)>,

    /// Stop after this much inactivity, such as "30m". (--timeout is that of the call.)
    #[arg(long, value_name = "DURATION", visible_alias = "inactivity-timeout")]
    workspace_timeout: Option<String>,

    /// Stop this long after the user closed it.
    #[arg(long, value_name = "DURATION")]
    closed_timeout: Option<String>,

    /// Stop this long after the start, even if it is active.
    #[arg(long, value_name = "DURATION")]
    max_lifetime: Option<String>,

    /// Who has access.
    #[arg(long, value_enum)]
    admission: Option<Level>,

    /// File with the SSH keys for access, as in authorized_keys.
    #[arg(long, value_name = "FILE")]
    ssh_keys: Option<PathBuf>,

    /// Print the owner token.
    #[arg(long)]
    show_token: bool,

    #[command(flatten)]
    content: content::Flags,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let request = assemble(&args)?;
    let id = request.id.clone();
    // Subscribes before the start, so that it misses no update.
    let mut follow = match args.wait.wait {
        true => Some(Follow::open(connection, filter(&request), std::slice::from_ref(&id)).await?),
        false => None,
    };
    args.content.announce(&request, connection).await;
    let since = Instant::now();
    let asked = request.spec.as_ref().map(|spec| spec.class.clone());
    let (answer, metadata) = connection
        .call_with_metadata(request)
        .await
        .map_err(|error| refused(error).context(&id))?;
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

/// Adds a hint if another workspace has the id.
fn refused(error: CallError) -> Failure {
    let info = error.status.get_details_error_info();
    let state = info.and_then(|info| info.metadata.get("state").cloned());
    let exists = error.status.code() == Code::AlreadyExists;
    let failure = Failure::from(error);
    match state.as_deref() {
        Some("NAME_IN_USE") => {
            failure.hint("--prefix NAME chooses another, or stop that workspace")
        }
        _ if exists => failure.hint("--id or --name chooses another"),
        _ => failure,
    }
}

/// The file's request with the flags on top, and defaults without a file.
fn assemble(args: &Args) -> Result<StartWorkspaceRequest, Failure> {
    let mut request = match &args.file {
        Some(file) => request::read(file)?,
        None => StartWorkspaceRequest::default(),
    };
    let set = |field: &mut String, flag: &Option<String>| {
        if let Some(value) = flag {
            field.clone_from(value);
        }
    };
    set(&mut request.id, &args.id);
    set(&mut request.id, &args.name);
    if request.id.is_empty() && args.id.is_none() && args.name.is_none() {
        request.id = random_id()?;
    }
    let name = args.name.clone().or_else(|| match args.file {
        Some(_) => None,
        None => Some(request.id.clone()),
    });
    set(&mut request.service_prefix, &name);
    set(&mut request.service_prefix, &args.prefix);
    let metadata = request.metadata.get_or_insert_default();
    set(&mut metadata.meta_id, &name);
    set(&mut metadata.meta_id, &args.meta_id);
    if args.file.is_none() {
        metadata.owner = user();
    }
    set(&mut metadata.owner, &args.owner);
    metadata
        .annotations
        .extend(args.annotations.iter().cloned());
    let spec = request.spec.get_or_insert_default();
    if args.file.is_none() {
        spec.workspace_location = LOCATION.to_owned();
        spec.initializer = Some(WorkspaceInitializer {
            spec: Some(workspace_initializer::Spec::Empty(EmptyInitializer {})),
        });
    }
    args.content.apply(spec, args.file.is_some());
    set(&mut spec.workspace_image, &args.image);
    set(&mut spec.class, &args.class);
    set(&mut spec.timeout, &args.workspace_timeout);
    set(&mut spec.closed_timeout, &args.closed_timeout);
    set(&mut spec.maximum_lifetime, &args.max_lifetime);
    if let Some(level) = args.admission {
        spec.admission = level.into();
    }
    for (name, value) in &args.variables {
        spec.envvars.retain(|variable| variable.name != *name);
        spec.envvars.push(EnvironmentVariable {
            name: name.clone(),
            value: value.clone(),
            secret: None,
        });
    }
    for port in &args.ports {
        spec.ports.retain(|other| other.port != port.port);
        spec.ports.push(port.clone());
    }
    if let Some(file) = &args.ssh_keys {
        spec.ssh_public_keys = keys::read(file)?;
    }
    Ok(request)
}

/// The directory of a workspace without a file.
const LOCATION: &str = "/workspace";

fn user() -> String {
    let names = ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok());
    let mut names = names.filter(|name| !name.is_empty());
    names.next().unwrap_or_else(|| "nobody".to_owned())
}

fn port(text: &str) -> Result<PortSpec, String> {
    let (number, visibility) = match text.split_once(':').unwrap_or((text, "private")) {
        (number, "private") => (number, PortVisibility::Private),
        (number, "public") => (number, PortVisibility::Public),
        _ => return Err("must be PORT, PORT:private or PORT:public".to_owned()),
    };
    match number.parse::<u16>() {
        Ok(port) if port > 0 => Ok(PortSpec {
            port: port.into(),
            visibility: visibility.into(),
            ..PortSpec::default()
        }),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    }
}

fn random_id() -> Result<String, Failure> {
    random::uuid().map_err(|error| {
        let text = format!("no random id, pass one with --id: {error}");
        Failure::new(Exit::Failed, text)
    })
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
        return out.document(&json!({"id": id, "url": answer.url, "owner_token": owner_token}));
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
    follow: &mut Follow<WorkspaceStatus>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut printed = None;
    let mut look = |status: &WorkspaceStatus| {
        if printed.replace(status.phase) != Some(status.phase) {
            progress(status, since, out)?;
        }
        outcome(status)
    };
    // The workspace of an earlier, equal request may run already and never change again.
    match connection
        .call(DescribeWorkspaceRequest { id: id.to_owned() })
        .await
    {
        Ok(answer) => {
            let status = answer.status.unwrap_or_default();
            if look(&status)?.is_some() {
                return Ok(());
            }
            follow.observe(status);
        }
        // A server whose reads lag behind its writes: the stream sends the update.
        Err(error) if error.status.code() == Code::NotFound => {}
        Err(_) => follow.restart(),
    }
    let remains = format!("the workspace is left as it is; see: wsman client describe {id}");
    let goal = format!("{id} to run");
    wait.until(follow, &goal, &remains, |event| match event {
        Event::Update { now, .. } => look(&now),
        Event::Gone(_) => Err(Failure::new(
            Exit::Failed,
            format!("{id} is gone before it was running"),
        )),
        // A status from before the start does not count.
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

/// Running, failed, or undecided.
fn outcome(status: &WorkspaceStatus) -> Result<Option<()>, Failure> {
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
