//! What `doctor` looks at where no distributed form is configured: whether `meshwright up` would start here.
//! It writes nothing.

use crate::doctor::Finding;
use crate::refusal::{Outcome, Refusal};
use crate::service::data_folder;
use domain::Bytes;
use rustix::fs::{Access, FlockOperation, access, flock};
use serde_json::Value;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Less room than this is soon full: an upload with its intermediates and models takes some 50 MB.
const FREE_MIN: Bytes = Bytes::gib(1);
/// Longest wait for whoever has a port.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The findings about data folder and ports.
pub(crate) async fn findings() -> Vec<Finding> {
    let data = data_folder("up");
    let locked = is_locked(&data.join("lock"));
    let there = nearest(&data);
    // One with another data folder has the usual ports as well.
    let running = locked || is_ours(address(8787)).await;
    vec![
        Finding { what: "data folder", result: writable(&data, there, locked) },
        Finding { what: "disk", result: room(there) },
        Finding { what: "S3 port", result: port(9100, "--s3", running).await },
        Finding { what: "page port", result: port(8787, "--listen", running).await },
    ]
}

/// The folder, or the nearest one above it that exists.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// Whether another process holds the lock.
fn is_locked(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn writable(data: &Path, there: &Path, running: bool) -> Outcome<String> {
    let shown = data.display();
    if running {
        return Ok(format!("{shown}: in use by a running meshwright"));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let there = there.display();
        Refusal::Io(format!("{there} cannot be written ({error}); choose another folder with --data"))
    })?;
    Ok(format!("{shown}: {}", if there == data { "writable" } else { "can be made" }))
}

fn room(there: &Path) -> Outcome<String> {
    let shown = there.display();
    let free = embedded::s3_server::room(there);
    let free = free.map_err(|error| Refusal::Io(format!("look at {shown}: {error}")))?;
    if free < FREE_MIN {
        let text = format!("{free} are free below {shown}; make room, or choose another folder with --data");
        return Err(Refusal::Io(text));
    }
    Ok(format!("{free} free; `up` keeps at most what --keep says"))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that is free, or that a running `up` has.
async fn port(port: u16, flag: &str, running: bool) -> Outcome<String> {
    let address = address(port);
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => Ok(format!("{address} is free")),
        Err(_) if running || is_ours(address).await => Ok(format!("{address} is a running meshwright's")),
        Err(error) => {
            let text = format!("{address} cannot be used ({error}); choose another with {flag}");
            Err(Refusal::Io(text))
        }
    }
}

async fn is_ours(address: SocketAddr) -> bool {
    let client = reqwest::Client::builder().timeout(ANSWER_MAX).build();
    let Ok(client) = client else { return false };
    let Ok(answer) = client.get(format!("http://{address}/api/version")).send().await else { return false };
    answer.json::<Value>().await.is_ok_and(|answer| answer["name"] == "meshwright")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::lock;

    #[test]
    fn a_folder_that_is_not_there_yet_can_be_made_and_one_in_use_is_ours() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let data = root.path().join("a/b");
        assert_eq!(nearest(&data), root.path());
        assert!(writable(&data, nearest(&data), false).expect("a writable folder").contains("can be made"));
        assert!(!data.exists());
        assert!(room(nearest(&data)).is_ok());
        let held = lock(root.path()).expect("the first");
        assert!(is_locked(&root.path().join("lock")));
        drop(held);
        assert!(!is_locked(&root.path().join("lock")));
    }

    #[tokio::test]
    async fn a_strangers_port_is_told_with_what_to_do() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let number = taken.local_addr().expect("an address").port();
        let stranger = tokio::spawn(async move { drop(taken.accept().await) });
        let refused = port(number, "--s3", false).await.expect_err("a stranger's");
        assert!(refused.to_string().contains("choose another with --s3"), "{refused}");
        stranger.await.expect("it was asked");
        assert!(port(number, "--s3", false).await.is_ok());
    }
}
