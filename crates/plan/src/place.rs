//! Where in an object something could not be read: steps and a path for people instead of a column. Not a parser: it walks over
//! text that a parser has accepted up to there.

use std::fmt::Write;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    Item(usize),
}

/// What is open around a place.
enum Frame {
    Object(Option<String>),
    Array(usize),
}

/// The path of the value at a position as `serde_json` counts it; empty at the top.
pub fn path(json: &[u8], line: usize, column: usize) -> String {
    let path = in_words("", &steps(json, line, column));
    path.strip_prefix('.').map_or(path.clone(), str::to_owned)
}

/// A path for people.
pub(crate) fn in_words(root: &str, path: &[Step]) -> String {
    path.iter().fold(root.to_owned(), |mut words, step| {
        let _infallible = match step {
            Step::Field(name) => write!(words, ".{name}"),
            Step::Item(index) => write!(words, "[{index}]"),
        };
        words
    })
}

/// The steps to the value at a position as `serde_json` counts it.
pub(crate) fn steps(json: &[u8], line: usize, column: usize) -> Vec<Step> {
    let starts = json.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len);
    let end = starts.sum::<usize>() + column;
    let mut open: Vec<Frame> = vec![];
    let mut at = 0;
    while let Some(byte) = json.get(at).filter(|_| at < end) {
        match (byte, open.last_mut()) {
            (b'{', _) => open.push(Frame::Object(None)),
            (b'[', _) => open.push(Frame::Array(0)),
            (b'}' | b']', _) => _ = open.pop(),
            (b',', Some(Frame::Object(key))) => *key = None,
            (b',', Some(Frame::Array(index))) => *index += 1,
            (b'"', frame) => {
                let text = string(json.get(at + 1..).unwrap_or_default());
                if let Some(Frame::Object(key @ None)) = frame {
                    *key = Some(String::from_utf8_lossy(text).into_owned());
                }
                at += text.len() + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let step = |frame| match frame {
        Frame::Object(key) => key.map(Step::Field),
        Frame::Array(index) => Some(Step::Item(index)),
    };
    open.into_iter().filter_map(step).collect()
}

/// What is before the quote that ends a string.
fn string(text: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Read {
        name: String,
        spec: Spec,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Spec {
        window: i32,
        steps: Vec<Spec>,
    }

    fn place_of(json: &str) -> String {
        let error = serde_json::from_str::<Read>(json).unwrap_err();
        path(json.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn the_place_of_an_error_is_a_path() {
        let ok = r#"{"window": 1, "steps": []}"#;
        assert_eq!(place_of(r#"{"name": 1, "spec": {}}"#), "name");
        assert_eq!(place_of(r#"{"name": "a\"{\\", "spec": {"window": "many", "steps": []}}"#), "spec.window");
        let second = format!(r#"{{"name": "", "spec": {{"window": 1, "steps": [{ok}, {{"window": true}}]}}}}"#);
        assert_eq!(place_of(&second), "spec.steps[1].window");
        assert_eq!(place_of(&second.replace("true", "\n[]")), "spec.steps[1].window");
        assert_eq!(place_of(r#"{"name": "", "spec": {"window": 1}}"#), "spec");
        assert_eq!(place_of("1"), "");
    }
}
