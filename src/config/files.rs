//! The rules for the contents of files: templates, certificates, kubeconfigs, the URL of a broker.

use jiff::Timestamp;
use kube::config::Kubeconfig;

use super::broker::BrokerUrl;
use super::certificates;
use super::faults::Faults;
use super::named_file::{Contents, NamedFile, Role};
use super::problem::{Problem, Severity};
use crate::workspaces::template;

/// Reports the problems of the files; `contents` has those that were read.
pub(super) fn check(files: &[NamedFile], contents: &Contents, now: Timestamp, faults: &mut Faults) {
    for file in files {
        if faults.is_idle(&file.key) {
            continue;
        }
        let text = match contents.get(&file.path) {
            Some(Ok(text)) => text,
            Some(Err(why)) => {
                report(file, Severity::Error, why, faults);
                continue;
            }
            None => continue,
        };
        let why = match file.role {
            Role::Template => {
                for finding in template::check(text) {
                    let severity = if finding.is_error {
                        Severity::Error
                    } else {
                        Severity::Warning
                    };
                    report(file, severity, &finding.to_string(), faults);
                }
                Ok(())
            }
            Role::Authority => certificates::authority(text, now),
            Role::Certificate => {
                if let Some(days @ 0..14) = certificates::days_left(text, now) {
                    let why = format!("expires in {days} days");
                    report(file, Severity::Warning, &why, faults);
                }
                certificates::certificate(text, now)
            }
            Role::PrivateKey => private_key(file, text, files, contents),
            Role::Kubeconfig => kubeconfig(text),
            Role::BrokerUrl => broker_url(text, files),
            Role::Credentials | Role::KnownHosts if text.trim().is_empty() => {
                Err("is empty".to_owned())
            }
            Role::Credentials | Role::KnownHosts => Ok(()),
        };
        if let Err(why) = why {
            report(file, Severity::Error, &why, faults);
        }
    }
}

fn report(file: &NamedFile, severity: Severity, why: &str, faults: &mut Faults) {
    faults.push(Problem {
        file: Some(file.path.clone()),
        severity,
        ..Problem::error(&file.key, why)
    });
}

/// A key must match its certificate.
fn private_key(
    file: &NamedFile,
    text: &str,
    files: &[NamedFile],
    contents: &Contents,
) -> Result<(), String> {
    let key = certificates::private_key(text)?;
    let block = |file: &NamedFile| file.key.rsplit_once('.').map(|(block, _)| block.to_owned());
    let beside = files
        .iter()
        .find(|other| other.role == Role::Certificate && block(other) == block(file));
    let certificate = beside.and_then(|beside| contents.get(&beside.path)?.as_ref().ok());
    match (beside, certificate) {
        (Some(beside), Some(certificate)) if !certificates::match_key(certificate, &key) => Err(
            format!("is not the key of the certificate in {}", beside.path),
        ),
        _ => Ok(()),
    }
}

/// Never prints the content: it may be a token.
fn kubeconfig(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty; it must hold a kubeconfig".to_owned());
    }
    let Ok(config) = Kubeconfig::from_yaml(text) else {
        return Err("is no kubeconfig: it is not YAML or has fields of another type".to_owned());
    };
    let Some(current) = &config.current_context else {
        return Err("has no current-context; set one with kubectl config use-context".to_owned());
    };
    let named = config
        .contexts
        .iter()
        .find(|context| context.name == *current);
    let Some(context) = named.and_then(|named| named.context.as_ref()) else {
        let names: Vec<_> = config.contexts.iter().map(|c| c.name.as_str()).collect();
        let there = match names.as_slice() {
            [] => "it has none".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        return Err(format!(
            "has no context {current:?}, its current-context; {there}"
        ));
    };
    let clusters = config.clusters.iter();
    let Some(cluster) = clusters
        .filter(|c| c.name == context.cluster)
        .find_map(|c| c.cluster.as_ref())
    else {
        return Err(format!(
            "has no cluster {:?}, which its context names",
            context.cluster
        ));
    };
    let server = cluster
        .server
        .as_deref()
        .and_then(|s| ::url::Url::parse(s).ok());
    if server.is_none_or(|url| !matches!(url.scheme(), "http" | "https") || !url.has_host()) {
        return Err(format!(
            "has no http or https URL as server of the cluster {:?}",
            context.cluster
        ));
    }
    let user = context.user.as_deref().filter(|user| !user.is_empty());
    match user.filter(|user| !config.auth_infos.iter().any(|info| info.name == **user)) {
        Some(user) => Err(format!("has no user {user:?}, which its context names")),
        None => Ok(()),
    }
}

/// Never prints the content: it is a password.
fn broker_url(text: &str, files: &[NamedFile]) -> Result<(), String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty; it must hold the URL of the broker".to_owned());
    }
    if text.lines().count() > 1 {
        return Err("has more than one line; it must hold the URL of the broker alone".to_owned());
    }
    let url = BrokerUrl::parse(text).map_err(|why| format!("holds a URL that {why}"))?;
    let has_tls = files
        .iter()
        .any(|file| file.key.starts_with("messagebus.tls."));
    if has_tls && !url.is_secure {
        return Err(
            "holds an amqp:// URL, but messagebus.tls is given; write it with amqps://".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
