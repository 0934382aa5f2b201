//! Fetches the credentials of a repository from a URL that gives them once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};

use super::download::{ATTEMPTS, chain, check_url, client};
use super::{Context, InitError};
use crate::plan::initializer::GitConfig;

/// What a secret may hold.
const LENGTH: usize = 64 * 1024;

/// Why there is no secret. The path of its URL is a secret, too.
#[derive(Debug, thiserror::Error)]
pub enum OneTimeError {
    #[error(
        "config.auth_ots is refused: it must be an http or https URL, without credentials in it, of another machine"
    )]
    Url,
    #[error("cannot fetch the one-time secret from {0}: {1}")]
    Http(String, String),
    #[error("cannot fetch the one-time secret from {0}: it answers {1}")]
    Status(String, StatusCode),
    #[error(
        "cannot fetch the one-time secret from {0}: it is gone, which is how it is once it was fetched"
    )]
    Gone(String),
    #[error("cannot fetch the one-time secret from {0}: it is empty, too long or no text")]
    NoSecret(String),
    #[error("cannot keep the one-time secret: {0}")]
    Keep(io::Error),
}

/// Writes the password into the file `password` and returns the user: `user:password` names both, anything else is a
/// password for the user of the plan.
pub async fn fetch(
    context: &Context<'_>,
    config: &GitConfig,
    password: &Path,
) -> Result<String, InitError> {
    let text = match config.auth_ots.strip_prefix("extracted-secret/") {
        Some(name) => {
            let path = context.plan.secret(name)?;
            fs::read_to_string(path).map_err(OneTimeError::Keep)?
        }
        None => config.auth_ots.clone(),
    };
    let hosts = &context.plan.download.allow_hosts;
    let url = check_url(text.trim(), hosts).map_err(|_| OneTimeError::Url)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let client = client(&url, hosts.clone().into())
        .map_err(|error| OneTimeError::Http(host.clone(), error.to_string()))?;
    let mut attempt = 1;
    let body = loop {
        match get(&client, &url, &host).await {
            Err((_, true)) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            result => break result.map_err(|(error, _)| error)?,
        }
    };
    let secret = body.trim_end_matches(['\r', '\n']);
    let (user, secret) = secret
        .split_once(':')
        .unwrap_or((config.auth_user.as_str(), secret));
    if secret.is_empty() {
        return Err(OneTimeError::NoSecret(host).into());
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(password)
        .and_then(|mut file| file.write_all(secret.as_bytes()))
        .map_err(OneTimeError::Keep)?;
    Ok(user.to_owned())
}

/// Asks once; an error says whether another try may help. An answer that was cut has used the secret up.
async fn get(client: &Client, url: &Url, host: &str) -> Result<String, (OneTimeError, bool)> {
    let http = |error: reqwest::Error| {
        let passes = error.is_connect();
        let why = chain(&error.without_url());
        (OneTimeError::Http(host.to_owned(), why), passes)
    };
    let mut response = client.get(url.clone()).send().await.map_err(http)?;
    let status = response.status();
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Err((OneTimeError::Gone(host.to_owned()), false));
    }
    if !status.is_success() {
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err((OneTimeError::Status(host.to_owned(), status), passes));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(http)? {
        body.extend_from_slice(&chunk);
        if body.len() > LENGTH {
            return Err((OneTimeError::NoSecret(host.to_owned()), false));
        }
    }
    String::from_utf8(body).map_err(|_| (OneTimeError::NoSecret(host.to_owned()), false))
}
