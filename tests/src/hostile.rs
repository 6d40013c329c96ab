//! A namespace that does at once whatever could cost others something: expressions, patterns, schemas, annotations, addresses,
//! large and many objects, servers that answer badly, connections. For tests that look at the others meanwhile.

mod objects;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use server::BadServer;

/// Connections to each port at a time.
const CONNECTIONS: usize = 400;

/// Such a namespace; it goes on until this goes.
#[derive(Debug)]
pub struct Hostile {
    tasks: JoinSet<()>,
    _server: BadServer,
}

impl Hostile {
    /// Makes everything in a namespace, and begins. `ports` are the manager's.
    ///
    /// # Errors
    ///
    /// If the API server refuses what it is to take.
    pub async fn start(client: Client, namespace: &str, ports: &[SocketAddr]) -> Result<Self> {
        let server = BadServer::start().await?;
        for object in objects::all(&server.address()) {
            apply(&client, namespace, &object).await?;
        }
        let mut tasks = JoinSet::new();
        let (own, place) = (client.clone(), namespace.to_owned());
        tasks.spawn(async move { change(&own, &place).await });
        for port in ports {
            for number in 0..CONNECTIONS {
                tasks.spawn(connect(*port, number));
            }
        }
        Ok(Self { tasks, _server: server })
    }

    /// How much of it goes on.
    pub fn parts(&self) -> usize {
        self.tasks.len()
    }
}

async fn apply(client: &Client, namespace: &str, object: &Value) -> Result<()> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let plural = match kind.as_str() {
        "ConfigPolicy" => "configpolicies".to_owned(),
        other => other.to_lowercase() + "s",
    };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.clone(),
        kind,
        plural,
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let name = object["metadata"]["name"].as_str().context("an object without a name")?;
    let written = api.patch(name, &PatchParams::apply("hostile").force(), &Patch::Apply(object)).await;
    written.map(drop).with_context(|| format!("{} {name} is not taken", resource.kind))
}

/// Changes what is read, and what is looked at with it, each second.
async fn change(client: &Client, namespace: &str) {
    for round in 0_u64.. {
        for object in objects::changing(round) {
            // A cluster that is busy refuses some.
            _ = apply(client, namespace, &object).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Where the connections to the manager come from.
const CROWD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), 0);

/// Keeps a connection: with a head that does not end, with requests and no reading, or with nothing.
async fn connect(port: SocketAddr, number: usize) {
    loop {
        let held = async {
            // Pods have other addresses than whoever probes.
            let socket = TcpSocket::new_v4()?;
            socket.bind(CROWD)?;
            let mut stream = socket.connect(port).await?;
            match number % 3 {
                0 => {
                    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await?;
                    loop {
                        stream.write_all(format!("x: {}\r\n", "y".repeat(1000)).as_bytes()).await?;
                        sleep(Duration::from_millis(500)).await;
                    }
                }
                1 => {
                    for _ in 0..100 {
                        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                    }
                    sleep(Duration::from_secs(60)).await;
                }
                _ => _ = stream.read(&mut [0]).await?,
            }
            std::io::Result::Ok(())
        };
        _ = timeout(Duration::from_secs(60), held).await;
        sleep(Duration::from_millis(250)).await;
    }
}

/// A limit of memory of a process, as a container has it; it goes with this.
#[derive(Debug)]
pub struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// Puts a process under a limit. `None` where this machine does not let anybody do so.
    pub fn of(process: u32, bytes: u64) -> Option<Self> {
        let name = format!("trimtab-soak-{process}");
        let (first, second) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        [(first, "memory.limit_in_bytes"), (second, "memory.max")].into_iter().find_map(|(root, limit)| {
            let folder = Path::new(root).join(&name);
            std::fs::create_dir(&folder).ok()?;
            let made = Self(folder.clone());
            std::fs::write(folder.join(limit), bytes.to_string()).ok()?;
            std::fs::write(folder.join("cgroup.procs"), process.to_string()).ok()?;
            Some(made)
        })
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Only once the process has ended; until then it stays as it is.
        _ = std::fs::remove_dir(&self.0);
    }
}

/// The most memory that a process had so far, in bytes.
///
/// # Errors
///
/// If it has ended.
pub fn most_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

/// A JSON object with its kind.
fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = rest;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object
}
