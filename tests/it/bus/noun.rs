//! A noun that the publisher does not know: its registration is all that its messages need.

use std::sync::Arc;

use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use tokio::sync::mpsc;
use wsman::amqp::Feed;
use wsman::outbox::message::{BusMessage, Header, word};
use wsman::updates::{Filter, Update, Updates};

use super::*;
use crate::support::queue::channel;
use crate::support::rabbit;

/// A build, as far as it matters here.
#[derive(Debug)]
struct Build {
    uid: Arc<str>,
    step: u64,
    is_last: bool,
}

#[derive(Debug, Default)]
struct All;

impl Update for Build {
    type Topic = ();
    type Filter = All;

    fn group_id(&self) -> Arc<str> {
        "build-1".into()
    }

    fn start_uid(&self) -> &Arc<str> {
        &self.uid
    }

    fn version(&self) -> u64 {
        self.step
    }

    fn is_last(&self) -> bool {
        self.is_last
    }

    fn topics(&self) -> Vec<()> {
        Vec::new()
    }

    fn same(&self, other: &Self) -> bool {
        self.is_last == other.is_last
    }

    fn at(&self, step: u64) -> Self {
        Self {
            uid: Arc::clone(&self.uid),
            step,
            is_last: self.is_last,
        }
    }

    fn size(&self) -> usize {
        0
    }
}

impl Filter<Build> for All {
    fn matches(&self, _: &Build) -> bool {
        true
    }

    fn topic(&self) -> Option<()> {
        None
    }
}

fn build(step: u64, is_last: bool) -> Build {
    Build {
        uid: "uid-1".into(),
        step,
        is_last,
    }
}

fn encode(build: &Build) -> BusMessage {
    BusMessage {
        routing_key: format!("builds.{}", word("a.b")),
        id: format!("{}@{}", build.uid, build.step),
        kind: "test.Build",
        headers: vec![
            ("buildId", Header::Text("build-1".to_owned())),
            ("step", Header::Number(build.step)),
        ],
        body: b"{}".to_vec(),
        is_reduced: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_noun_is_published_as_it_registers() {
    let Some(node) = rabbit::shared("noun").await else {
        return;
    };
    let url = node.vhost("noun", "secret").await;
    let queue = Queue::bound(&url, "q", "builds.*").await;
    let (publisher, mut state) = Publisher::new(bus(Broker::Url(url.clone())), HASTY);
    let (_sender, held) = watch::channel(HOLDS);
    let updates = Updates::default();
    let (confirmed, mut ends) = mpsc::unbounded_channel();
    let feed = Feed {
        updates: updates.clone(),
        encode,
        confirmed: Box::new(move |last: &Build| confirmed.send(last.step).unwrap()),
        unannounced: Box::new(|| 3),
    };
    let drain = CancellationToken::new();
    let leadership = Leadership::new(held, Clock::system());
    let publishing = tokio::spawn(publisher.run(feed, leadership, drain.clone()));
    updates.publish(vec![build(1, false)], None);
    reached(&mut state, "the first is confirmed", |s| s.confirmed == 1).await;
    updates.publish(vec![build(2, false), build(3, true)], None);
    let end = tokio::time::timeout(TIMEOUT, ends.recv()).await;
    assert_eq!(end.expect("the end is confirmed"), Some(3));
    let state = reached(&mut state, "both are counted", |s| s.confirmed == 2).await;
    assert_eq!((state.reduced, state.unannounced), (2, 3));

    let (connection, channel) = channel(&url).await;
    let mut ids = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get("q".into(), options).await.unwrap() {
        let (key, properties) = (&got.delivery.routing_key, &got.delivery.properties);
        assert_eq!(key.as_str(), "builds.a%2Eb");
        let kind = properties.kind().as_ref().map(ToString::to_string);
        assert_eq!(kind.as_deref(), Some("test.Build"));
        let headers = properties.headers().as_ref().unwrap().inner();
        let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["buildId", "reduced", "session", "step"]);
        assert_eq!(headers["buildId"], AMQPValue::LongString("build-1".into()));
        assert_eq!(headers["reduced"], AMQPValue::Boolean(true));
        ids.push(properties.message_id().as_ref().unwrap().to_string());
    }
    // What was waiting when the end came is merged into it.
    assert_eq!(ids, ["uid-1@1", "uid-1@3"]);
    connection.close(200, "".into()).await.unwrap();
    drop(queue);
    drain.cancel();
    publishing.await.unwrap().unwrap();
}
