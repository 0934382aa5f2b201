//! The message bus of a run: a private RabbitMQ node behind a connection that can be cut, and a durable queue on it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wsman::amqp::tail::Source;
use wsman::cli::verify::bus::Reader;
use wsman::cli::verify::consume::Consumer;
use wsman::config;

use super::support::proxy::Link;
use super::support::queue::Queue;
use super::support::rabbit::{self, Node};

/// Virtual host, user and queue.
const NAME: &str = "chaos";

pub(crate) struct Broker {
    pub(crate) node: Node,
    /// Between the daemons and the node.
    pub(crate) link: Link,
    /// File with the URL that the daemons use.
    pub(crate) url_file: PathBuf,
    url: String,
}

impl Broker {
    /// Starts a node with a queue that gets everything.
    pub(crate) async fn start(folder: &Path) -> Self {
        let node = rabbit::started().await.expect("no rabbitmq-server");
        let url = node.vhost(NAME, "secret").await;
        Queue::bound(&url, NAME, "#").await;
        let link = Link::to(node.addr()).await;
        let url_file = folder.join("bus-url");
        std::fs::write(&url_file, url.replace(&node.addr(), link.addr())).unwrap();
        Self {
            node,
            link,
            url_file,
            url,
        }
    }

    /// The consumer of the queue, which keeps messages while the consumer is away.
    pub(crate) fn reader(&self, lister: Consumer) -> Reader {
        Reader {
            broker: config::Broker::Url(self.url.clone()),
            tls: None,
            source: Source::Queue(NAME.to_owned()),
            lister,
        }
    }

    /// Waits until everything is read and acknowledged, with a timeout, and returns how much is not.
    pub(crate) async fn drain(&self, timeout: Duration) -> u64 {
        let begun = Instant::now();
        loop {
            match self.unread().await {
                unread if unread > 0 && begun.elapsed() < timeout => {}
                unread => return unread,
            }
        }
    }

    async fn unread(&self) -> u64 {
        let listed = self.node.ctl(&["list_queues", "-p", NAME, "messages"]);
        let counts = listed.await;
        counts
            .lines()
            .filter_map(|line| line.trim().parse::<u64>().ok())
            .sum()
    }
}
