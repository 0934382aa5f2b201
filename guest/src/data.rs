//! The data of a backup: a tree on its way into the store and back, through a bounded number of buffers.

pub mod channel;

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use object_store::{
    Error, GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStoreExt, PutPayload,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wsman_store::manifest::{Manifest, prefix};
use wsman_store::{Store, StoreError, failed, key};

use crate::archive::read::{ReadError, extract};
use crate::archive::write::{WriteError, Written, write};
use crate::archive::{Counted, Limits};
use crate::tree::{Hashing, hex};
use crate::walk::measure;
use channel::{BUFFERS, ChannelReader, ChannelWriter, Chunk, PipeReader, PipeWriter, pipe};

/// The format of the data, as manifests name it.
pub const FORMAT: &str = "tar+zstd";

/// Some stores want parts of equal size; at most 10,000 of them.
const PART: u64 = 8 << 20;
const MAX_PARTS: u64 = 9_000;

/// Parts that are under way at once.
const IN_FLIGHT: usize = 2;

/// How much is decompressed at once.
const READ: usize = 64 * 1024;

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
    let (tar, compress) = pipe();
    let (compressed, parts) = mpsc::channel(BUFFERS);
    let root = root.to_owned();
    let tree = root.clone();
    let part = tokio::task::spawn_blocking(move || part_size(&tree, &limits)).await?;
    let archiving = tokio::task::spawn_blocking(move || write(&root, tar, &limits));
    let compressing = tokio::task::spawn_blocking(move || zstd(compress, compressed));
    let mut upload = None;
    let sending = async {
        let sent = send_parts(store, &path, part, parts, &mut upload).await?;
        // Parts that are whole say nothing yet about the tree behind them.
        let written = archiving.await??;
        compressing
            .await?
            .map_err(|error| DataError::Write(error.into()))?;
        Ok((
            sent.rest,
            Uploaded {
                key: path.clone(),
                size: sent.size,
                sha256: hex(&sent.hash.finalize()),
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

/// Sends every full part; `upload` is set once there was one.
async fn send_parts(
    store: &Store,
    path: &str,
    part: usize,
    mut chunks: Receiver<Vec<u8>>,
    upload: &mut Option<Box<dyn MultipartUpload>>,
) -> Result<Sent, DataError> {
    let failed = |source| DataError::from(failed("write", path, source));
    let mut sent = Sent::default();
    let mut filling: Vec<Bytes> = Vec::new();
    let mut left = part;
    // Tasks, because a part must go on while the next one is filled.
    let mut under_way: JoinSet<Result<(), Error>> = JoinSet::new();
    while let Some(chunk) = chunks.recv().await {
        sent.hash.update(&chunk);
        sent.size += chunk.len() as u64;
        let mut chunk = Bytes::from(chunk);
        let fits = chunk.split_to(chunk.len().min(left));
        left -= fits.len();
        filling.push(fits);
        if left > 0 {
            continue;
        }
        left = part - chunk.len();
        let full = PutPayload::from_iter(std::mem::replace(&mut filling, vec![chunk]));
        let target = match upload {
            Some(upload) => upload,
            None => {
                let path = key(path).map_err(failed)?;
                upload.insert(store.inner.put_multipart(&path).await.map_err(failed)?)
            }
        };
        while under_way.len() >= IN_FLIGHT
            && let Some(done) = under_way.join_next().await
        {
            done?.map_err(failed)?;
        }
        under_way.spawn(target.put_part(full));
    }
    while let Some(done) = under_way.join_next().await {
        done?.map_err(failed)?;
    }
    sent.rest = PutPayload::from_iter(filling);
    Ok(sent)
}

async fn complete(
    store: &Store,
    path: &str,
    rest: PutPayload,
    upload: Option<&mut Box<dyn MultipartUpload>>,
) -> Result<(), Error> {
    match upload {
        Some(upload) => {
            if rest.content_length() > 0 {
                upload.put_part(rest).await?;
            }
            upload.complete().await?;
        }
        None => {
            store.inner.put(&key(path)?, rest).await?;
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
    let (plain, tar) = pipe();
    let into = into.to_owned();
    let decompressing = tokio::task::spawn_blocking(move || unzstd(compressed, plain));
    let extracting = tokio::task::spawn_blocking(move || extract(tar, &into, &limits));
    let fetched = fetch(store, manifest, chunks).await;
    let extracted = extracting.await?;
    let (size, sha256) = decompressing.await?.map_err(ReadError::Input)?;
    fetched?;
    let counted = extracted?;
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
    chunks: Sender<Chunk>,
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
            let found = store.inner.get_opts(&path, options).await?;
            let mut stream = match found.payload {
                GetResultPayload::Stream(stream) => stream,
                // Its own stream changes threads for each 8 KiB.
                GetResultPayload::File(mut file, _) => {
                    file.seek(SeekFrom::Start(offset)).map_err(local)?;
                    // Whoever reads may have stopped.
                    let _ = chunks.send(Chunk::File(file)).await;
                    return Ok(());
                }
            };
            while let Some(chunk) = stream.next().await.transpose()? {
                offset += chunk.len() as u64;
                if chunks.send(Chunk::Bytes(chunk)).await.is_err() {
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

/// What was sent, and what is left for the last part.
#[derive(Default)]
struct Sent {
    size: u64,
    hash: Sha256,
    rest: PutPayload,
}

/// Several parts are in memory, so they are small where a store takes enough of them.
fn part_size(root: &Path, limits: &Limits) -> usize {
    let enough = |bytes: u64| PART.max(bytes / MAX_PARTS);
    let mut part = enough(limits.max_bytes);
    if part > 2 * PART
        && let Ok(extent) = measure(root)
    {
        // The tree may grow meanwhile, and what it adds does not compress.
        part = part.min(enough(2 * extent.bytes + 4096 * extent.files));
    }
    usize::try_from(part).unwrap_or(usize::MAX)
}

fn local(error: io::Error) -> Error {
    Error::Generic {
        store: "LocalFileSystem",
        source: error.into(),
    }
}

fn zstd(mut input: PipeReader, output: Sender<Vec<u8>>) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(ChannelWriter::new(output), 1)?;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return encoder.finish()?.flush();
        }
        encoder.write_all(chunk)?;
        let len = chunk.len();
        input.consume(len);
    }
}

/// Returns the size and the hash of all of `input`; what is wrong with it comes out of the pipe.
fn unzstd(input: Receiver<Chunk>, mut output: PipeWriter) -> io::Result<(u64, String)> {
    let hashing = Hashing::new(ChannelReader::new(input));
    let mut decoder = zstd::Decoder::new(hashing)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut buffer = vec![0; READ];
    let result = loop {
        match decoder.read(&mut buffer) {
            Ok(0) => break output.flush(),
            Ok(read) => {
                if let Err(error) = output.write_all(&buffer[..read]) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = result {
        output.fail(error);
    }
    Ok(decoder.finish().into_inner().finish())
}

#[cfg(test)]
mod tests;
