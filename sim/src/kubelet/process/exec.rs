//! Exec: a command beside the process of a container, over a WebSocket with the channels of `kubectl`.
//!
//! A message starts with the number of its channel. Version 5 of the protocol can close one: a 255 and its number.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::container::{Running, exit_code};
use super::group::Groups;
use super::server::{Body, plain};
use crate::apiserver::request::Query;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;
/// Largest message of a client.
const MESSAGE_LIMIT: usize = 1024 * 1024;
/// Most bytes of output in a message.
const CHUNK: usize = 32 * 1024;
/// A process that has ended may have left its output to others; they have this long.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// An accepted request.
#[derive(Debug)]
pub(crate) struct Session {
    upgrade: OnUpgrade,
    running: Arc<Running>,
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// Switches to a WebSocket; the error says why not.
pub(crate) fn accept(
    mut request: Request<Incoming>,
    running: Arc<Running>,
) -> Result<(Response<Body>, Session), String> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let command: Vec<_> = query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err("you must specify at least 1 command to execute".to_owned());
    }
    if query.is_set("tty") {
        return Err("a process has no terminal: use exec without tty".to_owned());
    }
    let headers = request.headers();
    let header = |name| {
        let value = headers.get(name);
        value.and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let upgrade = header(UPGRADE).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(format!("exec needs a WebSocket, not {upgrade:?}"));
    }
    let offered = header(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let offered: Vec<_> = offered.split(',').map(str::trim).collect();
    let protocol = PROTOCOLS.into_iter().find(|one| offered.contains(one));
    let protocol = protocol.ok_or_else(|| {
        let known = PROTOCOLS.join(" and ");
        format!("exec has the protocols {known}, not {offered:?}")
    })?;
    let key = headers.get(SEC_WEBSOCKET_KEY);
    let key = derive_accept_key(key.ok_or("no Sec-WebSocket-Key")?.as_bytes());
    let key = HeaderValue::from_str(&key).map_err(|error| error.to_string())?;
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    let session = Session {
        upgrade: hyper::upgrade::on(&mut request),
        running,
        command,
        stdin: query.is_set("stdin"),
        stdout: query.is_set("stdout"),
        stderr: query.is_set("stderr"),
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
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let (mut sink, stream) = socket.split();
    let status = execute(&session, &mut sink, stream, groups).await;
    let Some(status) = status else {
        return;
    };
    let last = async {
        sink.send(message(ERROR, status.to_string().as_bytes()))
            .await?;
        // kubectl takes an end without a code as a failure.
        let normal = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        sink.send(Message::Close(Some(normal))).await?;
        sink.close().await
    };
    if let Err(error) = last.await {
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
    let started = environment.spawn(&session.command, groups, |command| {
        command
            .stdin(pipe(session.stdin))
            .stdout(pipe(session.stdout))
            .stderr(pipe(session.stderr));
    });
    let (mut child, group) = match started {
        Ok(started) => started,
        Err(error) => return Some(not_started(&session.command, &error)),
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

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// The Status of a command that ended.
fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_cause() {
        assert_eq!(outcome(0)["status"], "Success");
        let status = outcome(3);
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(
            status["details"]["causes"][0],
            json!({ "reason": "ExitCode", "message": "3" })
        );
    }
}
