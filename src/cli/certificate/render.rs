//! The tables as text, as Markdown and as a page.

use super::join::Joined;
use super::table::{Cell, Table};
use super::tally;
use crate::cli::page::{document, escaped, section};
use crate::cli::{one_line, words::short};
use serde_json::{Value, json};

const ADAPTERS: &str = "Adapters and operations";
const PROPERTIES: &str = "What each adapter is, has and does";
const WORST: &str = "Worst cases";

const CELLS: &str = "Cases that passed of those that were run; then the worst and the median error in units of the \
last place (ulp) of the type that a case stores. A value below a 1024th of the largest of its tensor counts in units of \
that: what is left near zero comes from larger values, and the worst error is there. The median is that of the cases' \
medians. \"all\" is all operations together.";
const DOES: &str = "Measured on the adapter itself: a normalization of a few values, and one invocation of arithmetic \
on values that no compiler knows. What an adapter lacks, the kernels do without, and no case is left out for it.";
const NEAREST: &str = "Those that failed, if any did; then those nearest to their tolerance, each where it is nearest.";

impl Joined<'_> {
    pub(in crate::cli) fn json(&self) -> Value {
        let adapter = |entry: &super::join::Entry<'_>| {
            let mut adapter = json!(entry.adapter);
            adapter["checked"] = json!(entry.head);
            tally::annotate(&mut adapter, entry);
            adapter
        };
        let (all, failed) = (self.rows().count(), self.failed());
        let adapters: Vec<Value> = self.entries().iter().map(adapter).collect();
        json!({ "adapters": adapters, "passed": all - failed, "failed": failed, "skipped": 0 })
    }

    /// Operations stand below one another: a terminal is no page wide.
    pub(in crate::cli) fn text(&self) -> String {
        let tables = [(ADAPTERS, self.matrix().transposed()), (PROPERTIES, self.properties()), (WORST, self.worst())];
        let tables = tables.map(|(title, table)| format!("\n{title}\n\n{}", table.text()));
        let headline: Vec<String> = self.headline().iter().map(|line| one_line(line)).collect();
        format!("{}\n{}", headline.join("\n"), tables.concat())
    }

    pub(in crate::cli) fn markdown(&self) -> String {
        let tables =
            self.tables().map(|(title, about, table)| format!("\n## {title}\n\n{about}\n\n{}", table.markdown()));
        let headline = self.headline().iter().map(|line| format!("- {}\n", in_markdown(line))).collect::<String>();
        format!("{headline}{}", tables.concat())
    }

    pub(in crate::cli) fn page(&self) -> String {
        let mut headline = self.headline().into_iter().map(|line| escaped(&line));
        let first = headline.next().unwrap_or_default();
        let class = if self.failed() > 0 { "headline bad" } else { "headline" };
        let more = headline.collect::<Vec<_>>().join("<br>");
        let tables = self.tables().map(|(title, about, table)| section(title, &escaped(about), &table.html()));
        let body =
            format!("<h1>wgpu-norm check</h1>\n<p class=\"{class}\">{first}</p>\n<p>{more}</p>\n{}", tables.concat());
        document("wgpu-norm check", &body)
    }

    fn tables(&self) -> [(&'static str, &'static str, Table); 3] {
        [(ADAPTERS, CELLS, self.matrix()), (PROPERTIES, DOES, self.properties()), (WORST, NEAREST, self.worst())]
    }
}

/// The widest that a column of text gets.
const WIDEST: usize = 60;

impl Table {
    fn text(&self) -> String {
        let text = |cell: &Cell| short(&one_line(&cell.lines.join("  ")), if cell.is_bad { 120 } else { WIDEST });
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        rows.iter().map(line).collect()
    }

    fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let line = |row: &Vec<Cell>| {
            let cell = |i: usize| {
                row.get(i).map_or(String::new(), |cell| {
                    cell.lines.iter().map(|line| in_markdown(line)).collect::<Vec<_>>().join("<br>")
                })
            };
            format!("| {} |\n", (0..columns).map(cell).collect::<Vec<_>>().join(" | "))
        };
        let mut lines = self.rows.iter().map(line);
        let head = lines.next().unwrap_or_default();
        format!("{head}|{}\n{}", " --- |".repeat(columns), lines.collect::<String>())
    }

    fn html(&self) -> String {
        let mut rows = self.rows.iter();
        let head: String = rows.next().into_iter().flatten().map(|cell| cell.html("th")).collect();
        let row =
            |row: &Vec<Cell>| format!("<tr>{}</tr>\n", row.iter().map(|cell| cell.html("td")).collect::<String>());
        let rows: String = rows.map(row).collect();
        format!("<div class=\"wide\"><table class=\"narrow\">\n<tr>{head}</tr>\n{rows}</table></div>\n")
    }
}

impl Cell {
    fn html(&self, tag: &str) -> String {
        let class = if self.is_bad { " class=\"bad\"" } else { "" };
        let lines: Vec<String> = self.lines.iter().map(|line| escaped(line)).collect();
        // A name of words joined by underscores may be broken where they are.
        let text = lines.join("<br>").replace('_', "_<wbr>");
        format!("<{tag}{class}>{text}</{tag}>")
    }
}

/// Text as Markdown shows it, and as nothing else: names come from drivers and files.
fn in_markdown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '!' | '~' | '#' => {
                shown.push('\\');
                shown.push(c);
            }
            c => shown.push(c),
        }
    }
    shown
}
