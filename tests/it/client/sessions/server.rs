//! A scripted service of sessions on loopback that records its calls.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use futures::stream::{Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status};
use wsman::proto::served::sessions_server::{Sessions, SessionsServer};
use wsman::proto::wsman::sessions::v1::*;

use super::super::TIMEOUT;

type Sender = mpsc::UnboundedSender<Result<SubscribeResponse, Status>>;

/// What the server knows and was asked.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: Vec<Session>,
    pub(super) pools: Vec<Pool>,
    /// Parts of logs: a call of Logs gets the first one that is left; a status ends it.
    pub(super) logs: Vec<Vec<Result<LogsResponse, Status>>>,
    /// The lines of every component of a session, for the calls without a part.
    pub(super) lines: Vec<LogsResponse>,
    /// What becomes of a session at its start.
    pub(super) script: Option<fn(&Session) -> Vec<Session>>,
    /// Starts that fail, by the begin of their id.
    pub(super) refused: BTreeMap<&'static str, Status>,
    /// Every call: its name and its request.
    pub(super) calls: Vec<(&'static str, Value)>,
    /// Every update that was published: its place is its token.
    published: Vec<Session>,
    /// Tokens are refused, so that a stream begins again.
    pub(super) forgetful: bool,
    streams: Vec<Sender>,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server; it ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl Server {
    pub(super) fn start(sessions: Vec<Session>) -> Self {
        let shared = Shared::default();
        shared.0.lock().unwrap().sessions = sessions;
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let service = SessionsServer::new(Service(Arc::clone(&shared)));
        let router = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = TcpListenerStream::new(listener);
            router.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Changes a session and publishes it.
    pub(super) fn update(&self, session: Session) {
        self.state().put(session);
    }

    /// Ends every stream.
    pub(super) fn cut(&self) {
        let cut = Status::unavailable("going away");
        for stream in self.state().streams.drain(..) {
            let _ = stream.send(Err(cut.clone()));
        }
    }

    /// Waits until a call was made as many times; the requests so far.
    #[track_caller]
    pub(super) fn wait_for(&self, call: &str, times: usize) -> Vec<Value> {
        let requests = |state: &State| {
            let calls = state.calls.iter().filter(|(name, _)| *name == call);
            calls
                .map(|(_, request)| request.clone())
                .collect::<Vec<_>>()
        };
        let missing = |state: &mut State| requests(state).len() < times;
        let (state, waited) = self
            .shared
            .1
            .wait_timeout_while(self.state(), TIMEOUT, missing)
            .unwrap();
        assert!(!waited.timed_out(), "{call} was not called {times} times");
        requests(&state)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn put(&mut self, session: Session) {
        self.sessions.retain(|other| other.id != session.id);
        self.sessions.push(session.clone());
        self.published.push(session.clone());
        let message = message(Some(session), self.published.len());
        let is_open = |stream: &Sender| stream.send(Ok(message.clone())).is_ok();
        self.streams.retain(is_open);
    }

    fn find(&self, id: &str) -> Result<Session, Status> {
        let found = self.sessions.iter().find(|session| session.id == id);
        found
            .cloned()
            .ok_or_else(|| Status::not_found(format!("session {id} does not exist")))
    }
}

fn message(session: Option<Session>, token: usize) -> SubscribeResponse {
    SubscribeResponse {
        session,
        header: [("wsman-resume".to_owned(), token.to_string())].into(),
    }
}

struct Service(Shared);

impl Service {
    fn answer<Q: Serialize, A>(
        &self,
        name: &'static str,
        request: &Q,
        answer: impl FnOnce(&mut State) -> Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        let mut state = self.0.0.lock().unwrap();
        let request = serde_json::to_value(request).unwrap();
        state.calls.push((name, request));
        let answer = answer(&mut state);
        drop(state);
        self.0.1.notify_all();
        answer.map(Response::new)
    }
}

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Sessions for Service {
    type SubscribeStream = Updates<SubscribeResponse>;
    type LogsStream = Updates<LogsResponse>;

    async fn start_session(
        &self,
        request: Request<StartSessionRequest>,
    ) -> Result<Response<StartSessionResponse>, Status> {
        let request = request.into_inner();
        self.answer("StartSession", &request, |state| {
            let refused = state
                .refused
                .iter()
                .find(|(id, _)| request.id.starts_with(**id));
            if let Some((_, status)) = refused {
                return Err(status.clone());
            }
            let session = Session {
                id: request.id.clone(),
                spec: request.spec.clone(),
                status: Some(SessionStatus {
                    phase: Phase::Queued.into(),
                    version: 1,
                    ..Default::default()
                }),
            };
            if request.dry_run == 0 {
                state.put(session.clone());
                let script = state.script.map(|script| script(&session));
                script
                    .into_iter()
                    .flatten()
                    .for_each(|next| state.put(next));
            }
            Ok(StartSessionResponse {
                session: Some(session),
            })
        })
    }

    async fn stop_session(
        &self,
        request: Request<StopSessionRequest>,
    ) -> Result<Response<StopSessionResponse>, Status> {
        let request = request.into_inner();
        self.answer("StopSession", &request, |state| {
            let mut session = state.find(&request.id)?;
            let status = session.status.get_or_insert_default();
            if !status.done {
                status.set_phase(Phase::Stopping);
                status.version += 1;
                state.put(session.clone());
            }
            Ok(StopSessionResponse {
                session: Some(session),
            })
        })
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let request = request.into_inner();
        self.answer("GetSession", &request, |state| {
            Ok(GetSessionResponse {
                session: Some(state.find(&request.id)?),
            })
        })
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        self.answer("ListSessions", &request.into_inner(), |state| {
            Ok(ListSessionsResponse {
                sessions: state.sessions.clone(),
            })
        })
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let resume = request.metadata().get("wsman-resume");
        let resume: Option<usize> = resume.map(|token| token.to_str().unwrap().parse().unwrap());
        let (sender, receiver) = mpsc::unbounded_channel();
        let began = self.answer("Subscribe", &request.into_inner(), |state| {
            let token = state.published.len();
            let began = match resume.filter(|_| !state.forgetful) {
                Some(resume) => {
                    for at in resume..token {
                        let update = state.published[at].clone();
                        let _ = sender.send(Ok(message(Some(update), at + 1)));
                    }
                    "resumed"
                }
                None => {
                    for session in &state.sessions {
                        let _ = sender.send(Ok(message(Some(session.clone()), token)));
                    }
                    let mut marker = message(None, token);
                    let complete = ("wsman-snapshot".to_owned(), "complete".to_owned());
                    marker.header.extend([complete]);
                    let _ = sender.send(Ok(marker));
                    "snapshot"
                }
            };
            state.streams.push(sender);
            Ok(began)
        })?;
        let mut answer = Response::new(UnboundedReceiverStream::new(receiver).boxed());
        let began = began.into_inner().parse().unwrap();
        answer.metadata_mut().insert("wsman-began", began);
        Ok(answer)
    }

    async fn list_pools(
        &self,
        request: Request<ListPoolsRequest>,
    ) -> Result<Response<ListPoolsResponse>, Status> {
        self.answer("ListPools", &request.into_inner(), |state| {
            Ok(ListPoolsResponse {
                pools: state.pools.clone(),
                ..ListPoolsResponse::default()
            })
        })
    }

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let part = self.answer("Logs", &request, |state| {
            state.find(&request.id)?;
            if !state.logs.is_empty() {
                return Ok(state.logs.remove(0));
            }
            let is_wanted = |line: &&LogsResponse| {
                let name = &line.position.as_ref().unwrap().component;
                request.components.is_empty() || request.components.contains(name)
            };
            let lines = state.lines.iter().filter(is_wanted);
            Ok(lines.cloned().map(Ok).collect())
        })?;
        let part = futures::stream::iter(part.into_inner());
        Ok(Response::new(part.boxed()))
    }
}
