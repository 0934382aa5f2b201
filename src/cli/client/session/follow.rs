//! Sessions are followed with a snapshot, and with the resume token after a cut.

use futures::{StreamExt, TryStreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::super::connect::{CallError, Connection};
use super::super::follow::{Followed, Opened, Update};
use super::words;
use crate::grpc::subscribe::{BEGAN, RESUME, SNAPSHOT};
use crate::proto::wsman::sessions::v1::{
    Session, SessionFilter, SubscribeRequest, SubscribeResponse,
};

impl Followed for Session {
    const NOUN: &'static str = "session";
    const ENDS_ONCE: bool = true;
    type Filter = SessionFilter;

    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.version)
    }

    fn has_ended(&self) -> bool {
        words::is_done(self)
    }

    fn state(&self) -> String {
        let (phase, why) = (words::phase(self), words::why(self));
        match why.is_empty() {
            true => phase,
            false => format!("{phase}: {why}"),
        }
    }

    async fn open(
        connection: &Connection,
        filter: &Self::Filter,
        resume: Option<&str>,
    ) -> Result<Opened<Self>, CallError> {
        let mut request = Request::new(SubscribeRequest {
            filter: Some(filter.clone()),
        });
        let metadata = request.metadata_mut();
        metadata.insert(SNAPSHOT, MetadataValue::from_static("true"));
        if let Some(token) = resume.and_then(|token| MetadataValue::try_from(token).ok()) {
            metadata.insert(RESUME, token);
        }
        let to = connection.clone();
        let error = move |status: Status| to.error(status);
        let answer = connection.sessions().subscribe(request).await;
        let (metadata, stream, _) = answer.map_err(&error)?.into_parts();
        let mut stream = stream.map_err(error).boxed();
        let is_resumed = metadata.get(BEGAN).is_some_and(|began| began == "resumed");
        let (mut present, mut resume) = (Vec::<Self>::new(), None);
        // The snapshot ends with a message that says so.
        let mut is_complete = is_resumed;
        while !is_complete {
            let Some(message) = stream.try_next().await? else {
                let cut = Status::unavailable("the stream ended within its snapshot");
                return Err(connection.error(cut));
            };
            is_complete = message.header.contains_key(SNAPSHOT);
            let update = update(message);
            resume = update.resume.or(resume);
            if let Some(now) = update.now {
                present.retain(|session| session.id != now.id);
                present.push(now);
            }
        }
        Ok(Opened {
            present: Some(present).filter(|_| !is_resumed),
            resume,
            updates: stream.map_ok(update).boxed(),
        })
    }
}

fn update(mut message: SubscribeResponse) -> Update<Session> {
    Update {
        now: message.session,
        resume: message.header.remove(RESUME),
    }
}
