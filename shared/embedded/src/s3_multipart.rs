//! Multipart uploads: parts in a folder of their own, joined and committed like any other object.

use crate::s3_body::{hex, internal, receive};
use crate::s3_disk::{Bucket, Description, UPLOADS};
use crate::s3_service::{Service, check_key, now_ms, only, timestamp};
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
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
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("begun.json"), text))
        .map_err(internal)?;
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
    let bucket = service.bucket(&input.bucket)?;
    let folder = folder(&bucket, &input.upload_id)?;
    if !(1..=PARTS_MAX).contains(&input.part_number) {
        return Err(s3_error!(InvalidArgument, "a part's number is 1 to {PARTS_MAX}"));
    }
    let path = bucket.unfinished();
    let received = receive(input.body, &path, service.body_bytes_max).await?;
    let etag = hex(&received.md5);
    let older =
        parts(&folder).map_err(internal)?.into_iter().filter(|(number, ..)| *number == input.part_number);
    for (number, old, _) in older {
        fs::remove_file(folder.join(format!("{number}.{old}"))).map_err(internal)?;
    }
    fs::rename(&path, folder.join(format!("{}.{etag}", input.part_number))).map_err(internal)?;
    let e_tag = Some(ETag::Strong(etag));
    Ok(S3Response::new(UploadPartOutput { e_tag, ..UploadPartOutput::default() }))
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

/// Joins the named parts into a new file; returns its size and etag.
fn join(folder: &Path, wanted: &[CompletedPart], to: &Path, bytes_max: u64) -> S3Result<(u64, String)> {
    let found = parts(folder).map_err(internal)?;
    let (mut hashes, mut size, mut last) = (Md5::new(), 0, 0);
    let mut joined = io::BufWriter::new(fs::File::create(to).map_err(internal)?);
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
        hashes.update(hash.finalize());
    }
    joined.flush().map_err(internal)?;
    Ok((size, format!("{}-{}", hex(&hashes.finalize()), wanted.len())))
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
    let (path, bytes_max) = (bucket.unfinished(), service.body_bytes_max);
    let (from, to) = (folder.clone(), path.clone());
    let joined = tokio::task::spawn_blocking(move || join(&from, &wanted, &to, bytes_max)).await;
    let (size, etag) = joined.map_err(|error| internal(io::Error::other(error)))??;
    let Begun { content_type, metadata, .. } = begun;
    let (key, modified_ms) = (input.key.clone(), now_ms());
    let object = Description { key, etag: etag.clone(), size, modified_ms, content_type, metadata };
    let at = (input.bucket.as_str(), &*bucket);
    service.commit(at, &path, object, (&only, "CompleteMultipartUpload")).await?;
    fs::remove_dir_all(&folder).map_err(internal)?;
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
