//! `session stop`: asks sessions to stop, and waits until they have ended.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::super::connect::Connection;
use super::super::follow::{Event, Follow};
use super::super::wait;
use super::start::Wait;
use super::{list, words};
use crate::cli::exit::{Failure, note};
use crate::cli::output::Output;
use crate::proto::wsman::sessions::v1::{Session, SessionFilter, StopSessionRequest};

/// Arguments of `session stop`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids of the sessions.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    /// Why, for people who read the status.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    #[command(flatten)]
    wait: Wait,
}

/// Stops every session; the first failure sets the exit code.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut follow = match args.wait.wait {
        true => {
            Some(Follow::<Session>::open(connection, SessionFilter::default(), &args.ids).await?)
        }
        false => None,
    };
    let since = Instant::now();
    let (mut asked, mut failure) = (BTreeSet::new(), None);
    for id in &args.ids {
        let request = StopSessionRequest {
            id: id.clone(),
            reason: args.reason.clone(),
        };
        match connection.call(request).await {
            Ok(answer) => {
                let session = answer.session.unwrap_or_default();
                print(id, &session, out)?;
                if !words::is_done(&session) {
                    asked.insert(id.clone());
                }
            }
            Err(error) => {
                let error = Failure::from(error).context(id);
                match failure {
                    None => failure = Some(error),
                    Some(_) => out.failure(&error),
                }
            }
        }
    }
    if let Some(follow) = follow.as_mut().filter(|_| !asked.is_empty()) {
        until_ended(asked, &args.wait, since, follow, out).await?;
    }
    failure.map_or(Ok(()), Err)
}

fn print(id: &str, session: &Session, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.record(&list::item(session));
    }
    let text = match words::is_done(session) {
        true => format!("{id} has ended already: {}", words::phase(session)),
        false => format!("Stopping {id}"),
    };
    out.line([text.into()])
}

async fn until_ended(
    mut left: BTreeSet<String>,
    wait: &Wait,
    since: Instant,
    follow: &mut Follow<Session>,
    out: &mut Output,
) -> Result<(), Failure> {
    let goal = match left.first() {
        Some(id) if left.len() == 1 => format!("{id} to end"),
        _ => format!("{} sessions to end", left.len()),
    };
    let remains = "the sessions keep stopping";
    wait::until(wait.wait_timeout, follow, &goal, remains, |event| {
        let ended = match event {
            Event::Initial(now) => Some(now).filter(words::is_done),
            Event::Update { now, .. } => Some(*now).filter(words::is_done),
            Event::Gone(last) => Some(last),
            _ => None,
        };
        if let Some(last) = ended.filter(|last| left.remove(&last.id)) {
            let after = since.elapsed().as_secs_f64();
            let phase = words::phase(&last);
            let text = format!("{} ended after {after:.1}s: {phase}", last.id);
            match out.is_for_people() {
                true => out.line([text.into()])?,
                false => note(&text),
            }
        }
        Ok(left.is_empty().then_some(()))
    })
    .await
}
