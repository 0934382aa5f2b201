//! `content init`: runs the initializer of a workspace, once.

pub mod clone;
pub mod download;
pub mod one_time;
pub mod restore;
pub mod submodules;

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::data::DataError;
use crate::git::GitError;
use crate::git::remote::RemoteError;
use crate::outcome::{InitOutcome, Progress, Restored, Step};
use crate::path::PathError;
use crate::plan::initializer::{Git, Prebuild, Spec};
use crate::plan::{Initializer, Plan, PlanError};
use crate::staging::{self, PlaceError};
use wsman_store::StoreError;
use wsman_store::manifest::NameError;

/// What every step needs.
#[derive(Debug)]
pub struct Context<'a> {
    pub plan: &'a Plan,
    /// Directory for what must outlive this run.
    pub state: &'a Path,
    /// What git runs to ask for a password: this binary.
    pub askpass: PathBuf,
    pub progress: Progress,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub step: &'static str,
    pub message: String,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Download(#[from] download::DownloadError),
    #[error(transparent)]
    OneTime(#[from] one_time::OneTimeError),
    #[error("cannot use {0}: {1}")]
    Io(String, io::Error),
    #[error("{0}")]
    Other(String),
}

/// What an earlier run left in the state directory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Whether the root was empty when the first run began.
    fresh: bool,
    /// How it ended.
    done: Option<InitOutcome>,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Done {
    steps: Vec<Step>,
    restored: Option<Restored>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), StepError>> + 'a>>;

/// Runs the initializer. What an earlier run finished is not done again; what it did not finish begins anew in a
/// root that was empty.
pub async fn run(context: &Context<'_>) -> InitOutcome {
    let mut state = match prepare(context) {
        Ok(State {
            done: Some(done), ..
        }) => return done,
        Ok(state) => state,
        Err(error) => return InitOutcome::failed("prepare", error.to_string()),
    };
    let mut done = Done::default();
    let outcome = match step(
        context,
        &context.plan.initializer,
        "initializer".into(),
        &mut done,
    )
    .await
    {
        Ok(()) => InitOutcome::done(done.steps, done.restored),
        Err(error) => return InitOutcome::failed(error.step, error.message),
    };
    state.done = Some(outcome.clone());
    if let Err(error) = write_state(context.state, &state) {
        return InitOutcome::failed("prepare", error.to_string());
    }
    outcome
}

fn prepare(context: &Context<'_>) -> Result<State, InitError> {
    let root = &context.plan.root;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| InitError::Io(path, error)
    };
    fs::create_dir_all(root).map_err(failed(root))?;
    fs::create_dir_all(context.state).map_err(failed(context.state))?;
    clone::remove_leftovers(context.state).map_err(failed(context.state))?;
    if let Ok(text) = fs::read(context.state.join("init.json"))
        && let Ok(state) = serde_json::from_slice::<State>(&text)
    {
        if state.done.is_none() && state.fresh {
            staging::empty(root).map_err(failed(root))?;
        }
        staging::remove_leftovers(root).map_err(failed(root))?;
        return Ok(state);
    }
    staging::remove_leftovers(root).map_err(failed(root))?;
    let mut names = fs::read_dir(root).map_err(failed(root))?;
    let fresh = names.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found"));
    let state = State { fresh, done: None };
    write_state(context.state, &state)?;
    Ok(state)
}

fn write_state(dir: &Path, state: &State) -> Result<(), InitError> {
    let path = dir.join("init.json");
    let text = serde_json::to_vec(state).unwrap_or_default();
    let new = dir.join("init.json.new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| InitError::Io(path.display().to_string(), error))
}

/// Runs one initializer; `position` is its place in the plan, as in the names of secrets.
fn step<'a>(
    context: &'a Context<'a>,
    initializer: &'a Initializer,
    position: String,
    done: &'a mut Done,
) -> Running<'a> {
    Box::pin(async move {
        match initializer.spec() {
            None | Some(Spec::Empty) => {
                done.steps.push(Step {
                    name: "empty".into(),
                    ..Step::default()
                });
            }
            Some(Spec::Composite(parts)) => {
                for (index, part) in parts.iter().enumerate() {
                    let position = format!("{position}.composite.{index}");
                    step(context, part, position, done).await?;
                }
            }
            Some(Spec::Git(git)) => clone_step(context, git, &position, done).await?,
            Some(Spec::Download(download)) => {
                let run = download::run(context, download);
                let step = timed("download", context, run).await?;
                done.steps.push(step);
            }
            Some(Spec::Snapshot(snapshot)) => {
                let run = restore::snapshot(context, snapshot);
                restored(timed("snapshot", context, run).await?, done);
            }
            Some(Spec::Backup(backup)) => {
                let run = restore::backup(context, backup);
                restored(timed("backup", context, run).await?, done);
            }
            Some(Spec::Prebuild(prebuild)) => {
                prebuild_steps(context, prebuild, &position, done).await?;
            }
        }
        Ok(())
    })
}

async fn clone_step(
    context: &Context<'_>,
    git: &Git,
    position: &str,
    done: &mut Done,
) -> Result<(), StepError> {
    let step = timed(
        "git",
        context,
        clone::run(context, git, &format!("{position}.git")),
    )
    .await?;
    done.steps.push(step);
    Ok(())
}

/// A prebuild that cannot be restored costs time, not the workspace: its repositories are cloned instead.
async fn prebuild_steps(
    context: &Context<'_>,
    prebuild: &Prebuild,
    position: &str,
    done: &mut Done,
) -> Result<(), StepError> {
    match timed(
        "prebuild",
        context,
        restore::snapshot(context, &prebuild.prebuild),
    )
    .await
    {
        Ok(step) => restored(step, done),
        Err(error) if prebuild.git.is_empty() => return Err(error),
        Err(error) => {
            let text = format!("the prebuild is not used: {error}");
            context.progress.say("prebuild", &text);
        }
    }
    for (index, git) in prebuild.git.iter().enumerate() {
        let position = format!("{position}.prebuild.{index}");
        clone_step(context, git, &position, done).await?;
    }
    Ok(())
}

fn restored((step, restored): (Step, Option<Restored>), done: &mut Done) {
    done.steps.push(step);
    done.restored = restored.or(done.restored.take());
}

/// What a step gives back, with room for its duration.
trait Timed {
    fn step(&mut self) -> &mut Step;
}

impl Timed for Step {
    fn step(&mut self) -> &mut Step {
        self
    }
}

impl Timed for (Step, Option<Restored>) {
    fn step(&mut self) -> &mut Step {
        &mut self.0
    }
}

async fn timed<T: Timed>(
    name: &'static str,
    context: &Context<'_>,
    run: impl Future<Output = Result<T, InitError>>,
) -> Result<T, StepError> {
    let begun = Instant::now();
    context.progress.begins(name);
    match Box::pin(run).await {
        Ok(mut result) => {
            let step = result.step();
            name.clone_into(&mut step.name);
            step.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let text = format!(
                "done: {} bytes, {} files, {} ms",
                step.bytes, step.files, step.ms
            );
            context.progress.say(name, &text);
            Ok(result)
        }
        Err(error) => {
            let message = error.to_string();
            context.progress.say(name, &message);
            Err(StepError {
                step: name,
                message,
            })
        }
    }
}
