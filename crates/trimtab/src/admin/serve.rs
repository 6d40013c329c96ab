//! The connections of an HTTP server that anybody in the cluster may reach: how many, for how long, and how much of a request
//! is read. Not what is answered.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections at a time. One more closes the oldest, so that a probe always gets in.
pub(super) const CONNECTIONS: usize = 64;
/// Connections of one address at a time; one more closes its oldest.
pub(super) const OF_ONE_ADDRESS: usize = 16;
/// How long the head of a request may take, from when the connection is free for one.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// The most bytes of a head.
pub(super) const HEAD_BYTES: usize = 16 << 10;
/// How long a connection is used; then its last request is answered.
const LIFE: Duration = Duration::from_secs(300);
/// How long that one may take.
const LAST: Duration = Duration::from_secs(30);
/// Where nothing can be accepted, files are used up perhaps.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is stopped; then ends the requests under way.
/// `head` is how long the head of a request may take.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    head: Duration,
) -> io::Result<()> {
    let (mut open, mut tasks) = (Open::default(), JoinSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let task = tasks.spawn(connection(stream, router.clone(), stop.clone(), head));
                    open.admit(peer.ip(), task);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken, head: Duration) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(HEAD_BYTES);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    tokio::select! {
        // How a connection ends is its client's business.
        _ = served.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    served.as_mut().graceful_shutdown();
    _ = timeout(LAST, served).await;
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Open(VecDeque<(IpAddr, AbortHandle)>);

impl Open {
    /// Takes one in, and closes another one for it where there are too many.
    fn admit(&mut self, peer: IpAddr, task: AbortHandle) {
        self.0.retain(|(_, task)| !task.is_finished());
        let own = self.0.iter().filter(|(other, _)| *other == peer).count();
        let goes = match own >= OF_ONE_ADDRESS {
            true => self.0.iter().position(|(other, _)| *other == peer),
            false => (self.0.len() >= CONNECTIONS).then_some(0),
        };
        if let Some((_, task)) = goes.and_then(|goes| self.0.remove(goes)) {
            task.abort();
        }
        self.0.push_back((peer, task));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_for_the_newest_and_a_crowd_for_itself() {
        let mut open = Open::default();
        let mut tasks = JoinSet::new();
        let mut admit = |open: &mut Open, last: u8| {
            open.admit(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), tasks.spawn(std::future::pending::<()>()));
        };
        admit(&mut open, 1);
        (0..100).for_each(|_| admit(&mut open, 2));
        assert_eq!(open.0.len(), OF_ONE_ADDRESS + 1, "one address has its share");
        (3..100).for_each(|last| admit(&mut open, last));
        assert_eq!(open.0.len(), CONNECTIONS);
        assert!(open.0.back().is_some_and(|(peer, _)| *peer == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99))));
    }
}
