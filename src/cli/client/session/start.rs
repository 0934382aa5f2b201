//! `session start`: starts a session from a file, and follows it to its end.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::Instant;

use super::super::connect::Connection;
use super::super::follow::{Event, Follow};
use super::super::request;
use super::super::wait;
use super::super::words::parse_duration;
use super::{list, words};
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::input;
use crate::cli::output::Output;
use crate::proto::wsman::sessions::v1::{
    DryRun, GetSessionRequest, Session, SessionFilter, StartSessionRequest,
};
use crate::random;

/// Arguments of `session start`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// StartSessionRequest as JSON or YAML; "-" is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Id of the session [default: the file's, or else a random one].
    #[arg(long)]
    id: Option<String>,

    /// Start nothing: the daemon only checks the request, or has the API server check the pods, too.
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "wait")]
    dry_run: Option<Dry>,

    #[command(flatten)]
    wait: Wait,
}

/// Whether to wait for the end, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// Wait for the end: exit with 1 if the session failed, with 7 if it was cancelled.
    #[arg(long)]
    pub(super) wait: bool,

    /// How long to wait [default: as long as it takes].
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = parse_duration)]
    pub(super) wait_timeout: Option<Duration>,
}

/// Who checks a start that is none.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dry {
    /// The daemon.
    Client,
    /// The API server, too. The answer has the position in the queue.
    Server,
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
        true => Some(
            Follow::<Session>::open(
                connection,
                SessionFilter::default(),
                std::slice::from_ref(&id),
            )
            .await?,
        ),
        false => None,
    };
    let since = Instant::now();
    let answer = connection.call(request).await;
    let answer = answer.map_err(|error| Failure::from(error).context(&id))?;
    let session = answer.session.unwrap_or_default();
    print(&session, args.dry_run, out)?;
    let Some(follow) = &mut follow else {
        return Ok(());
    };
    // A session of an earlier, equal request may have ended already.
    let now = connection.call(GetSessionRequest { id }).await?.session;
    let first = now.unwrap_or(session);
    let end = until_done(first, &args.wait, since, follow, out).await?;
    print_result(&end, out)?;
    words::outcome(&end)
}

/// The request of the file with the flags on top.
fn assemble(args: &Args) -> Result<StartSessionRequest, Failure> {
    let name = input::name(&args.file);
    let mut requests: Vec<StartSessionRequest> = request::documents(&args.file, words::START)?;
    let (Some(mut request), true) = (requests.pop(), requests.is_empty()) else {
        let message = format!("{name}: it holds more than one request");
        return Err(Failure::usage(message).hint("wsman client session run starts them all"));
    };
    if let Some(id) = &args.id {
        request.id.clone_from(id);
    }
    if request.id.is_empty() {
        request.id = format!("session-{}", suffix()?);
    }
    match args.dry_run {
        Some(Dry::Client) => request.set_dry_run(DryRun::Client),
        Some(Dry::Server) => request.set_dry_run(DryRun::Server),
        None => {}
    }
    Ok(request)
}

/// Eight characters that make a name unique.
pub(super) fn suffix() -> Result<String, Failure> {
    let uuid = random::uuid().map_err(|error| {
        let text = format!("no random id: {error}");
        Failure::new(Exit::Failed, text)
    })?;
    Ok(uuid.chars().take(8).collect())
}

fn print(session: &Session, dry_run: Option<Dry>, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.document(&list::item(session));
    }
    let id = &session.id;
    let queue = session.status.as_ref().and_then(|s| s.queue.as_ref());
    let place = queue.map(words::queue).unwrap_or_default();
    let mut text = match dry_run {
        None => format!("Started {id}"),
        Some(Dry::Client) => format!("{id} is valid; nothing was started"),
        Some(Dry::Server) => format!("The API server accepts {id}; nothing was started"),
    };
    if !place.is_empty() {
        text.push_str(&format!(": {place}"));
    }
    out.line([text.into()])
}

/// Follows a session to its end, and prints its phases.
async fn until_done(
    first: Session,
    wait: &Wait,
    since: Instant,
    follow: &mut Follow<Session>,
    out: &mut Output,
) -> Result<Session, Failure> {
    let id = first.id.clone();
    let mut printed = None;
    let mut look = |now: Session| {
        let state = (words::phase_of(&now), words::why(&now));
        if printed.as_ref() != Some(&state) {
            progress(&now, since, out)?;
            printed = Some(state);
        }
        Ok(words::is_done(&now).then_some(now))
    };
    if let Some(end) = look(first.clone())? {
        return Ok(end);
    }
    follow.observe(first);
    let goal = format!("{id} to end");
    let remains = format!("the session goes on; see: wsman client session describe {id}");
    wait::until(
        wait.wait_timeout,
        follow,
        &goal,
        &remains,
        |event| match event {
            Event::Update { now, .. } => look(*now),
            Event::Gone(_) => {
                let message = format!("session {id} is gone");
                Err(Failure::new(Exit::NotFound, message))
            }
            // One from before the start does not count.
            _ => Ok(None),
        },
    )
    .await
}

fn progress(session: &Session, since: Instant, out: &mut Output) -> Result<(), Failure> {
    let elapsed = format!("{:6.1}s  ", since.elapsed().as_secs_f64());
    let why = format!("  {}", words::why(session));
    if out.is_for_people() {
        return out.line([elapsed.into(), words::phase_piece(session, 12), why.into()]);
    }
    note(format!("{elapsed}{:12}{why}", words::phase(session)).trim_end());
    Ok(())
}

fn print_result(session: &Session, out: &mut Output) -> Result<(), Failure> {
    let result = session.status.as_ref().map_or("", |s| s.result.trim_end());
    if !out.is_for_people() || result.is_empty() {
        return Ok(());
    }
    out.line(["Result:".into()])?;
    for line in result.lines() {
        out.line([format!("  {line}").into()])?;
    }
    Ok(())
}
