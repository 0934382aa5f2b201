//! One consumer: a stream that is opened again whenever it ends, and the lists that fill what a cut left out.

use std::time::Duration;

use tonic::{Code, Request, Response, Status, Streaming};

use super::record::Recorder;
use crate::cli::client::follow::{LONGEST_PAUSE, SUBSCRIBED, backoff, is_passing};
use crate::cli::client::transport::Transport;
use crate::history::{Begin, Channel as Carrier, Saw, State};
use crate::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use crate::proto::wsman::{
    GetWorkspacesRequest, MetadataFilter, SubscribeRequest, SubscribeResponse, WorkspaceStatus,
};

/// Metadata and header key: where a stream stands.
const RESUME: &str = "wsman-resume";
/// Metadata key that asks for a snapshot, and header key of the message that ends one.
const SNAPSHOT: &str = "wsman-snapshot";
/// Metadata key of an answer: what the stream begins with.
const BEGAN: &str = "wsman-began";
/// Bound on a list.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// A consumer of one server.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its name in the history.
    pub who: String,
    /// The server's name in the history.
    pub server: String,
    /// What calls the server.
    pub client: WorkspaceManagerClient<Transport>,
    /// Which workspaces it follows.
    pub filter: Option<MetadataFilter>,
    /// Ask for a snapshot rather than list beside the stream, where the server offers one.
    pub snapshot: bool,
    /// Where everything is written down.
    pub recorder: Recorder,
}

/// What a stream begins with.
#[derive(Debug, PartialEq, Eq)]
enum Began {
    /// What comes from now on: the rest has to be listed.
    Now,
    /// Everything that is there.
    Snapshot,
    /// What comes after the token.
    Resumed,
}

impl Consumer {
    /// Follows the server until something happens that trying again does not mend, and returns that.
    pub async fn follow(mut self) -> Status {
        let mut token = None;
        let mut pauses = backoff();
        loop {
            let begin = Begin {
                server: self.server.clone(),
                filter: self.filter.clone(),
                resumes: token.is_some(),
                channel: Carrier::Stream,
            };
            self.record(Saw::Opening(begin));
            let mut told = false;
            let end = self.stream(&mut token, &mut told).await.err();
            let why = end
                .as_ref()
                .map_or("the server ended it".to_owned(), |status| {
                    format!("{:?}: {}", status.code(), status.message())
                });
            self.record(Saw::Ended { why });
            match end {
                // A token that is not understood any more is no reason to stay away.
                Some(status) if status.code() == Code::InvalidArgument && token.is_some() => {
                    token = None;
                }
                Some(status) if !is_passing(status.code()) => return status,
                _ => {}
            }
            if told {
                pauses = backoff();
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// Reads one stream to its end.
    async fn stream(&mut self, token: &mut Option<String>, told: &mut bool) -> Result<(), Status> {
        let mut client = self.client.clone();
        let request = self.subscription(token.as_deref())?;
        let mut opening = Box::pin(async move { client.subscribe(request).await });
        // Some servers answer only with the first update; by then the subscription has stood for long.
        let (stream, mut listed) = match tokio::time::timeout(SUBSCRIBED, &mut opening).await {
            Ok(stream) => (stream?, false),
            Err(_) => {
                if token.take().is_some() {
                    self.record(Saw::Reset {});
                }
                self.list().await?;
                (opening.await?, true)
            }
        };
        self.record(Saw::Opened {});
        let began = began(&stream);
        if began != Began::Resumed && token.take().is_some() {
            self.record(Saw::Reset {});
        }
        listed |= began != Began::Now;
        if !listed {
            self.list().await?;
        }
        let mut stream: Streaming<SubscribeResponse> = stream.into_inner();
        while let Some(message) = stream.message().await? {
            *told = true;
            if let Some(status) = &message.status {
                self.record(Saw::Told(State::of(status)));
            }
            if message.header.contains_key(SNAPSHOT) {
                self.record(Saw::Complete {});
            }
            if let Some(at) = message.header.get(RESUME) {
                *token = Some(at.clone());
            }
        }
        Ok(())
    }

    /// Lists, and returns what is there.
    ///
    /// # Errors
    /// What the server answered instead.
    pub async fn list(&self) -> Result<Vec<WorkspaceStatus>, Status> {
        self.record(Saw::Asked {
            server: self.server.clone(),
            filter: self.filter.clone(),
        });
        let mut client = self.client.clone();
        let mut request = Request::new(GetWorkspacesRequest {
            must_match: self.filter.clone(),
        });
        request.set_timeout(LIST_LIMIT);
        let answer = tokio::time::timeout(LIST_LIMIT, client.get_workspaces(request)).await;
        let late = |_| Err(Status::deadline_exceeded("the list does not arrive"));
        match answer.unwrap_or_else(late) {
            Ok(answer) => {
                let listed = answer.into_inner().status;
                let states = listed.iter().map(State::of).collect();
                self.record(Saw::Listed { states });
                Ok(listed)
            }
            Err(status) => {
                let why = format!("{:?}: {}", status.code(), status.message());
                self.record(Saw::Failed { why });
                Err(status)
            }
        }
    }

    fn subscription(&self, token: Option<&str>) -> Result<Request<SubscribeRequest>, Status> {
        let mut request = Request::new(SubscribeRequest {
            must_match: self.filter.clone(),
        });
        let metadata = request.metadata_mut();
        if let Some(token) = token {
            let token = token
                .parse()
                .map_err(|_| Status::invalid_argument("the server's token is no metadata"))?;
            metadata.insert(RESUME, token);
        } else if self.snapshot {
            metadata.insert(SNAPSHOT, "true".parse().map_err(|_| Status::internal(""))?);
        }
        Ok(request)
    }

    fn record(&self, saw: Saw) {
        self.recorder.record(&self.who, saw);
    }
}

/// What the server says that a stream begins with. One that says nothing tells what comes from now on.
fn began(stream: &Response<Streaming<SubscribeResponse>>) -> Began {
    match stream.metadata().get(BEGAN).map(|word| word.as_bytes()) {
        Some(b"snapshot") => Began::Snapshot,
        Some(b"resumed") => Began::Resumed,
        _ => Began::Now,
    }
}
