//! Values for the keys of a configuration, valid and invalid ones.

use serde_json::{Value, json};

use crate::config::key::{Entry, Shape};
use crate::golden;

/// A method that can be limited.
const METHOD: &str = "/wsman.WorkspaceManager/StartWorkspace";

/// Configurations in which every key can be changed alone.
pub(super) fn bases() -> Vec<Value> {
    let tls = json!({ "ca": "/ca", "crt": "/crt", "key": "/key" });
    let class = json!({
        "container": { "requests": { "storage": "1Gi" } },
        "templates": { "defaultPath": "/pod", "prebuildPath": "/pod" },
        "pvc": { "size": "1Gi" },
        "prebuildPVC": {},
    });
    let limit =
        json!({ "bucketSize": 1, "refillInterval": "1s", "key": "type", "keyCacheSize": 1 });
    let file = golden::example(&json!({
        "manager": {
            "registryFacadeHost": "reg.example.com",
            "workspaceHostPath": "/workspaces",
            "wsdaemon": { "port": 1, "tls": tls },
            "workspaceClass": { "default": class },
        },
        "rpcServer": {
            "tls": { "ca": "/ca", "crt": "/crt", "key": "/key", "clientAuth": "request" },
            "cors": { "allowOrigins": ["http://localhost"] },
            "ratelimits": { METHOD: limit },
        },
        "kubernetes": { "mode": "embedded", "listen": "127.0.0.1:1", "nodes": { "node": {} } },
        "sessions": { "queues": { "default": {} }, "pools": {}, "deadline": {}, "ttl": {} },
        "messagebus": { "url": "amqps://broker", "tls": { "ca": "/ca", "cert": "/crt", "key": "/key" } },
        "imageBuilderProxy": { "targetAddr": "builder:1", "tls": tls },
        "prometheus": {},
        "pprof": {},
    }));
    let mut other = file.clone();
    other["sessions"]["queues"]["default"] = json!({ "discipline": "strict", "barrier": "1h" });
    other["messagebus"] = json!({ "urlFile": "/url", "tls": {} });
    other["kubernetes"] = json!({ "mode": "kubeconfig", "kubeconfig": "/kubeconfig" });
    other["imageBuilderProxy"] = json!({ "tls": {} });
    other["rpcServer"]["tls"] = json!({});
    other["rpcServer"]["ratelimits"][METHOD]["key"] = Value::Null;
    other["manager"]["registryFacadeHost"] = Value::Null;
    other["manager"]["workspaceClass"]["default"]["templates"] = json!({});
    vec![file, other]
}

/// The files of these configurations.
pub(super) fn files() -> Value {
    let paths = FEW.iter().chain(&["/pod", "/x", "/templates/default.yaml"]);
    let files = paths.map(|path| ((*path).to_owned(), json!({ "spec": {} })));
    Value::Object(files.collect())
}

/// The path of a key in them.
pub(super) fn path(entry: &Entry) -> Vec<&str> {
    let mut path = names(&entry.path);
    // Of objects by name it is that of the members.
    path.truncate(path.len() - usize::from(entry.shape == Shape::Named));
    path
}

/// The names in the path of a key, some of which are placeholders.
pub(super) fn names(path: &str) -> Vec<&str> {
    let named = |name| match name {
        "<id>" => "default",
        "<method>" => METHOD,
        "<node>" => "node",
        "<queue>" => "default",
        name => name,
    };
    path.split('.').map(named).collect()
}

/// Values of a key: a few, and if it is the first of its kind many.
pub(super) fn of(entry: &Entry, is_first: bool) -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(""),
        json!("/x"),
        json!(1),
        json!([]),
        json!({}),
    ];
    if !is_first && !entry.path.ends_with("<method>.key") {
        return values;
    }
    values.extend(FEW.map(Value::from));
    values.extend([
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(70_000),
        json!(2_000_000),
        json!(5e9),
        json!([1]),
        json!([null]),
        json!({ "x": 1 }),
        json!({ "-": {}, "default": {} }),
        json!({ "a.b": 1, "A": "x" }),
        json!({ "a/b": 1 }),
        json!({ "a": "" }),
        json!({ "default": null }),
        json!({ "default": {} }),
    ]);
    match entry.shape {
        Shape::Text(_) => values.extend(texts().into_iter().map(Value::from)),
        Shape::Texts(_) => {
            values.extend(texts().into_iter().map(|text| json!([text])));
            values.extend([json!(["*", "https://a"]), json!(["https://a", "https://b"])]);
        }
        _ => {}
    }
    values
}

/// Values that people may write.
pub(super) fn plausible(entry: &Entry) -> Vec<Value> {
    let mut values: Vec<Value> = FEW.map(Value::from).to_vec();
    values.extend(entry.key.proposal().cloned());
    values.extend([json!(null), json!(0), json!(1), json!({})]);
    if let Shape::Choice(choices) = &entry.shape {
        values.extend(choices.iter().cloned());
    }
    values
}

const FEW: [&str; 11] = [
    " ",
    "x",
    "amqps://b",
    "1",
    "30s",
    "embedded",
    "in-cluster",
    "request",
    "refuse",
    "clusterIP",
    "id,closed",
];

/// Texts of all kinds, valid and nearly valid.
fn texts() -> Vec<String> {
    let words = WORDS
        .iter()
        .flat_map(|line| line.split(' '))
        .map(str::to_owned);
    let long = [63, 64, 256].map(|length| "x".repeat(length));
    words.chain(SPACED.map(str::to_owned)).chain(long).collect()
}

const WORDS: [&str; 7] = [
    "X a.b a..b -a a- a_b a/b a@b \u{e9} * null .. ../x /x/../y x/.. ..x default large spec id, closed type,,id \
     metadata.owner metadata.owner,type spec.timeout",
    "0 -1 +1 0s 1s -1s -0s +1s 1.5h .5h 1.h 1h30m 1d 1S 1h30 9999999h 0.0s 00s 1ns 0h0m 1\u{b5}s",
    "1m 500m 2Gi 1Ki 1023Ki 1024Ki 2000k 0Gi 0.5Gi -0 -1Gi 1.5 1e3 1E9 1e-3 1gi 1GB 10E 100000 10001 9999999 5Mi 1M +1Gi",
    "127.0.0.1:8080 :8080 localhost:1 LOCALHOST:1 127.0.0.1:1 127.1.2.3:0 [::1]:2 [::]:3 ::1:2 300.0.0.1:1 1.2.3.4:1 \
     a-b.c:65535 a:65536 a:0 a:+1 a:00080 a:x a: a 1a.2:3 1.2:3 1-2:3 a_b:1 -a:1 [x]:1 http://a:1 [::1] a:1:2",
    "https://example.com http://localhost:3000 HTTPS://example.com https:// https:///x ftp://a javascript:alert(1) \
     mailto:a@b example.com example.com:80 example.com:/x example.com/x:y https://a/b https://a:443 http://a:443 \
     http://a:80 https://a.b:65536 https://.a https://u:p@a https://[::1]:8 //a https://a/{x}",
    "https://{{.ID}} {{.Host}}/x https://{{.Host}} https://x.{{.Host}}/ {{.Prefix}}.a https://{{.Port}} https://{{.Prefix \
     https://{{.WorkspacePort}}-{{.Prefix}}.a https://{{.Prefix}}:{{.IngressPort}}",
    "amqp://b amqps://b amqps://u@b:1/v amqps://u:p@b amqps://u@v@b amqps://b/%2f?heartbeat=5 amqps://b/%zz amqps://b:0 \
     amqps://b#x amqps:// amqps://[::1] AMQP://b amq.x amqx",
];
const SPACED: [&str; 9] = [
    "a b",
    "1 h",
    "\n",
    "a\nb",
    "\0",
    "https://{{ .Prefix }}.a",
    "https://a/{{\t.ID}} ",
    "amqps://b/a b",
    " type , id ",
];
