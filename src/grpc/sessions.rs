//! The `Sessions` service: parse, plan, act, reply. A call decides nothing itself.

mod logs;
mod start;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::subscribe::{self, Stream};
use crate::action::{Action, Mark};
use crate::clock::Clock;
use crate::cluster::act::{Actor, Outcome};
use crate::cluster::logs::Logs;
use crate::error::Error;
use crate::hub::Hub;
use crate::index::Index;
use crate::index::noun::Noun;
use crate::proto::served::sessions_server;
use crate::proto::wsman::sessions::v1::{
    GetSessionRequest, GetSessionResponse, ListPoolsRequest, ListPoolsResponse,
    ListSessionsRequest, ListSessionsResponse, LogsRequest, LogsResponse, Phase, Session,
    StartSessionRequest, StartSessionResponse, StopSessionRequest, StopSessionResponse,
    SubscribeRequest, SubscribeResponse,
};
use crate::rpc::call::{self, CallContext};
use crate::sessions::Sessions as SessionNoun;
use crate::sessions::capacity;
use crate::sessions::filter::Filter;
use crate::sessions::marks::label;
use crate::sessions::rules::SessionRules;
use crate::sessions::survey::Survey;
use crate::sessions::{stop, view::View};
use crate::spans;

/// Serves sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub calls: CallContext,
    pub hub: Hub<SessionNoun>,
    pub actor: Actor,
    pub logs: Logs,
    /// The current configuration. A call reads it once.
    pub rules: watch::Receiver<Arc<SessionRules>>,
    pub clock: Clock,
}

#[tonic::async_trait]
impl sessions_server::Sessions for Sessions {
    type SubscribeStream = Stream<SubscribeResponse>;
    type LogsStream = Stream<LogsResponse>;

    async fn start_session(
        &self,
        request: Request<StartSessionRequest>,
    ) -> Result<Response<StartSessionResponse>, Status> {
        let (request, deadline) = call::take(request);
        self.await_listed(deadline).await?;
        let span = spans::call("StartSession", SessionNoun::KIND, &request.id);
        let this = self.clone();
        let starting = async move { this.start(request, deadline).await };
        let session = self
            .calls
            .mutate("starting the session", deadline, span, starting)
            .await?;
        Ok(Response::new(StartSessionResponse {
            session: Some(session),
        }))
    }

    async fn stop_session(
        &self,
        request: Request<StopSessionRequest>,
    ) -> Result<Response<StopSessionResponse>, Status> {
        let (request, deadline) = call::take(request);
        stop::check(&request)?;
        self.await_listed(deadline).await?;
        let span = spans::call("StopSession", SessionNoun::KIND, &request.id);
        let this = self.clone();
        let stopping = async move { this.stop(&request, deadline).await };
        let session = self
            .calls
            .mutate("asking the session to stop", deadline, span, stopping)
            .await?;
        Ok(Response::new(StopSessionResponse {
            session: Some(session),
        }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let (request, deadline) = call::take(request);
        self.await_listed(deadline).await?;
        let session = self.known(&request.id, deadline).await?;
        Ok(Response::new(GetSessionResponse {
            session: Some(session),
        }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (request, deadline) = call::take(request);
        self.await_listed(deadline).await?;
        let filter = Filter::parse(request.filter)?;
        let rules = self.rules.borrow().clone();
        let now = self.clock.now();
        let mut sessions: Vec<Session> = self.hub.read(|index| {
            let updates = index.visible().map(|group| SessionNoun::fold(group, &()));
            let selected =
                updates.filter(|update| filter.selects(&update.id, &update.spec, update.phase()));
            let mut sessions: Vec<_> = selected.map(|update| update.session()).collect();
            place(index, &rules, now, &mut sessions);
            sessions
        });
        sessions.sort_by_cached_key(|session| {
            let times = session
                .status
                .as_ref()
                .and_then(|status| status.times.as_ref());
            let enqueued = times.and_then(|times| times.enqueued.as_ref());
            (
                enqueued.map(|at| (at.seconds, at.nanos)),
                session.id.clone(),
            )
        });
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.calls.check_open()?;
        let from = subscribe::start(request.metadata(), 0)?;
        let filter = Filter::parse(request.into_inner().filter)?;
        self.check_listed()?;
        let drain = self.calls.drain().clone();
        Ok(subscribe::open(self.hub.updates(), filter, from, 0, drain).await)
    }

    async fn list_pools(
        &self,
        request: Request<ListPoolsRequest>,
    ) -> Result<Response<ListPoolsResponse>, Status> {
        let (_, deadline) = call::take(request);
        self.await_listed(deadline).await?;
        let rules = self.rules.borrow().clone();
        let response = self.hub.read(|index| {
            let survey = Survey::of(index, &rules);
            let pools = survey.pools().map(|pool| capacity::wire(&pool, &rules));
            ListPoolsResponse {
                pools: pools.collect(),
                nodes_unlisted: !index.lists_nodes(),
            }
        });
        Ok(Response::new(response))
    }

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        self.calls.check_open()?;
        let (request, deadline) = call::take(request);
        self.await_listed(deadline).await?;
        self.known(&request.id, deadline).await?;
        Ok(Response::new(self.open_logs(&request)?))
    }
}

impl Sessions {
    fn check_listed(&self) -> Result<(), Error> {
        match *self.hub.synced().borrow() {
            true => Ok(()),
            false => Err(Error::Unavailable {
                why: "the sessions are not known yet".to_owned(),
                retry_after: None,
            }),
        }
    }

    /// Waits for the first complete list, until the deadline.
    pub(super) async fn await_listed(&self, deadline: Instant) -> Result<(), Error> {
        if self.check_listed().is_err() {
            let mut synced = self.hub.synced();
            let _ = timeout_at(deadline, synced.wait_for(|synced| *synced)).await;
        }
        self.check_listed()
    }

    /// Returns a session from the index or, if it is not there, from the API server: another replica may have started it a
    /// moment ago.
    pub(super) async fn known(&self, id: &str, deadline: Instant) -> Result<Session, Error> {
        if let Some(session) = self.look(id) {
            return Ok(session);
        }
        let rules = self.rules.borrow().clone();
        if crate::names::is_dns_label(id) {
            let selector = format!(
                "{}={id},{}={}",
                label::GROUP,
                label::INSTALLATION,
                rules.installation
            );
            self.actor.find_pods(&selector, deadline).await?;
        }
        self.look(id).ok_or_else(|| missing(id))
    }

    /// Returns the filter of one session that is there.
    pub(super) fn filter_of(&self, id: &str) -> Option<Filter> {
        let session = logs::now(&self.hub, id)?;
        Some(Filter::one(&session.id, &session.spec.queue))
    }

    fn look(&self, id: &str) -> Option<Session> {
        let rules = self.rules.borrow().clone();
        let now = self.clock.now();
        self.hub.read(|index| {
            let group = index.by_id(id)?;
            let mut session = [SessionNoun::fold(group, &()).session()];
            place(index, &rules, now, &mut session);
            let [session] = session;
            Some(session)
        })
    }

    async fn stop(
        &self,
        request: &StopSessionRequest,
        deadline: Instant,
    ) -> Result<Session, Error> {
        let session = self.known(&request.id, deadline).await?;
        let anchor = self.hub.read(|index| {
            let view = View::of(index.by_id(&request.id)?)?;
            let stops = !view.is_over() && view.anchor.stop.is_none();
            stops.then(|| view.lead.pod.clone())
        });
        let Some(anchor) = anchor else {
            return Ok(session);
        };
        let mark = Mark::put(
            crate::sessions::marks::annotation::STOP,
            Some(stop::text(request)),
        );
        match self
            .actor
            .act(&Action::Mark(anchor, mark), deadline)
            .await?
        {
            Outcome::Gone => Err(missing(&request.id)),
            _ => self.known(&request.id, deadline).await,
        }
    }
}

/// Says of each session that waits where it stands.
fn place(
    index: &Index<SessionNoun>,
    rules: &SessionRules,
    now: jiff::Timestamp,
    sessions: &mut [Session],
) {
    let mut waiting: Vec<_> = sessions
        .iter_mut()
        .filter_map(|session| {
            let status = session.status.as_mut()?;
            (status.phase() == Phase::Queued).then_some((&session.id, status))
        })
        .collect();
    if waiting.is_empty() {
        return;
    }
    let survey = Survey::of(index, rules);
    let mut positions = survey.positions(now);
    for (id, status) in &mut waiting {
        status.queue = positions.remove(id.as_str());
    }
}

fn missing(id: &str) -> Error {
    Error::NotFound {
        noun: SessionNoun::KIND,
        id: id.to_owned(),
        known: Vec::new(),
    }
}
