//! Tables: columns under headings, as kubectl prints them. Not what is in them.

use crate::paint::{BOLD, clip, pad, paint, width};

/// Rows under headings. The last column may be cut to fit so many columns of the terminal.
pub fn render(headings: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let widths: Vec<usize> = (0..headings.len())
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).chain([width(headings[i])]).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |cells: Vec<String>| {
        let last = cells.len().saturating_sub(1);
        let padded: Vec<String> =
            cells.iter().enumerate().map(|(i, c)| if i == last { c.clone() } else { pad(c, widths[i]) }).collect();
        let text = padded.join("   ");
        match columns {
            Some(columns) => clip(&text, columns),
            None => text,
        }
    };
    let head = line(headings.iter().map(|h| paint(BOLD, h)).collect());
    std::iter::once(head)
        .chain(rows.iter().map(|row| line(row.clone())))
        .map(|l| format!("{}\n", l.trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::plain;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["web".to_owned(), "a long message".to_owned()], vec!["checkout".to_owned(), String::new()]];
        let table = plain(&render(&["NAME", "MESSAGE"], &rows, None));
        assert_eq!(table, "NAME       MESSAGE\nweb        a long message\ncheckout\n");
        let narrow = plain(&render(&["NAME", "MESSAGE"], &rows, Some(16)));
        assert_eq!(narrow.lines().nth(1), Some("web        a lo…"));
    }
}
