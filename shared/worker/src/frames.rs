//! What worker and runner say to each other over the runner's stdin and stdout.
//!
//! A frame is a little-endian `u32` length, that many bytes of JSON, then the blobs whose lengths the JSON
//! names.
//! The worker speaks tokio, the runner plain blocking IO; both use the same encoding.

use domain::{Bytes, EngineVersion, Recipe, SpanTime, Stage};
use serde::{Deserialize, Serialize};
use stage::{File, Input, Output, StageError};
use std::io::{self, Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Largest JSON part of a frame.
const HEADER_BYTES_MAX: u32 = 4 << 20;
/// Largest blob in a frame; the largest artifact we write is far below.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Most items in a batch, most files of an item.
const COUNT_MAX: usize = 4096;

/// A file whose content follows as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// As in `stage::File`.
    pub name: String,
    /// As in `stage::File`.
    pub content_type: String,
    /// Length of the blob.
    pub bytes: u64,
}

/// An item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemHead {
    /// What is wanted.
    pub recipe: Recipe,
    /// Its files.
    pub files: Vec<FileHead>,
}

/// Worker to runner: compute this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHead {
    /// The stage of all items.
    pub stage: Stage,
    /// How much more memory than now the runner may take.
    pub reservation: Bytes,
    /// The items.
    pub items: Vec<ItemHead>,
    /// Not a batch: a self-test with the numbers of this seed. Stage and items say nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<u64>,
}

/// Runner to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Say {
    /// The runner is started and waits for its first batch.
    Ready,
    /// The item's computation began.
    Started {
        /// Its place in the batch.
        item: usize,
    },
    /// It goes on.
    Progress {
        /// Its place in the batch.
        item: usize,
        /// 0 to 1.
        fraction: f32,
        /// What it does now.
        phase: String,
    },
    /// It is finished; the files follow as blobs.
    Finished {
        /// Its place in the batch.
        item: usize,
        /// The files, or why there are none.
        result: Finish,
        /// Time in its nested spans.
        spans: Vec<SpanTime>,
        /// By which code.
        engine: EngineVersion,
        /// In which numeric precision, as `f32`.
        #[serde(default)]
        precision: String,
        /// What a person should know of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// The batch is finished.
    BatchDone {
        /// Peak above the size before the batch.
        peak: Bytes,
        /// Size before the batch.
        warm: Bytes,
    },
    /// The self-test is over.
    Tested {
        /// The sum of the numbers that memory gave back.
        sum: u64,
        /// What else was found broken; none if nothing was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broken: Option<String>,
    },
}

/// How an item ended, without the files' content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Finish {
    /// The files follow.
    Files {
        /// Their heads, in the order of the blobs.
        files: Vec<FileHead>,
    },
    /// See [`StageError::Rejected`].
    Rejected {
        /// For a person.
        reason: String,
    },
    /// See [`StageError::Failed`].
    Failed {
        /// For the log.
        error: String,
    },
    /// See [`StageError::OutOfMemory`].
    OutOfMemory {
        /// What was asked for.
        bytes: Bytes,
    },
}

fn file_heads(files: &[File]) -> Vec<FileHead> {
    let head = |file: &File| FileHead {
        name: file.name.clone(),
        content_type: file.content_type.clone(),
        bytes: file.bytes.len() as u64,
    };
    files.iter().map(head).collect()
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is larger than a frame may carry"))
}

fn header<T: Serialize>(head: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(head)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= HEADER_BYTES_MAX);
    let length = length.ok_or_else(|| too_large("a header"))?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// Sends a batch; the worker's side.
///
/// # Errors
/// The pipe is closed: the runner is gone.
pub async fn send_batch(
    pipe: &mut (impl AsyncWriteExt + Unpin),
    stage: Stage,
    reservation: Bytes,
    inputs: &[&Input],
) -> io::Result<()> {
    let item = |input: &&Input| ItemHead { recipe: input.recipe.clone(), files: file_heads(&input.files) };
    let items = inputs.iter().map(item).collect();
    let head = BatchHead { stage, reservation, items, self_test: None };
    pipe.write_all(&header(&head)?).await?;
    for file in inputs.iter().flat_map(|input| &input.files) {
        pipe.write_all(&file.bytes).await?;
    }
    pipe.flush().await
}

/// Asks for a self-test; the worker's side.
///
/// # Errors
/// The pipe is closed: the runner is gone.
pub async fn send_test(
    pipe: &mut (impl AsyncWriteExt + Unpin),
    seed: u64,
    reservation: Bytes,
) -> io::Result<()> {
    let (stage, items) = (Stage::Preprocess, Vec::new());
    let head = BatchHead { stage, reservation, items, self_test: Some(seed) };
    pipe.write_all(&header(&head)?).await?;
    pipe.flush().await
}

/// Hears the next word of the runner, with the files of a finished item; none when it closed its end.
///
/// # Errors
/// The pipe broke within a frame, or the frame is not one of ours.
pub async fn hear(pipe: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<(Say, Vec<File>)>> {
    let mut length = [0u8; 4];
    match pipe.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(too_large("a header"));
    }
    let mut json = vec![0u8; length as usize];
    pipe.read_exact(&mut json).await?;
    let say: Say = serde_json::from_slice(&json)?;
    let mut files = Vec::new();
    if let Say::Finished { result: Finish::Files { files: heads }, .. } = &say {
        if heads.len() > COUNT_MAX {
            return Err(too_large("a list of files"));
        }
        for head in heads {
            if head.bytes > BLOB_BYTES_MAX {
                return Err(too_large("a file"));
            }
            let mut bytes = vec![0u8; head.bytes as usize];
            pipe.read_exact(&mut bytes).await?;
            files.push(File { name: head.name.clone(), content_type: head.content_type.clone(), bytes });
        }
    }
    Ok(Some((say, files)))
}

/// Reads the head of the next batch; the runner's side. None when the worker closed its end.
///
/// # Errors
/// The pipe broke within a frame, or the frame is not one of ours.
pub fn read_batch_head(pipe: &mut impl Read) -> io::Result<Option<BatchHead>> {
    let mut length = [0u8; 4];
    match pipe.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(too_large("a header"));
    }
    let mut json = vec![0u8; length as usize];
    pipe.read_exact(&mut json)?;
    let head: BatchHead = serde_json::from_slice(&json)?;
    if head.items.len() > COUNT_MAX || head.items.iter().any(|item| item.files.len() > COUNT_MAX) {
        return Err(too_large("a batch"));
    }
    Ok(Some(head))
}

/// Reads the files of a batch whose head was read: after the memory limit is set, so that they count.
///
/// # Errors
/// The pipe broke.
pub fn read_batch_items(pipe: &mut impl Read, head: BatchHead) -> io::Result<Vec<Input>> {
    let mut inputs = Vec::with_capacity(head.items.len());
    for item in head.items {
        let mut files = Vec::with_capacity(item.files.len());
        for FileHead { name, content_type, bytes: length } in item.files {
            if length > BLOB_BYTES_MAX {
                return Err(too_large("a file"));
            }
            let mut bytes = vec![0u8; length as usize];
            pipe.read_exact(&mut bytes)?;
            files.push(File { name, content_type, bytes });
        }
        inputs.push(Input { recipe: item.recipe, files });
    }
    Ok(inputs)
}

/// Says something; the runner's side. `files` are the blobs of a finished item.
///
/// # Errors
/// The pipe is closed: the worker is gone.
pub fn say(pipe: &mut impl Write, word: &Say, files: &[File]) -> io::Result<()> {
    pipe.write_all(&header(word)?)?;
    for file in files {
        pipe.write_all(&file.bytes)?;
    }
    pipe.flush()
}

/// An item's output as it goes over the pipe.
pub fn finish_of(output: Output) -> Result<(Finish, Vec<File>), String> {
    Ok(match output {
        Ok(files) => (Finish::Files { files: file_heads(&files) }, files),
        Err(StageError::Rejected(reason)) => (Finish::Rejected { reason }, Vec::new()),
        Err(StageError::Failed(error)) => (Finish::Failed { error }, Vec::new()),
        Err(StageError::OutOfMemory(bytes)) => (Finish::OutOfMemory { bytes }, Vec::new()),
        Err(StageError::DeviceBroken(error)) => return Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        let file = File { name: "upload".to_owned(), content_type: String::new(), bytes: vec![1, 2, 3] };
        Input { recipe: Recipe::default(), files: vec![file] }
    }

    #[tokio::test]
    async fn a_batch_and_its_answer_survive_the_pipe() {
        let mut pipe = Vec::new();
        send_batch(&mut pipe, Stage::Preprocess, Bytes::mib(64), &[&input()]).await.expect("a vector");
        let mut reader = pipe.as_slice();
        let head = read_batch_head(&mut reader).expect("a whole frame").expect("one batch");
        assert_eq!((head.stage, head.reservation), (Stage::Preprocess, Bytes::mib(64)));
        let items = read_batch_items(&mut reader, head).expect("one file");
        assert_eq!(items[0].files, input().files);
        assert!(read_batch_head(&mut reader).expect("the end").is_none());

        let mut answer = Vec::new();
        let (result, files) = finish_of(Ok(input().files)).expect("no broken device");
        let engine = EngineVersion { name: "e".to_owned(), version: "1".to_owned() };
        let precision = "f32".to_owned();
        let notes = vec!["look at it".to_owned()];
        let word = Say::Finished { item: 0, result, spans: vec![], engine, precision, notes };
        say(&mut answer, &word, &files).expect("a vector");
        let heard = hear(&mut answer.as_slice()).await.expect("a whole frame").expect("one word");
        assert_eq!(heard, (word, files));
    }

    #[tokio::test]
    async fn a_length_from_nowhere_is_an_error_and_no_allocation() {
        assert!(hear(&mut [0xff; 8].as_slice()).await.is_err());
        assert!(read_batch_head(&mut [0xff; 8].as_slice()).is_err());
    }
}
