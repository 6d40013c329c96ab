//! The page of a backtest: its table and its picture in one file that needs nothing else. Not what stands in them.

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:2rem auto;max-width:960px;padding:0 1rem;
background:#fff;color:#1f2937}
h1{font-size:1.4rem;margin:0}p.head,li{color:#6b7280}table{border-collapse:collapse;margin:1.2rem 0;min-width:30rem}
th,td{padding:.3rem 1rem .3rem 0;border-bottom:1px solid #e5e7eb;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto}ul{padding-left:1.2rem}
@media (prefers-color-scheme:dark){body{background:#0b1220;color:#f3f4f6}th,td{border-color:#273244}p.head,li{color:#9ca3af}}";

/// A page with a title, a table of what each row is, of the one and of the other, and their difference; notes, and a picture.
pub fn html(title: &str, head: &str, rows: &[[String; 4]], notes: &[String], picture: &str) -> String {
    let both = rows.iter().any(|row| !row[2].is_empty());
    let cells = |row: &[String; 4], tag: &str| -> String {
        let shown = row.iter().take(if both { 4 } else { 2 });
        shown.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let heading = ["", "this autoscaler", "HPA", "difference"].map(str::to_owned);
    let body: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
    let notes: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let (title, head, heading) = (escape(title), escape(head), cells(&heading, "th"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"head\">{head}</p>\n{picture}<table>\n<tr>{heading}</tr>\n{body}</table>\n<ul>\n{notes}</ul>\n</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
