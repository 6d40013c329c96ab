//! A server of metrics that answers as badly as the query asks: never, without end, with a head without end, with lists in
//! lists. And with a number, so that what is made of numbers is made.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Such a server; it goes on until this goes.
#[derive(Debug)]
pub struct BadServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl BadServer {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the server")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move { answer(stream).await.ok() });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for BadServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = vec![0; 8192];
    let read = stream.read(&mut head).await?;
    let asked = String::from_utf8_lossy(head.get(..read).unwrap_or_default()).into_owned();
    let is = |query: &str| asked.contains(&format!("query={query}"));
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    if is("never") {
        sleep(Duration::from_secs(600)).await;
    } else if is("head") {
        stream.write_all(ok.as_bytes()).await?;
        loop {
            stream.write_all(format!("x: {}\r\n", "y".repeat(4000)).as_bytes()).await?;
        }
    } else if is("endless") {
        stream.write_all(format!("{ok}\r\n{{\"status\":\"success\",\"data\":[").as_bytes()).await?;
        loop {
            stream.write_all("[],".repeat(4096).as_bytes()).await?;
        }
    } else if is("nested") {
        let body = format!("{{\"status\":\"success\",\"data\":[{}[]]}}", "[],".repeat(20_000));
        stream.write_all(format!("{ok}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    } else {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}"#;
        stream.write_all(format!("{ok}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    }
    stream.shutdown().await
}
