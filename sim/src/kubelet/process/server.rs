//! Serves logs and exec of processes to the API server, on a Unix socket that only the kubelet's user can open.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::logs::Tail;
use super::{Shared, directories, exec, worker};
use crate::logs::{EXEC, LOGS, LogRequest};

/// Requests at a time.
const CONNECTIONS: usize = 256;
/// Most bytes of a request's body.
const BODY_LIMIT: usize = 64 * 1024;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The listening socket.
#[derive(Debug)]
pub(crate) struct Socket(UnixListener);

impl Socket {
    /// Binds the socket; one that an earlier kubelet left is removed.
    pub(crate) fn bind(path: &Path) -> io::Result<Socket> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // The directory does not let others in either.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Socket(listener))
    }
}

/// Serves for ever.
pub(crate) async fn serve(socket: Socket, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.0.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "kubelet: accept");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection and what it was upgraded to.
async fn connection(stream: UnixStream, shared: Arc<Shared>) {
    let (sender, mut sessions) = tokio::sync::mpsc::channel(1);
    let service = service_fn(|request| {
        let (shared, sender) = (shared.clone(), sender.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, &sender).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = http.await {
        tracing::debug!(%error, "kubelet: connection");
    }
    drop(sender);
    while let Some(session) = sessions.recv().await {
        exec::run(session, &shared.groups).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    sessions: &tokio::sync::mpsc::Sender<exec::Session>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if path == LOGS {
        return match read(request).await {
            Ok(asked) => logs(shared, asked),
            Err(why) => plain(StatusCode::BAD_REQUEST, why),
        };
    }
    let container = path
        .strip_prefix(EXEC)
        .and_then(|rest| rest.split_once('/'));
    let Some((uid, container)) = container else {
        return plain(StatusCode::NOT_FOUND, "404 page not found");
    };
    let Some(running) = shared.table.find(uid, container) else {
        let why = format!("container {container:?} does not run");
        return plain(StatusCode::NOT_FOUND, why);
    };
    match exec::accept(request, running) {
        Ok((response, session)) => {
            let _ = sessions.try_send(session);
            response
        }
        Err(why) => plain(StatusCode::BAD_REQUEST, why),
    }
}

async fn read(request: Request<Incoming>) -> Result<LogRequest, String> {
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = body.await.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

fn logs(shared: &Shared, asked: LogRequest) -> Response<Body> {
    let LogRequest {
        uid,
        container,
        run,
        follow,
        selection,
    } = asked;
    if !directories::is_component(&uid) || !directories::is_component(&container) {
        return plain(StatusCode::BAD_REQUEST, "no such container");
    }
    let running = shared.table.find(&uid, &container);
    let progress = running.filter(|running| follow && running.run == run);
    let progress = progress.map(|running| running.log.clone());
    let tail = Tail::open(
        worker::log(shared, &uid, &container, run),
        selection,
        progress,
    );
    let tail = match tail {
        Ok(tail) => tail,
        // It did not start, or its log is not kept any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return plain(StatusCode::OK, "");
        }
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let chunks = unfold(tail, |mut tail| async move {
        match tail.next().await {
            Ok(text) => Some((Ok(Frame::data(text?)), tail)),
            Err(error) => {
                tracing::debug!(%error, "a log cannot be read");
                None
            }
        }
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

pub(super) fn plain(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let text: String = text.into();
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = code;
    response
}
