//! HTTP: jobs, progress, artifacts, metrics, one page.
#![forbid(unsafe_code)]
use domain::{Site, Times};
use ports::Ports;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
/// x
pub struct Token(String);
impl Token { /// x
 pub fn new(s: String) -> Token { Token(s) } }
/// x
pub struct Settings { /// x
 pub site: Site, /// x
 pub times: Times, /// x
 pub token: Option<Token>, /// x
 pub metrics: Arc<dyn Fn() -> String + Send + Sync>, /// x
 pub version: String }
/// x
pub async fn serve(_l: tokio::net::TcpListener, _p: Ports, _s: Settings, shutdown: CancellationToken) -> std::io::Result<()> { shutdown.cancelled().await; Ok(()) }
