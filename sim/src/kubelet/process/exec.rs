//! Exec: a command beside the process of a container.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::container::{Running, exit_code};
use super::group::Groups;
use super::server::{Body, plain};
use crate::exec::{self, Asked, CLOSE, STDERR, STDIN, STDOUT, message, outcome};

/// Most bytes of output in a message.
const CHUNK: usize = 32 * 1024;
/// A process that has ended may have left its output to others; they have this long.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// An accepted request.
#[derive(Debug)]
pub(crate) struct Session {
    upgrade: OnUpgrade,
    running: Arc<Running>,
    asked: Asked,
}

/// Switches to a WebSocket; the error says why not.
pub(crate) fn accept(
    mut request: Request<Incoming>,
    running: Arc<Running>,
) -> Result<(Response<Body>, Session), String> {
    let query = request.uri().query().unwrap_or_default();
    let (headers, asked) = exec::accept(query, request.headers())?;
    let mut response = plain(exec::SWITCH, "");
    response.headers_mut().extend(headers);
    let session = Session {
        upgrade: hyper::upgrade::on(&mut request),
        running,
        asked,
    };
    Ok((response, session))
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Runs the command until it or its container ends, or the client is gone.
pub(crate) async fn run(mut session: Session, groups: &Groups) {
    let upgraded = match (&mut session.upgrade).await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "exec: upgrade"),
    };
    let (role, config) = (Role::Server, Some(exec::config()));
    let socket = WebSocketStream::from_raw_socket(upgraded, role, config).await;
    let (mut sink, stream) = socket.split();
    let status = execute(&session, &mut sink, stream, groups).await;
    let Some(status) = status else {
        return;
    };
    if let Err(error) = exec::end(&mut sink, &status).await {
        tracing::debug!(%error, "exec: the end is not sent");
    }
}

/// The outcome as a Status; none if there is no client to receive it.
async fn execute(
    session: &Session,
    sink: &mut SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    groups: &Groups,
) -> Option<Value> {
    let pipe = |wanted| match wanted {
        true => Stdio::piped(),
        false => Stdio::null(),
    };
    let environment = &session.running.environment;
    let started = environment.spawn(&session.asked.command, groups, |command| {
        command
            .stdin(pipe(session.asked.stdin))
            .stdout(pipe(session.asked.stdout))
            .stderr(pipe(session.asked.stderr));
    });
    let (mut child, group) = match started {
        Ok(started) => started,
        Err(error) => return Some(not_started(&session.asked.command, &error)),
    };
    let (sender, mut output) = mpsc::channel(16);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let copies = async {
        tokio::join!(
            copy(STDOUT, stdout, sender.clone()),
            copy(STDERR, stderr, sender.clone()),
        );
    };
    let input = receive(stream, child.stdin.take());
    let ended = session.running.ended.cancelled();
    tokio::pin!(copies, input, ended);
    let (mut copied, mut exited) = (false, None);
    let drain = tokio::time::sleep(DRAIN);
    tokio::pin!(drain);
    while !(copied && exited.is_some()) {
        tokio::select! {
            // What is written before the end is sent before it.
            biased;
            Some(text) = output.recv() => sink.send(text).await.ok()?,
            () = &mut copies, if !copied => copied = true,
            status = child.wait(), if exited.is_none() => {
                exited = Some(status);
                if let Some(group) = &group {
                    group.end();
                }
                drain.as_mut().reset(tokio::time::Instant::now() + DRAIN);
            }
            () = &mut drain, if exited.is_some() => copied = true,
            () = &mut input => return None,
            () = &mut ended => {
                if let Some(group) = &group {
                    group.end();
                }
                return Some(failure("the container has ended"));
            }
        }
    }
    while let Ok(text) = output.try_recv() {
        sink.send(text).await.ok()?;
    }
    Some(match exited? {
        Ok(status) => outcome(exit_code(status)),
        Err(error) => failure(&error.to_string()),
    })
}

/// Sends what the process writes.
async fn copy(channel: u8, output: Option<impl AsyncRead + Unpin>, to: mpsc::Sender<Message>) {
    let Some(mut output) = output else {
        return;
    };
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        if to.send(message(channel, &chunk[..read])).await.is_err() {
            return;
        }
    }
}

/// Writes what the client sends to the process; returns when the client is gone.
async fn receive(mut stream: SplitStream<Socket>, mut stdin: Option<ChildStdin>) {
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        let closed = match (bytes.first(), &mut stdin) {
            // The process may have closed its end, and still run.
            (Some(&STDIN), Some(pipe)) => pipe.write_all(&bytes[1..]).await.is_err(),
            (Some(&CLOSE), _) => bytes.get(1) == Some(&STDIN),
            _ => false,
        };
        if closed {
            stdin = None;
        }
    }
}

fn failure(why: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("error executing command in container: {why}"),
    })
}

/// As a shell, which has an exit code for it.
fn not_started(command: &[String], error: &io::Error) -> Value {
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    let mut status = outcome(code);
    let program = command.first().map(String::as_str).unwrap_or_default();
    status["message"] = json!(format!("cannot start {program:?}: {error}"));
    status
}
