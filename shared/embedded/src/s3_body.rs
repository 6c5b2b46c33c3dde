//! Bodies: a request's stream into a file with its MD5, a file's range as a stream.

use crate::s3_disk::Unfinished;
use futures::{Stream, StreamExt};
use http::StatusCode;
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio_util::io::ReaderStream;

/// Bytes per chunk of an answer.
const CHUNK_BYTES: usize = 256 << 10;

/// What was received.
pub(crate) struct Received {
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
}

/// An error of this machine, as the protocol says it. A full disk is MinIO's code for it, and is told of by
/// whoever watches the room.
pub(crate) fn internal(error: io::Error) -> s3s::S3Error {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        tracing::debug!(%error, "the disk is full");
        let code = S3ErrorCode::Custom("XMinioStorageFull".into());
        let mut full = S3Error::with_message(code, format!("the disk is full: {error}"));
        full.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
        return full;
    }
    tracing::warn!(%error, "the disk");
    s3_error!(InternalError, "the disk: {error}")
}

/// Writes a body to an empty file, up to a limit.
pub(crate) async fn receive(
    body: Option<StreamingBlob>,
    into: &Unfinished,
    bytes_max: u64,
) -> S3Result<Received> {
    let file = fs_err::OpenOptions::new().append(true).open(into.path()).map_err(internal)?;
    let file = tokio::fs::File::from_std(file.into_file());
    // What tokio says of a file does not name it.
    let failed = |error: io::Error| {
        let text = format!("write {}: {error}", into.path().display());
        internal(io::Error::new(error.kind(), text))
    };
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
            file.write_all(&chunk).await.map_err(failed)?;
        }
    }
    file.flush().await.map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_troubles() {
        let code = |kind: io::ErrorKind| internal(io::Error::from(kind)).status_code();
        assert_eq!(code(io::ErrorKind::StorageFull), Some(StatusCode::INSUFFICIENT_STORAGE));
        assert_eq!(code(io::ErrorKind::PermissionDenied), Some(StatusCode::INTERNAL_SERVER_ERROR));
    }
}
