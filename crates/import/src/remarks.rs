//! What there is to say about a conversion. Not how it is shown, and never a value that may be secret.

use std::fmt::{Display, Formatter};

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Something that the object said is not in the result.
    Lost,
    /// It is in the result, and does not mean quite the same there; or something is to be known.
    Differs,
}

/// Something that is lost or differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub weight: Weight,
    /// The field of the object that it is about.
    pub field: String,
    /// What became of it, and what to do.
    pub message: String,
}

impl Display for Remark {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let weight = match self.weight {
            Weight::Lost => "not carried over",
            Weight::Differs => "note",
        };
        // One line, whatever names the object holds: it stands in comments.
        let text = format!("{weight}: {}: {}", self.field, self.message);
        f.write_str(&text.replace(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}', " "))
    }
}

/// The remarks on one object, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Remarks(pub(crate) Vec<Remark>);

impl Remarks {
    /// Something is not in the result.
    pub(crate) fn lost(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Remark { weight: Weight::Lost, field: field.into(), message: message.into() });
    }

    /// Something differs, or is to be known.
    pub(crate) fn note(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Remark { weight: Weight::Differs, field: field.into(), message: message.into() });
    }
}
