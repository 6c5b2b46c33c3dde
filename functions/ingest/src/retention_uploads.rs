//! Which upload a job was made of, and which uploads are still there: the names of job records joined with a
//! LIST of the input buckets. What retention must know before it removes an upload.

use domain::{Bytes, JOBS_PREFIX, JobId, Site, StateKey, Upload, UploadId, parse_state_key};
use ports::{Ledger, Listed, PortResult, Ports};
use std::collections::BTreeMap;

/// Uploads and their jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    ids: BTreeMap<JobId, UploadId>,
    /// How many of an upload's jobs are not retired yet.
    open: BTreeMap<UploadId, usize>,
    /// Those that are there; none at all where uploads are not ours to remove.
    uploads: BTreeMap<UploadId, Upload>,
    bytes: Bytes,
}

impl Holdings {
    /// Reads names; with `uploads` also those of the input buckets, after the records: an upload that comes
    /// meanwhile is unknown and stays.
    pub(crate) async fn read(
        ports: &Ports,
        ledger: &Ledger,
        site: &Site,
        uploads: bool,
    ) -> PortResult<Holdings> {
        let mut holdings = Holdings::default();
        let mut next = None;
        loop {
            let page = ports.store.list(ledger.bucket(), JOBS_PREFIX, next).await?;
            holdings.add_records(&page.objects);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        for input in site.inputs.iter().filter(|_| uploads) {
            let mut next = None;
            loop {
                let page = ports.store.list(&input.bucket, "", next).await?;
                holdings.add_uploads(site, &input.bucket, page.objects);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(holdings)
    }

    fn add_records(&mut self, page: &[Listed]) {
        for object in page {
            if let Some(StateKey::JobRecord(upload, job)) = parse_state_key(&object.key) {
                self.ids.insert(job, upload);
                *self.open.entry(upload).or_default() += 1;
            }
        }
    }

    fn add_uploads(&mut self, site: &Site, bucket: &str, page: Vec<Listed>) {
        for object in page {
            let upload = Upload {
                store: site.store.clone(),
                bucket: bucket.to_owned(),
                key: object.key,
                version_id: None,
                etag: object.etag,
                size_bytes: object.size,
                last_modified_s: object.last_modified.whole_seconds(),
            };
            self.bytes += upload.size_bytes;
            let id = upload.id();
            // One that no record names is not finished: the sweep accepts it.
            if self.open.contains_key(&id) {
                self.uploads.insert(id, upload);
            }
        }
    }

    /// All bytes of the input buckets.
    pub(crate) fn upload_bytes(&self) -> Bytes {
        self.bytes
    }

    /// What the job's record is filed under.
    pub(crate) fn upload_id_of(&self, job: JobId) -> Option<UploadId> {
        self.ids.get(&job).copied()
    }

    /// The job's upload, if it is still there.
    pub(crate) fn upload_of(&self, job: JobId) -> Option<&Upload> {
        self.uploads.get(self.ids.get(&job)?)
    }

    /// Notes that a job is retired; gives its upload when it was the last one that held it.
    pub(crate) fn retired(&mut self, job: JobId) -> Option<Upload> {
        let id = self.ids.get(&job)?;
        let open = self.open.get_mut(id)?;
        *open = open.saturating_sub(1);
        if *open == 0 { self.uploads.get(id).cloned() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Timestamp, job_record_key};

    fn listed(key: &str) -> Listed {
        let (size, last_modified) = (Bytes(10), Timestamp(5_000));
        Listed { key: key.to_owned(), etag: "e".to_owned(), size, last_modified }
    }

    #[test]
    fn an_upload_goes_with_its_last_job_and_one_without_a_job_stays() {
        let site = Site::simple("test".parse().expect("a store name"));
        let mut page = Holdings::default();
        page.add_uploads(&site, "uploads", vec![listed("a.png")]);
        assert_eq!((page.uploads.len(), page.upload_bytes()), (0, Bytes(10)));
        let upload = Upload {
            store: site.store.clone(),
            bucket: "uploads".to_owned(),
            key: "a.png".to_owned(),
            version_id: None,
            etag: "e".to_owned(),
            size_bytes: Bytes(10),
            last_modified_s: 5,
        };
        let (one, two) = (JobId([1; 16]), JobId([2; 16]));
        let mut holdings = Holdings::default();
        holdings.add_records(&[one, two].map(|job| listed(&job_record_key(upload.id(), job))));
        holdings.add_uploads(&site, "uploads", vec![listed("a.png")]);
        assert_eq!(holdings.upload_of(one), Some(&upload));
        assert_eq!(holdings.retired(one), None);
        assert_eq!(holdings.retired(two), Some(upload));
        assert_eq!(holdings.retired(JobId([3; 16])), None);
    }
}
