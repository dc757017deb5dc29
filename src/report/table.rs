//! Rows of text under a title, for a page and for a document.

use super::page::escaped;

/// Things side by side. Every row is as long as the header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    pub title: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<T: Into<String>>(title: impl Into<String>, header: impl IntoIterator<Item = T>) -> Table {
        Table { title: title.into(), header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let safe: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            format!("| {} |\n", safe.join(" | "))
        };
        let rule = vec![String::from("---"); self.header.len()];
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("**{}**\n\n{}{}{rows}", self.title, line(&self.header), line(&rule))
    }

    /// Under its title.
    pub(super) fn to_html(&self) -> String {
        self.html("", &format!("<caption>{}</caption>", escaped(&self.title)))
    }

    /// For a place that has the title already and wants all columns beside each other.
    pub(super) fn to_compared_html(&self) -> String {
        self.html(" class=\"compared\"", "")
    }

    fn html(&self, class: &str, caption: &str) -> String {
        let row = |open: &str, tag: &str, cells: &[String]| -> String {
            let cells: String = cells.iter().map(|cell| format!("<{open}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.rows.iter().map(|cells| row("td", "td", cells) + "\n").collect();
        let header = row("th scope=\"col\"", "th", &self.header);
        format!(
            "<div class=\"scroll\" tabindex=\"0\"><table{class}>{caption}<thead>{header}</thead><tbody>\n{rows}</tbody></table></div>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_rows_in_both_forms_and_cannot_break_out_of_them() {
        let mut table = Table::new("T", ["a", "b"]);
        table.row(["1|2", "<b>"]);
        assert_eq!(table.to_markdown(), "**T**\n\n| a | b |\n| --- | --- |\n| 1\\|2 | <b> |\n");
        let html = table.to_html();
        assert!(html.contains("<th scope=\"col\">a</th>") && html.contains("<td>&lt;b&gt;</td>"), "{html}");
    }
}
