//! What suites on real stages share: a store on disk as `meshwright up` has it, pictures of each size, and
//! workers whose runners are the `meshwright` binary.

use crate::rig::{Part, real_runner};
use crate::servers;
use anyhow::{Context, Result};
use bytes::Bytes as Payload;
use domain::{Bytes, Site, Stage};
use embedded::s3_server::{RunningS3, S3ServerConfig};
use harness::{S3Endpoint, Scratch};
use image::imageops::FilterType;
use std::io::Cursor;
use std::sync::Arc;

/// Pictures that become models, with a matting network or without.
const SAMPLES: [&[u8]; 4] = [
    include_bytes!("../../../functions/meshwright/samples/mug.png"),
    include_bytes!("../../../functions/meshwright/samples/duck.png"),
    include_bytes!("../../../functions/meshwright/samples/rocket.png"),
    include_bytes!("../../../functions/meshwright/samples/pear.webp"),
];

/// The embedded S3 server with the buckets of a site, spoken to by the project's own client.
pub(crate) struct Store {
    pub(crate) client: Arc<dyn ports::Store>,
    // Both go with it.
    _server: RunningS3,
    _folder: Scratch,
}

impl Store {
    /// Starts it.
    ///
    /// # Errors
    /// Its folder cannot be used.
    pub(crate) async fn start(site: &Site) -> Result<Store> {
        let folder = Scratch::new("bench")?;
        let (access_key, secret_key) = ("bench".to_owned(), "of-a-bench-on-loopback".to_owned());
        let config = S3ServerConfig {
            data_dir: folder.path().join("buckets"),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            buckets: site.buckets().into_iter().map(str::to_owned).collect(),
            ..S3ServerConfig::default()
        };
        let server = embedded::s3_server::start(config).await.context("start the S3 server")?;
        let url = server.endpoint.clone();
        let endpoint = S3Endpoint { url, access_key, secret_key, folder: folder.path().to_owned() };
        Ok(Store { client: servers::store(endpoint), _server: server, _folder: folder })
    }
}

/// A worker of all stages with a lane for each core.
///
/// # Errors
/// The `meshwright` binary is not built.
pub(crate) fn real_parts(memory_max: Option<Bytes>) -> Result<Vec<Part>> {
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(vec![Part { name: "host", stages: Stage::ALL.to_vec(), lanes, memory_max, runner: real_runner()? }])
}

/// The n-th picture: a sample as a square of this side in pixels, a little different each time, as PNG.
///
/// # Errors
/// A sample cannot be read.
pub(crate) fn picture(n: usize, side: u32) -> Result<Payload> {
    let sample = image::load_from_memory(SAMPLES[n % SAMPLES.len()]).context("read a sample")?;
    let mut picture = sample.resize_exact(side, side, FilterType::Triangle).into_rgba8();
    picture.get_pixel_mut(side / 2, side / 2).0[0] = n as u8;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).context("write a picture")?;
    Ok(Payload::from(png.into_inner()))
}
