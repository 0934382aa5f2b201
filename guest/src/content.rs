//! The commands of `content`: reads the plan, handles signals, writes the termination message.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::git::askpass;
use crate::init::{self, Context};
use crate::outcome::{InitOutcome, Progress, SaveOutcome, write_message};
use crate::plan::{Plan, PlanError};
use crate::request::{self, Request};
use crate::save;
use wsman_store::manifest::Kind;

/// Commands of `content`.
#[derive(Subcommand)]
pub enum ContentCommand {
    /// Fills the workspace as the plan says.
    Init(Common),
    /// Saves the workspace at an interval, when it is asked to, and when it ends.
    Save(Common),
    /// Asks the running `save` for a backup and prints its answer.
    Request {
        #[arg(long)]
        kind: RequestKind,
        /// Names the request; the same id gives the same answer.
        #[arg(long)]
        id: String,
        /// Waits for the answer, which is the default.
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Returns at once.
        #[arg(long)]
        no_wait: bool,
        #[arg(long, default_value = "/run/wsman/state")]
        state: PathBuf,
    },
    /// Tells the running `save` that the pod ends; the hook of the container runs it.
    Stopping {
        #[arg(long, default_value = "/run/wsman/state")]
        state: PathBuf,
    },
}

#[derive(Args)]
pub struct Common {
    #[arg(long, default_value = "/run/wsman/content/plan.json")]
    plan: PathBuf,
    /// The workspace.
    #[arg(long, default_value = "/workspace")]
    root: PathBuf,
    /// Directory that the containers of the content share.
    #[arg(long, default_value = "/run/wsman/state")]
    state: PathBuf,
    /// Where the result goes; WSMAN_TERMINATION_LOG says it too.
    #[arg(long)]
    termination_log: Option<PathBuf>,
    /// Form of the progress on stderr.
    #[arg(long, default_value = "text")]
    log: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RequestKind {
    Snapshot,
    Backup,
}

impl Common {
    fn read_plan(&self) -> Result<Plan, PlanError> {
        Plan::read(&self.plan, &self.root)
    }

    fn progress(&self) -> Progress {
        Progress {
            json: matches!(self.log, LogFormat::Json),
            termination_log: Some(self.message_path()),
        }
    }

    fn message_path(&self) -> PathBuf {
        let from_environment = || std::env::var_os("WSMAN_TERMINATION_LOG").map(PathBuf::from);
        let path = self.termination_log.clone().or_else(from_environment);
        path.unwrap_or_else(|| "/dev/termination-log".into())
    }

    fn finish(&self, message: &str, ok: bool) -> ExitCode {
        write_message(&self.message_path(), message);
        println!("{message}");
        if ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Answers git if it was git that ran this.
pub fn askpass() -> Option<ExitCode> {
    let file = std::env::var_os(askpass::VARIABLE)?;
    let question = std::env::args().nth(1).unwrap_or_default();
    Some(match askpass::answer(file.as_ref(), &question) {
        Ok(Some(answer)) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wsman-guest: cannot read the credentials: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Runs one of them.
pub fn run(command: ContentCommand) -> ExitCode {
    // A second call finds one installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wsman-guest: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match command {
            ContentCommand::Init(common) => init(&common).await,
            ContentCommand::Save(common) => save(&common).await,
            ContentCommand::Request {
                kind,
                id,
                no_wait,
                state,
                ..
            } => {
                let kind = match kind {
                    RequestKind::Snapshot => Kind::Snapshot,
                    RequestKind::Backup => Kind::Backup,
                };
                let request = Request {
                    id,
                    kind,
                    early: no_wait,
                };
                ask(&state, &request, !no_wait).await
            }
            ContentCommand::Stopping { state } => match save::announce_end(&state) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("wsman-guest: cannot announce the end: {error}");
                    ExitCode::FAILURE
                }
            },
        }
    });
    // A thread that hangs in a read must not keep the process.
    runtime.shutdown_background();
    code
}

async fn init(common: &Common) -> ExitCode {
    let outcome = match common.read_plan() {
        Ok(plan) => {
            let context = Context {
                plan: &plan,
                state: &common.state,
                askpass: std::env::current_exe().unwrap_or_default(),
                progress: common.progress(),
            };
            tokio::select! {
                biased;
                outcome = Box::pin(init::run(&context)) => outcome,
                name = stopped() => {
                    InitOutcome::failed("init", format!("stopped by {name} before it was done"))
                }
            }
        }
        Err(error) => InitOutcome::failed("plan", error.to_string()),
    };
    common.finish(&outcome.message(), outcome.ok)
}

async fn save(common: &Common) -> ExitCode {
    let outcome = match common.read_plan() {
        Ok(plan) => {
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            let saving = save::run(&plan, &common.state, common.progress(), stop);
            let stopped = stopped();
            tokio::spawn(async move {
                stopped.await;
                stopping.cancel();
            });
            Box::pin(saving).await
        }
        Err(error) => SaveOutcome::failed(error.to_string()),
    };
    common.finish(&outcome.message(), outcome.ok)
}

async fn ask(state: &std::path::Path, request: &Request, wait: bool) -> ExitCode {
    match request::ask(state, request, wait).await {
        Ok(Some(answer)) => {
            println!("{}", serde_json::to_string(&answer).unwrap_or_default());
            if answer.ok {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(None) => {
            println!(
                "{}",
                serde_json::json!({ "id": request.id, "pending": true })
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wsman-guest: cannot ask for a backup: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal that ends the container; process 1 gets none that it does not ask for.
fn stopped() -> impl Future<Output = &'static str> {
    let term = signal(SignalKind::terminate());
    let int = signal(SignalKind::interrupt());
    async move {
        match (term, int) {
            (Ok(mut term), Ok(mut int)) => tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            },
            _ => std::future::pending().await,
        }
    }
}
