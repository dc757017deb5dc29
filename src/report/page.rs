//! The HTML around the charts.

use super::chart::{Chart, Format, Point, Series, number};
use super::{CrashProof, Report, ReportError, Table};

const STYLE: &str = include_str!("style.css");
/// Rows of the table of numbers under a chart, evenly spaced over the line.
const TABLE_ROWS_MAX: usize = 12;

pub(super) fn html(report: &Report) -> Result<String, ReportError> {
    let mut page = Page::default();
    page.put(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<header>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n</header>\n",
        title = escaped(&report.title),
        lead = escaped(&report.lead),
    ));
    headline(report, &mut page);
    for (index, table) in report.tables.iter().enumerate() {
        side_by_side(table, index, &mut page);
    }
    for (index, chart) in report.charts.iter().enumerate() {
        figure(chart, index, &mut page)?;
    }
    let mut charts = report.charts.len();
    for (index, section) in report.sections.iter().enumerate() {
        page.put(&format!(
            "<section class=\"card\" aria-labelledby=\"section-{index}\">\n<h2 id=\"section-{index}\">{}</h2>\n<p>{}</p>\n",
            escaped(&section.title),
            escaped(&section.lead),
        ));
        section.tables.iter().for_each(|table| page.put(&table.to_html()));
        section.sentences.iter().for_each(|sentence| page.put(&format!("<p>{}</p>\n", escaped(sentence))));
        page.put("</section>\n");
        for chart in &section.charts {
            figure(chart, charts, &mut page)?;
            charts += 1;
        }
    }
    if let Some(crash) = &report.crash {
        crash_section(crash, &mut page);
    }
    if !report.reading.is_empty() {
        page.put("<section class=\"card\" aria-labelledby=\"reading\">\n<h2 id=\"reading\">How to read this</h2>\n");
        report.reading.iter().for_each(|paragraph| page.put(&format!("<p>{}</p>\n", escaped(paragraph))));
        page.put("</section>\n");
    }
    pairs("summary", "What was counted", &report.summary, &mut page);
    pairs("settings", "Settings of this run", &report.settings, &mut page);
    page.put(&format!("<footer>{}</footer>\n</main>\n</body>\n</html>\n", escaped(&report.made_by)));
    Ok(page.text)
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

fn headline(report: &Report, page: &mut Page) {
    if report.headline.is_empty() {
        return;
    }
    page.put("<dl class=\"headline\">\n");
    for figure in &report.headline {
        page.put(&format!(
            "<div class=\"card\"><dt>{}</dt><dd class=\"value\">{}</dd><dd class=\"note\">{}</dd></div>\n",
            escaped(&figure.label),
            escaped(&figure.value),
            escaped(&figure.note),
        ));
    }
    page.put("</dl>\n");
}

/// A table as a section of its own.
fn side_by_side(table: &Table, index: usize, page: &mut Page) {
    page.put(&format!(
        "<section class=\"card\" aria-labelledby=\"table-{index}\">\n<h2 id=\"table-{index}\">{}</h2>\n{}</section>\n",
        escaped(&table.title),
        table.to_compared_html(),
    ));
}

fn figure(chart: &Chart, index: usize, page: &mut Page) -> Result<(), ReportError> {
    page.put(&format!(
        "<section class=\"card\" aria-labelledby=\"chart-{index}\">\n<h2 id=\"chart-{index}\">{}</h2>\n<p>{}</p>\n",
        escaped(&chart.title),
        escaped(&chart.explanation),
    ));
    match (chart.svg(Format::Wide)?, chart.svg(Format::Narrow)?) {
        (Some(wide), Some(narrow)) => {
            legend(chart, page);
            page.put(&format!("<div class=\"wide\">{wide}</div>\n<div class=\"narrow\">{narrow}</div>\n"));
            numbers(chart, page);
        }
        (None, _) | (_, None) => page.put("<p class=\"empty\">Nothing was measured.</p>\n"),
    }
    let left_out = chart.left_out();
    if left_out > 0 {
        page.put(&format!("<p class=\"note\">{left_out} values were no finite numbers and are not drawn.</p>\n"));
    }
    page.put("</section>\n");
    Ok(())
}

fn legend(chart: &Chart, page: &mut Page) {
    page.put("<ul class=\"legend\">\n");
    for series in &chart.series {
        page.put(&format!(
            "<li><span class=\"swatch {}\"></span>{}</li>\n",
            series.tone.class(),
            escaped(&series.name)
        ));
    }
    for level in &chart.levels {
        let (class, name) = (level.tone.class(), escaped(&level.name));
        page.put(&format!(
            "<li><span class=\"swatch dashed {class}\"></span>{name} <b>{}</b></li>\n",
            number(level.value)
        ));
    }
    page.put("</ul>\n");
}

/// The lines as tables, for those who do not see them and those who want to copy them.
fn numbers(chart: &Chart, page: &mut Page) {
    page.put("<details><summary>The numbers</summary>\n<div class=\"scroll\">\n");
    for series in &chart.series {
        page.put(&format!(
            "<table><caption>{}</caption><thead><tr><th scope=\"col\">{}</th><th scope=\"col\">{}</th>\
             <th scope=\"col\">interval</th></tr></thead><tbody>\n",
            escaped(&series.name),
            escaped(&chart.x_label),
            escaped(&chart.y_label),
        ));
        for point in spaced(series) {
            let interval =
                point.interval.map_or(String::new(), |(low, high)| format!("{} to {}", number(low), number(high)));
            let (x, y) = (number(point.x), number(point.y));
            page.put(&format!("<tr><td>{x}</td><td>{y}</td><td>{interval}</td></tr>\n"));
        }
        page.put("</tbody></table>\n");
    }
    page.put("</div></details>\n");
}

/// Evenly spaced points, the first and the last among them.
fn spaced(series: &Series) -> impl Iterator<Item = &Point> {
    let last = series.points.len().saturating_sub(1);
    let rows = series.points.len().min(TABLE_ROWS_MAX);
    (0..rows).filter_map(move |row| series.points.get(row * last / rows.saturating_sub(1).max(1)))
}

fn crash_section(crash: &CrashProof, page: &mut Page) {
    let verdict = if crash.is_identical() {
        "<p class=\"verdict good\">Identical: the crash changed nothing.</p>\n"
    } else {
        "<p class=\"verdict bad\">Different: this must not happen.</p>\n"
    };
    page.put(&format!(
        "<section class=\"card\" aria-labelledby=\"crash\">\n<h2 id=\"crash\">Killed on the way</h2>\n\
         <p>The learner got SIGKILL {}, with work done that no checkpoint held yet. It started again from its newest \
         checkpoint. The same events were also learned without a kill. A digest covers positions, open sessions, \
         window, weights, optimizer and counters: two equal digests mean the same bits.</p>\n{verdict}",
        times(crash.kills.len()),
    ));
    page.put(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Kill</th><th scope=\"col\">records read</th>\
         <th scope=\"col\">of these sealed</th><th scope=\"col\">read again</th><th scope=\"col\">went on from</th>\
         </tr></thead><tbody>\n",
    );
    for (index, kill) in crash.kills.iter().enumerate() {
        page.put(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            index + 1,
            number(kill.records_read as f64),
            number(kill.records_sealed as f64),
            number(kill.records_read.saturating_sub(kill.records_sealed) as f64),
            escaped(&kill.checkpoint),
        ));
    }
    page.put(&format!(
        "</tbody></table></div>\n<dl class=\"digests\"><dt>never killed</dt><dd><code>{}</code></dd>\
         <dt>killed and resumed</dt><dd><code>{}</code></dd></dl>\n</section>\n",
        escaped(&crash.straight_digest),
        escaped(&crash.resumed_digest),
    ));
}

fn times(count: usize) -> String {
    match count {
        1 => String::from("once"),
        2 => String::from("twice"),
        _ => format!("{count} times"),
    }
}

fn pairs(id: &str, title: &str, rows: &[(String, String)], page: &mut Page) {
    if rows.is_empty() {
        return;
    }
    page.put(&format!(
        "<section class=\"card\" aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n<div class=\"scroll\">\
         <table class=\"pairs\"><tbody>\n"
    ));
    for (name, value) in rows {
        page.put(&format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value)));
    }
    page.put("</tbody></table></div>\n</section>\n");
}

/// Text that may stand between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are no XML; a replacement shows that something was there.
            control if control.is_control() && control != '\n' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}
