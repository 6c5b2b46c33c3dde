//! Bodies: a request's stream into a file with its MD5, a file's range as a stream.

use futures::{Stream, StreamExt};
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, s3_error};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio_util::io::ReaderStream;

/// Bytes per chunk of an answer.
const CHUNK_BYTES: usize = 256 << 10;

/// What was received.
pub(crate) struct Received {
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
}

/// An error of this machine, as the protocol says it.
pub(crate) fn internal(error: io::Error) -> s3s::S3Error {
    tracing::warn!(%error, "the disk");
    s3_error!(InternalError, "the disk: {error}")
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a body to a new file, up to a limit. A body that breaks off leaves no file.
pub(crate) async fn receive(body: Option<StreamingBlob>, path: &Path, bytes_max: u64) -> S3Result<Received> {
    let received = receive_into(body, path, bytes_max).await;
    if received.is_err() {
        // Gone already, or removed at the next start.
        let _left_over = tokio::fs::remove_file(path).await;
    }
    received
}

async fn receive_into(body: Option<StreamingBlob>, path: &Path, bytes_max: u64) -> S3Result<Received> {
    let file = tokio::fs::File::create(path).await.map_err(internal)?;
    let mut file = BufWriter::with_capacity(CHUNK_BYTES, file);
    let (mut size, mut hash) = (0u64, Md5::new());
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| s3_error!(IncompleteBody, "the body broke off: {error}"))?;
            size += chunk.len() as u64;
            if size > bytes_max {
                return Err(s3_error!(EntityTooLarge, "at most {bytes_max} bytes are taken"));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(internal)?;
        }
    }
    file.flush().await.map_err(internal)?;
    Ok(Received { size, md5: hash.finalize().into() })
}

/// A part of a file as a stream.
pub(crate) fn send(
    mut file: File,
    start: u64,
    length: u64,
) -> io::Result<impl Stream<Item = io::Result<bytes::Bytes>>> {
    file.seek(SeekFrom::Start(start))?;
    let file = tokio::fs::File::from_std(file).take(length);
    Ok(ReaderStream::with_capacity(file, CHUNK_BYTES))
}
