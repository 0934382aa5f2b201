//! Downloads files: checked against their digests, and in place only when whole.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::beneath::Root;
use crate::git::remote::without_credentials;
use crate::init::{Context, InitError};
use crate::outcome::Step;
use crate::path::RelPath;
use crate::plan::initializer::{Download, FileInfo};
use crate::tree::hex;
use crate::walk::OWN_PREFIX;

pub(super) const ATTEMPTS: u32 = 4;
const REDIRECTS: usize = 5;

/// How much of an error is read.
const FAULT: usize = 16 * 1024;

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("the URL {0:?} is refused: {1}")]
    Url(String, &'static str),
    #[error("the digest {0:?} is refused: it must be sha256 and 64 hexadecimal digits")]
    Digest(String),
    #[error("cannot download {0}: {1}")]
    Http(String, String),
    #[error("cannot download {0}: it answers {1}")]
    Status(String, StatusCode),
    #[error("cannot download {0}: {1}")]
    Signature(String, &'static str),
    #[error("cannot download {0}: it is larger than the {1} bytes that are allowed")]
    TooLarge(String, u64),
    #[error("{0} has the digest sha256:{1} instead of {2}")]
    Mismatch(String, String, String),
    #[error("cannot write {0}: {1}")]
    Write(String, io::Error),
}

/// Downloads every file of the step, in order.
pub async fn run(context: &Context<'_>, download: &Download) -> Result<Step, InitError> {
    let target = RelPath::parse(download.target_location.as_bytes())?;
    let settings = &context.plan.download;
    let hosts: Arc<[String]> = settings.allow_hosts.clone().into();
    let root = Root::open(&context.plan.root)
        .map_err(|error| InitError::Io(context.plan.root.display().to_string(), error))?;
    let mut step = Step::default();
    for file in &download.files {
        let url = check_url(&file.url, &hosts)?;
        let digest = check_digest(&file.digest)?;
        let path = target.join(&RelPath::parse(file.file_path.as_bytes())?);
        let left = settings.max_bytes.saturating_sub(step.bytes);
        let client = client(&url, hosts.clone())
            .map_err(|error| DownloadError::Http(shown(&file.url), error.to_string()))?;
        context.progress.say("download", &shown(&file.url));
        step.bytes += one(&client, &url, file, &digest, &root, &path, left).await?;
        step.files += 1;
        step.target = shown(&file.url);
    }
    Ok(step)
}

fn shown(url: &str) -> String {
    let clean = without_credentials(url);
    // Signatures stand in the query.
    clean
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn check_url(text: &str, hosts: &[String]) -> Result<Url, DownloadError> {
    let refused = |why| Err(DownloadError::Url(shown(text), why));
    let Ok(url) = Url::parse(text) else {
        return refused("it is no URL");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused("only http and https are allowed");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("it contains credentials");
    }
    if is_inner(&url) && !allowed(&url, hosts) {
        return refused("its address is that of this machine or link-local");
    }
    Ok(url)
}

fn allowed(url: &Url, hosts: &[String]) -> bool {
    url.host_str()
        .is_some_and(|host| hosts.iter().any(|allowed| allowed == host))
}

/// Whether the host is an address that only means something on this machine or its link.
fn is_inner(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    address.is_some_and(inner)
}

fn inner(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

fn check_digest(text: &str) -> Result<String, DownloadError> {
    text.strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
        .ok_or_else(|| DownloadError::Digest(text.to_owned()))
}

pub(super) fn client(url: &Url, hosts: Arc<[String]>) -> reqwest::Result<Client> {
    let first = url.host_str().unwrap_or_default().to_owned();
    let secure = url.scheme() == "https";
    let redirect_hosts = hosts.clone();
    let policy = Policy::custom(move |attempt| {
        let to = attempt.url();
        if attempt.previous().len() > REDIRECTS {
            return attempt.error("it redirects too often");
        }
        let known = to.host_str() == Some(&first) || allowed(to, &redirect_hosts);
        if !known {
            let host = to.host_str().unwrap_or_default().to_owned();
            return attempt.error(format!(
                "it redirects to the host {host}, which is not allowed"
            ));
        }
        if secure && to.scheme() != "https" {
            return attempt.error("it redirects from https to http");
        }
        attempt.follow()
    });
    Client::builder()
        .redirect(policy)
        .dns_resolver(Arc::new(Outer { hosts }))
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .build()
}

/// Resolves names, but not to addresses of this machine or its link.
struct Outer {
    hosts: Arc<[String]>,
}

impl Resolve for Outer {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = self.hosts.clone();
        Box::pin(async move {
            let host = name.as_str();
            let free = hosts.iter().any(|allowed| allowed == host);
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0))
                .await?
                .filter(|address| free || !inner(address.ip()))
                .collect();
            if found.is_empty() {
                let text = format!("the address of {host} is that of this machine or link-local");
                return Err(text.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Downloads one file and puts it in place.
async fn one(
    client: &Client,
    url: &Url,
    file: &FileInfo,
    digest: &str,
    root: &Root,
    path: &RelPath,
    max_bytes: u64,
) -> Result<u64, DownloadError> {
    let write = |error: io::Error| DownloadError::Write(path.to_string(), error);
    let Some((parent, name)) = path.split() else {
        return Err(write(io::ErrorKind::IsADirectory.into()));
    };
    let dir = root.make_dirs(&parent).map_err(write)?;
    let mut attempt = 1;
    loop {
        let part = Part::new(&dir).map_err(write)?;
        match fetch(client, url, &file.url, part, digest, max_bytes).await {
            Ok((bytes, part)) => {
                part.place(name).map_err(write)?;
                return Ok(bytes);
            }
            Err((error, true)) if attempt < ATTEMPTS => {
                drop(error);
                tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// A file in the making; it is removed unless it is put in place.
struct Part<'a> {
    dir: &'a OwnedFd,
    name: String,
    file: File,
}

impl<'a> Part<'a> {
    fn new(dir: &'a OwnedFd) -> io::Result<Self> {
        let name = format!("{OWN_PREFIX}part-{}", uuid::Uuid::new_v4());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(0o644))?;
        Ok(Self {
            dir,
            name,
            file: File::from(fd),
        })
    }

    fn place(self, name: &[u8]) -> io::Result<()> {
        self.file.sync_all()?;
        rustix::fs::renameat(self.dir, &self.name, self.dir, name)?;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.dir, &self.name, AtFlags::empty());
    }
}

/// Fetches once; an error says whether another try may help.
async fn fetch<'a>(
    client: &Client,
    url: &Url,
    text: &str,
    mut part: Part<'a>,
    digest: &str,
    max_bytes: u64,
) -> Result<(u64, Part<'a>), (DownloadError, bool)> {
    let http = |error: reqwest::Error| {
        let passes = !error.is_redirect() && !error.is_builder();
        // Its own text has the URL with its signature.
        let why = chain(&error.without_url());
        (DownloadError::Http(shown(text), why), passes)
    };
    let mut response = client.get(url.clone()).send().await.map_err(http)?;
    let status = response.status();
    if !status.is_success() {
        if status == StatusCode::FORBIDDEN
            && let Some(why) = signature_fault(&mut response).await
        {
            return Err((DownloadError::Signature(shown(text), why), false));
        }
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err((DownloadError::Status(shown(text), status), passes));
    }
    let too_large = || (DownloadError::TooLarge(shown(text), max_bytes), false);
    if response
        .content_length()
        .is_some_and(|length| length > max_bytes)
    {
        return Err(too_large());
    }
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(http)? {
        bytes += chunk.len() as u64;
        if bytes > max_bytes {
            return Err(too_large());
        }
        hash.update(&chunk);
        part.file
            .write_all(&chunk)
            .map_err(|error| (DownloadError::Write(part.name.clone(), error), false))?;
    }
    let found = hex(&hash.finalize());
    if found != digest {
        let expected = format!("sha256:{digest}");
        return Err((DownloadError::Mismatch(shown(text), found, expected), false));
    }
    Ok((bytes, part))
}

/// What a store says of a signed URL that it does not accept.
async fn signature_fault(response: &mut Response) -> Option<&'static str> {
    let mut body = Vec::new();
    while body.len() < FAULT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    if body.contains("<Code>RequestTimeTooSkewed</Code>") {
        return Some("the clock of this node differs too much from that of the store");
    }
    let expired = ["Request has expired", "<Code>ExpiredToken</Code>"];
    let is_expired = expired.iter().any(|text| body.contains(text));
    is_expired.then_some("its signature has expired, by the clock of the store")
}

/// The innermost reason, which says most: the outer ones repeat the URL.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_lead_inside_are_refused() {
        for (url, why) in [
            ("file:///etc/passwd", "only http and https are allowed"),
            ("http://u:marker@host/x", "it contains credentials"),
            (
                "http://169.254.169.254/latest",
                "its address is that of this machine or link-local",
            ),
            (
                "http://127.1/x",
                "its address is that of this machine or link-local",
            ),
            (
                "http://[::1]/x",
                "its address is that of this machine or link-local",
            ),
            (
                "http://[::ffff:127.0.0.1]/x",
                "its address is that of this machine or link-local",
            ),
        ] {
            let error = check_url(url, &[]).unwrap_err().to_string();
            assert!(error.ends_with(why) && !error.contains("marker"), "{error}");
        }
        assert!(check_url("http://127.0.0.1/x", &["127.0.0.1".into()]).is_ok());
        assert!(check_url("https://host/x", &[]).is_ok());
    }

    #[test]
    fn digests_are_sha256() {
        let hex = "ab".repeat(32);
        assert_eq!(check_digest(&format!("sha256:{hex}")).unwrap(), hex);
        for wrong in ["", &hex, "md5:abc", "sha256:xyz"] {
            assert!(check_digest(wrong).is_err(), "{wrong}");
        }
    }
}
