//! Pages that a person reads: one file that needs nothing beside itself.

mod target;

use super::head::Head;
use super::visible;
pub(super) use target::Target;

const STYLE: &str = "
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1320px; padding: 24px 24px 64px; color: #222; background: #fff;
  font: 15px/1.5 system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; }
h1 { font-size: 28px; margin: 0 0 4px; }
h2 { font-size: 21px; margin: 40px 0 6px; }
h3 { font-size: 16px; margin: 22px 0 4px; }
p { margin: 4px 0 10px; max-width: 72em; }
.soft { color: #555; }
code { font: 13px ui-monospace, 'SFMono-Regular', Menlo, Consolas, monospace; }
svg { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 6px; text-align: left; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }
td.n, th.n { text-align: right; }
td.bad { color: #a33c00; white-space: normal; }
tr.first td { border-top: 2px solid #bbb; }
li { margin: 3px 0; }
.narrow td { white-space: normal; }
.narrow td:first-child { min-width: 12em; }
.headline { font-size: 21px; margin: 12px 0 2px; }
.bad { color: #a33c00; }
";

/// A whole page.
pub(super) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

/// What a page begins with.
pub(super) fn head(title: &str, head: &Head) -> String {
    let line = format!(
        "{} \u{b7} wgpu-norm {} \u{b7} {} \u{b7} {} CPU threads",
        head.date,
        head.version,
        head.system(),
        head.threads
    );
    format!(
        "<h1>{}</h1>\n<p class=\"soft\">{}<br><code>{}</code></p>\n",
        escaped(title),
        escaped(&line),
        escaped(&head.command)
    )
}

/// A part of the page; nothing where there is nothing in it.
pub(super) fn section(title: &str, about: &str, inside: &str) -> String {
    match (inside, about) {
        ("", _) => String::new(),
        (inside, "") => format!("<h2>{title}</h2>\n{inside}"),
        (inside, about) => format!("<h2>{title}</h2>\n<p class=\"soft\">{about}</p>\n{inside}"),
    }
}

pub(super) fn cell(tag: &str, text: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!("<{tag}{class}>{}</{tag}>", escaped(text))
}

/// Text as a page shows it: names come from drivers and files.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
