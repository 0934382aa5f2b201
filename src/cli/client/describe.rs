//! `describe`: everything about one workspace, in sections for people.

use jiff::Timestamp;
use serde_json::json;

use super::connect::Connection;
use super::encode::{self, redact};
use super::words;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::*;

/// Arguments of `describe`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the workspace.
    id: String,

    /// Also if it ended recently.
    #[arg(long)]
    include_ended: bool,

    /// Print the owner token.
    #[arg(long)]
    show_token: bool,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let answer = connection
        .including_ended(args.include_ended)
        .call(DescribeWorkspaceRequest { id: args.id })
        .await?;
    let mut status = answer.status.unwrap_or_default();
    if !out.is_for_people() {
        let mut described = json!({ "status": encode::status(&status, args.show_token) });
        if !answer.last_activity.is_empty() {
            described["last_activity"] = answer.last_activity.into();
        }
        return out.document(&described);
    }
    redact(&mut status, args.show_token);
    let now = Timestamp::now();
    let mut state = identity(&status, now);
    state.extend(whereabouts(&status, &answer.last_activity, now));
    state.extend(images(&status));
    state.retain(|(_, value)| !value.is_empty());
    let mut rows: Vec<Vec<Piece>> = state
        .into_iter()
        .map(|(name, value)| vec![format!("{name}:").into(), value.into()])
        .collect();
    rows.insert(3, vec!["Phase:".into(), words::phase_piece(&status, 0)]);
    out.rows("", rows)?;
    for (title, rows) in sections(&status) {
        if !rows.is_empty() {
            out.line([format!("{title}:").into()])?;
            out.rows(
                "  ",
                rows.into_iter()
                    .map(|row| row.into_iter().map(Piece::from).collect())
                    .collect(),
            )?;
        }
    }
    Ok(())
}

type Fact = (&'static str, String);

fn identity(status: &WorkspaceStatus, now: Timestamp) -> Vec<Fact> {
    let metadata = status.metadata.clone().unwrap_or_default();
    let started = words::started(status);
    vec![
        ("ID", status.id.clone()),
        ("Owner", or_none(metadata.owner)),
        ("Meta ID", or_none(metadata.meta_id)),
        ("Team", metadata.team.unwrap_or_default()),
        ("Project", metadata.project.unwrap_or_default()),
        ("Message", status.message.clone()),
        ("Version", status.status_version.to_string()),
        (
            "Started",
            started.map_or_else(String::new, |start| ago(start, now)),
        ),
    ]
}

fn whereabouts(status: &WorkspaceStatus, last_activity: &str, now: Timestamp) -> Vec<Fact> {
    let spec = status.spec.clone().unwrap_or_default();
    let runtime = status.runtime.clone().unwrap_or_default();
    let auth = status.auth.clone().unwrap_or_default();
    let last_activity = match last_activity.parse::<Timestamp>() {
        Ok(time) => ago(time, now),
        Err(_) => last_activity.to_owned(),
    };
    let kind = words::kind(&spec);
    vec![
        ("Last activity", last_activity),
        ("URL", spec.url),
        ("Owner token", auth.owner_token),
        ("Admission", words::admission(auth.admission)),
        ("Type", kind),
        (
            "Headless",
            if spec.headless {
                "yes".to_owned()
            } else {
                String::new()
            },
        ),
        ("Class", spec.class),
        ("Timeout", spec.timeout),
        ("Closed timeout", spec.closed_timeout),
        ("Node", runtime.node_name),
        ("Node IP", runtime.node_ip),
        ("Pod", runtime.pod_name),
    ]
}

fn images(status: &WorkspaceStatus) -> Vec<Fact> {
    let spec = status.spec.clone().unwrap_or_default();
    let ide = spec.ide_image.unwrap_or_default();
    // A start without layers records two empty ones.
    let mut layers = spec.ide_image_layers;
    layers.retain(|layer| !layer.is_empty());
    let metrics = status
        .metadata
        .clone()
        .and_then(|metadata| metadata.metrics)
        .and_then(|metrics| metrics.image);
    vec![
        ("Image", spec.workspace_image),
        (
            "Image size",
            metrics.map_or_else(String::new, |image| {
                words::bytes(image.total_size.max(0).unsigned_abs())
            }),
        ),
        ("IDE image", ide.web_ref),
        ("Supervisor image", ide.supervisor_ref),
        ("IDE layers", layers.join(", ")),
    ]
}

fn sections(status: &WorkspaceStatus) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let pairs = |pairs: Vec<(&str, String)>| {
        pairs
            .into_iter()
            .map(|(k, v)| vec![format!("{k}:"), v])
            .collect()
    };
    let ports = status
        .spec
        .iter()
        .flat_map(|spec| &spec.exposed_ports)
        .map(port)
        .collect();
    let annotations = status
        .metadata
        .iter()
        .flat_map(|metadata| &metadata.annotations);
    vec![
        ("Conditions", pairs(words::conditions(status))),
        ("Ports", ports),
        (
            "Annotations",
            annotations
                .map(|(key, value)| vec![format!("{key}:"), value.clone()])
                .collect(),
        ),
        ("Repository", pairs(repository(status))),
        ("Content", pairs(content(status))),
    ]
}

fn port(port: &PortSpec) -> Vec<String> {
    let (visibility, protocol) = words::port(port);
    vec![
        port.port.to_string(),
        visibility,
        protocol,
        port.url.clone(),
    ]
}

fn repository(status: &WorkspaceStatus) -> Vec<(&'static str, String)> {
    let Some(repo) = &status.repo else {
        return Vec::new();
    };
    let mut state = vec![
        ("branch", repo.branch.clone()),
        ("commit", repo.latest_commit.clone()),
        ("uncommitted files", count(repo.total_uncommited_files)),
        ("untracked files", count(repo.total_untracked_files)),
        ("unpushed commits", count(repo.total_unpushed_commits)),
    ];
    state.retain(|(_, value)| !value.is_empty());
    state
}

fn content(status: &WorkspaceStatus) -> Vec<(&'static str, String)> {
    let Some(metrics) = &status.initializer_metrics else {
        return Vec::new();
    };
    let steps = [
        ("git", &metrics.git),
        ("download", &metrics.file_download),
        ("snapshot", &metrics.snapshot),
        ("backup", &metrics.backup),
        ("prebuild", &metrics.prebuild),
        ("composite", &metrics.composite),
    ];
    steps
        .into_iter()
        .filter_map(|(name, step)| step.as_ref().map(|step| (name, measured(step))))
        .collect()
}

fn measured(step: &InitializerMetric) -> String {
    let duration = step.duration.unwrap_or_default();
    let seconds = duration.seconds as f64 + f64::from(duration.nanos) / 1e9;
    format!("{} in {seconds:.1}s", words::bytes(step.size))
}

fn count(number: i64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!(
        "{} ({} ago)",
        words::rfc3339(time),
        words::age_of(Some(time), now)
    )
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        words::NONE.to_owned()
    } else {
        text
    }
}
