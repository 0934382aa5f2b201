//! Reads the configuration again when its files change or on SIGHUP, and publishes it if it has no errors.
//!
//! It compares contents, not modification times: Kubernetes swaps a mounted configuration by a symlink, and editors
//! write in many ways.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::config::{Content, is_stdin};
use crate::config::Settings;

/// Interval between two checks of the files.
const LOOK: Duration = Duration::from_secs(5);

/// Checks for changes for ever, and at once on `hangup`; `known` is the content of `settings`.
///
/// # Errors
/// If reading panics.
pub(super) async fn watch(
    path: PathBuf,
    mut hangup: Signal,
    mut known: Content,
    settings: watch::Sender<Arc<Settings>>,
) -> anyhow::Result<()> {
    if is_stdin(&path) {
        info!("the configuration came from standard input: changes need a restart");
        while hangup.recv().await.is_some() {
            info!("SIGHUP: the configuration came from standard input and cannot be read again");
        }
        return std::future::pending().await;
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            _ = hangup.recv() => true,
        };
        let path = path.clone();
        // A mounted volume may be slow.
        let content = tokio::task::spawn_blocking(move || Content::read(&path)).await?;
        if !content.is_same(&known) {
            renew(&content, &settings);
            known = content;
        } else if asked {
            info!("SIGHUP: the configuration is as it was");
        }
    }
}

/// Replaces the settings as a whole, or keeps them.
fn renew(content: &Content, settings: &watch::Sender<Arc<Settings>>) {
    let new = match content.settings_and_warnings() {
        Ok((new, warnings)) => {
            warnings.iter().for_each(|warning| warn!("{warning}"));
            new
        }
        Err(failure) => {
            let problems = failure.lines().join("; ");
            error!(
                problems,
                "{}: going on with the configuration from before",
                failure.message()
            );
            return;
        }
    };
    let (new, waiting) = settings.borrow().renew(new);
    settings.send_replace(Arc::new(new));
    info!("the configuration changed and is in use");
    if !waiting.is_empty() {
        warn!(
            keys = waiting.join(", "),
            "these changes take effect with the next start"
        );
    }
}
