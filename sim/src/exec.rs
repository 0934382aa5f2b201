//! Exec over a WebSocket with the channels of `kubectl`: the switch of protocols, and the outcome as a Status.
//!
//! A message starts with the number of its channel. Version 5 of the protocol can close one: a 255 and its number.

use futures::{Sink, SinkExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};

use crate::apiserver::request::Query;

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
const ERROR: u8 = 3;
pub(crate) const CLOSE: u8 = 255;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Largest message of a client.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) command: Vec<String>,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Reads a request; returns also the headers of the response that switches protocols, and an error says why not.
pub(crate) fn accept(query: &str, headers: &HeaderMap) -> Result<(HeaderMap, Asked), String> {
    let query = Query::parse(query);
    let command: Vec<_> = query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err("you must specify at least 1 command to execute".to_owned());
    }
    if query.is_set("tty") {
        return Err("a process has no terminal: use exec without tty".to_owned());
    }
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
    let mut switch = HeaderMap::new();
    switch.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    switch.insert(UPGRADE, HeaderValue::from_static("websocket"));
    switch.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    switch.insert(SEC_WEBSOCKET_ACCEPT, key);
    let asked = Asked {
        command,
        stdin: query.is_set("stdin"),
        stdout: query.is_set("stdout"),
        stderr: query.is_set("stderr"),
    };
    Ok((switch, asked))
}

/// Limits of the socket.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT))
}

/// The response that switches to a WebSocket.
pub(crate) const SWITCH: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// Sends the outcome as the last message.
pub(crate) async fn end(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    status: &Value,
) -> Result<(), Error> {
    sink.send(message(ERROR, status.to_string().as_bytes()))
        .await?;
    // kubectl takes an end without a code as a failure.
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(normal))).await?;
    sink.close().await
}

pub(crate) fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// The Status of a command that ended.
pub(crate) fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
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
