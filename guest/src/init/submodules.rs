//! Checks out the submodules of a working copy, level by level, with an end.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use crate::beneath::Root;
use crate::git::Git;
use crate::git::remote::{parse, without_credentials};
use crate::init::{Context, InitError};
use crate::path::RelPath;

/// How deep submodules may lie in submodules.
const MAX_DEPTH: usize = 8;

/// How many there may be altogether.
const MAX_MODULES: usize = 512;

/// Updates every submodule below `dir`, which was cloned from `url`.
pub async fn update(
    context: &Context<'_>,
    git: &Git,
    dir: &Path,
    url: &str,
    shallow: bool,
) -> Result<(), InitError> {
    let mut walk = Walk {
        context,
        git,
        shallow,
        count: 0,
    };
    walk.level(dir, &mut vec![url.to_owned()]).await
}

struct Walk<'a> {
    context: &'a Context<'a>,
    git: &'a Git,
    shallow: bool,
    count: usize,
}

impl Walk<'_> {
    fn level<'a>(
        &'a mut self,
        dir: &'a Path,
        above: &'a mut Vec<String>,
    ) -> Pin<Box<dyn Future<Output = Result<(), InitError>> + 'a>> {
        Box::pin(async move {
            if !dir.join(".gitmodules").is_file() {
                return Ok(());
            }
            let pattern = "^submodule\\..*\\.path$";
            let args = [
                "config",
                "--file",
                ".gitmodules",
                "-z",
                "--get-regexp",
                pattern,
            ];
            let Ok(listed) = self.git.run(dir, &args).await else {
                return Ok(());
            };
            let modules: Vec<(String, String)> = listed
                .split('\0')
                .filter_map(|record| record.split_once('\n'))
                .filter_map(|(key, path)| {
                    let name = key.strip_prefix("submodule.")?.strip_suffix(".path")?;
                    Some((name.to_owned(), path.to_owned()))
                })
                .collect();
            self.git.run(dir, &["submodule", "--quiet", "init"]).await?;
            for (name, path) in modules {
                self.module(dir, &name, &path, above).await?;
            }
            Ok(())
        })
    }

    async fn module(
        &mut self,
        dir: &Path,
        name: &str,
        path: &str,
        above: &mut Vec<String>,
    ) -> Result<(), InitError> {
        let below = RelPath::parse(path.as_bytes())?;
        let key = format!("submodule.{name}.url");
        // Without an entry in the index there is nothing to check out.
        let Ok(url) = self
            .git
            .run(dir, &["config", "--local", "--get", &key])
            .await
        else {
            return Ok(());
        };
        let url = url.trim_end_matches('\n');
        let failed = |why: &str| {
            let url = without_credentials(url);
            InitError::Other(format!(
                "cannot clone the submodule {below} from {url}: {why}"
            ))
        };
        parse(
            &instead_of(self.context, url),
            self.context.plan.git.allow_file_remotes,
        )
        .map_err(|error| failed(&error.to_string()))?;
        self.count += 1;
        if above.iter().any(|other| other == url) {
            return Err(failed("it contains itself"));
        }
        if above.len() > MAX_DEPTH {
            return Err(failed("submodules are nested more than 8 deep"));
        }
        if self.count > MAX_MODULES {
            return Err(failed("there are more than 512 submodules"));
        }
        let whole = [
            "submodule",
            "--quiet",
            "update",
            "--checkout",
            "--no-recommend-shallow",
        ];
        let mut args = whole.to_vec();
        if self.shallow {
            args.extend(["--depth", "1"]);
        }
        args.extend(["--", path]);
        let mut result = self.git.run_remote(dir, &args).await;
        if result.is_err() && self.shallow {
            // Some servers give no commit but the tips of branches, so all of them are needed.
            self.deepen(dir, &below, path).await;
            let mut args = whole.to_vec();
            args.extend(["--", path]);
            result = self.git.run_remote(dir, &args).await;
        }
        result.map_err(|error| failed(&error.to_string()))?;
        above.push(url.to_owned());
        self.level(&dir.join(path), above).await?;
        above.pop();
        Ok(())
    }

    /// Fetches the history of a submodule that was cloned without. If it cannot, the update says why.
    async fn deepen(&self, dir: &Path, below: &RelPath, path: &str) {
        let is_below = Root::open(dir).is_ok_and(|root| root.dir(below).is_ok());
        let module = dir.join(path);
        if is_below && module.join(".git").is_file() {
            let branches = "+refs/heads/*:refs/remotes/origin/*";
            let args = ["fetch", "--quiet", "--unshallow", "origin", branches];
            let _ = self.git.run_remote(&module, &args).await;
        }
    }
}

/// The URL that git will use: the longest beginning wins.
fn instead_of(context: &Context<'_>, url: &str) -> String {
    context
        .plan
        .git
        .instead_of
        .iter()
        .filter(|(from, _)| !from.is_empty() && url.starts_with(from.as_str()))
        .max_by_key(|(from, _)| from.len())
        .map_or_else(
            || url.to_owned(),
            |(from, to)| format!("{to}{}", &url[from.len()..]),
        )
}
