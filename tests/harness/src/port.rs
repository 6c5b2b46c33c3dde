//! TCP ports for servers that must come back on the same one.
//!
//! A port that the system hands out (port 0) can be taken by any outgoing connection while its server is
//! down, even by a client that connects to itself. So ports are chosen below the system's own range, and a
//! lock file keeps other test processes off them until the lease ends.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// How many ports are tried; also how many servers can be leased at a time on one machine.
const PORTS: u16 = 4000;
/// Where outgoing connections begin when the system does not say.
const EPHEMERAL_FIRST: u16 = 32768;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port on loopback that no other lease holds.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    /// A port that nobody listens on.
    ///
    /// # Errors
    /// All are taken, or the lock folder cannot be written.
    pub fn new() -> Result<PortLease> {
        let folder = std::env::temp_dir().join("meshwright-ports");
        std::fs::create_dir_all(&folder).context("create the folder of port locks")?;
        let first = ephemeral_first().saturating_sub(PORTS).max(1024);
        let start = std::process::id() as u16;
        for _ in 0..PORTS {
            let port = first + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
            let lock = File::create(folder.join(port.to_string())).context("open the lock of a port")?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(PortLease { port, _lock: lock });
            }
        }
        bail!("none of the {PORTS} ports from {first} is free")
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn ephemeral_first() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_FIRST)
}
