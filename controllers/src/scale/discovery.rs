//! What kinds are called on this API server, and whether they have a scale. Asked once for each group and version, and
//! again after a while: kinds come and go. The answer may be an extension API server's, so its names are checked like any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use trimtab::{Reader, Unanswered};

/// For how long what was found out counts.
const FRESH: Duration = Duration::from_secs(60);
/// The most bytes of a list of kinds.
pub(super) const LIST: usize = 1 << 20;
/// Lists that are remembered.
pub(super) const LISTS: usize = 100;

/// A kind as the server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespaced: bool,
    pub has_scale: bool,
}

impl Served {
    /// The path of all objects of a namespace.
    pub(super) fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let namespace = Reader::encoded(namespace);
        match self.namespaced {
            true => format!("{root}/{}/namespaces/{namespace}/{}", self.version, self.plural),
            false => format!("{root}/{}/{}", self.version, self.plural),
        }
    }
}

/// A list of what a group serves, or of its versions: as far as it is of use.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct List {
    resources: Vec<Resource>,
    preferred_version: Version,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
    kind: String,
    namespaced: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
}

/// What was found out so far.
#[derive(Default)]
pub(super) struct Discovery {
    lists: Mutex<HashMap<String, (Instant, Arc<List>)>>,
}

impl Discovery {
    /// What a kind is called.
    ///
    /// # Errors
    ///
    /// If there is no such kind, or the server does not say.
    pub(super) async fn kind(&self, reader: &Reader, api_version: &str, kind: &str) -> Result<Served, String> {
        let not_one = || format!("{api_version:?} is no API version: write for example apps/v1");
        let (group, version) = trimtab_crds::api_version(api_version).ok_or_else(not_one)?;
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let missing =
            || format!("the cluster has no {kind} of {api_version}: install it, or correct its apiVersion and kind");
        let list = self.list(reader, &path).await?.ok_or_else(missing)?;
        let named = |resource: &&Resource| resource.kind == kind && is_plural(&resource.name);
        let found = list.resources.iter().find(named).ok_or_else(missing)?;
        let scale = format!("{}/scale", found.name);
        Ok(Served {
            group: group.to_owned(),
            version: version.to_owned(),
            namespaced: found.namespaced.unwrap_or(true),
            has_scale: list.resources.iter().any(|resource| resource.name == scale),
            plural: found.name.clone(),
        })
    }

    /// The version in which a group is served by preference. `None` if nobody serves it.
    pub(super) async fn version(&self, reader: &Reader, group: &str) -> Result<Option<String>, String> {
        let found = self.list(reader, &format!("/apis/{group}")).await?;
        let version = found.map(|group| group.preferred_version.version.clone());
        Ok(version.filter(|version| trimtab_crds::api_version(version).is_some() && !version.contains('/')))
    }

    async fn list(&self, reader: &Reader, path: &str) -> Result<Option<Arc<List>>, String> {
        let known = {
            let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.get(path).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, list)| list.clone())
        };
        if known.is_some() {
            return Ok(known);
        }
        match reader.get_path::<List>(path, LIST).await {
            Ok(list) => {
                let list = Arc::new(list);
                let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
                lists.retain(|_, (at, _)| at.elapsed() < FRESH);
                if lists.len() < LISTS {
                    lists.insert(path.to_owned(), (Instant::now(), list.clone()));
                }
                Ok(Some(list))
            }
            Err(Unanswered::NotFound) => Ok(None),
            Err(Unanswered::Failed(why) | Unanswered::TooLong(why)) => Err(why),
        }
    }
}

/// Whether a name is one of a resource, and one segment of a path: no subresource, and nothing else.
fn is_plural(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::Uri;
    use trimtab::metrics::Metrics;

    use super::*;

    #[tokio::test]
    async fn what_an_extension_server_says_makes_no_path_of_its_own() {
        let serve = |uri: Uri| async move {
            match uri.path() {
                "/apis/example.com/v1" => serde_json::json!({"resources": [
                    {"name": "../../../api/v1/secrets", "kind": "Up"}, {"name": "a%2fb", "kind": "Coded"},
                    {"name": "a?x=y", "kind": "Query"}, {"name": "queues/scale", "kind": "Sub"},
                    {"name": "queues", "kind": "Queue", "namespaced": true}, {"name": "queues/scale", "kind": "Scale"},
                ]}),
                "/apis/example.com" => serde_json::json!({"preferredVersion": {"version": "v1/../../x"}}),
                _ => serde_json::json!({"preferredVersion": {"version": "v1beta1"}}),
            }
            .to_string()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        let client = trimtab::client(kube::Config::new(address.parse().unwrap())).unwrap();
        let (reader, discovery) = (Reader::new(client, Metrics::new()), Discovery::default());
        for kind in ["Up", "Coded", "Query", "Sub"] {
            assert!(discovery.kind(&reader, "example.com/v1", kind).await.is_err(), "{kind}");
        }
        let found = discovery.kind(&reader, "example.com/v1", "Queue").await.unwrap();
        assert_eq!(
            (found.path("shop").as_str(), found.has_scale),
            ("/apis/example.com/v1/namespaces/shop/queues", true)
        );
        assert_eq!(discovery.version(&reader, "example.com").await, Ok(None));
        assert_eq!(discovery.version(&reader, "other.example.com").await, Ok(Some("v1beta1".to_owned())));
        server.abort();
    }
}
