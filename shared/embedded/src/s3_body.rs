//! Bodies: a request's stream into a file with its MD5, a file's range as a stream.

use crate::s3_disk::Unfinished;
use futures::{Stream, StreamExt};
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, s3_error};
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

/// An error of this machine, as the protocol says it.
pub(crate) fn internal(error: io::Error) -> s3s::S3Error {
    tracing::warn!(%error, "the disk");
    s3_error!(InternalError, "the disk: {error}")
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case hex, back.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let whole = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>().filter(|_| whole)
}

/// Writes a body to an empty file, up to a limit.
pub(crate) async fn receive(
    body: Option<StreamingBlob>,
    into: &Unfinished,
    bytes_max: u64,
) -> S3Result<Received> {
    let file = std::fs::OpenOptions::new().append(true).open(into.path()).map_err(internal)?;
    let file = tokio::fs::File::from_std(file);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_back_and_anything_else_is_not() {
        let text = "a/ü b";
        assert_eq!(unhex(&hex(text.as_bytes())).as_deref(), Some(text.as_bytes()));
        for bad in ["0", "0g", "ü", "+1"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
