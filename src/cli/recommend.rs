//! `recommend`: questions on standard input, answers on standard output, a line each.

use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::Arc;

use super::{args, plan, publish, settings_from};
use crate::checkpoint::RealDisk;
use crate::exit::{Exit, Failure};
use crate::publish::StateShape;
use crate::serve::{Asking, Draw, Histories, HistoryLimits, Recommender, Refused, answer};
use crate::settings::Settings;

/// Far more than a session's events need: a line without an end must not fill the memory.
const LINE_BYTES_MAX: usize = 64 << 20;

pub fn recommend(arguments: &args::Recommend) -> Result<Exit, Failure> {
    let settings = settings_from(&arguments.settings)?;
    let (histories, shape) = histories(&settings)?;
    let publication = crate::publish::read(&RealDisk, &arguments.policy).map_err(publish::failed)?;
    let recommender = Recommender::new(publication, &shape, arguments.temperature);
    let recommender = recommender.map_err(|error| Exit::Config.because(error))?;
    tracing::info!(version = recommender.version(), temperature = recommender.temperature(), "answering");
    let mut draw = if arguments.sample { Draw::sampled(arguments.seed) } else { Draw::BestFirst };
    let asking = Asking::Line { explain: arguments.explain };
    let answer_line = |line: &[u8]| match answer(&histories, &recommender, &mut draw, asking, line) {
        Ok(answer) => serde_json::to_vec(&answer),
        Err(error) => serde_json::to_vec(&Refused { error: error.to_string() }),
    };
    match converse(io::stdin().lock(), io::stdout().lock(), answer_line) {
        Ok(()) => Ok(Exit::Success),
        // Whoever asked has gone, which is how most of them end.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(error) => Err(Exit::Io.because(error)),
    }
}

/// The sessions to be served and how these settings build state vectors.
pub fn histories(settings: &Settings) -> Result<(Histories, StateShape), Failure> {
    let decoder = Arc::new(plan::decoder(settings)?);
    let encoder = Arc::new(plan::encoder(settings, &decoder)?);
    let shape = StateShape::of(&encoder);
    let rules = plan::session_rules(settings);
    let limits = HistoryLimits { sessions: settings.serve.max_sessions, bytes: settings.serve.max_bytes };
    Ok((Histories::new(decoder, encoder, rules, limits), shape))
}

/// Every line is answered before the next is read, and the answer is flushed at once. Empty lines are passed over.
fn converse(
    mut input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(&[u8]) -> Result<Vec<u8>, serde_json::Error>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let mut answer = match text.len() > LINE_BYTES_MAX {
            true => serde_json::to_vec(&Refused { error: format!("a line of more than {LINE_BYTES_MAX} bytes") })?,
            false => answer(text)?,
        };
        answer.push(b'\n');
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

/// The next line into `line`, of one that is too long only the beginning; `false` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        if chunk.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let (taken, used) = end.map_or((chunk.len(), chunk.len()), |end| (end, end + 1));
        // One byte beyond the limit is enough to see that it is too long.
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&chunk[..taken.min(room)]);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_answered_in_turn_and_the_last_needs_no_end() {
        let mut output = Vec::new();
        let input = io::BufReader::with_capacity(3, &b"one\n\n  two \r\nthree"[..]);
        converse(input, &mut output, |line| Ok(line.to_ascii_uppercase())).unwrap();
        assert_eq!(output, b"ONE\nTWO\nTHREE\n");
    }
}
