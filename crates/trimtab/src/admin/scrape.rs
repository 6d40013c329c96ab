//! Texts that many want at once, the metrics and the list of what was decided: made once in a moment, and kept by few readers that are
//! slow. Not what is in them.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A text that is younger is given again.
const YOUNG: Duration = Duration::from_millis(250);
/// Texts of a kind that are being read at a time; while there are so many, the newest is given again, whatever its age.
const TEXTS: usize = 4;

struct Text(String);

struct Shared(Arc<Text>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.0.as_bytes()
    }
}

#[derive(Default)]
struct Made {
    newest: Option<(Instant, Arc<Text>)>,
    read: Vec<Weak<Text>>,
}

/// The texts of one kind that a server gives.
#[derive(Clone, Default)]
pub(super) struct Scrapes(Arc<Mutex<Made>>);

impl Scrapes {
    /// What `make` makes, or made a moment ago.
    pub(super) fn text(&self, make: impl FnOnce() -> String) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.read.retain(|text| text.strong_count() > 0);
        let many = made.read.len() >= TEXTS;
        if let Some((at, text)) = &made.newest
            && (at.elapsed() < YOUNG || many)
        {
            return Bytes::from_owner(Shared(text.clone()));
        }
        let text = Arc::new(Text(make()));
        made.newest = Some((Instant::now(), text.clone()));
        made.read.push(Arc::downgrade(&text));
        Bytes::from_owner(Shared(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_texts_are_kept_however_many_read() {
        let (scrapes, make) = (Scrapes::default(), || "text".to_owned());
        let first = scrapes.text(make);
        assert_eq!(first.as_ptr(), scrapes.text(make).as_ptr(), "made once in a moment");
        let mut slow = vec![];
        for _ in 0..TEXTS * 2 {
            slow.push(scrapes.text(make));
            if let Some((at, _)) = &mut scrapes.0.lock().unwrap().newest {
                *at -= YOUNG;
            }
        }
        let mut texts: Vec<_> = slow.iter().map(|text| text.as_ptr()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), TEXTS);
    }
}
