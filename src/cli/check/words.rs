//! The report of `check` for people.

use std::fmt::Write as _;

use super::Report;

impl Report {
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (reading, trend) = (&self.reading, &self.trend);
        writeln!(text, "sample       {}", self.sample.display())?;
        writeln!(
            text,
            "records      {}: {} decoded, {} ignored, {} tombstones, {} malformed",
            reading.records, reading.decoded, reading.ignored, reading.tombstones, reading.malformed
        )?;
        let kinds: Vec<_> = reading.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        writeln!(text, "events       {}: {}", reading.events, kinds.join(", "))?;
        let ends = (reading.time_first.as_deref(), reading.time_last.as_deref());
        writeln!(text, "time         {} to {}", ends.0.unwrap_or("-"), ends.1.unwrap_or("-"))?;
        writeln!(text, "users        {}, items {}", reading.users, reading.items)?;
        let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let (least, most) = (optional(reading.reward_min), optional(reading.reward_max));
        writeln!(text, "rewards      {least} to {most}, least propensity {}", optional(reading.propensity_min))?;
        writeln!(
            text,
            "sessions     {} of {} steps, mean return {}",
            trend.trajectories,
            trend.steps,
            optional(trend.mean_return)
        )?;
        for example in &reading.examples {
            writeln!(
                text,
                "\nThe first {}, field by field ({}):",
                example.explanation.events.first().map_or("record", |event| event.kind),
                example.place
            )?;
            for field in &example.explanation.fields {
                let default = if field.is_default { " (default)" } else { "" };
                writeln!(text, "  {:<22} {:<24} {}{default}", field.field, field.source, field.found)?;
            }
        }
        if !reading.first_errors.is_empty() {
            writeln!(text, "\nMalformed, the first of them:")?;
        }
        for error in &reading.first_errors {
            let field = error.field.unwrap_or("document");
            // A line of a file is a document of one line, and two numbers of lines would be one too many.
            let detail = match error.place.line {
                Some(_) => error.detail.replace(" at line 1 column ", " at column "),
                None => error.detail.clone(),
            };
            writeln!(text, "  {}: {field}: {detail}", error.place)?;
        }
        if !reading.warnings.is_empty() {
            writeln!(text)?;
        }
        for warning in &reading.warnings {
            writeln!(text, "warning: {warning}")?;
        }
        if !self.ok {
            writeln!(
                text,
                "\n{:.1} % are malformed, dead_letters.max_malformed_share accepts {:.1} %",
                100.0 * self.malformed_share,
                100.0 * self.max_malformed_share
            )?;
        }
        Ok(())
    }
}
