//! The data of a backup: a tree on its way into the store and back, through a bounded number of buffers.

pub mod channel;

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use object_store::{Error, GetOptions, GetRange, MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use wsman_store::manifest::{Manifest, prefix};
use wsman_store::{Store, StoreError, failed, key};

use crate::archive::read::{ReadError, extract};
use crate::archive::write::{WriteError, Written, write};
use crate::archive::{Counted, Limits};
use crate::tree::Hashing;
use channel::{ChannelReader, ChannelWriter};

/// The format of the data, as manifests name it.
pub const FORMAT: &str = "tar+zstd";

/// Some stores want parts of equal size; at most 10,000 of them.
const PART: u64 = 8 << 20;
const MAX_PARTS: u64 = 9_000;

/// Parts that are under way at once.
const IN_FLIGHT: usize = 2;

/// Buffers between two threads.
const BUFFERS: usize = 8;

/// How often a download goes on where it was cut.
const RESUMES: u32 = 5;

/// Windows of compressed data that are accepted: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// Data that is in the store and that no manifest names yet.
#[derive(Clone, Debug)]
pub struct Uploaded {
    pub key: String,
    pub size: u64,
    pub sha256: String,
    pub written: Written,
}

/// Why data did not get into the store or back.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the data {key} is not what its manifest says: {what}")]
    Differs { key: String, what: String },
    #[error("the data has the format {0:?}; this guest knows {FORMAT:?}")]
    Format(String),
    #[error("stopped")]
    Stopped,
    #[error("a thread failed: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Streams the tree below `root` into the store; after an error, or when `stop` is cancelled, nothing of it stays.
pub async fn upload(
    store: &Store,
    root: &Path,
    (owner, workspace): (&str, &str),
    limits: Limits,
    stop: &CancellationToken,
) -> Result<Uploaded, DataError> {
    let id = uuid::Uuid::new_v4();
    let path = format!("{}/data/{id}.tar.zst", prefix(owner, workspace));
    let (tar, compress) = mpsc::channel(BUFFERS);
    let (compressed, parts) = mpsc::channel(BUFFERS);
    let root = root.to_owned();
    let archiving =
        tokio::task::spawn_blocking(move || write(&root, ChannelWriter::new(tar), &limits));
    let compressing = tokio::task::spawn_blocking(move || zstd(compress, compressed));
    let mut upload = None;
    let part = usize::try_from(PART.max(limits.max_bytes / MAX_PARTS)).unwrap_or(usize::MAX);
    let sending = async {
        let rest = send_parts(store, &path, part, parts, &mut upload).await?;
        // Parts that are whole say nothing yet about the tree behind them.
        let written = archiving.await??;
        let (size, sha256) = compressing
            .await?
            .map_err(|error| DataError::Write(error.into()))?;
        Ok((
            rest,
            Uploaded {
                key: path.clone(),
                size,
                sha256,
                written,
            },
        ))
    };
    let sent = tokio::select! {
        biased;
        () = stop.cancelled() => Err(DataError::Stopped),
        sent = sending => sent,
    };
    let completed = match sent {
        Ok((rest, uploaded)) => complete(store, &path, rest, upload.as_mut())
            .await
            .map(|()| uploaded)
            .map_err(|source| failed("write", &path, source).into()),
        Err(error) => Err(error),
    };
    if let (Err(_), Some(mut upload)) = (&completed, upload) {
        // A store that takes no abort drops the parts by its own rules.
        let _ = upload.abort().await;
    }
    completed
}

/// Sends every full part and returns what is left over; `upload` is set once there was one.
async fn send_parts(
    store: &Store,
    path: &str,
    part: usize,
    mut chunks: Receiver<Vec<u8>>,
    upload: &mut Option<Box<dyn MultipartUpload>>,
) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::from(failed("write", path, source));
    let mut filling: Vec<u8> = Vec::new();
    let mut under_way = FuturesUnordered::new();
    while let Some(chunk) = chunks.recv().await {
        let fits = chunk.len().min(part - filling.len());
        filling.extend_from_slice(&chunk[..fits]);
        if filling.len() < part {
            continue;
        }
        let mut next = Vec::with_capacity(part);
        next.extend_from_slice(&chunk[fits..]);
        let full = PutPayload::from(std::mem::replace(&mut filling, next));
        let target = match upload {
            Some(upload) => upload,
            None => {
                let path = key(path).map_err(failed)?;
                upload.insert(store.inner.put_multipart(&path).await.map_err(failed)?)
            }
        };
        while under_way.len() >= IN_FLIGHT {
            under_way.next().await.transpose().map_err(failed)?;
        }
        under_way.push(target.put_part(full));
    }
    while let Some(done) = under_way.next().await {
        done.map_err(failed)?;
    }
    Ok(filling)
}

async fn complete(
    store: &Store,
    path: &str,
    rest: Vec<u8>,
    upload: Option<&mut Box<dyn MultipartUpload>>,
) -> Result<(), Error> {
    match upload {
        Some(upload) => {
            if !rest.is_empty() {
                upload.put_part(rest.into()).await?;
            }
            upload.complete().await?;
        }
        None => {
            store.inner.put(&key(path)?, rest.into()).await?;
        }
    }
    Ok(())
}

/// Extracts the data of `manifest` into the empty directory `into`, and checks all of it against the manifest.
pub async fn download(
    store: &Store,
    manifest: &Manifest,
    into: &Path,
    limits: Limits,
) -> Result<Counted, DataError> {
    if manifest.format != FORMAT {
        return Err(DataError::Format(manifest.format.clone()));
    }
    let (chunks, compressed) = mpsc::channel(BUFFERS);
    let into = into.to_owned();
    let extracting = tokio::task::spawn_blocking(move || unpack(compressed, &into, &limits));
    let fetched = fetch(store, manifest, chunks).await;
    let extracted = extracting.await?;
    fetched?;
    let (counted, size, sha256) = extracted?;
    let differs = |what: String| {
        let key = manifest.data.clone();
        Err(DataError::Differs { key, what })
    };
    if size != manifest.size {
        return differs(format!("{size} bytes instead of {}", manifest.size));
    }
    if sha256 != manifest.sha256 {
        return differs(format!("sha256 {sha256} instead of {}", manifest.sha256));
    }
    Ok(counted)
}

/// Reads the data and goes on where it was cut. Whoever reads may stop early and says why.
async fn fetch(
    store: &Store,
    manifest: &Manifest,
    chunks: Sender<bytes::Bytes>,
) -> Result<(), StoreError> {
    let failed = |source| failed("read", &manifest.data, source);
    let path = key(&manifest.data).map_err(failed)?;
    let mut offset = 0;
    let mut resumes = 0;
    while offset < manifest.size {
        let range = Some(GetRange::Offset(offset)).filter(|_| offset > 0);
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let result = async {
            let mut stream = store.inner.get_opts(&path, options).await?.into_stream();
            while let Some(chunk) = stream.next().await.transpose()? {
                offset += chunk.len() as u64;
                if chunks.send(chunk).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        match result.await {
            // A clean end is the end; the hash tells whether it is the right one.
            Ok(()) => return Ok(()),
            Err(error @ (Error::NotFound { .. } | Error::PermissionDenied { .. })) => {
                return Err(failed(error));
            }
            Err(error) if resumes >= RESUMES => return Err(failed(error)),
            Err(_) => {}
        }
        resumes += 1;
        tokio::time::sleep(Duration::from_millis(100) * 2_u32.pow(resumes.min(6))).await;
    }
    Ok(())
}

fn zstd(input: Receiver<Vec<u8>>, output: Sender<Vec<u8>>) -> io::Result<(u64, String)> {
    let output = Hashing::new(ChannelWriter::new(output));
    let mut encoder = zstd::Encoder::new(output, 1)?;
    io::copy(&mut ChannelReader::new(input), &mut encoder)?;
    let mut output = encoder.finish()?;
    io::Write::flush(&mut output)?;
    Ok(output.finish())
}

fn unpack(
    input: Receiver<bytes::Bytes>,
    into: &Path,
    limits: &Limits,
) -> Result<(Counted, u64, String), ReadError> {
    let hashing = Hashing::new(ChannelReader::new(input));
    let mut decoder = zstd::Decoder::new(hashing).map_err(ReadError::Input)?;
    decoder
        .window_log_max(WINDOW_LOG)
        .map_err(ReadError::Input)?;
    let counted = extract(&mut decoder, into, limits)?;
    let (size, sha256) = decoder.finish().into_inner().finish();
    Ok((counted, size, sha256))
}

#[cfg(test)]
mod tests;
