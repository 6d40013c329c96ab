//! The bytes of lists and watches: requests, lines, events, pages. Not what they mean for a store.

use std::io;

use futures::io::{AsyncBufRead, AsyncBufReadExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use trimtab_plan::{Condition, Kind, Meta};

use crate::Selector;
use crate::{body, path};

/// How long the server keeps a watch; the clients of one server should not all come back at once, so it varies.
pub(super) const WATCH_SECONDS: u32 = 290;
/// Objects in one page of a list; fewer where they are so large that a page of them is too long.
pub(super) const PAGE: u32 = 500;
/// The longest line of a watch, in bytes: an object and what is around it.
const LINE: usize = body::OBJECT + 1024;
/// A line buffer that grew beyond this is given back.
const KEEP_BUFFER: usize = 64 * 1024;

/// How objects without anything but their metadata are asked for.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The same of a list.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// What is listed or watched.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: Option<&'a str>,
    pub(super) selector: &'a Selector,
}

impl Target<'_> {
    fn request(&self, query: &[(&str, &str)]) -> http::Result<http::Request<Vec<u8>>> {
        let mut uri = path::collection(&self.kind, self.namespace.unwrap_or_default());
        let selectors =
            [("labelSelector", self.selector.label_selector()), ("fieldSelector", self.selector.field_selector())];
        for (i, (name, value)) in query.iter().chain(&selectors).filter(|(_, v)| !v.is_empty()).enumerate() {
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            path::push_encoded(&mut uri, value);
        }
        // Compressed watch streams cost time and memory on both sides and save nothing in a cluster.
        let mut request = http::Request::get(uri).header(http::header::ACCEPT_ENCODING, "identity");
        if self.selector.is_metadata_only() {
            let watches = query.iter().any(|(name, _)| *name == "watch");
            request = request.header(http::header::ACCEPT, if watches { METADATA } else { METADATA_LIST });
        }
        request.body(vec![])
    }

    /// A watch from a version on.
    pub(super) fn watch(&self, version: &str) -> http::Result<http::Request<Vec<u8>>> {
        let seconds = WATCH_SECONDS.to_string();
        self.request(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("resourceVersion", version),
        ])
    }

    /// A watch that first sends everything there is, as of now or later.
    pub(super) fn watch_from_start(&self) -> http::Result<http::Request<Vec<u8>>> {
        let seconds = WATCH_SECONDS.to_string();
        self.request(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
        ])
    }

    /// One page of a list.
    pub(super) fn page(&self, size: u32, next: &str) -> http::Result<http::Request<Vec<u8>>> {
        self.request(&[("limit", &size.to_string()), ("continue", next)])
    }
}

/// Reads lines without copying those that arrive in one piece.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// Gives the next line to `use_line`. `None` at the end of the stream; an unfinished last line is dropped.
    pub(super) async fn next<O>(&mut self, use_line: impl FnOnce(&[u8]) -> O) -> io::Result<Option<O>> {
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let Some(end) = memchr::memchr(b'\n', available) else {
                let length = available.len();
                if self.buffer.len() + length > LINE {
                    return Err(io::Error::other(format!("a line of a watch has more than {LINE} bytes")));
                }
                self.buffer.extend_from_slice(available);
                self.reader.consume_unpin(length);
                continue;
            };
            let (line, _) = available.split_at(end);
            let output = if self.buffer.is_empty() {
                use_line(line)
            } else {
                self.buffer.extend_from_slice(line);
                let output = use_line(&self.buffer);
                self.buffer.clear();
                self.buffer.shrink_to(KEEP_BUFFER);
                output
            };
            self.reader.consume_unpin(end + 1);
            return Ok(Some(output));
        }
    }
}

/// A line of a watch: what happened, and the JSON of the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    Put(&'a [u8]),
    Deleted(&'a [u8]),
    Bookmark(&'a [u8]),
    Error(&'a [u8]),
}

#[derive(Deserialize)]
struct AnyLine<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Splits a line. The API server writes the type first, so the object need not be scanned to find its end; any other
/// spelling is read the long way.
pub(super) fn split(line: &[u8]) -> Result<Event<'_>, serde_json::Error> {
    let quick = |prefix: &str| line.strip_prefix(prefix.as_bytes())?.strip_suffix(b"}");
    if let Some(object) = quick(r#"{"type":"ADDED","object":"#).or_else(|| quick(r#"{"type":"MODIFIED","object":"#)) {
        return Ok(Event::Put(object));
    }
    let long: AnyLine<'_> = serde_json::from_slice(line)?;
    let object = long.object.get().as_bytes();
    Ok(match long.kind {
        "DELETED" => Event::Deleted(object),
        "BOOKMARK" => Event::Bookmark(object),
        "ERROR" => Event::Error(object),
        _ => Event::Put(object),
    })
}

#[derive(Deserialize)]
struct Bare {
    metadata: Meta,
}

/// The least that names an object.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Name {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

/// An object's metadata; of an object that is wrong even there, its name.
pub(super) fn meta(object: &[u8]) -> Result<Meta, serde_json::Error> {
    if let Ok(bare) = serde_json::from_slice::<Bare>(object) {
        return Ok(bare.metadata);
    }
    let Name { name, namespace, uid, resource_version } = serde_json::from_slice::<Named>(object)?.metadata;
    Ok(Meta { name, namespace, uid, resource_version, ..Meta::default() })
}

/// The conditions in an object's status; none if they are not as conditions are.
pub(super) fn conditions(object: &[u8]) -> Vec<Condition> {
    #[derive(Deserialize)]
    struct Object {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        conditions: Vec<Condition>,
    }
    serde_json::from_slice::<Object>(object).map(|object| object.status.conditions).unwrap_or_default()
}

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    pub(super) metadata: PageMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

impl<'a> Page<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &'a [u8]> {
        self.items.iter().flatten().map(|item| item.get().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_whatever_their_spelling() {
        assert_eq!(split(br#"{"type":"ADDED","object":{"a":{}}}"#).unwrap(), Event::Put(br#"{"a":{}}"#));
        assert_eq!(split(br#"{"object": {"a":1}, "type": "MODIFIED"}"#).unwrap(), Event::Put(br#"{"a":1}"#));
        assert_eq!(split(br#"{"type":"DELETED","object":{}}"#).unwrap(), Event::Deleted(b"{}"));
        assert_eq!(split(br#"{"type":"BOOKMARK","object":{}}"#).unwrap(), Event::Bookmark(b"{}"));
        assert!(split(b"{").is_err());
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let reader = futures::io::BufReader::with_capacity(3, &b"one\ntwo and three\n\nunfinished"[..]);
        let mut lines = Lines::new(reader);
        let mut seen = vec![];
        while let Some(line) = futures::executor::block_on(lines.next(<[u8]>::to_vec)).unwrap() {
            seen.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(seen, ["one", "two and three", ""]);
    }

    #[test]
    fn broken_metadata_still_gives_the_name() {
        let meta = meta(br#"{"metadata":{"name":"x","namespace":"n","uid":"u","generation":"seven"}}"#).unwrap();
        assert_eq!((meta.name.as_str(), meta.namespace.as_str(), meta.uid.as_str()), ("x", "n", "u"));
    }

    #[test]
    fn requests_carry_the_selector() {
        let kind = Kind::namespaced("apps", "v1", "Deployment", "deployments");
        let selector = Selector::labels("a in (b,c)");
        let target = Target { kind, namespace: Some("shop"), selector: &selector };
        let request = target.watch("7").unwrap();
        let text = request.uri().to_string();
        assert!(text.starts_with("/apis/apps/v1/namespaces/shop/deployments?watch=1&"), "{text}");
        assert!(text.ends_with("&resourceVersion=7&labelSelector=a%20in%20%28b%2Cc%29"), "{text}");
        assert!(request.headers().get(http::header::ACCEPT).is_none());
    }

    #[test]
    fn what_is_watched_by_its_metadata_is_asked_for_as_that() {
        let kind = Kind::namespaced("", "v1", "Secret", "secrets");
        let selector = Selector::all().metadata_only();
        let target = Target { kind, namespace: None, selector: &selector };
        let accepts = |request: http::Request<Vec<u8>>| {
            request.headers().get(http::header::ACCEPT).unwrap().to_str().unwrap().to_owned()
        };
        for request in [target.watch("7"), target.watch_from_start()] {
            assert_eq!(accepts(request.unwrap()), METADATA);
        }
        assert_eq!(accepts(target.page(500, "").unwrap()), METADATA_LIST);
    }
}
