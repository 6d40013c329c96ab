//! Connections that can be reset while nothing is sent on them. Not what is said on them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to all connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// New ones are reset.
    pub(super) refuse: bool,
    /// How often those that there are were reset.
    pub(super) resets: u64,
}

/// Accepts connections.
pub(super) struct Gate {
    pub(super) listener: TcpListener,
    pub(super) state: watch::Receiver<State>,
}

impl axum::serve::Listener for Gate {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else { continue };
            let now = *self.state.borrow();
            if now.refuse {
                reset(&stream);
                continue;
            }
            let mut state = self.state.clone();
            let ended = async move {
                // An error means that the proxy itself is gone.
                _ = state.wait_for(|state| state.resets > now.resets).await;
            };
            return (Connection { stream, ended: ended.boxed(), over: false }, from);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Has the connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // One that is closed already cannot be reset, and need not be.
    _ = stream.set_zero_linger();
}

/// A connection that may be reset.
pub(super) struct Connection {
    stream: TcpStream,
    ended: BoxFuture<'static, ()>,
    over: bool,
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.over && self.ended.poll_unpin(context).is_ready() {
            self.over = true;
            reset(&self.stream);
        }
        if self.over { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
