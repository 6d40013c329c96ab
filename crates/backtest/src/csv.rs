//! Measurements as a table of text: a header `time,<metric>,…`, then a row for each moment. An error says in which line and
//! column it is. Nothing of what the columns mean.

use jiff::Timestamp;

use crate::feed::{Feed, FeedError, Row};

/// Why a table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// There is nothing.
    #[error("line 1: it is empty: begin with a header such as time,cpu,queue")]
    Empty,
    /// The header is no header.
    #[error("line 1, column {column}: {message}")]
    Header {
        /// Which column, from 1.
        column: usize,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// A row has another number of cells than the header.
    #[error(
        "line {line}: it has {found} cells and the header has {expected}: leave a cell empty where there is no sample"
    )]
    Cells {
        /// Which line, from 1.
        line: usize,
        /// How many cells it has.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// A cell says nothing that can be read.
    #[error("line {line}, column {column} ({name}): {message}")]
    Cell {
        /// Which line, from 1.
        line: usize,
        /// Which column, from 1.
        column: usize,
        /// What the column is called.
        name: String,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// The rows make no feed.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// Reads a table. Times are RFC 3339 or seconds since 1970; an empty cell, or `NaN`, is no sample.
pub fn read(text: &str) -> Result<Feed, CsvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or(CsvError::Empty)?;
    let columns = header_of(header)?;
    let mut rows: Vec<Row> = vec![];
    for (line, text) in lines {
        let row = row(line, text, &columns)?;
        if rows.last().is_some_and(|before| before.at >= row.at) {
            let message =
                "it is not after the time before it: sort the rows by time, and leave out those that come twice";
            return Err(CsvError::Cell { line, column: 1, name: "time".to_owned(), message: message.to_owned() });
        }
        rows.push(row);
    }
    Ok(Feed::new(columns, rows)?)
}

fn header_of(line: &str) -> Result<Vec<String>, CsvError> {
    let mut cells = cells(line);
    let bad = |column: usize, message: String| CsvError::Header { column, message };
    let first = cells.next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("time") {
        return Err(bad(1, format!("{first:?} is not time: the first column holds the times, under the heading time")));
    }
    let columns: Vec<String> = cells.map(str::to_owned).collect();
    if columns.is_empty() {
        return Err(bad(2, "no metric is there: write the names of the metrics behind time".to_owned()));
    }
    for (n, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(bad(n + 2, "it has no name: write the name of a metric".to_owned()));
        }
        if columns[..n].contains(name) {
            return Err(bad(n + 2, format!("{name} is there twice: leave one of the two out")));
        }
    }
    Ok(columns)
}

fn row(line: usize, text: &str, columns: &[String]) -> Result<Row, CsvError> {
    let mut cells_of = cells(text);
    let first = cells_of.next().unwrap_or_default();
    let at = time(first).ok_or_else(|| {
        let message = format!("{first:?} is no time: write 2026-03-02T09:00:00Z, or seconds since 1970");
        CsvError::Cell { line, column: 1, name: "time".to_owned(), message }
    })?;
    let mut values = Vec::with_capacity(columns.len());
    for (n, (cell, name)) in cells_of.by_ref().zip(columns).enumerate() {
        let value = number(cell).ok_or_else(|| {
            let message = format!("{cell:?} is no number: write one such as 12.5, or leave the cell empty");
            CsvError::Cell { line, column: n + 2, name: name.clone(), message }
        })?;
        values.push(value);
    }
    let found = cells(text).count();
    if found != columns.len() + 1 {
        return Err(CsvError::Cells { line, found, expected: columns.len() + 1 });
    }
    Ok(Row { at, values })
}

/// The cells of a line. One in quotes may hold commas.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let end = text.bytes().position(|b| {
            quoted ^= b == b'"';
            b == b',' && !quoted
        });
        let (cell, after) = end.map_or((text, None), |end| (&text[..end], Some(&text[end + 1..])));
        rest = after;
        let cell = cell.trim();
        Some(cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell))
    })
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok().filter(|_| seconds.is_finite());
    }
    text.parse().ok()
}

/// A number, or nothing where there is no sample. `None` if it is neither.
fn number(text: &str) -> Option<Option<f64>> {
    if text.is_empty() || text.eq_ignore_ascii_case("nan") {
        return Some(None);
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str, expected: &str) {
        assert_eq!(read(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn rows_are_read_with_both_kinds_of_times_and_gaps() {
        let text = "\u{feff}time,cpu,\"a,b\"\r\n2026-03-02T09:00:00Z,1.5,\r\n1772442060, NaN ,2e3\n\n1772442120.5,,\n";
        let feed = read(text).unwrap();
        assert_eq!(feed.columns, ["cpu", "a,b"]);
        assert_eq!((feed.len(), feed.end().as_millisecond()), (3, 1_772_442_120_500));
        let mut from = 0;
        assert_eq!(feed.at(feed.start(), &mut from).unwrap().values, [Some(1.5), None]);
        let second = Timestamp::from_second(1_772_442_060).unwrap();
        assert_eq!(feed.at(second, &mut from).unwrap().values, [None, Some(2000.0)]);
    }

    #[test]
    fn errors_name_their_line_and_column() {
        fails("", "line 1: it is empty: begin with a header such as time,cpu,queue");
        fails(
            "when,cpu",
            "line 1, column 1: \"when\" is not time: the first column holds the times, under the heading time",
        );
        fails("time,cpu,cpu", "line 1, column 3: cpu is there twice: leave one of the two out");
        fails("time", "line 1, column 2: no metric is there: write the names of the metrics behind time");
        fails(
            "time,cpu\n0,1\n60,much",
            "line 3, column 2 (cpu): \"much\" is no number: write one such as 12.5, or leave the cell empty",
        );
        fails(
            "time,cpu\nnoon,1",
            "line 2, column 1 (time): \"noon\" is no time: write 2026-03-02T09:00:00Z, or seconds since 1970",
        );
        fails(
            "time,cpu\n0,1,2",
            "line 2: it has 3 cells and the header has 2: leave a cell empty where there is no sample",
        );
        fails(
            "time,cpu\n60,1\n\n0,2",
            "line 4, column 1 (time): it is not after the time before it: sort the rows by time, and leave out those that \
             come twice",
        );
        fails(
            "time,cpu\n0,1",
            "there are 1 rows of measurements: at least two are needed, to know how far apart they are",
        );
    }
}
