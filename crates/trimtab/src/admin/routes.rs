//! The routes and what they answer. Text by default: these are read with curl.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::scrape::Scrapes;
use super::{Admin, Checks};
use crate::metrics::Metrics;

const ADMIN_PATHS: [&str; 6] =
    ["/livez", "/healthz", "/readyz", "/version", "/debug/why", "/debug/why/<kind>/<namespace>/<name>"];

/// How an object without a namespace is written in a path.
const NO_NAMESPACE: &str = "-";

/// Which routes a server has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serve {
    pub(super) admin: bool,
    pub(super) metrics: bool,
}

pub(super) fn router(admin: Admin, serve: Serve) -> Router {
    let mut paths = vec![];
    let mut router = Router::new();
    if serve.admin {
        paths.extend(ADMIN_PATHS);
        let lists = Scrapes::default();
        let list = move |State(admin): State<Admin>| async move { keys(&admin, &lists) };
        router = router
            .route("/livez", get(livez))
            .route("/healthz", get(livez))
            .route("/readyz", get(readyz))
            .route("/version", get(version))
            .route("/debug/why", get(list.clone()))
            .route("/debug/why/", get(list))
            .route("/debug/why/{kind}/{name}", get(why_cluster))
            .route("/debug/why/{kind}/{namespace}/{name}", get(why));
    }
    if serve.metrics {
        paths.push("/metrics");
        let scrapes = Scrapes::default();
        let text = move |State(admin): State<Admin>| async move {
            ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], scrapes.text(|| admin.metrics.render())).into_response()
        };
        router = router.route("/metrics", get(text));
    }
    let nothing = format!("there is nothing here; there is:\n{}\n", paths.join("\n"));
    router.fallback(|| async move { (StatusCode::NOT_FOUND, nothing) }).with_state(admin)
}

async fn livez(State(admin): State<Admin>, uri: Uri) -> Response {
    report("livez", &admin.live, &uri)
}

async fn readyz(State(admin): State<Admin>, uri: Uri) -> Response {
    report("readyz", &admin.ready, &uri)
}

/// `ok`, or with `?verbose` or when something fails, a line per check: what the API server's endpoints do.
fn report(name: &str, checks: &Checks, uri: &Uri) -> Response {
    let verbose =
        uri.query().is_some_and(|query| query.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    match checks.report() {
        (true, _) if !verbose => "ok".into_response(),
        (true, lines) => format!("{lines}{name} check passed\n").into_response(),
        (false, lines) => (StatusCode::SERVICE_UNAVAILABLE, format!("{lines}{name} check failed\n")).into_response(),
    }
}

/// JSON, as the API server answers it.
async fn version(State(admin): State<Admin>) -> Response {
    match serde_json::to_string_pretty(&admin.version) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn keys(admin: &Admin, lists: &Scrapes) -> Response {
    let Some(source) = &admin.why else { return no_source() };
    let list = lists.text(|| match source.keys() {
        keys if keys.is_empty() => "nothing has been decided yet\n".to_owned(),
        keys => keys.join("\n") + "\n",
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], list).into_response()
}

async fn why_cluster(state: State<Admin>, Path((kind, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    why(state, Path((kind, String::new(), name)), headers).await
}

async fn why(
    State(admin): State<Admin>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(source) = &admin.why else { return no_source() };
    let namespace = if namespace == NO_NAMESPACE { "" } else { namespace.as_str() };
    let accepts = |v: &header::HeaderValue| v.to_str().is_ok_and(|accept| accept.contains("application/json"));
    if headers.get_all(header::ACCEPT).iter().any(accepts)
        && let Some(json) = source.why_json(&kind, namespace, &name)
    {
        return ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response();
    }
    match source.why(&kind, namespace, &name) {
        Some(text) => text.into_response(),
        None => {
            let text = format!(
                "nothing is known of {kind} {namespace}/{name}: either no controller here has decided about it since \
                 this process started, or another process leads; /debug/why lists what is known\n"
            );
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

fn no_source() -> Response {
    (StatusCode::NOT_FOUND, "this process keeps no journal\n").into_response()
}
