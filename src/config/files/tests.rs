//! Files in a configuration, with generated certificates.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::config;

/// A certificate of the years 2020 to `until`, and its key.
fn pair(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 15);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The problems of files, in the example configuration.
fn problems(patch: Value, files: &[(&str, &str)]) -> Vec<String> {
    let mut example = crate::golden::example(&Value::Null);
    json_patch::merge(&mut example, &patch);
    let contents = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), Ok((*text).to_owned())));
    let now = "2027-01-08T00:00:00Z".parse().unwrap();
    let config = config::parse(&example.to_string()).unwrap();
    let (_, problems) = config.check(&contents.collect(), now);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn certificates_and_keys_fit_and_are_in_their_time() {
    let tls = json!({"rpcServer": {"tls": {"ca": "/ca", "crt": "/crt", "key": "/key"}}});
    let (ca, _) = pair(2040);
    let (good, key) = pair(2040);
    let (_, other_key) = pair(2040);
    let (expired, expired_key) = pair(2026);
    let (soon, soon_key) = pair(2027);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let both = format!("{good}{expired}");
    let check = |ca: &str, crt: &str, key: &str| {
        problems(tls.clone(), &[("/ca", ca), ("/crt", crt), ("/key", key)])
    };
    for (ca, crt, key, why) in [
        (&*ca, &*good, &*key, &[][..]),
        (
            &ca,
            &good,
            &other_key,
            &["rpcServer.tls.key: /key: is not the key of the certificate in /crt"],
        ),
        (
            &ca,
            &expired,
            &expired_key,
            &["rpcServer.tls.crt: /crt: expired on 2026-01-15"],
        ),
        (
            &expired,
            &soon,
            &soon_key,
            &[
                "rpcServer.tls.ca: /ca: expired on 2026-01-15",
                "rpcServer.tls.crt: /crt: expires in 7 days",
            ],
        ),
        // One valid authority is enough; of a chain each counts.
        (
            &both,
            &both,
            &key,
            &["rpcServer.tls.crt: /crt: certificate 2: expired on 2026-01-15"],
        ),
        (
            &ca,
            &key,
            &good,
            &[
                "rpcServer.tls.crt: /crt: holds a private key, not a certificate",
                "rpcServer.tls.key: /key: holds a certificate, not a private key",
            ],
        ),
        (
            "",
            broken,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            &[
                "rpcServer.tls.ca: /ca: holds no certificate in PEM form",
                "rpcServer.tls.crt: /crt: is no X.509 certificate",
                "rpcServer.tls.key: /key: is encrypted; give a key without a passphrase",
            ],
        ),
        (
            "-----BEGIN CERTIFICATE-----\n***",
            &good,
            "x",
            &[
                "rpcServer.tls.ca: /ca: holds a broken PEM block",
                "rpcServer.tls.key: /key: holds no private key in PEM form",
            ],
        ),
    ] {
        assert_eq!(check(ca, crt, key), why);
    }
}

#[test]
fn certificates_of_a_client_are_checked_too() {
    let bus = json!({"messagebus": {"url": "amqps://b", "tls": {"cert": "/crt", "key": "/key"}}});
    let ((certificate, _), (_, key)) = (pair(2040), pair(2040));
    assert_eq!(
        problems(bus, &[("/crt", &certificate), ("/key", &key)]),
        ["messagebus.tls.key: /key: is not the key of the certificate in /crt"]
    );
}

#[test]
fn kubeconfigs_lead_to_a_cluster() {
    let patch = json!({"kubernetes": {"mode": "kubeconfig", "kubeconfig": "/k"}});
    let config = |context: &str, cluster: &str, user: &str, server: &str| {
        json!({
            "current-context": context,
            "contexts": [{"name": "here", "context": {"cluster": cluster, "user": user}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "planted"}}],
        })
        .to_string()
    };
    let url = "https://10.0.0.1:6443";
    let no_kubeconfig = "is no kubeconfig: it is not YAML or has fields of another type";
    for (text, why) in [
        (config("here", "c", "u", url), None),
        (config("here", "c", "", url), None),
        (String::new(), Some("is empty; it must hold a kubeconfig")),
        ("[planted".to_owned(), Some(no_kubeconfig)),
        ("clusters: planted".to_owned(), Some(no_kubeconfig)),
        (
            "{}".to_owned(),
            Some("has no current-context; set one with kubectl config use-context"),
        ),
        (
            config("there", "c", "u", url),
            Some("has no context \"there\", its current-context; there are here"),
        ),
        (
            config("here", "d", "u", url),
            Some("has no cluster \"d\", which its context names"),
        ),
        (
            config("here", "c", "v", url),
            Some("has no user \"v\", which its context names"),
        ),
        (
            config("here", "c", "u", "10.0.0.1"),
            Some("has no http or https URL as server of the cluster \"c\""),
        ),
    ] {
        let why = why.map(|why| format!("kubernetes.kubeconfig: /k: {why}"));
        let found = problems(patch.clone(), &[("/k", &text)]);
        assert_eq!(found, Vec::from_iter(why), "{text}");
        assert!(!found.concat().contains("planted"));
    }
}

#[test]
fn the_url_of_a_broker_is_one_and_never_repeated() {
    let patch = json!({"messagebus": {"urlFile": "/u"}});
    for (text, why) in [
        ("amqp://me:planted@broker:5672/team\n", None),
        ("", Some("is empty; it must hold the URL of the broker")),
        ("planted", Some("holds a URL that must begin with")),
        (
            "https://me:planted@broker",
            Some("holds a URL that must begin with"),
        ),
        ("amqp:///planted", Some("holds a URL that has no host")),
        (
            "amqp://me:planted@broker:99999",
            Some("holds a URL that has something else"),
        ),
        (
            "amqp://a\namqp://planted",
            Some("has more than one line; it must hold"),
        ),
    ] {
        let found = problems(patch.clone(), &[("/u", text)]);
        assert_eq!(found.len(), why.iter().len(), "{text}: {found:?}");
        let why = format!("messagebus.urlFile: /u: {}", why.unwrap_or_default());
        assert!(
            found.iter().all(|found| found.starts_with(&why)),
            "{text}: {found:?}"
        );
        assert!(!found.concat().contains("planted"));
    }
    let patch = json!({"messagebus": {"urlFile": "/u", "tls": {"ca": "/ca"}}});
    assert_eq!(
        problems(patch, &[("/u", "amqp://broker")]),
        [
            "messagebus.urlFile: /u: holds an amqp:// URL, but messagebus.tls is given; write it with amqps://"
        ]
    );
}

#[test]
fn the_files_of_a_ws_daemon_are_checked() {
    let patch = json!({"manager": {
        "registryFacadeHost": "reg.example.com", "workspaceHostPath": "/var/gitpod/workspaces",
        "wsdaemon": {"port": 1, "tls": {"crt": "/c", "key": "/k"}},
    }});
    let found = problems(patch, &[("/c", ""), ("/k", "")]);
    assert_eq!(
        found,
        [
            "manager.wsdaemon.tls.ca: is missing: give the authority of the ws-daemons",
            "manager.wsdaemon.tls.crt: /c: holds no certificate in PEM form",
            "manager.wsdaemon.tls.key: /k: holds no private key in PEM form",
        ]
    );
}
