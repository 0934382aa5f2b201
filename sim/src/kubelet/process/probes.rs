//! Startup, readiness and liveness probes: commands of the container, and requests to its ports on loopback.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::container::Running;
use super::fields::LOOPBACK;
use super::group::Groups;

/// What the probes of a container found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Finding {
    Started,
    /// It did not start in time.
    StartupFailed(String),
    Ready,
    Unready(String),
    Dead(String),
}

/// Probes a container until it ends, and reports each change with the container's index and run.
pub(crate) async fn run(
    spec: Arc<Container>,
    running: Arc<Running>,
    groups: Groups,
    index: usize,
    findings: mpsc::Sender<(usize, i32, Finding)>,
) {
    let prober = Prober {
        spec: &spec,
        running: &running,
        groups: &groups,
    };
    let report = async |finding| {
        // Without a worker, nobody wants to know.
        let _ = findings.send((index, running.run, finding)).await;
    };
    let probing = async {
        if let Some(probe) = &spec.startup_probe {
            delay(probe).await;
            match prober.until_change(probe, false).await {
                Ok(()) => report(Finding::Started).await,
                Err(why) => return report(Finding::StartupFailed(why)).await,
            }
        }
        let readiness = async {
            if let Some(probe) = &spec.readiness_probe {
                let mut ready = false;
                delay(probe).await;
                loop {
                    let result = prober.until_change(probe, ready).await;
                    ready = result.is_ok();
                    report(match result {
                        Ok(()) => Finding::Ready,
                        Err(why) => Finding::Unready(why),
                    })
                    .await;
                    pause(probe).await;
                }
            }
        };
        let liveness = async {
            if let Some(probe) = &spec.liveness_probe {
                delay(probe).await;
                if let Err(why) = prober.until_change(probe, true).await {
                    report(Finding::Dead(why)).await;
                }
            }
        };
        tokio::join!(readiness, liveness);
    };
    tokio::select! {
        () = running.ended.cancelled() => {}
        () = probing => {}
    }
}

/// The grace of a container that fails its liveness probe.
pub(crate) fn grace(container: &Container, pod: &Pod) -> Duration {
    let probe = container.liveness_probe.as_ref();
    let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
    let spec = pod.spec.as_ref();
    let grace = own.or(spec.and_then(|spec| spec.termination_grace_period_seconds));
    Duration::from_secs(grace.unwrap_or(30).try_into().unwrap_or(0))
}

struct Prober<'a> {
    spec: &'a Container,
    running: &'a Running,
    groups: &'a Groups,
}

impl Prober<'_> {
    /// Probes until the result differs from `passed` often enough; the failures of an unready container are reported
    /// once they are too many, and counted anew.
    async fn until_change(&self, probe: &Probe, passed: bool) -> Result<(), String> {
        let (mut successes, mut failures) = (0, 0);
        loop {
            match self.once(probe).await {
                Ok(()) => (successes, failures) = (successes + 1, 0),
                Err(why) => {
                    (successes, failures) = (0, failures + 1);
                    if failures >= probe.failure_threshold.unwrap_or(3).max(1) {
                        return Err(why);
                    }
                }
            }
            if !passed && successes >= probe.success_threshold.unwrap_or(1).max(1) {
                return Ok(());
            }
            pause(probe).await;
        }
    }

    async fn once(&self, probe: &Probe) -> Result<(), String> {
        let limit = seconds(probe.timeout_seconds, 1);
        if let Some(exec) = &probe.exec {
            let line = exec.command.as_deref().unwrap_or_default();
            let environment = &self.running.environment;
            return match environment.run(line, limit, self.groups).await? {
                0 => Ok(()),
                code => Err(format!("command ended with exit code {code}")),
            };
        }
        let request = async {
            if let Some(get) = &probe.http_get {
                if get.scheme.as_deref() == Some("HTTPS") {
                    return Err("a process is not probed over HTTPS".to_owned());
                }
                let path = get.path.as_deref().unwrap_or("/");
                return self.get(self.port(&get.port)?, path).await;
            }
            if let Some(tcp) = &probe.tcp_socket {
                let connected = TcpStream::connect((LOOPBACK, self.port(&tcp.port)?)).await;
                return connected.map(drop).map_err(|error| error.to_string());
            }
            Err("the probe has no action that a process can have".to_owned())
        };
        match timeout(limit, request).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer in {}s", limit.as_secs())),
        }
    }

    async fn get(&self, port: u16, path: &str) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect((LOOPBACK, port)).await;
        let stream = stream.map_err(|error| text(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
        let request = http::Request::get(path)
            .header(http::header::HOST, format!("{LOOPBACK}:{port}"))
            .header(http::header::USER_AGENT, "kube-probe")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| text(&error))?;
        let response = async {
            tokio::select! {
                response = sender.send_request(request) => response,
                // The connection also ends after a response, which is then there.
                Err(error) = connection => Err(error),
            }
        };
        let code = response.await.map_err(|error| text(&error))?.status();
        match code.as_u16() {
            200..400 => Ok(()),
            code => Err(format!("HTTP probe failed with statuscode: {code}")),
        }
    }

    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let mut ports = self.spec.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_ref() == Some(name));
                named.map(|port| port.container_port).or(name.parse().ok())
            }
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| format!("no port {port:?}"))
    }
}

async fn delay(probe: &Probe) {
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
}

async fn pause(probe: &Probe) {
    sleep(seconds(probe.period_seconds, 10)).await;
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let given = value.and_then(|value| u64::try_from(value).ok());
    Duration::from_secs(given.filter(|value| *value > 0).unwrap_or(default))
}
