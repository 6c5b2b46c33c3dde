//! Multipart uploads: parts in a folder of their own, joined and committed like any other object.

use crate::s3_body::{internal, receive, send};
use crate::s3_copy::source;
use crate::s3_disk::{Bucket, Description, UPLOADS, Unfinished, sync_folder};
use crate::s3_service::{Finished, Service, check_key, now_ms, only, timestamp};
use fs_err as fs;
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Parts of an upload, by the protocol.
const PARTS_MAX: i32 = 10_000;

/// What an upload will become.
#[derive(Serialize, Deserialize)]
struct Begun {
    key: String,
    begun_ms: u64,
    content_type: Option<String>,
    metadata: HashMap<String, String>,
}

/// An upload's folder; the id must be one of ours, so that it is never a path.
fn folder(bucket: &Bucket, id: &str) -> S3Result<PathBuf> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let folder = bucket.folder.join(UPLOADS).join(id);
    if id.len() != 32 || !id.chars().all(hex) || !folder.is_dir() {
        return Err(s3_error!(NoSuchUpload));
    }
    Ok(folder)
}

fn begun(folder: &Path) -> S3Result<Begun> {
    let text = fs::read(folder.join("begun.json")).map_err(|_| s3_error!(NoSuchUpload))?;
    serde_json::from_slice(&text).map_err(|error| internal(error.into()))
}

/// Number, etag and size of each part, in order.
fn parts(folder: &Path) -> io::Result<Vec<(i32, String, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let part =
            name.split_once('.').and_then(|(number, etag)| Some((number.parse().ok()?, etag.to_owned())));
        if let Some((number, etag)) = part.filter(|(_, etag)| etag.len() == 32) {
            found.push((number, etag, entry.metadata()?.len()));
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn create(
    service: &Service,
    input: CreateMultipartUploadInput,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    check_key(&input.key)?;
    let bucket = service.bucket(&input.bucket)?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let begun = Begun {
        key: input.key.clone(),
        begun_ms: now_ms(),
        content_type: input.content_type,
        metadata: input.metadata.unwrap_or_default().into_iter().collect(),
    };
    let folder = bucket.folder.join(UPLOADS).join(&id);
    let text = serde_json::to_vec(&begun).map_err(|error| internal(error.into()))?;
    let begin = || {
        fs::create_dir(&folder)?;
        fs::write(folder.join("begun.json"), text)?;
        fs::File::open(folder.join("begun.json"))?.sync_all()?;
        sync_folder(&folder)?;
        sync_folder(&bucket.folder.join(UPLOADS))
    };
    begin().map_err(internal)?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(crate) async fn upload_part(
    service: &Service,
    input: UploadPartInput,
) -> S3Result<S3Response<UploadPartOutput>> {
    let to = (&*input.bucket, &*input.upload_id, input.part_number);
    let e_tag = Some(store_part(service, to, input.body).await?);
    Ok(S3Response::new(UploadPartOutput { e_tag, ..UploadPartOutput::default() }))
}

/// A part that is a range of an object here.
pub(crate) async fn upload_part_copy(
    service: &Service,
    input: UploadPartCopyInput,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let (file, from) = source(service, &input.copy_source, input.copy_source_if_match.as_ref()).await?;
    let (start, length) = match &input.copy_source_range {
        None => (0, from.size),
        Some(range) => {
            let bad = || s3_error!(InvalidRange, "a range is bytes=first-last, within the source");
            part_range(range, from.size).ok_or_else(bad)?
        }
    };
    let body = StreamingBlob::wrap(send(file, start, length).map_err(internal)?);
    let to = (&*input.bucket, &*input.upload_id, input.part_number);
    let e_tag = Some(store_part(service, to, Some(body)).await?);
    let last_modified = Some(timestamp(now_ms()));
    let result = CopyPartResult { e_tag, last_modified, ..CopyPartResult::default() };
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..UploadPartCopyOutput::default()
    }))
}

/// Start and length of `bytes=first-last` in an object of this size.
fn part_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1))
}

/// Receives a part, and answers once no power loss can take it.
async fn store_part(
    service: &Service,
    (bucket, upload, number): (&str, &str, i32),
    body: Option<StreamingBlob>,
) -> S3Result<ETag> {
    let bucket = service.bucket(bucket)?;
    let folder = folder(&bucket, upload)?;
    if !(1..=PARTS_MAX).contains(&number) {
        return Err(s3_error!(InvalidArgument, "a part's number is 1 to {PARTS_MAX}"));
    }
    let from = bucket.unfinished().map_err(internal)?;
    let received = receive(body, &from, service.body_bytes_max).await?;
    let etag = hex::encode(received.md5);
    let name = format!("{number}.{etag}");
    // Goes on to its end even if the client does not wait for it.
    let kept = tokio::task::spawn_blocking(move || {
        fs::File::open(from.path())?.sync_all()?;
        fs::rename(from.path(), folder.join(&name))?;
        for (of, old, _) in parts(&folder)?.into_iter().filter(|(of, ..)| *of == number) {
            let old = format!("{of}.{old}");
            if old != name {
                fs::remove_file(folder.join(old))?;
            }
        }
        sync_folder(&folder)
    });
    match kept.await.map_err(io::Error::other).flatten() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(s3_error!(NoSuchUpload)),
        kept => kept.map(|()| ETag::Strong(etag)).map_err(internal),
    }
}

pub(crate) fn list_parts(service: &Service, input: ListPartsInput) -> S3Result<S3Response<ListPartsOutput>> {
    let folder = folder(&*service.bucket(&input.bucket)?, &input.upload_id)?;
    let part = |(number, etag, size): (i32, String, u64)| Part {
        part_number: Some(number),
        e_tag: Some(ETag::Strong(etag)),
        size: Some(size as i64),
        ..Part::default()
    };
    let parts = parts(&folder).map_err(internal)?.into_iter().map(part).collect();
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        parts: Some(parts),
        is_truncated: Some(false),
        ..ListPartsOutput::default()
    }))
}

/// Joins the named parts into an empty file; returns its size and etag.
fn join(folder: &Path, wanted: &[CompletedPart], to: &Unfinished, bytes_max: u64) -> S3Result<(u64, String)> {
    let found = parts(folder).map_err(internal)?;
    let (mut hashes, mut size, mut last) = (Md5::new(), 0, 0);
    let joined = fs::OpenOptions::new().append(true).open(to.path()).map_err(internal)?;
    let mut joined = io::BufWriter::new(joined);
    for part in wanted {
        let number = part.part_number.unwrap_or_default();
        if number <= last {
            return Err(s3_error!(InvalidPartOrder));
        }
        last = number;
        let said = part.e_tag.as_ref().map(|etag| etag.value().to_owned()).unwrap_or_default();
        let Some((_, etag, length)) = found.iter().find(|(of, etag, _)| *of == number && *etag == said)
        else {
            return Err(s3_error!(InvalidPart, "part {number} is not there with this etag"));
        };
        size += length;
        if size > bytes_max {
            return Err(s3_error!(EntityTooLarge, "at most {bytes_max} bytes are taken"));
        }
        let mut file = fs::File::open(folder.join(format!("{number}.{etag}"))).map_err(internal)?;
        let (mut hash, mut buffer) = (Md5::new(), vec![0u8; 1 << 20]);
        loop {
            let count = file.read(&mut buffer).map_err(internal)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            joined.write_all(&buffer[..count]).map_err(internal)?;
        }
        let md5 = hash.finalize();
        if hex::encode(md5) != *etag {
            return Err(s3_error!(InvalidPart, "part {number} is not what was sent; send it again"));
        }
        hashes.update(md5);
    }
    joined.flush().map_err(internal)?;
    Ok((size, format!("{}-{}", hex::encode(hashes.finalize()), wanted.len())))
}

pub(crate) async fn complete(
    service: &Service,
    input: CompleteMultipartUploadInput,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let bucket = service.bucket(&input.bucket)?;
    let folder = folder(&bucket, &input.upload_id)?;
    let begun = begun(&folder)?;
    if begun.key != input.key {
        return Err(s3_error!(NoSuchUpload));
    }
    let only = only(input.if_none_match.as_ref(), input.if_match.as_ref())?;
    let wanted = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    if wanted.is_empty() {
        return Err(s3_error!(InvalidPart, "an upload has at least one part"));
    }
    let (into, bytes_max) = (bucket.unfinished().map_err(internal)?, service.body_bytes_max);
    let parts = folder.clone();
    let joined = tokio::task::spawn_blocking(move || {
        join(&folder, &wanted, &into, bytes_max).map(|(size, etag)| (into, size, etag))
    });
    let (from, size, etag) = joined.await.map_err(|error| internal(io::Error::other(error)))??;
    let Begun { content_type, metadata, .. } = begun;
    let (key, modified_ms) = (input.key.clone(), now_ms());
    let object = Description { key, etag: etag.clone(), size, modified_ms, content_type, metadata };
    let event = "CompleteMultipartUpload";
    let finished = Finished { from, object, only, event, parts: Some(parts) };
    service.commit(&input.bucket, bucket, finished).await?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(ETag::Strong(etag)),
        ..CompleteMultipartUploadOutput::default()
    }))
}

pub(crate) fn abort(
    service: &Service,
    input: AbortMultipartUploadInput,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let folder = folder(&*service.bucket(&input.bucket)?, &input.upload_id)?;
    fs::remove_dir_all(folder).map_err(internal)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(crate) fn list_uploads(
    service: &Service,
    input: ListMultipartUploadsInput,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let bucket = service.bucket(&input.bucket)?;
    let mut uploads = Vec::new();
    for entry in fs::read_dir(bucket.folder.join(UPLOADS)).map_err(internal)? {
        let entry = entry.map_err(internal)?;
        // One that ends meanwhile is no upload any more.
        let Ok(begun) = begun(&entry.path()) else { continue };
        if input.prefix.as_ref().is_none_or(|prefix| begun.key.starts_with(prefix.as_str())) {
            uploads.push(MultipartUpload {
                key: Some(begun.key),
                upload_id: Some(entry.file_name().to_string_lossy().into_owned()),
                initiated: Some(timestamp(begun.begun_ms)),
                ..MultipartUpload::default()
            });
        }
    }
    uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        uploads: Some(uploads),
        is_truncated: Some(false),
        ..ListMultipartUploadsOutput::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3_disk::Disk;
    use std::sync::Arc;

    struct Served {
        service: Service,
        root: tempfile::TempDir,
    }

    impl Served {
        fn new() -> Served {
            let root = tempfile::tempdir().expect("a temporary folder");
            let disk = Disk::open(root.path()).expect("a writable folder");
            disk.create_bucket("bucket").expect("a writable folder");
            Served { service: Service { disk, notify: None, body_bytes_max: 1000 }, root }
        }

        fn bucket(&self) -> Arc<Bucket> {
            self.service.bucket("bucket").expect("it was made")
        }

        /// Begins an upload and sends one part.
        async fn upload(&self, body: &'static [u8]) -> (String, ETag) {
            let mut input = CreateMultipartUploadInput::builder();
            input.set_bucket("bucket".to_owned());
            input.set_key("k".to_owned());
            let begun = create(&self.service, input.build().expect("all fields")).expect("an upload");
            let upload = begun.output.upload_id.expect("an id");
            let chunks = [Ok::<_, io::Error>(bytes::Bytes::from_static(body))];
            let body = StreamingBlob::wrap(futures::stream::iter(chunks));
            let part = store_part(&self.service, ("bucket", &upload, 1), Some(body)).await;
            (upload, part.expect("a part"))
        }

        async fn complete(&self, upload: &str, etag: ETag) -> S3Result<()> {
            let part = CompletedPart { part_number: Some(1), e_tag: Some(etag), ..CompletedPart::default() };
            let input = CompleteMultipartUploadInput {
                bucket: "bucket".to_owned(),
                key: "k".to_owned(),
                upload_id: upload.to_owned(),
                multipart_upload: Some(CompletedMultipartUpload { parts: Some(vec![part]) }),
                ..CompleteMultipartUploadInput::default()
            };
            complete(&self.service, input).await.map(drop)
        }

        fn unfinished(&self) -> usize {
            fs::read_dir(self.bucket().folder.join(".unfinished")).expect("a folder").count()
        }
    }

    #[tokio::test]
    async fn a_part_that_is_not_what_was_sent_is_refused_and_nothing_is_left() {
        let served = Served::new();
        let (upload, etag) = served.upload(b"0123456789").await;
        let wrong = served.complete(&upload, ETag::Strong("00".repeat(16))).await;
        assert_eq!(wrong.expect_err("another etag").code().as_str(), "InvalidPart");
        let part = folder(&served.bucket(), &upload).expect("it is open").join(format!("1.{}", etag.value()));
        fs::write(&part, b"012345678X").expect("a writable folder");
        let spoilt = served.complete(&upload, etag.clone()).await;
        assert_eq!(spoilt.expect_err("other bytes").code().as_str(), "InvalidPart");
        assert_eq!(served.unfinished(), 0);
        fs::write(&part, b"0123456789").expect("a writable folder");
        served.complete(&upload, etag).await.expect("an object");
        assert_eq!(served.bucket().describe("k").expect("an object").size, 10);
        assert!(folder(&served.bucket(), &upload).is_err(), "its parts are gone");
        assert!(served.root.path().exists());
    }

    #[tokio::test]
    async fn a_range_of_an_object_becomes_a_part() {
        let served = Served::new();
        let (upload, etag) = served.upload(b"0123456789").await;
        served.complete(&upload, etag).await.expect("an object");
        let (upload, _) = served.upload(b"x").await;
        let mut input = UploadPartCopyInput::builder();
        input.set_bucket("bucket".to_owned());
        input.set_key("k".to_owned());
        input.set_upload_id(upload.clone());
        input.set_part_number(1);
        let source = CopySource::Bucket { bucket: "bucket".into(), key: "k".into(), version_id: None };
        input.set_copy_source(source);
        input.set_copy_source_range(Some("bytes=2-4".to_owned()));
        let copied = upload_part_copy(&served.service, input.build().expect("all fields")).await;
        let etag = copied.expect("a part").output.copy_part_result.and_then(|result| result.e_tag);
        served.complete(&upload, etag.expect("an etag")).await.expect("an object");
        assert_eq!(served.bucket().describe("k").expect("an object").size, 3);
    }

    #[test]
    fn a_range_lies_within_its_source() {
        let check = |range: &str, expect| assert_eq!(part_range(range, 10), expect, "{range}");
        check("bytes=0-9", Some((0, 10)));
        check("bytes=3-3", Some((3, 1)));
        for bad in ["bytes=0-10", "bytes=5-4", "bytes=5-", "0-9", "bytes=-5"] {
            check(bad, None);
        }
    }
}
