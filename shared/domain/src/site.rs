//! The site: which buckets are watched, on whose behalf, and where state and models go. From configuration,
//! checked before anything runs.

use crate::{BadRecipe, Bytes, Class, JobRecord, Recipe, StoreId, TenantId, friendly_key};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One watched bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputBucket {
    /// Its name.
    pub bucket: String,
    /// On whose behalf its uploads run.
    pub tenant: TenantId,
    /// How urgent they are.
    #[serde(default)]
    pub class: Class,
    /// What they get unless their metadata says otherwise.
    #[serde(default)]
    pub recipe: Recipe,
}

/// A kind of picture that is taken only where a site says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExtraPicture {
    /// OpenEXR: light as it was measured, of which a picture is made first.
    Exr,
}

/// The buckets of one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The store, as its event subject names it.
    pub store: StoreId,
    /// The watched buckets: the allow-list.
    pub inputs: Vec<InputBucket>,
    /// Where job records, manifests, outcomes and artifacts go.
    pub state: String,
    /// Where friendly copies go.
    pub models: String,
    /// Tenants that no input bucket names any more and whose unfinished jobs are still to be done.
    #[serde(default)]
    pub former_tenants: BTreeSet<TenantId>,
    /// Largest upload that is taken.
    #[serde(default = "upload_bytes_max")]
    pub upload_bytes_max: Bytes,
    /// What is taken besides png, jpeg, webp and tiff, as `["exr"]`.
    #[serde(default)]
    pub also_takes: BTreeSet<ExtraPicture>,
    /// Whether recipes may ask for a synthetic load: for tests of load and faults only.
    #[serde(default)]
    pub synthetic: bool,
}

/// Longest side of a picture that is taken, in pixels.
pub const PICTURE_SIDE_PX_MAX: u32 = 8192;
/// Most pixels of a picture that is taken.
pub const PICTURE_PIXELS_MAX: u64 = 40_000_000;

/// 25 MB: what the decoding runner takes (`design: geometry, preprocess`).
fn upload_bytes_max() -> Bytes {
    Bytes(25_000_000)
}

/// Why a site cannot work: one sentence with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSite(pub String);

impl Site {
    /// One input bucket `uploads`, state in `state`, models in `models`, for tenant `default`.
    pub fn simple(store: StoreId) -> Site {
        let tenant = "default".parse().expect("a constant that matches the pattern");
        let recipe = Recipe::default();
        Site {
            store,
            inputs: vec![InputBucket { bucket: "uploads".to_owned(), tenant, class: Class::Normal, recipe }],
            state: "state".to_owned(),
            models: "models".to_owned(),
            former_tenants: BTreeSet::new(),
            upload_bytes_max: upload_bytes_max(),
            also_takes: BTreeSet::new(),
            synthetic: false,
        }
    }

    /// The watched bucket of this name.
    pub fn input(&self, bucket: &str) -> Option<&InputBucket> {
        self.inputs.iter().find(|input| input.bucket == bucket)
    }

    /// The recipe itself if this site permits it.
    ///
    /// # Errors
    /// A synthetic load where it is not permitted.
    pub fn permit(&self, recipe: Recipe) -> Result<Recipe, BadRecipe> {
        if recipe.synthetic.is_some() && !self.synthetic {
            let text = "synthetic loads are for tests and are off here; leave the option out";
            return Err(BadRecipe(text.to_owned()));
        }
        Ok(recipe)
    }

    /// All tenants, once each.
    pub fn tenants(&self) -> BTreeSet<TenantId> {
        let current = self.inputs.iter().map(|input| &input.tenant);
        current.chain(&self.former_tenants).cloned().collect()
    }

    /// Whether planners of this site draw the jobs of a tenant.
    pub fn knows(&self, tenant: &TenantId) -> bool {
        self.inputs.iter().any(|input| input.tenant == *tenant) || self.former_tenants.contains(tenant)
    }

    /// The friendly key in the output bucket of export's artifact `name`: see [`friendly_key`]. The files of
    /// several input buckets are kept apart by the bucket's name in front.
    ///
    /// # Errors
    /// As [`friendly_key`].
    pub fn friendly_key(&self, record: &JobRecord, name: &str) -> Result<String, String> {
        let beside = record.secondary.then(|| record.job_id());
        let (bucket, key) = (&record.upload.bucket, &record.upload.key);
        match self.inputs.as_slice() {
            [only] if only.bucket == *bucket => friendly_key(key, beside, name),
            _ => friendly_key(&format!("{bucket}/{key}"), beside, name),
        }
    }

    /// All buckets, inputs first.
    pub fn buckets(&self) -> Vec<&str> {
        let inputs = self.inputs.iter().map(|input| input.bucket.as_str());
        inputs.chain([self.state.as_str(), self.models.as_str()]).collect()
    }

    /// The site itself if no output could ever become an input.
    ///
    /// # Errors
    /// Overlapping buckets, no input at all, or a recipe that makes no sense.
    pub fn validated(self) -> Result<Site, BadSite> {
        if self.inputs.is_empty() {
            return Err(BadSite("no input bucket is configured; name at least one".to_owned()));
        }
        let mut seen = BTreeSet::new();
        for bucket in self.buckets() {
            if bucket.is_empty() {
                return Err(BadSite("a bucket name is empty; name every bucket".to_owned()));
            }
            if !seen.insert(bucket) {
                return Err(BadSite(format!(
                    "bucket {bucket:?} is named twice; input, state and models buckets must differ, \
                     or a model would be taken for an upload"
                )));
            }
        }
        for input in &self.inputs {
            let recipe = input.recipe.clone().validated().and_then(|recipe| self.permit(recipe));
            recipe.map_err(|e| BadSite(format!("default recipe of bucket {:?}: {e}", input.bucket)))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::simple("minio".parse().expect("a store name"))
    }

    #[test]
    fn a_bucket_that_is_input_and_output_is_refused() {
        assert!(site().validated().is_ok());
        let overlap = Site { models: "uploads".to_owned(), ..site() };
        assert!(overlap.validated().expect_err("overlap").to_string().contains("named twice"));
        let none = Site { inputs: vec![], ..site() };
        assert!(none.validated().is_err());
    }

    #[test]
    fn the_files_of_two_input_buckets_never_share_a_key() {
        let record = |bucket: &str| JobRecord {
            upload: crate::Upload {
                store: "minio".parse().expect("a store name"),
                bucket: bucket.to_owned(),
                key: "red.png".to_owned(),
                version_id: None,
                etag: "e".to_owned(),
                size_bytes: Bytes(3),
                last_modified_s: 7,
            },
            tenant: "default".parse().expect("a tenant"),
            class: Class::Normal,
            recipe: Recipe::default(),
            accepted_at: crate::Timestamp(7),
            secondary: false,
            traceparent: None,
        };
        let check = |site: &Site, bucket: &str, expect: &str| {
            assert_eq!(site.friendly_key(&record(bucket), "model.glb").as_deref(), Ok(expect));
        };
        let one = site();
        check(&one, "uploads", "red.png/red.glb");
        // Its bucket was an input when it was accepted.
        check(&one, "former", "former/red.png/red.glb");
        let mut two = site();
        two.inputs.push(InputBucket { bucket: "more".to_owned(), ..two.inputs[0].clone() });
        check(&two, "uploads", "uploads/red.png/red.glb");
        check(&two, "more", "more/red.png/red.glb");
    }

    #[test]
    fn a_former_tenant_is_drawn_as_long_as_it_is_listed() {
        let old: TenantId = "old".parse().expect("a tenant");
        assert!(!site().knows(&old));
        let site = Site { former_tenants: BTreeSet::from([old.clone()]), ..site() };
        assert!(site.knows(&old) && site.tenants().contains(&old));
    }

    #[test]
    fn a_synthetic_load_is_refused_unless_the_site_permits_it() {
        let recipe = Recipe::default().with_options([("synthetic", "stage=shape,end=abort")]);
        let recipe = recipe.expect("a good option");
        assert!(site().permit(recipe.clone()).is_err());
        assert!(Site { synthetic: true, ..site() }.permit(recipe).is_ok());
    }
}
