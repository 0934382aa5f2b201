//! Every key of the file, declared where it is read: name, type, default, description.
//!
//! docs/configuration.md and the schema are generated from it.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::fields::{Fields, Findings};
use super::file::{File, ImageBuilder, Kubernetes, MessageBus, Mode, Runtime};
use super::format::Format;
use super::key::{Entry, key};
use super::limits;
use super::named_file::Role;
use super::rule::{either, given, must, needs, only_with, without};
use super::settings::{ClientAuth, RateLimit, Tls};

mod classes;
mod content;
mod manager;
mod nodes;
mod sessions;

pub(super) use nodes::nodes;

/// Reads the file.
pub(super) fn file(fields: &mut Fields) -> File {
    let manager = fields.object(
        key("manager", "What workspaces look like and how long they live. Changes take effect while the daemon runs, except `namespace` and `statusVersionOffset`.")
            .rules(manager::rules),
        manager::manager,
    );
    let (rpc_addr, (rpc_tls, client_auth), allow_origins, rate_limits) = fields.object(
        key("rpcServer", "The listener for clients, over gRPC and HTTP."),
        |rpc| {
            let addr = rpc.text(
                key("addr", "Address to listen on. Without a host, or with `0.0.0.0`, every IPv4 address of the machine. Port 0 picks a free one.")
                    .format(Format::Listen)
                    .required("127.0.0.1:8080"),
            );
            let tls = rpc.object(
                key("tls", "Certificates. Without this block clients connect in plaintext.")
                    .rules(|| [needs(&CERTIFICATES), needs(&[("clientAuth", "ca")])].concat()),
                server_tls,
            );
            let origins = rpc.object(
                key("cors", "Which web pages may call from a browser."),
                |f| {
                    f.texts(
                        key("allowOrigins", "Origins as browsers send them, or `*` alone for all.")
                            .format(Format::Origin)
                            .rules(|| vec![json!({ "if": { "contains": { "const": "*" } }, "then": { "maxItems": 1 } })])
                            .example(json!(["https://app.example.com"])),
                    )
                },
            );
            let limits = rpc.named(
                key("ratelimits", "Rate limits by full method name, for unary methods. Changes take effect while the daemon runs.")
                    .rules(limits::rules),
                "method",
                rate_limit,
            );
            (addr, tls, origins, limits)
        },
    );
    let kubernetes = fields.optional(
        key("kubernetes", "The cluster. Without this block, as in classic files, the one that wsman runs in. `wsman run --kubeconfig FILE` takes precedence.")
            .rules(|| vec![
                only_with("listen", "mode", "embedded"),
                json!({
                    "if": { "required": ["runtime"], "properties": { "runtime": { "const": "process" } } },
                    "then": { "properties": { "mode": { "const": "embedded" } } },
                    "else": without(&["directory"]),
                }),
                only_with("kubeconfig", "mode", "kubeconfig"),
            ]),
        kubernetes,
    );
    let sessions = fields.optional(
        key("sessions", "Sessions, which are groups of pods on pools of machines. Without this block they are not served; `{}` serves them with the defaults. Changes take effect while the daemon runs, except `installation` and `pools.label`."),
        sessions::sessions,
    );
    let message_bus = fields.optional(
        key(
            "messagebus",
            "RabbitMQ broker for updates. Without this block nothing is published.",
        )
        .rules(|| vec![either("url", "urlFile"), in_the_clear_without_tls()]),
        message_bus,
    );
    let addr = |fields: &mut Fields, name, doc, addr_doc, example: &str, idle: bool| {
        fields.object(key(name, doc), |f| {
            let addr = key("addr", addr_doc)
                .format(Format::Listen)
                .unset("off")
                .example(example);
            f.text(if idle {
                addr.idle("wsman does not serve this yet")
            } else {
                addr
            })
        })
    };
    let health_addr = addr(
        fields,
        "health",
        "Health endpoints.",
        "Address of `/livez`, `/readyz` and `/load`, over plain HTTP.",
        "127.0.0.1:8086",
        false,
    );
    let prometheus_addr = addr(
        fields,
        "prometheus",
        "Metrics.",
        "Address of the metrics.",
        "127.0.0.1:9500",
        true,
    );
    let pprof_addr = addr(
        fields,
        "pprof",
        "Profiling.",
        "Address of the profiler.",
        "127.0.0.1:6060",
        true,
    );
    let guest = fields.object(
        key(
            "guest",
            "The program that runs inside the pods of workspaces on plain nodes.",
        ),
        content::guest,
    );
    let content = fields.object(
        key("content", "The content of workspaces on plain nodes."),
        content::content,
    );
    let image_builder = fields.object(
        key("imageBuilderProxy", "Image builder that gets the calls of `builder.ImageBuilder` on this port. Without this block they are UNIMPLEMENTED.")
            .rules(|| {
                let parts = ["ca", "crt", "key"].map(|part| {
                    let given = json!({ "required": ["tls"], "properties": { "tls": given(part) } });
                    json!({ "if": given, "then": must("targetAddr") })
                });
                parts.to_vec()
            }),
        image_builder,
    );
    let _ = fields.text(
        key(
            "$schema",
            "Path of this file's schema for editors; `wsman generate config-schema` prints it.",
        )
        .unset("no schema")
        .example("./config.schema.json"),
    );
    File {
        manager,
        rpc_addr,
        rpc_tls,
        client_auth,
        allow_origins,
        rate_limits,
        kubernetes,
        sessions,
        message_bus,
        guest,
        content,
        image_builder,
        health_addr,
        prometheus_addr,
        pprof_addr,
    }
}

/// Lists all known keys, in the order of reading.
pub(super) fn outline() -> Vec<Entry> {
    let findings = Rc::new(RefCell::new(Findings {
        outline: Some(Vec::new()),
        ..Findings::default()
    }));
    file(&mut Fields::new("", Value::Object(Map::new()), &findings));
    let outline = findings.borrow_mut().outline.take();
    outline.unwrap_or_default()
}

/// The classic manager needs all certificates or none.
const CERTIFICATES: [(&str, &str); 4] =
    [("ca", "crt"), ("ca", "key"), ("crt", "key"), ("key", "crt")];

/// An `amqp://` URL needs no certificates.
fn in_the_clear_without_tls() -> Value {
    json!({
        "if": {
            "type": "object",
            "required": ["url"],
            "properties": { "url": { "type": "string", "pattern": "^amqp:" } },
        },
        "then": { "properties": { "tls": without(&["ca", "cert", "key"]) } },
    })
}

fn server_tls(f: &mut Fields) -> (Tls, Option<ClientAuth>) {
    let tls = Tls {
        ca: f.file(
            key(
                "ca",
                "PEM file with the authorities of client certificates. With it, clients need one.",
            )
            .example("/certs/ca.crt"),
            Role::Authority,
        ),
        cert: f.file(
            key(
                "crt",
                "PEM file with the server's certificate and its chain. Needs `key`.",
            )
            .example("/certs/tls.crt"),
            Role::Certificate,
        ),
        key: f.file(
            key("key", "PEM file with the private key of `crt`.").example("/certs/tls.key"),
            Role::PrivateKey,
        ),
    };
    let clients = [
        (json!("require"), ClientAuth::Require),
        (json!("request"), ClientAuth::Request),
    ];
    let client_auth = f.choice(
        key("clientAuth", "`require`: callers need a certificate of `ca`. `request`: they may leave it out; one that is shown is checked. Only with `ca`.")
            .unset("`require` with `ca`")
            .example("request"),
        &clients,
    );
    (tls, client_auth)
}

fn client_tls(f: &mut Fields, cert: &'static str) -> Tls {
    Tls {
        ca: f.file(
            key(
                "ca",
                "PEM file with the authorities of the peer's certificate.",
            )
            .unset("those of the system")
            .example("/certs/ca.crt"),
            Role::Authority,
        ),
        cert: f.file(
            key(
                cert,
                "PEM file with the certificate that wsman presents. Needs `key`.",
            )
            .example("/certs/tls.crt"),
            Role::Certificate,
        ),
        key: f.file(
            key("key", "PEM file with its private key.").example("/certs/tls.key"),
            Role::PrivateKey,
        ),
    }
}

fn image_builder(f: &mut Fields) -> ImageBuilder {
    ImageBuilder {
        target_addr: f.text(
            key("targetAddr", "Address of the image builder. It may be away when wsman starts.")
                .format(Format::Target)
                .unset("off")
                .example("image-builder-mk3.default.svc:8080"),
        ),
        tls: f.object(
            key("tls", "Certificates. The image builder's certificate must have the name `image-builder-mk3`. Without this block the connection is in plaintext.")
                .rules(|| needs(&[("crt", "ca"), ("key", "ca"), ("crt", "key"), ("key", "crt")])),
            |f| Tls {
                ca: f.file(
                    key("ca", "PEM file with the authorities of the image builder's certificate.")
                        .example("/certs/ca.crt"),
                    Role::Authority,
                ),
                cert: f.file(
                    key("crt", "PEM file with the certificate that wsman presents. Needs `key`.")
                        .example("/certs/tls.crt"),
                    Role::Certificate,
                ),
                key: f.file(
                    key("key", "PEM file with the private key of `crt`.").example("/certs/tls.key"),
                    Role::PrivateKey,
                ),
            },
        ),
    }
}

fn rate_limit(f: &mut Fields) -> RateLimit {
    RateLimit {
        block: f.flag(
            key(
                "block",
                "Let a call wait for a token, within its deadline, instead of rejecting it.",
            )
            .default(false),
        ),
        bucket_size: f.whole(
            key(
                "bucketSize",
                "Tokens of a full bucket: the largest burst of calls.",
            )
            .required(10),
            1..=u32::MAX,
        ),
        refill_interval: f
            .duration(key("refillInterval", "Time until one token is added.").required("1s")),
        key: f.text(
            key(
                "key",
                "Request fields, separated by commas, whose values select the bucket.",
            )
            .unset("one bucket for all calls")
            .example("metadata.owner"),
        ),
        key_cache_size: f.whole(
            key("keyCacheSize", "Most buckets to keep. Required with `key`.")
                .default(0)
                .example(512),
            0..=1_000_000,
        ),
    }
}

fn kubernetes(f: &mut Fields) -> Kubernetes {
    let modes = [
        ("embedded", Mode::Embedded),
        ("kubeconfig", Mode::Kubeconfig),
        ("in-cluster", Mode::InCluster),
    ];
    Kubernetes {
        mode: f.choice(
            key("mode", "`embedded`: an API server and a simulated kubelet inside the process, for trying wsman out; nothing is real. `kubeconfig`: the cluster of a kubeconfig. `in-cluster`: the cluster that wsman runs in.")
                .required("in-cluster"),
            &modes.map(|(text, mode)| (json!(text), mode)),
        ).unwrap_or_default(),
        kubeconfig: f.file(
            key("kubeconfig", "Kubeconfig to use, only with mode `kubeconfig`.")
                .unset("what `KUBECONFIG` names, or `~/.kube/config`")
                .example("/etc/wsman/kubeconfig"),
            Role::Kubeconfig,
        ),
        listen: f.text(
            key("listen", "Loopback address of the API server, only with mode `embedded`.")
                .format(Format::Loopback)
                .unset("`127.0.0.1:0`, a free port")
                .example("127.0.0.1:6443"),
        ),
        runtime: f.choice(
            key("runtime", "What runs the containers of the mode `embedded`. `simulated`: nothing. `process`: each is a process of this machine in a directory of its own, with the programs of the machine in place of its image, and without any isolation.")
                .default("simulated")
                .example("process"),
            &[(json!("simulated"), Runtime::Simulated), (json!("process"), Runtime::Process)],
        ).unwrap_or_default(),
        directory: f.text(
            key("directory", "Directory of containers and volumes, only with the runtime `process`.")
                .format(Format::Path)
                .unset("a new one that is removed at the end")
                .example("/tmp/wsman"),
        ),
        allow_root: f.flag(
            key("allowRoot", "Run the processes of the runtime `process` even as root.").default(false),
        ),
        nodes: nodes(f),
    }
}

fn message_bus(f: &mut Fields) -> MessageBus {
    MessageBus {
        url: f.text(
            key("url", "`amqp://` or `amqps://` URL of the broker, without a password. Give this or `urlFile`.")
                .format(Format::BrokerUrl)
                .example("amqp://broker:5672"),
        ),
        url_file: f.file(
            key("urlFile", "File with the URL, including the password; read again at every connect. Set this or `url`.")
                .format(Format::FileOfUrl)
                .example("/secrets/amqp-url"),
            Role::BrokerUrl,
        ),
        exchange: f.text(
            key("exchange", "Durable topic exchange to publish to.")
                .format(Format::Exchange)
                .default("wsman"),
        ),
        tls: f.object(
            key("tls", "Certificates for an `amqps://` broker.")
                .rules(|| needs(&[("cert", "key"), ("key", "cert")])),
            |f| client_tls(f, "cert"),
        ),
        confirm_timeout: f.duration(
            key("confirmTimeout", "Timeout of a confirm, before wsman reconnects.")
                .default("30s"),
        ),
        window: f.whole(
            key("window", "Most unconfirmed messages.").default(128),
            1..=65_535,
        ),
        stopped_timeout: f.duration(
            key("stoppedTimeout", "How long the pod of an ended workspace waits for the confirm of its STOPPED.")
                .default("5m"),
        ),
    }
}
