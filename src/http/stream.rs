//! The responses of a streaming RPC as a body: Connect envelopes, JSON lines, or server-sent events.
//!
//! The body is produced on demand, so a slow reader costs one message.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use http::HeaderMap;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status};

use super::call::Answer;
use super::request::{Codec, Form, RESUME};
use super::{errors, json as text};
use crate::error::Error;
use crate::rpc::frames::{END, frame};

/// Interval of keepalives on a silent stream of text.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

struct Reader {
    answer: Answer,
    form: Form,
    kind: MessageDescriptor,
    deadline: Option<Instant>,
    begun: bool,
    over: bool,
}

enum Next {
    Message(Result<Option<Bytes>, Status>),
    Silence,
}

/// Returns the chunks of the body. The last one has the status, if the protocol has a place for it.
pub fn pieces(
    answer: Answer,
    form: Form,
    kind: MessageDescriptor,
    deadline: Option<Instant>,
) -> impl Stream<Item = Bytes> + Send {
    let reader = Reader {
        answer,
        form,
        kind,
        deadline,
        begun: false,
        over: false,
    };
    unfold(reader, |mut reader| async {
        let piece = reader.next().await?;
        Some((piece, reader))
    })
}

/// The last chunk of a stream.
pub fn end(form: Form, trailers: &HeaderMap, status: Option<&Status>) -> Bytes {
    let error = status
        .filter(|status| status.code() != Code::Ok)
        .map(errors::to_json);
    match (form, error) {
        (Form::Connect(_) | Form::Unary(_), error) => {
            let mut last = Map::new();
            if let Some(error) = error {
                last.insert("error".to_owned(), error);
            }
            let mut metadata = HeaderMap::new();
            super::call::copy(trailers, &mut metadata);
            if let Some(status) = status {
                super::call::copy(status.metadata().as_ref(), &mut metadata);
            }
            if !metadata.is_empty() {
                last.insert("metadata".to_owned(), listed(&metadata));
            }
            frame(END, Value::Object(last).to_string().as_bytes())
        }
        (_, None) => Bytes::new(),
        (Form::Lines, Some(error)) => format!("{}\n", json!({ "error": error })).into(),
        (Form::Events, Some(error)) => format!("event: error\ndata: {error}\n\n").into(),
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) && self.form == Form::Events {
            // Shows readers and proxies that the stream is alive.
            return Some(Bytes::from_static(b":\n\n"));
        }
        let deadline = self.deadline;
        let next = tokio::select! {
            biased;
            () = reached(deadline) => Next::Message(Err(Status::from(Error::Deadline {
                doing: "streaming".to_owned(),
            }))),
            message = self.answer.message() => Next::Message(message),
            () = sleep(KEEP_ALIVE), if matches!(self.form, Form::Lines | Form::Events) => Next::Silence,
        };
        let sent = match next {
            Next::Silence if self.form == Form::Lines => return Some(Bytes::from_static(b"\n")),
            Next::Silence => return Some(Bytes::from_static(b":\n\n")),
            Next::Message(Ok(Some(message))) => self.chunk(&message).map(Some),
            Next::Message(Ok(None)) => Ok(None),
            Next::Message(Err(status)) => Err(status),
        };
        match sent {
            Ok(Some(piece)) => Some(piece),
            ended => {
                self.over = true;
                let last = end(self.form, &self.answer.trailers, ended.err().as_ref());
                Some(last).filter(|last| !last.is_empty())
            }
        }
    }

    /// One message as one chunk.
    fn chunk(&self, message: &[u8]) -> Result<Bytes, Status> {
        if self.form == Form::Connect(Codec::Proto) {
            return Ok(frame(0, message));
        }
        let internal = |error: Error| Error::Internal {
            why: error.to_string(),
        };
        let message = text::decode(&self.kind, message).map_err(internal)?;
        let mut line = text::print_decoded(&message).map_err(internal)?;
        match self.form {
            Form::Connect(_) | Form::Unary(_) => Ok(frame(0, &line)),
            Form::Lines => {
                line.push(b'\n');
                Ok(line.into())
            }
            Form::Events => Ok(event(&message, &line)),
        }
    }
}

/// JSON has no raw line break, so one `data:` holds it. The message's map `header` has the resume token.
fn event(message: &DynamicMessage, line: &[u8]) -> Bytes {
    let header = message.get_field_by_name("header");
    let header = header.as_deref().and_then(Reflected::as_map);
    let token = header
        .and_then(|header| header.get(&MapKey::String(RESUME.to_owned()))?.as_str())
        .filter(|token| !token.contains(['\n', '\r', '\0']));
    let id = token.map_or_else(String::new, |token| format!("id: {token}\n"));
    [id.as_bytes(), b"data: ", line, b"\n\n"].concat().into()
}

/// Metadata as in Connect: a list of values for each name.
fn listed(metadata: &HeaderMap) -> Value {
    let names = metadata.keys().map(|name| {
        let values = metadata.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        (name.as_str().to_owned(), json!(values))
    });
    Value::Object(names.collect())
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
