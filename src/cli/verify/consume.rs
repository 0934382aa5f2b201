//! One consumer: a stream that is opened again after every end, and lists that fill the gaps.

use std::time::Duration;

use tonic::{Code, Request, Response, Status, Streaming};

use super::record::Recorder;
use crate::cli::client::follow::{BACKOFF, SUBSCRIBED, is_passing};
use crate::cli::client::transport::Transport;
use crate::history::{Begin, Channel as Carrier, Saw, State};
use crate::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use crate::proto::wsman::{
    GetWorkspacesRequest, MetadataFilter, SubscribeRequest, SubscribeResponse, WorkspaceStatus,
};

/// Metadata and header key: the position of a stream.
const RESUME: &str = "wsman-resume";
/// Metadata key that requests a snapshot, and header key of the message that ends one.
const SNAPSHOT: &str = "wsman-snapshot";
/// Metadata key of the response: where the stream starts.
const BEGAN: &str = "wsman-began";
/// Timeout of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its name in the history.
    pub who: String,
    /// The server's name in the history.
    pub server: String,
    /// The client of the server.
    pub client: WorkspaceManagerClient<Transport>,
    /// Which workspaces it follows.
    pub filter: Option<MetadataFilter>,
    /// Whether to request a snapshot instead of a list, if the server supports that.
    pub snapshot: bool,
    /// Where observations are recorded.
    pub recorder: Recorder,
}

/// Where a stream starts.
#[derive(Debug, PartialEq, Eq)]
enum StartedFrom {
    /// At the next update: the rest must be listed.
    Now,
    /// With every current workspace.
    Snapshot,
    /// After the token.
    Resumed,
}

impl Consumer {
    /// Follows the server until an error that a retry cannot fix, and returns it.
    pub async fn follow(mut self) -> Status {
        let mut token = None;
        let mut failures = 0;
        loop {
            let begin = Begin {
                server: self.server.clone(),
                filter: self.filter.clone(),
                resumes: token.is_some(),
                channel: Carrier::Stream,
            };
            self.record(Saw::Opening(begin));
            let mut received = false;
            let end = self.stream(&mut token, &mut received).await.err();
            let why = end
                .as_ref()
                .map_or("the server ended it".to_owned(), |status| {
                    format!("{:?}: {}", status.code(), status.message())
                });
            self.record(Saw::Ended { why });
            match end {
                // With an invalid token, the stream starts without one.
                Some(status) if status.code() == Code::InvalidArgument && token.is_some() => {
                    token = None;
                }
                Some(status) if !is_passing(status.code()) => return status,
                _ => {}
            }
            if received {
                failures = 0;
            }
            tokio::time::sleep(BACKOFF.jittered(failures)).await;
            failures += 1;
        }
    }

    /// Reads one stream to its end.
    async fn stream(
        &mut self,
        token: &mut Option<String>,
        received: &mut bool,
    ) -> Result<(), Status> {
        let mut client = self.client.clone();
        let request = self.subscription(token.as_deref())?;
        let mut opening = Box::pin(async move { client.subscribe(request).await });
        // Some servers answer only with the first update; by then the subscription has started long ago.
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
        let from = started_from(&stream);
        if from != StartedFrom::Resumed && token.take().is_some() {
            self.record(Saw::Reset {});
        }
        listed |= from != StartedFrom::Now;
        if !listed {
            self.list().await?;
        }
        let mut stream: Streaming<SubscribeResponse> = stream.into_inner();
        while let Some(message) = stream.message().await? {
            *received = true;
            if let Some(status) = &message.status {
                self.record(Saw::Update(State::of(status)));
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

    /// Lists the workspaces.
    ///
    /// # Errors
    /// The status of the server.
    pub async fn list(&self) -> Result<Vec<WorkspaceStatus>, Status> {
        self.record(Saw::Asked {
            server: self.server.clone(),
            filter: self.filter.clone(),
        });
        let mut client = self.client.clone();
        let mut request = Request::new(GetWorkspacesRequest {
            must_match: self.filter.clone(),
        });
        request.set_timeout(LIST_TIMEOUT);
        let answer = tokio::time::timeout(LIST_TIMEOUT, client.get_workspaces(request)).await;
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

/// Where a stream of the server starts: at the next update, if the server sends no such metadata.
fn started_from(stream: &Response<Streaming<SubscribeResponse>>) -> StartedFrom {
    match stream.metadata().get(BEGAN).map(|word| word.as_bytes()) {
        Some(b"snapshot") => StartedFrom::Snapshot,
        Some(b"resumed") => StartedFrom::Resumed,
        _ => StartedFrom::Now,
    }
}
