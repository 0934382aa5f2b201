//! `session run`: starts all sessions of files, so many of a queue at once, and waits for their ends.
//!
//! One stream reports all of them. Ctrl-C stops what was started and waits for it; the second Ctrl-C ends at once.

mod batch;
mod progress;
mod save;
mod xunit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use super::super::connect::{CallError, Connection};
use super::super::follow::{BACKOFF, Event, Follow};
use super::super::request;
use super::super::wait::report_cut;
use super::super::words::parse_duration;
use super::start::suffix;
use super::words;
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::input;
use crate::cli::output::Output;
use crate::proto::wsman::sessions::v1::{
    Phase, Session, SessionFilter, StartSessionRequest, StopSessionRequest,
};
use crate::tasks;
use batch::{Batch, Limits, Run, State};
use progress::Progress;
use save::Save;

/// Longest id that is made longer by what makes it unique.
const LONGEST_NAME: usize = 31;
/// How often a start without an answer is made again, within half a minute.
const RETRIES: u32 = 10;
/// How many logs are read at once.
const READERS: usize = 8;
/// How often a terminal is drawn without a change.
const REDRAW: Duration = Duration::from_secs(1);

/// Arguments of `session run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: that of the worst session. One that failed is 1, one that was refused has the code of its \
refusal, one that was cancelled is 7."
)]
pub(super) struct Args {
    /// Files of StartSessionRequests, each a YAML file of one or more documents, or JSON objects; "-" is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How many sessions there are at once: of a queue, or of each other queue [default: all]; may be repeated.
    #[arg(short, long, value_name = "[QUEUE:]N", value_parser = limit)]
    concurrency: Vec<(Option<String>, usize)>,

    /// Save the log of each component that wrote one, as DIR/SESSION/COMPONENT.log.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,

    /// Write a report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    xunit: Option<PathBuf>,

    /// Use the ids of the files as they are. Otherwise each gets an end that makes it unique.
    #[arg(long)]
    fixed_ids: bool,

    /// How long sessions stay readable after their end, instead of what the files say.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    keep: Option<Duration>,
}

fn limit(text: &str) -> Result<(Option<String>, usize), String> {
    let (queue, number) = match text.rsplit_once(':') {
        Some((queue, number)) => (Some(queue.to_owned()), number),
        None => (None, text),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok((queue, number)),
        _ => Err("must be N or QUEUE:N, with N of at least 1".to_owned()),
    }
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let runs = read(&args)?;
    let ids: Vec<_> = runs.iter().map(|run| run.id().to_owned()).collect();
    let mut limits = Limits::default();
    for (queue, number) in &args.concurrency {
        match queue {
            Some(queue) => {
                limits.queues.insert(queue.clone(), *number);
            }
            None => limits.each = Some(*number),
        }
    }
    let batch = Batch::new(runs, limits);
    let (events, _following) = follow(connection, &ids).await?;
    let runner = Runner {
        tails: vec![String::new(); batch.runs.len()],
        batch,
        connection,
        args: &args,
        readers: Arc::new(Semaphore::new(READERS)),
        work: FuturesUnordered::new(),
        unsaved: None,
        interrupted: false,
    };
    Box::pin(runner.run(events, out)).await
}

/// Reads all requests, and makes their ids unique.
fn read(args: &Args) -> Result<Vec<Run>, Failure> {
    let (mut runs, mut ids) = (Vec::new(), BTreeSet::new());
    for path in &args.files {
        let requests: Vec<StartSessionRequest> = request::documents(path, words::START)?;
        for mut request in requests {
            let name = match request.id.as_str() {
                "" => stem(path),
                id => id.to_owned(),
            };
            if !args.fixed_ids {
                let short: String = name.chars().take(LONGEST_NAME).collect();
                request.id = format!("{}-{}", short.trim_end_matches('-'), suffix()?);
            }
            if !ids.insert(request.id.clone()) {
                let message = format!("{}: id {:?} is there twice", path.display(), request.id);
                return Err(Failure::usage(message));
            }
            if let Some(keep) = args.keep {
                let ttl = pbjson_types::Duration::from(keep);
                request.spec.get_or_insert_default().ttl = Some(ttl);
            }
            runs.push(Run {
                file: input::name(path),
                name,
                request,
                state: State::Waiting,
            });
        }
    }
    Ok(runs)
}

/// The name of a file as a DNS label.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let letter = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    let name: String = stem.chars().map(letter).collect();
    match name.trim_matches('-') {
        "" => "session".to_owned(),
        name => name.to_owned(),
    }
}

type Events = mpsc::UnboundedReceiver<Result<Event<Session>, CallError>>;

/// Follows sessions in a task of its own: a wait for an event must not be cut while it reconnects.
async fn follow(
    connection: &Connection,
    ids: &[String],
) -> Result<(Events, AbortOnDropHandle<()>), Failure> {
    let mut follow = Follow::open(connection, SessionFilter::default(), ids).await?;
    let (sender, events) = mpsc::unbounded_channel();
    let task = tasks::scoped(async move {
        loop {
            let event = follow.next().await;
            let is_last = event.is_err();
            if sender.send(event).is_err() || is_last {
                return;
            }
        }
    });
    Ok((events, task))
}

/// What a call made in the background returns.
enum Done {
    Started(usize, Result<Option<Box<Session>>, Failure>),
    Stopped(String, Result<(), Failure>),
    Saved(usize, Result<String, Failure>),
}

struct Runner<'a> {
    batch: Batch,
    connection: &'a Connection,
    args: &'a Args,
    readers: Arc<Semaphore>,
    work: FuturesUnordered<BoxFuture<'a, Done>>,
    /// The end of the decider's log of each session.
    tails: Vec<String>,
    /// The first failure to save a log.
    unsaved: Option<Failure>,
    interrupted: bool,
}

impl Runner<'_> {
    async fn run(mut self, mut events: Events, out: &mut Output) -> Result<(), Failure> {
        let unwatched =
            |error| Failure::new(Exit::Failed, format!("cannot wait for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unwatched)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(unwatched)?;
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut progress = Progress::new(&self.batch);
        while !(self.batch.is_over() && self.work.is_empty()) {
            for at in self.batch.start() {
                self.start(at);
            }
            progress.print(&self.batch, out)?;
            tokio::select! {
                biased;
                _ = interrupt.recv() => self.interrupt()?,
                _ = terminate.recv() => self.interrupt()?,
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done),
                Some(event) = events.recv() => self.event(event?),
                _ = ticks.tick() => {}
            }
        }
        progress.print(&self.batch, out)?;
        progress.finish(&self.batch, self.args.logs.as_ref(), out)?;
        if let Some(path) = &self.args.xunit {
            let report = xunit::write(&self.batch, &self.tails)?;
            std::fs::write(path, report).map_err(|error| {
                let message = format!("cannot write {}: {error}", path.display());
                Failure::new(Exit::Failed, message)
            })?;
        }
        if self.interrupted {
            let message = format!("interrupted: {}", self.batch.summary());
            return Err(Failure::new(Exit::Failed, message));
        }
        self.batch.outcome()?;
        self.unsaved.map_or(Ok(()), Err)
    }

    fn start(&mut self, at: usize) {
        let request = self.batch.runs[at].request.clone();
        let connection = self.connection;
        self.work.push(Box::pin(async move {
            let mut failures = 0;
            // An equal start is made once, so a daemon that is replaced meanwhile is asked again.
            let answer = loop {
                match connection.call(request.clone()).await {
                    Err(error)
                        if error.status.code() == Code::Unavailable && failures < RETRIES =>
                    {
                        tokio::time::sleep(BACKOFF.jittered(failures)).await;
                        failures += 1;
                    }
                    answer => break answer,
                }
            };
            let answer = answer.map(|answer| answer.session);
            Done::Started(
                at,
                answer
                    .map_err(Failure::from)
                    .map(|found| found.map(Box::new)),
            )
        }));
    }

    fn stop(&mut self, id: String) {
        let connection = self.connection;
        let request = StopSessionRequest {
            id: id.clone(),
            reason: "the batch was interrupted".to_owned(),
        };
        self.work.push(Box::pin(async move {
            let answer = connection.call(request).await;
            Done::Stopped(id, answer.map(drop).map_err(Failure::from))
        }));
    }

    /// Reads the logs of a session that ended, if they are wanted.
    fn save(&mut self, at: usize) {
        let State::Ended(session) = &self.batch.runs[at].state else {
            return;
        };
        let succeeded = words::phase_of(session) == Phase::Succeeded;
        if self.args.logs.is_none() && (self.args.xunit.is_none() || succeeded) {
            return;
        }
        let run = &self.batch.runs[at];
        let save = Save {
            id: run.id().to_owned(),
            folder: self.args.logs.clone(),
            decider: run.decider().map(str::to_owned),
        };
        let (connection, readers) = (self.connection, Arc::clone(&self.readers));
        self.work.push(Box::pin(async move {
            // It is never closed.
            let _reader = readers.acquire().await;
            Done::Saved(at, save.run(connection).await)
        }));
    }

    fn observe(&mut self, session: &Session) {
        if let Some(at) = self.batch.observe(session) {
            self.save(at);
        }
    }

    fn event(&mut self, event: Event<Session>) {
        report_cut(&event);
        match event {
            Event::Update { now, .. } => self.observe(&now),
            Event::Gone(last) => {
                let run = self.batch.runs.iter_mut().find(|run| run.id() == last.id);
                if let Some(run) = run.filter(|run| run.is_active()) {
                    run.state = State::Gone;
                }
            }
            // What was there before the start does not count.
            Event::Initial(_) | Event::Complete | Event::Cut(_) | Event::Resumed => {}
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Started(at, Ok(session)) => {
                self.observe(&session.unwrap_or_default());
                if self.interrupted && self.batch.runs[at].is_active() {
                    self.stop(self.batch.runs[at].id().to_owned());
                }
            }
            Done::Started(at, Err(failure)) => self.batch.runs[at].state = State::Refused(failure),
            Done::Stopped(id, Err(failure)) => {
                note(&format!("cannot stop {id}: {}", failure.message()));
            }
            Done::Stopped(_, Ok(())) => {}
            Done::Saved(at, Ok(tail)) => self.tails[at] = tail,
            Done::Saved(at, Err(failure)) => {
                let failure = failure.context(self.batch.runs[at].id());
                note(failure.message());
                self.unsaved.get_or_insert(failure);
            }
        }
    }

    /// Stops what was started; the second time it leaves everything as it is.
    fn interrupt(&mut self) -> Result<(), Failure> {
        if self.interrupted {
            let message = format!("interrupted: {}", self.batch.summary());
            return Err(Failure::new(Exit::Failed, message).hint("the sessions go on"));
        }
        self.interrupted = true;
        let started = self.batch.interrupt();
        let count = u32::try_from(started.len()).unwrap_or(u32::MAX);
        note(&format!(
            "interrupted: stopping {}; Ctrl-C again leaves them",
            words::count(count, "session")
        ));
        started.into_iter().for_each(|id| self.stop(id));
        Ok(())
    }
}
