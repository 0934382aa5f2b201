//! Clones a repository into the workspace, or brings one that is there to the wanted commit.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::beneath::Root;
use crate::git::askpass::{Answers, VARIABLE};
use crate::git::remote::{Remote, check_ref, parse};
use crate::git::{Git, GitError, config, head};
use crate::init::{Context, InitError, one_time, submodules};
use crate::outcome::Step;
use crate::path::RelPath;
use crate::plan::initializer::{AuthMethod, Git as Spec, TargetMode};
use crate::staging::Staging;
use crate::walk::measure;

/// What is known before git runs.
struct Job<'a> {
    context: &'a Context<'a>,
    spec: &'a Spec,
    remote: Remote,
    shallow: bool,
}

/// Clones; `position` names the secrets of this step.
pub async fn run(context: &Context<'_>, spec: &Spec, position: &str) -> Result<Step, InitError> {
    let plan = context.plan;
    let allow_file = plan.git.allow_file_remotes;
    let remote = parse(&spec.remote_uri, allow_file)?;
    if !spec.upstream_remote_uri.is_empty() {
        parse(&spec.upstream_remote_uri, allow_file)?;
    }
    if spec.target_mode != TargetMode::RemoteHead {
        check_ref(&spec.clone_taget)?;
    }
    for key in spec.config.custom_config.keys() {
        if !config::is_key(key) {
            return Err(InitError::Other(format!(
                "the setting {key:?} is none of git's"
            )));
        }
    }
    let location = RelPath::parse(spec.checkout_location.as_bytes())?;
    let shallow = !(spec.full_clone || plan.git.full_clone);
    let job = Job {
        context,
        spec,
        remote,
        shallow,
    };
    let home = Home::new(context.state)?;
    let target = plan
        .root
        .join(std::ffi::OsStr::new(&*String::from_utf8_lossy(
            location.as_bytes(),
        )));
    let root = Root::open(&plan.root).map_err(io(&plan.root))?;
    let is_dir = |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let there = root.dir(&location).is_ok() && is_dir(target.join(".git"));
    let (git, own) = job.surroundings(&home.0, position).await?;
    let commit = if there {
        let keys = git
            .run(&target, &["config", "--name-only", "--list", "-z"])
            .await?;
        let keys = keys.split('\0').filter(|key| !key.is_empty());
        let git = git.overriding(config::neutral(keys, &own));
        job.update(&git, &target).await?;
        job.finish(&git, &target, true).await?
    } else {
        let staging = Staging::new(&plan.root).map_err(io(&plan.root))?;
        let filled = job.clone(&git, staging.path()).await?;
        let commit = job.finish(&git, staging.path(), filled).await?;
        staging.place(&location)?;
        commit
    };
    let extent = measure(&target).map_err(io(&target))?;
    Ok(Step {
        target: job.remote.url.clone(),
        commit,
        bytes: extent.bytes,
        files: extent.files,
        ..Step::default()
    })
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> InitError + use<> {
    let path = path.display().to_string();
    move |error| InitError::Io(path.clone(), error)
}

/// What the names of such directories begin with.
const HOME: &str = "git-init-";

/// Removes the settings and keys that runs that were killed have left.
pub(super) fn remove_leftovers(state: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(HOME.as_bytes())
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The directory for git's settings and copies of keys; it goes with the step.
struct Home(PathBuf);

impl Home {
    fn new(state: &Path) -> Result<Self, InitError> {
        let path = state.join(format!("{HOME}{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(io(&path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(io(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Job<'_> {
    /// Git with the settings, the secrets and the protocols of this step.
    async fn surroundings(
        &self,
        home: &Path,
        position: &str,
    ) -> Result<(Git, Vec<(String, String)>), InitError> {
        let settings = &self.context.plan.git;
        let protocols = match settings.allow_file_remotes {
            true => "http:https:ssh:git:file",
            false => "http:https:ssh:git",
        };
        let mut lines: Vec<(String, String)> = [
            ("advice.detachedHead", "false"),
            ("credential.helper", ""),
            ("fetch.recurseSubmodules", "false"),
            ("filter.lfs.clean", "git-lfs clean -- %f"),
            ("filter.lfs.process", "git-lfs filter-process --skip"),
            ("filter.lfs.required", "true"),
            ("filter.lfs.smudge", "git-lfs smudge --skip -- %f"),
            ("gc.auto", "0"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("init.defaultBranch", "main"),
            ("init.templateDir", ""),
            ("user.email", "wsman-guest@localhost"),
            ("user.name", "wsman-guest"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (from, to) in &settings.instead_of {
            lines.push((format!("url.{to}.insteadOf"), from.clone()));
        }
        for (key, value) in &self.spec.config.custom_config {
            if config::helps(key) {
                lines.push((key.clone(), value.clone()));
            }
        }
        // The volume may have another owner, and so may submodules anywhere below it.
        lines.push(("safe.directory".into(), "*".into()));
        let path = home.join("config");
        fs::write(&path, config::file(&lines)).map_err(io(&path))?;
        let mut git = Git::new(home, protocols);
        if let Some(answers) = self.answers(home).await? {
            let path = home.join("askpass.json");
            let text = serde_json::to_vec(&answers).unwrap_or_default();
            fs::write(&path, text).map_err(io(&path))?;
            git = git
                .with("GIT_ASKPASS", &self.context.askpass)
                .with(VARIABLE, path);
        }
        let ssh = self.ssh(home, position)?;
        Ok((git.with("GIT_SSH_COMMAND", ssh), lines))
    }

    /// What askpass may answer for this remote.
    async fn answers(&self, home: &Path) -> Result<Option<Answers>, InitError> {
        let config = &self.spec.config;
        if config.authentication == AuthMethod::NoAuth {
            return Ok(None);
        }
        let Some(origin) = self.remote.origin.clone() else {
            return Ok(None);
        };
        if config.authentication == AuthMethod::BasicAuthOts {
            let password = home.join("password");
            let user = one_time::fetch(self.context, config, &password).await?;
            return Ok(Some(Answers {
                origin,
                user,
                password,
            }));
        }
        let Some(name) = config.auth_password.strip_prefix("extracted-secret/") else {
            let text = "config.auth_password must name an extracted secret";
            return Err(InitError::Other(text.into()));
        };
        let password = self.context.plan.secret(name)?;
        Ok(Some(Answers {
            origin,
            user: config.auth_user.clone(),
            password,
        }))
    }

    /// The ssh command: keys and known hosts of the plan, and nothing of the image's.
    fn ssh(&self, home: &Path, position: &str) -> Result<String, InitError> {
        let plan = self.context.plan;
        let mut command =
            String::from("ssh -v -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes");
        let own = plan.secret(&format!("{position}.ssh-key"))?;
        let key = match &plan.git.ssh_key {
            _ if own.exists() => Some(own),
            // Without one git says what it needs a key for.
            Some(name) => Some(plan.secret(name)?).filter(|key| key.exists()),
            None => None,
        };
        if let Some(key) = key {
            // ssh refuses keys that others may read, as the files of a Secret are.
            let copy = home.join("ssh-key");
            let mut text = fs::read(&key).map_err(io(&key))?;
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            fs::write(&copy, text).map_err(io(&copy))?;
            fs::set_permissions(&copy, Permissions::from_mode(0o600)).map_err(io(&copy))?;
            command += &format!(" -i {}", quoted(&copy));
        }
        let hosts = home.join("known_hosts");
        let mut text = Vec::new();
        if let Some(name) = &plan.git.known_hosts {
            let path = plan.secret(name)?;
            text = fs::read(&path).map_err(io(&path))?;
        }
        if let Some(name) = &plan.git.more_known_hosts {
            let path = plan.secret(name)?;
            if path.exists() {
                text.push(b'\n');
                text.extend(fs::read(&path).map_err(io(&path))?);
            }
        }
        fs::write(&hosts, text).map_err(io(&hosts))?;
        let strict = match plan.git.accept_new_host_keys {
            true => "accept-new",
            false => "yes",
        };
        command += &format!(" -o UserKnownHostsFile={}", quoted(&hosts));
        command += " -o GlobalKnownHostsFile=/dev/null";
        command += &format!(" -o StrictHostKeyChecking={strict}");
        Ok(command)
    }

    /// Clones into an empty directory; returns whether its files are there, too.
    async fn clone(&self, git: &Git, dir: &Path) -> Result<bool, InitError> {
        let target = self.spec.clone_taget.as_str();
        let whole_hash =
            matches!(target.len(), 40 | 64) && target.bytes().all(|byte| byte.is_ascii_hexdigit());
        let by_commit = self.spec.target_mode == TargetMode::RemoteCommit;
        if by_commit && self.shallow && whole_hash && self.fetch_commit(git, dir).await.is_ok() {
            return Ok(false);
        }
        let mut args = vec!["clone", "--quiet", "--origin", "origin"];
        if by_commit {
            args.push("--no-checkout");
        } else if self.shallow {
            args.extend(["--depth", "1"]);
        }
        if self.spec.target_mode == TargetMode::RemoteBranch {
            args.extend(["--branch", target]);
        }
        let path = dir.display().to_string();
        args.extend(["--", &self.remote.url, &path]);
        fs::remove_dir_all(dir)
            .and_then(|()| fs::create_dir(dir))
            .map_err(io(dir))?;
        if let Err(error) = git.run_remote(dir, &args).await {
            // Only where the checkout alone failed, git leaves the repository: what comes next says why.
            return match dir.join(".git/HEAD").exists() {
                true => Ok(false),
                false => Err(self.failed("clone", &error)),
            };
        }
        if by_commit {
            let commit = format!("{target}^{{commit}}");
            git.run(
                dir,
                &[
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    "--end-of-options",
                    &commit,
                ],
            )
            .await
            .map_err(|_| self.other(&format!("there is no commit {target}")))?;
            git.run(dir, &["update-ref", "--no-deref", "HEAD", &commit])
                .await?;
        }
        Ok(!by_commit)
    }

    /// Fetches one commit and nothing before it; servers may refuse that.
    async fn fetch_commit(&self, git: &Git, dir: &Path) -> Result<(), GitError> {
        let commit = self.spec.clone_taget.as_str();
        git.run(dir, &["init", "--quiet"]).await?;
        git.run(dir, &["remote", "add", "origin", &self.remote.url])
            .await?;
        git.run_remote(dir, &["fetch", "--quiet", "--depth", "1", "origin", commit])
            .await?;
        git.run(dir, &["update-ref", "--no-deref", "HEAD", commit])
            .await?;
        Ok(())
    }

    /// Brings a working copy that is there to the target; changes in it come along.
    async fn update(&self, git: &Git, dir: &Path) -> Result<(), InitError> {
        let run = async |args: &[&str]| {
            git.run_remote(dir, args)
                .await
                .map_err(|error| self.failed("update from", &error))
        };
        run(&["remote", "set-url", "origin", &self.remote.url]).await?;
        let target = self.spec.clone_taget.as_str();
        let wanted = match self.spec.target_mode {
            TargetMode::RemoteHead | TargetMode::LocalBranch => "HEAD".to_owned(),
            TargetMode::RemoteCommit => target.to_owned(),
            TargetMode::RemoteBranch => {
                format!("+refs/heads/{target}:refs/remotes/origin/{target}")
            }
        };
        run(&["fetch", "--quiet", "origin", &wanted]).await?;
        let before = run(&["stash", "list"]).await?;
        run(&["stash", "push", "--quiet"]).await?;
        let stashed = run(&["stash", "list"]).await? != before;
        match self.spec.target_mode {
            TargetMode::RemoteHead | TargetMode::LocalBranch => {
                run(&["merge", "--quiet", "--ff-only", "FETCH_HEAD"]).await?;
            }
            TargetMode::RemoteCommit => {
                run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]).await?;
            }
            TargetMode::RemoteBranch => {
                run(&["checkout", "--quiet", "-B", target, "FETCH_HEAD"]).await?;
            }
        }
        if stashed && run(&["stash", "pop", "--quiet"]).await.is_err() {
            let text = "changes of the prebuild do not fit the new commit; they stay in the stash";
            self.context.progress.say("git", text);
            run(&["reset", "--quiet", "--hard"]).await?;
        }
        Ok(())
    }

    /// Fills the working copy, unless it is filled, and sets what stays in it.
    async fn finish(
        &self,
        git: &Git,
        dir: &Path,
        filled: bool,
    ) -> Result<Option<String>, InitError> {
        let commit = match head::read(dir) {
            Some(commit) => Some(commit),
            None => {
                let args = ["rev-parse", "--verify", "--quiet", "HEAD"];
                let commit = git.run(dir, &args).await.ok();
                commit.map(|commit| commit.trim().to_owned())
            }
        };
        if commit.is_some() {
            let lfs = self.uses_lfs(git, dir, filled).await?;
            if !filled {
                git.run(dir, &["reset", "--quiet", "--hard"])
                    .await
                    .map_err(|error| self.failed("check out", &error))?;
            }
            if lfs {
                git.run_remote(dir, &["lfs", "pull"])
                    .await
                    .map_err(|error| self.failed("fetch the LFS files of", &error))?;
            }
            if self.spec.target_mode == TargetMode::LocalBranch {
                let branch = self.spec.clone_taget.as_str();
                git.run(dir, &["checkout", "--quiet", "-B", branch]).await?;
            }
        } else {
            self.context.progress.say("git", "the repository is empty");
        }
        if self.shallow || commit.is_none() {
            // A shallow clone follows one branch, and one of an empty repository none.
            let branches = "+refs/heads/*:refs/remotes/origin/*";
            let follow = ["config", "--replace-all", "remote.origin.fetch", branches];
            git.run(dir, &follow).await?;
        }
        let upstream = self.spec.upstream_remote_uri.as_str();
        if !upstream.is_empty() {
            let known = git.run(dir, &["remote"]).await?;
            let verb = if known.lines().any(|name| name == "upstream") {
                "set-url"
            } else {
                "add"
            };
            git.run(dir, &["remote", verb, "upstream", upstream])
                .await?;
        }
        if commit.is_some() {
            submodules::update(self.context, git, dir, &self.remote.url, self.shallow).await?;
        }
        // Last: from here on they act for the user only.
        for (key, value) in &self.spec.config.custom_config {
            git.run(dir, &["config", "--local", key, value])
                .await
                .map_err(|error| self.failed("configure", &error))?;
        }
        Ok(commit)
    }

    /// Whether the commit keeps files with LFS; without git-lfs that is a failure, not a checkout full of pointers.
    async fn uses_lfs(&self, git: &Git, dir: &Path, filled: bool) -> Result<bool, InitError> {
        // The index is read faster than all trees of the commit.
        let place = if filled { "--cached" } else { "HEAD" };
        let args = [
            "grep",
            "--quiet",
            "-e",
            "filter=lfs",
            place,
            "--",
            ":(glob)**/.gitattributes",
        ];
        if git.run(dir, &args).await.is_err() {
            return Ok(false);
        }
        match git.run(dir, &["lfs", "version"]).await {
            Ok(_) => Ok(true),
            Err(_) => {
                Err(self.other("it keeps files with Git LFS, and git-lfs is not in this image"))
            }
        }
    }

    fn failed(&self, verb: &str, error: &GitError) -> InitError {
        InitError::Other(format!("cannot {verb} {}: {error}", self.remote.url))
    }

    fn other(&self, why: &str) -> InitError {
        InitError::Other(format!("cannot clone {}: {why}", self.remote.url))
    }
}

/// A path as one word for the shell that runs the ssh command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
