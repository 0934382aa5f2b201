//! `wsman verify` with a message bus: a real broker, to which the test publishes correctly or wrongly.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use serde_json::Value;
use tokio::runtime::Runtime;
use wsman::proto::encoded::Encoded;
use wsman::workspaces::bus_message;
use wsman::workspaces::update::StatusUpdate;

use super::verify::{found, verify};
use super::*;
use crate::support::queue::{channel, declare_exchange};
use crate::support::rabbit;
use WorkspacePhase::*;

/// Publishes as a publisher does.
struct Publisher {
    url: String,
    channel: Channel,
    _connection: Connection,
    runtime: Runtime,
}

impl Publisher {
    /// Returns a publisher in a vhost of its own; none where there is no broker.
    fn start(test: &str) -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let starting = async {
            let node = rabbit::shared(test).await?;
            let url = node.vhost(test, "planted-password").await;
            let (connection, channel) = channel(&url).await;
            declare_exchange(&channel, ExchangeKind::Topic).await;
            let confirms = channel.confirm_select(ConfirmSelectOptions::default());
            confirms.await.unwrap();
            Some((url, connection, channel))
        };
        let (url, _connection, channel) = runtime.block_on(starting)?;
        Some(Self {
            url,
            channel,
            _connection,
            runtime,
        })
    }

    /// Publishes a status, in a session, and waits until it is in every queue.
    fn publish(&self, session: &str, status: WorkspaceStatus) {
        let uid = format!("uid-{}", status.id);
        let message = bus_message::of(&StatusUpdate::new(&uid, Encoded::new(status)));
        let mut headers = FieldTable::default();
        headers.insert("session".into(), AMQPValue::LongString(session.into()));
        let properties = BasicProperties::default()
            .with_message_id(message.id.as_str().into())
            .with_headers(headers);
        let key = message.routing_key.as_str().into();
        let options = BasicPublishOptions::default();
        let saying = async {
            let sent =
                self.channel
                    .basic_publish("wsman".into(), key, options, &message.body, properties);
            sent.await.unwrap().await.unwrap();
        };
        self.runtime.block_on(saying);
    }
}

/// Follows a server and a bus that send something once everything is open, and checks the record as well.
fn follow(publisher: &Publisher, act: impl FnOnce(&Server) + Send) -> (Done, Vec<String>, Value) {
    let server = Server::start(vec![
        workspace("a", Running, 10),
        workspace("b", Running, 11),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let (record, url) = (folder.path().join("record"), folder.path().join("url"));
    std::fs::write(&url, &publisher.url).unwrap();
    let (record, url) = (record.to_str().unwrap(), url.to_str().unwrap());
    let address = server.address.to_string();
    let done = std::thread::scope(|scope| {
        #[rustfmt::skip]
        let args = [
            "-H", &address, "--for", "3s", "--bus-within", "5s", "--amqp-file", url, "--record", record,
        ];
        let run = scope.spawn(move || verify(&args));
        server.wait_for("Subscribe", 2);
        // Each open channel has listed once: two streams and the queue, after the first list and that of the start.
        server.wait_for("GetWorkspaces", 5);
        act(&server);
        run.join().unwrap()
    });
    let (kinds, summary) = found(&done);
    let again = verify(&["--check", record]);
    assert_eq!(again.stdout, done.stdout, "the record has the same");
    let text = std::fs::read_to_string(record).unwrap() + &done.stdout + &done.stderr;
    assert!(!text.contains("planted"), "{text}");
    (done, kinds, summary)
}

#[test]
fn a_bus_that_keeps_the_guarantees_passes() {
    let Some(bus) = Publisher::start("verify-good") else {
        return;
    };
    let (done, kinds, summary) = follow(&bus, |server| {
        for status in [workspace("a", Stopping, 12), workspace("a", Stopped, 13)] {
            server.update(status.clone());
            bus.publish("one", status);
        }
        // Another publisher sends the end again, as it saw it, and the other workspaces.
        bus.publish("two", workspace("a", Stopped, 15));
        bus.publish("two", workspace("b", Running, 11));
    });
    done.expect(0);
    assert_eq!(kinds, Vec::<String>::new());
    assert_eq!(
        (&summary["messages"], &summary["repeats"]),
        (&4.into(), &1.into())
    );
}

#[test]
fn what_a_bus_gets_wrong_is_found() {
    let Some(bus) = Publisher::start("verify-bad") else {
        return;
    };
    let (done, kinds, _) = follow(&bus, |server| {
        server.update(workspace("a", Stopping, 20));
        bus.publish("one", workspace("b", Running, 11));
        bus.publish("one", workspace("b", Running, 11));
        bus.publish("one", workspace("c", Stopped, 22));
        bus.publish("one", workspace("c", Running, 21));
        server.update(workspace("c", Stopped, 22));
    });
    done.expect(1);
    assert_eq!(kinds, ["REPEATED", "REORDERED", "LOST"]);
}

#[test]
fn errors_of_the_bus_are_printed_without_its_password() {
    let Some(bus) = Publisher::start("verify-none") else {
        return;
    };
    let server = Server::start(Vec::new());
    let address = server.address.to_string();
    for (url, exchange, code, why) in [
        (
            "jane:planted@127.0.0.1",
            "wsman",
            1,
            "must begin with amqp:// or amqps://",
        ),
        ("amqp://jane:planted@127.0.0.1:1", "wsman", 6, "127.0.0.1:1"),
        (bus.url.as_str(), "other", 1, "no exchange 'other'"),
    ] {
        let args = [
            "-H",
            &address,
            "--for",
            "1s",
            "--amqp",
            url,
            "--exchange",
            exchange,
        ];
        let done = verify(&args).expect(code);
        assert!(done.stderr.contains(why), "{}", done.stderr);
        assert!(!done.stderr.contains("planted"), "{}", done.stderr);
    }
}
