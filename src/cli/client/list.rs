//! `list`: one line per workspace, oldest first; with `--watch` a further line per change.

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::connect::Connection;
use super::follow::{Event, Follow};
use super::wait::report_cut;
use super::{encode, words};
use crate::cli::alive;
use crate::cli::exit::{Failure, note};
use crate::cli::output::{Column, Format, Layout, Output, Piece};
use crate::proto::wsman::{GetWorkspacesRequest, MetadataFilter, WorkspacePhase, WorkspaceStatus};

/// Which workspaces; all filters must match.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Selection {
    /// Only workspaces of this owner.
    #[arg(long, value_name = "OWNER")]
    pub(super) owner: Option<String>,

    /// Only workspaces with this meta id.
    #[arg(long, value_name = "ID")]
    pub(super) meta_id: Option<String>,

    /// Only workspaces with this annotation; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = words::pair)]
    pub(super) annotations: Vec<(String, String)>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Only workspaces in this phase; may be repeated.
    #[arg(long = "phase", value_name = "PHASE", value_parser = words::parse_phase)]
    phases: Vec<WorkspacePhase>,

    /// Only workspaces of this class; may be repeated.
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,

    /// Sort key of the list.
    #[arg(long, value_enum, default_value_t)]
    sort_by: SortBy,

    /// Sort in reverse order.
    #[arg(long)]
    reverse: bool,

    /// Then print a line for every change, until Ctrl-C.
    #[arg(short, long, conflicts_with = "include_ended")]
    watch: bool,

    /// Include workspaces that ended recently.
    #[arg(long)]
    include_ended: bool,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

/// What a list may be sorted by; by id where that is equal.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum SortBy {
    /// Oldest first.
    #[default]
    Age,
    Id,
    Owner,
    MetaId,
    /// In the order of a workspace's life.
    Phase,
    Class,
    Node,
}

impl Selection {
    /// The filter of the protocol; none if everything matches.
    pub(super) fn filter(&self) -> Option<MetadataFilter> {
        let filter = MetadataFilter {
            owner: self.owner.clone().unwrap_or_default(),
            meta_id: self.meta_id.clone().unwrap_or_default(),
            annotations: self.annotations.iter().cloned().collect(),
        };
        (filter != MetadataFilter::default()).then_some(filter)
    }
}

impl Args {
    /// The filters that the protocol does not have.
    fn wants(&self, status: &WorkspaceStatus) -> bool {
        let class = status.spec.as_ref().map_or("", |spec| spec.class.as_str());
        (self.phases.is_empty() || self.phases.contains(&status.phase()))
            && (self.classes.is_empty() || self.classes.iter().any(|wanted| wanted == class))
    }

    fn sort(&self, listed: &mut [WorkspaceStatus]) {
        words::sort(listed);
        match self.sort_by {
            SortBy::Age => {}
            SortBy::Phase => listed.sort_by_key(|status| (status.phase, status.id.clone())),
            by => listed.sort_by_cached_key(|status| (by.key(status), status.id.clone())),
        }
        if self.reverse {
            listed.reverse();
        }
    }

    fn item(&self, status: &WorkspaceStatus) -> Value {
        json!({ "status": encode::status(status, self.show_token) })
    }
}

impl SortBy {
    fn key(self, status: &WorkspaceStatus) -> String {
        let metadata = status.metadata.as_ref();
        let key = match self {
            Self::Owner => metadata.map(|metadata| &metadata.owner),
            Self::MetaId => metadata.map(|metadata| &metadata.meta_id),
            Self::Class => status.spec.as_ref().map(|spec| &spec.class),
            Self::Node => status.runtime.as_ref().map(|runtime| &runtime.node_name),
            Self::Age | Self::Id | Self::Phase => None,
        };
        key.cloned().unwrap_or_default()
    }
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    if args.watch {
        return Box::pin(watch(&args, connection, out)).await;
    }
    let request = GetWorkspacesRequest {
        must_match: args.selection.filter(),
    };
    let connection = connection.including_ended(args.include_ended);
    let mut listed = connection.call(request).await?.status;
    listed.retain(|status| args.wants(status));
    args.sort(&mut listed);
    if out.is_for_people() {
        return table(&listed, out).map(drop);
    }
    let items: Vec<_> = listed.iter().map(|status| args.item(status)).collect();
    out.document(&json!({ "kind": "List", "items": items }))
}

/// The list, then a row, or a record for programs, for every change.
async fn watch(args: &Args, connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let mut follow = Follow::open(connection, args.selection.filter(), &[]).await?;
    let mut initial = Some(Vec::new());
    let mut layout = Layout::default();
    loop {
        let what = || "waiting for changes".to_owned();
        let event = alive::during(what, follow.next()).await?;
        report_cut(&event);
        let now = match event {
            Event::Initial(status) => match &mut initial {
                Some(listed) => {
                    listed.push(status);
                    continue;
                }
                None => status,
            },
            Event::Complete => {
                let mut listed = initial.take().unwrap_or_default();
                listed.retain(|status| args.wants(status));
                args.sort(&mut listed);
                if out.is_for_people() {
                    layout = table(&listed, out)?;
                } else {
                    for status in &listed {
                        out.record(&args.item(status))?;
                    }
                }
                continue;
            }
            Event::Update { now, .. } => *now,
            Event::Gone(last) => {
                note(&format!("{} went while the stream was cut", last.id));
                continue;
            }
            Event::Cut(_) | Event::Resumed => continue,
        };
        match () {
            () if !args.wants(&now) => {}
            () if out.is_for_people() => {
                let row = row(&now, Timestamp::now(), *out.format() == Format::Wide);
                out.row(&layout, &row)?;
            }
            () => out.record(&args.item(&now))?,
        }
    }
}

const COLUMNS: [Column; 8] = [
    Column::fixed("ID"),
    Column::ranked("OWNER", 3),
    Column::ranked("META ID", 4),
    Column::fixed("PHASE"),
    Column::ranked("AGE", 1),
    Column::ranked("CLASS", 5),
    Column::ranked("NODE", 6),
    Column::text("MESSAGE", 2),
];

const WIDE: [Column; 6] = [
    Column::fixed("TYPE"),
    Column::fixed("TIMEOUT"),
    Column::fixed("PORTS"),
    Column::fixed("POD"),
    Column::fixed("IMAGE"),
    Column::fixed("URL"),
];

fn table(listed: &[WorkspaceStatus], out: &mut Output) -> Result<Layout, Failure> {
    let now = Timestamp::now();
    let wide = *out.format() == Format::Wide;
    let rows: Vec<_> = listed.iter().map(|status| row(status, now, wide)).collect();
    match wide {
        true => out.table(&[&COLUMNS[..], &WIDE].concat(), &rows),
        false => out.table(&COLUMNS, &rows),
    }
}

fn row(status: &WorkspaceStatus, now: Timestamp, wide: bool) -> Vec<Piece> {
    let or_none = |text: Option<&String>| match text {
        Some(text) if !text.is_empty() => Piece::from(text.as_str()),
        _ => Piece::from(words::NONE),
    };
    let (metadata, spec) = (status.metadata.as_ref(), status.spec.as_ref());
    let runtime = status.runtime.as_ref();
    let mut row = vec![
        Piece::from(status.id.as_str()),
        or_none(metadata.map(|metadata| &metadata.owner)),
        or_none(metadata.map(|metadata| &metadata.meta_id)),
        words::phase_piece(status, 0),
        Piece::from(words::age_of(words::started(status), now)),
        or_none(spec.map(|spec| &spec.class)),
        or_none(runtime.map(|runtime| &runtime.node_name)),
        Piece::from(words::message(status)),
    ];
    if wide {
        let ports: Vec<_> = spec
            .iter()
            .flat_map(|spec| &spec.exposed_ports)
            .map(|port| port.port.to_string())
            .collect();
        row.extend([
            or_none(spec.map(words::kind).as_ref()),
            or_none(spec.map(|spec| &spec.timeout)),
            or_none(Some(&ports.join(","))),
            or_none(runtime.map(|runtime| &runtime.pod_name)),
            or_none(spec.map(|spec| &spec.workspace_image)),
            or_none(spec.map(|spec| &spec.url)),
        ]);
    }
    row
}
