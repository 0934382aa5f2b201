//! The verbs that are one call with a short response: mark-active, set-timeout, port, admission, ssh-keys, snapshot,
//! backup.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::connect::Connection;
use super::keys;
use crate::cli::confirm;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::duration::GoDuration;
use crate::proto::wsman::*;

/// Nanoseconds. A shorter timeout ends a workspace under the user's hands.
const MINUTE: i64 = 60_000_000_000;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Records activity of a workspace's user.
    MarkActive {
        /// Id of the workspace.
        id: String,
        /// The user closed the workspace.
        #[arg(long)]
        closed: bool,
        /// Only if the workspace was never active before.
        #[arg(long)]
        if_first: bool,
    },
    /// Changes the inactivity timeout of a workspace.
    SetTimeout {
        /// Id of the workspace.
        id: String,
        /// Go duration, such as "1h30m". Less than a minute ends a workspace and needs --now.
        duration: String,
        /// The timeout after the user closed the workspace; 0 disables it.
        #[arg(long)]
        closed: bool,
        /// Set a timeout that ends the workspace without a confirmation.
        #[arg(long)]
        now: bool,
    },
    /// Exposes or hides a port of a workspace.
    #[command(subcommand)]
    Port(Port),
    /// Changes who has access to a workspace.
    Admission {
        /// Id of the workspace.
        id: String,
        /// Who has access.
        level: Level,
    },
    /// Replaces the SSH keys of a workspace.
    SshKeys {
        /// Id of the workspace.
        id: String,
        /// File with lines as in authorized_keys; "-" is standard input.
        #[arg(
            short,
            long,
            value_name = "FILE",
            required_unless_present = "none",
            conflicts_with = "none"
        )]
        file: Option<PathBuf>,
        /// Remove all keys.
        #[arg(long)]
        none: bool,
    },
    /// Takes a snapshot of a running workspace's content.
    Snapshot {
        /// Id of the workspace.
        id: String,
        /// Return the snapshot's URL before it is complete.
        #[arg(long)]
        no_wait: bool,
    },
    /// Backs up a running workspace's content.
    Backup {
        /// Id of the workspace.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Port {
    /// Makes a port reachable from outside.
    Expose {
        /// Id of the workspace.
        id: String,
        /// The port.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=65535))]
        port: u32,
        /// The port that the workspace listens on, if it is another.
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u32).range(1..=65535))]
        target: Option<u32>,
        /// For everyone, not only for those with access to the workspace.
        #[arg(long)]
        public: bool,
        /// The port speaks HTTPS.
        #[arg(long)]
        https: bool,
    },
    /// Hides a port.
    Hide {
        /// Id of the workspace.
        id: String,
        /// The port.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=65535))]
        port: u32,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Level {
    /// The owner only.
    Owner,
    /// Everybody.
    Everyone,
}

impl From<Level> for i32 {
    fn from(level: Level) -> Self {
        match level {
            Level::Owner => AdmissionLevel::AdmitOwnerOnly.into(),
            Level::Everyone => AdmissionLevel::AdmitEveryone.into(),
        }
    }
}

pub(super) async fn run(
    verb: Verb,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let (sentence, result) = call(verb, connection).await?;
    if out.is_for_people() {
        out.line([sentence.into()])
    } else {
        out.document(&result)
    }
}

/// Makes the call; returns its output for people and for programs.
async fn call(verb: Verb, connection: &Connection) -> Result<(String, Value), Failure> {
    let done = |sentence: String, id: &str| (sentence, json!({"id": id}));
    Ok(match verb {
        Verb::MarkActive {
            id,
            closed,
            if_first,
        } => {
            let request = MarkActiveRequest {
                id: id.clone(),
                closed,
                ignore_if_active: if_first,
            };
            connection.call(request).await?;
            done(
                format!("Marked {id} {}", if closed { "closed" } else { "active" }),
                &id,
            )
        }
        Verb::SetTimeout {
            id,
            duration,
            closed,
            now,
        } => {
            if !closed && !now {
                endangers(&id, &duration)?;
            }
            let kind = if closed {
                TimeoutType::ClosedTimeout
            } else {
                TimeoutType::WorkspaceTimeout
            };
            let request = SetTimeoutRequest {
                id: id.clone(),
                duration: duration.clone(),
                r#type: kind.into(),
            };
            connection.call(request).await?;
            let sentence = match closed {
                true => format!("The closed timeout of {id} is {duration}"),
                false => format!("The timeout of {id} is {duration}, and it has no closed timeout"),
            };
            done(sentence, &id)
        }
        Verb::Port(port) => {
            let (sentence, request) = port_request(port);
            let id = request.id.clone();
            connection.call(request).await?;
            done(sentence, &id)
        }
        Verb::Admission { id, level } => {
            let who = match level {
                Level::Owner => "only its owner",
                Level::Everyone => "everyone",
            };
            connection
                .call(ControlAdmissionRequest {
                    id: id.clone(),
                    level: level.into(),
                })
                .await?;
            done(format!("{id} admits {who}"), &id)
        }
        Verb::SshKeys { id, file, .. } => {
            let keys = file
                .as_deref()
                .map(keys::read)
                .transpose()?
                .unwrap_or_default();
            let sentence = match keys.len() {
                0 => format!("{id} has no SSH keys"),
                1 => format!("{id} has 1 SSH key"),
                count => format!("{id} has {count} SSH keys"),
            };
            connection
                .call(UpdateSshKeyRequest {
                    id: id.clone(),
                    keys,
                })
                .await?;
            done(sentence, &id)
        }
        Verb::Snapshot { id, no_wait } => {
            let request = TakeSnapshotRequest {
                id: id.clone(),
                return_immediately: no_wait,
            };
            let url = connection.call(request).await?.url;
            (url.clone(), json!({"id": id, "url": url}))
        }
        Verb::Backup { id } => {
            let url = connection
                .call(BackupWorkspaceRequest { id: id.clone() })
                .await?
                .url;
            (url.clone(), json!({"id": id, "url": url}))
        }
    })
}

fn port_request(port: Port) -> (String, ControlPortRequest) {
    match port {
        Port::Expose {
            id,
            port,
            target,
            public,
            https,
        } => {
            let visibility = if public {
                PortVisibility::Public
            } else {
                PortVisibility::Private
            };
            let protocol = if https {
                PortProtocol::Https
            } else {
                PortProtocol::Http
            };
            let spec = PortSpec {
                port,
                target: target.unwrap_or_default(),
                visibility: visibility.into(),
                protocol: protocol.into(),
                ..Default::default()
            };
            let sentence = format!("Exposed port {port} of {id}");
            (
                sentence,
                ControlPortRequest {
                    id,
                    expose: true,
                    spec: Some(spec),
                },
            )
        }
        Port::Hide { id, port } => {
            let sentence = format!("Hid port {port} of {id}");
            let spec = PortSpec {
                port,
                ..Default::default()
            };
            (
                sentence,
                ControlPortRequest {
                    id,
                    expose: false,
                    spec: Some(spec),
                },
            )
        }
    }
}

/// Asks for confirmation of a timeout that is over at once. The server rejects an invalid duration.
fn endangers(id: &str, duration: &str) -> Result<(), Failure> {
    let Ok(parsed) = GoDuration::parse(duration) else {
        return Ok(());
    };
    let danger = match parsed.as_nanos() {
        nanos if !(0..MINUTE).contains(&nanos) => return Ok(()),
        0 => format!("a timeout of {duration} stops {id} at once"),
        _ => format!("a timeout of {duration} stops {id} after {duration} without activity"),
    };
    confirm::ask(&danger, "--now")
}
