//! The connections of an HTTP server that anybody in the cluster may reach: how many, for how long, and how much of a request
//! is read. Not what is answered.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections at a time. One more closes the oldest of the address that has most, so that a probe always gets in, and stays.
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
/// Connections that may wait to be accepted; the system may allow fewer. Where that is full, the system drops the first packet
/// of the next, whose client tries again after a second: as long as a probe may take.
const WAITING: u32 = 4096;

/// Listens at an address.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that the process before had is free at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

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
                    // What was accepted is looked at before the next: a crowd in the queue closes nothing unread.
                    yield_now().await;
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
        self.0.push_back((peer, task));
        let own = self.0.iter().filter(|(other, _)| *other == peer).count();
        let crowd = match own > OF_ONE_ADDRESS {
            true => Some(peer),
            false => (self.0.len() > CONNECTIONS).then(|| self.most()).flatten(),
        };
        let goes = crowd.and_then(|crowd| self.0.iter().position(|(other, _)| *other == crowd));
        if let Some((_, task)) = goes.and_then(|goes| self.0.remove(goes)) {
            task.abort();
        }
    }

    /// The address that has most; of several such, the one whose connection is the oldest.
    fn most(&self) -> Option<IpAddr> {
        let mut counts = HashMap::new();
        self.0.iter().for_each(|(peer, _)| *counts.entry(*peer).or_insert(0_usize) += 1);
        let most = counts.values().copied().max()?;
        self.0.iter().map(|(peer, _)| *peer).find(|peer| counts.get(peer) == Some(&most))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    /// Connections that never end.
    #[derive(Default)]
    struct Crowd(Open, JoinSet<()>);

    impl Crowd {
        fn admit(&mut self, last: u8) {
            self.0.admit(address(last), self.1.spawn(std::future::pending()));
        }

        fn of(&self, last: u8) -> usize {
            self.0.0.iter().filter(|(peer, _)| *peer == address(last)).count()
        }
    }

    #[tokio::test]
    async fn the_oldest_goes_for_the_newest_and_a_crowd_for_itself() {
        let mut crowd = Crowd::default();
        crowd.admit(1);
        (0..100).for_each(|_| crowd.admit(2));
        assert_eq!(crowd.0.0.len(), OF_ONE_ADDRESS + 1, "one address has its share");
        (3..100).for_each(|last| crowd.admit(last));
        assert_eq!(crowd.0.0.len(), CONNECTIONS);
        assert!(crowd.0.0.back().is_some_and(|(peer, _)| *peer == address(99)));
    }

    #[tokio::test]
    async fn a_crowd_of_some_addresses_closes_its_own_and_no_probe() {
        let mut crowd = Crowd::default();
        (0..60).for_each(|number| crowd.admit(number % 5));
        crowd.admit(99);
        (0..=u8::MAX).for_each(|number| crowd.admit(number % 5));
        assert_eq!(crowd.of(99), 1, "the probe's connection is still open");
        assert_eq!(crowd.0.0.len(), CONNECTIONS);
    }

    /// More than a listener has room for by default: a connection that finds none takes a second.
    #[tokio::test]
    async fn hundreds_connect_at_once_while_nobody_accepts() {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let open: Vec<_> = (0..300).map(connect).collect();
        assert_eq!(open.iter().filter(|one| one.is_err()).count(), 0);
    }
}
