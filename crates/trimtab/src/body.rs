//! Bodies of answers, read as far as they may go. How far that is says whoever reads: as much as what is asked for can be.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;

/// The most bytes of one object. The API server takes 3 MiB in one request, and writes some characters longer than it reads them.
pub(crate) const OBJECT: usize = 8 << 20;
/// The most bytes of a page of a list.
pub(crate) const PAGE: usize = 32 << 20;
/// The most bytes of a refusal.
pub(crate) const REFUSAL: usize = 64 << 10;

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It has more bytes than this.
    TooLong(usize),
    /// It broke off.
    Broken(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(most) => write!(f, "the answer has more than {}", size(*most)),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// A number of bytes as people write it.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// The whole body, if it has no more than `most` bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes, Unread> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLong(most)),
        Err(error) => Err(Unread::Broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_to_its_limit_and_no_further() {
        let body = || Body::from(vec![7; 2048]);
        assert_eq!(read(body(), 2048).await.unwrap().len(), 2048);
        let refused = read(body(), 2047).await.unwrap_err();
        assert_eq!(refused.to_string(), "the answer has more than 1 KiB");
        assert_eq!((size(5), size(OBJECT)), ("5 bytes".to_owned(), "8 MiB".to_owned()));
    }
}
