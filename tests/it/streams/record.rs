//! Readers that record what they see, for the checker of histories.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tonic::Streaming;
use tonic::transport::Channel;
use wsman::history::{self, Begin, Channel as Carrier, Observation, Saw, State};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use crate::support::world::TIMEOUT;

pub(crate) type Client = WorkspaceManagerClient<Channel>;

/// What all readers of a test saw, in one order.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Observation>>>);

impl History {
    fn record(&self, who: &str, saw: Saw) {
        let mut all = self.0.lock().unwrap();
        all.push(Observation {
            at: Timestamp::now(),
            who: who.to_owned(),
            saw,
        });
    }

    /// Records what a server lists.
    pub(crate) async fn list(&self, server: &str, client: &mut Client) {
        let who = format!("list of {server}");
        let asked = Saw::Asked {
            server: server.to_owned(),
            filter: None,
        };
        self.record(&who, asked);
        let listed = client.get_workspaces(GetWorkspacesRequest::default()).await;
        let states = listed.unwrap().into_inner().status;
        let states = states.iter().map(State::of).collect();
        self.record(&who, Saw::Listed { states });
    }

    /// Settles the record, and checks that each guarantee holds.
    pub(crate) fn check(&self) {
        self.record(
            "test",
            Saw::Settled {
                until: None,
                channel: None,
            },
        );
        let all = self.0.lock().unwrap();
        let violations = history::check(all.iter());
        let lines = all.iter().map(|seen| serde_json::to_string(seen).unwrap());
        let lines: Vec<_> = lines.collect();
        assert!(
            violations.is_empty(),
            "{violations:#?}\n{}",
            lines.join("\n")
        );
    }
}

/// One reader, whose streams follow each other.
pub(crate) struct Reader {
    who: String,
    history: History,
    token: Option<String>,
    stream: Option<Streaming<SubscribeResponse>>,
    /// Where its stream started.
    pub(crate) began: String,
    /// How often a snapshot was complete.
    pub(crate) complete: usize,
}

impl Reader {
    /// Returns a reader without a stream.
    pub(crate) fn new(who: &str, history: &History) -> Self {
        Self {
            who: who.to_owned(),
            history: history.clone(),
            token: None,
            stream: None,
            began: String::new(),
            complete: 0,
        }
    }

    /// Opens a stream: from the token of the last one on, or with a snapshot.
    pub(crate) async fn open(&mut self, server: &str, client: &mut Client) {
        self.close();
        self.record(Saw::Opening(Begin {
            server: server.to_owned(),
            filter: None,
            resumes: self.token.is_some(),
            channel: Carrier::Stream,
        }));
        let mut request = tonic::Request::new(SubscribeRequest::default());
        let metadata = request.metadata_mut();
        match &self.token {
            Some(token) => metadata.insert("wsman-resume", token.parse().unwrap()),
            None => metadata.insert("wsman-snapshot", "true".parse().unwrap()),
        };
        let answer = client.subscribe(request).await.unwrap();
        self.record(Saw::Opened {});
        let began = answer.metadata().get("wsman-began").unwrap();
        self.began = began.to_str().unwrap().to_owned();
        if self.token.is_some() && self.began != "resumed" {
            self.record(Saw::Reset {});
        }
        self.stream = Some(answer.into_inner());
    }

    /// Disconnects.
    pub(crate) fn close(&mut self) {
        if self.stream.take().is_some() {
            let why = "closed".to_owned();
            self.record(Saw::Ended { why });
        }
    }

    /// Reads one message; `None` if the stream ended, with OK or an error.
    pub(crate) async fn next(&mut self) -> Option<SubscribeResponse> {
        let stream = self.stream.as_mut().unwrap();
        let next = tokio::time::timeout(TIMEOUT, stream.message());
        let next = next.await.unwrap_or_else(|_| panic!("{} waits", self.who));
        let Ok(Some(message)) = next else {
            self.close();
            return None;
        };
        if let Some(status) = &message.status {
            self.record(Saw::Update(State::of(status)));
        }
        if message.header.contains_key("wsman-snapshot") {
            self.complete += 1;
            self.record(Saw::Complete {});
        }
        self.token = message.header.get("wsman-resume").cloned();
        Some(message)
    }

    /// Reads until a workspace is in a phase.
    pub(crate) async fn until(&mut self, id: &str, phase: WorkspacePhase) {
        loop {
            let message = self.next().await.expect("the stream goes on");
            let found = |status: WorkspaceStatus| status.id == id && status.phase() == phase;
            if message.status.is_some_and(found) {
                return;
            }
        }
    }

    /// Reads until the snapshot is complete.
    pub(crate) async fn until_complete(&mut self) {
        let before = self.complete;
        while self.complete == before {
            self.next().await.expect("the stream goes on");
        }
    }

    fn record(&self, saw: Saw) {
        self.history.record(&self.who, saw);
    }
}
