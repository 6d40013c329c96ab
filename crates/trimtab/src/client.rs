//! The client of a process: every request is sent once, with the newest token, and every answer tells the API server's time.
//! Not what is done about refusals: that is for whoever sent the request.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::clock::{self, Moment, moment};
use crate::path;

/// How old a token may be before its file is read again. Kubelets replace tokens minutes before they expire.
const TOKEN_AGE: Duration = Duration::from_secs(30);

/// A client as the framework needs it. Every request is sent once: kube's own default sends a request up to 16 times and
/// waits for minutes in between, also where a lost answer hides a success. A token in a file is read again every half a
/// minute, and at once after the API server has refused it, however this machine's clock jumps.
///
/// # Errors
///
/// If the configuration makes no client: see [`Client::try_from`]; or if its token cannot be read.
pub fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    // A token that is written down as well goes first, as kube has it.
    let file = if config.auth_info.token.is_none() { config.auth_info.token_file.take() } else { None };
    let token = file.map(|path| Token::new(path.into())).transpose()?.map(Arc::new);
    Ok(ClientBuilder::try_from(config)?.with_layer(&Wire { token }).build())
}

/// A token in a file that others replace.
struct Token {
    path: PathBuf,
    /// The header, and when it was read; without a time it is to be read again.
    read: Mutex<(HeaderValue, Option<Moment>)>,
}

impl Token {
    fn new(path: PathBuf) -> Result<Self, kube::Error> {
        let unreadable = |error| kube::Error::Service(format!("token file {}: {error}", path.display()).into());
        let header = header(&path).map_err(unreadable)?;
        Ok(Self { path, read: Mutex::new((header, Some(moment()))) })
    }

    /// The newest token. Of a file that cannot be read any more, the last one that could.
    fn newest(&self) -> HeaderValue {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = moment();
        if read.1.is_none_or(|at| now.saturating_sub(at) > TOKEN_AGE) {
            match header(&self.path) {
                Ok(header) => *read = (header, Some(now)),
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "the token cannot be read again"),
            }
        }
        read.0.clone()
    }

    fn refused(&self) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }
}

fn header(path: &std::path::Path) -> std::io::Result<HeaderValue> {
    let token = std::fs::read_to_string(path)?;
    let header = HeaderValue::try_from(format!("Bearer {}", token.trim()));
    // What the error holds is not told: it could quote the token.
    let mut header = header.map_err(|_| std::io::Error::other("it holds no token"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What lies between all requests and the connections.
#[derive(Clone)]
struct Wire {
    token: Option<Arc<Token>>,
}

impl<S> Layer<S> for Wire {
    type Service = Wired<S>;

    fn layer(&self, inner: S) -> Wired<S> {
        Wired { inner, wire: self.clone() }
    }
}

struct Wired<S> {
    inner: S,
    wire: Wire,
}

impl<S, B> Service<Request<Body>> for Wired<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let token = self.wire.token.clone();
        if let Some(token) = &token {
            request.headers_mut().insert(AUTHORIZATION, token.newest());
        }
        // Another server's clock is not the API server's, though its answers come through it.
        let sent = path::is_api_servers_own(request.uri().path()).then(moment);
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            if let Some(sent) = sent {
                clock::hear(answer.headers(), sent);
            }
            if let Some(token) = token.filter(|_| answer.status() == StatusCode::UNAUTHORIZED) {
                token.refused();
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;

    use super::*;

    #[tokio::test]
    async fn a_token_that_is_refused_is_read_again() {
        let path = std::env::temp_dir().join(format!("trimtab-token-{}", std::process::id()));
        std::fs::write(&path, "first\n").unwrap();
        let serve = |headers: HeaderMap| async move {
            match headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()) {
                Some("Bearer second") => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        let mut config = Config::new(url);
        config.auth_info.token_file = Some(path.display().to_string());
        let client = client(config).unwrap();
        let ask = async || client.send(Request::get("/").body(Body::empty()).unwrap()).await.unwrap().status();
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(ask().await, StatusCode::OK);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ask().await, StatusCode::OK, "the last token that could be read is used");
    }

    #[test]
    fn a_token_file_that_is_missing_is_named() {
        let mut config = Config::new("http://localhost".parse().unwrap());
        config.auth_info.token_file = Some("/nowhere/token".to_owned());
        let error = client(config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
