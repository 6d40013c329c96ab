//! What was measured, row by row: a value of each column at a moment, or none. Not where it came from, and not what it is a
//! measure of.

use jiff::{SignedDuration, Timestamp};

/// What was measured at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// A value for each column; none where nothing was measured.
    pub values: Vec<Option<f64>>,
}

/// Rows in the order of time.
///
/// A row holds until the next one, but for no longer than twice the usual distance of two rows: what comes after that is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// What the columns are called.
    pub columns: Vec<String>,
    rows: Vec<Row>,
    holds: SignedDuration,
}

/// Why rows make no feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Too few.
    #[error("there are {0} rows of measurements: at least two are needed, to know how far apart they are")]
    TooFew(usize),
    /// Not in order.
    #[error("the time {0} is not after the one before it: sort the rows by time, and leave out those that come twice")]
    Disordered(Timestamp),
}

impl Feed {
    /// A feed of rows, which are in order.
    pub fn new(columns: Vec<String>, rows: Vec<Row>) -> Result<Self, FeedError> {
        if rows.len() < 2 {
            return Err(FeedError::TooFew(rows.len()));
        }
        let mut distances = Vec::with_capacity(rows.len());
        for pair in rows.windows(2) {
            let [before, after] = pair else { continue };
            if after.at <= before.at {
                return Err(FeedError::Disordered(after.at));
            }
            distances.push(before.at.duration_until(after.at));
        }
        let middle = distances.len() / 2;
        let usual = *distances.select_nth_unstable(middle).1;
        Ok(Self { columns, rows, holds: usual.saturating_add(usual) })
    }

    /// When the first row was measured.
    pub fn start(&self) -> Timestamp {
        self.rows.first().map_or(Timestamp::MIN, |row| row.at)
    }

    /// When the last row was measured.
    pub fn end(&self) -> Timestamp {
        self.rows.last().map_or(Timestamp::MIN, |row| row.at)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none. There always are two.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row that holds at a moment. `from` is where the last answer was found; moments are asked for in order.
    pub(crate) fn at(&self, at: Timestamp, from: &mut usize) -> Option<&Row> {
        while self.rows.get(*from + 1).is_some_and(|next| next.at <= at) {
            *from += 1;
        }
        let row = self.rows.get(*from).filter(|row| row.at <= at)?;
        (row.at.duration_until(at) < self.holds).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn feed(seconds: &[i64]) -> Result<Feed, FeedError> {
        let rows = seconds.iter().map(|s| Row { at: at(*s), values: vec![Some(*s as f64)] }).collect();
        Feed::new(vec!["m".to_owned()], rows)
    }

    #[test]
    fn a_row_holds_until_the_next_and_not_for_ever() {
        let feed = feed(&[0, 60, 120, 600]).unwrap();
        let mut from = 0;
        let mut value = |second| feed.at(at(second), &mut from).and_then(|row| row.values[0]);
        let asked = [-1, 0, 59, 60, 239, 240, 599, 600, 719, 720];
        let found = [None, Some(0.0), Some(0.0), Some(60.0), Some(120.0), None, None, Some(600.0), Some(600.0), None];
        assert_eq!(asked.map(&mut value), found);
    }

    #[test]
    fn rows_are_in_order_and_more_than_one() {
        assert_eq!(feed(&[5]), Err(FeedError::TooFew(1)));
        assert_eq!(feed(&[5, 5]), Err(FeedError::Disordered(at(5))));
    }
}
