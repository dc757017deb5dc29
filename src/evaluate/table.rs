//! A policy as a table of action probabilities in CSV.
//!
//! Two forms, told apart by the first line:
//! * numbers alone: line i is the item with the id i (from 0), column j the position j; one column is for all positions;
//! * with a header: `item` and `probability`, and any of `position`, `session` and `step` (the number of the decision in
//!   its session, from 0), which say where the line counts. Columns that are left out count everywhere.
//!
//! The probabilities of one place must sum to 1. An item that is not named there has probability 0.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord, Trim};
use thiserror::Error;

use crate::event::Id;

/// Rounded tables are still tables.
const SUM_SLACK: f64 = 1e-3;

#[derive(Debug, Clone)]
pub struct PolicyTable {
    keys: Keys,
    rows: HashMap<Where, Distribution>,
}

/// Which columns say where a line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keys {
    position: bool,
    session: bool,
    step: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Where {
    position: Option<u32>,
    session: Option<Id>,
    step: Option<u32>,
}

/// Item and probability, ordered by item.
pub type Distribution = Vec<(Id, f64)>;

/// A decision as a table knows it.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub position: Option<u32>,
    pub session: Option<&'a str>,
    pub step: u32,
}

#[derive(Debug, Error)]
pub enum TableError {
    #[error("the policy table is no CSV")]
    Csv(#[from] csv::Error),
    #[error("the policy table is empty")]
    Empty,
    #[error("the policy table has no column {0:?}; a table with a header needs item and probability")]
    NoColumn(&'static str),
    #[error(
        "the policy table has a column {0:?}, which means nothing; known are item, probability, position, session, step"
    )]
    UnknownColumn(String),
    #[error("line {line} of the policy table: {found:?} is not {wanted}")]
    NotANumber { line: u64, found: String, wanted: &'static str },
    #[error("line {line} of the policy table gives item {item} a second probability in the same place")]
    Twice { line: u64, item: String },
    #[error("the probabilities of {place} sum to {sum}, not to 1")]
    Sum { place: String, sum: f64 },
}

const PROBABILITY: &str = "a probability between 0 and 1";
const WHOLE: &str = "a whole number from 0";

impl PolicyTable {
    pub fn parse(text: &[u8]) -> Result<PolicyTable, TableError> {
        let mut reader = ReaderBuilder::new().has_headers(false).trim(Trim::All).comment(Some(b'#')).from_reader(text);
        let mut lines = reader.records();
        let first = lines.next().ok_or(TableError::Empty)??;
        let lines = lines.map(|line| line.map_err(TableError::from));
        let is_matrix = first.iter().all(|field| field.parse::<f64>().is_ok());
        let table = match is_matrix {
            true => matrix(std::iter::once(Ok(first)).chain(lines)),
            false => listed(&Columns::of(&first)?, lines),
        }?;
        table.check()
    }

    /// The distribution in force at a decision; `None` if the table has none for it.
    pub fn at(&self, decision: Circumstances<'_>) -> Option<&Distribution> {
        self.rows.get(&Where {
            position: if self.keys.position { Some(decision.position?) } else { None },
            session: if self.keys.session { Some(decision.session?.into()) } else { None },
            step: self.keys.step.then_some(decision.step),
        })
    }

    pub fn needs_position(&self) -> bool {
        self.keys.position
    }

    /// Whether the position alone says which distribution is in force.
    pub fn is_fixed(&self) -> bool {
        !self.keys.session && !self.keys.step
    }

    fn check(mut self) -> Result<PolicyTable, TableError> {
        let mut places: Vec<&Where> = self.rows.keys().collect();
        places.sort();
        for place in places {
            let sum = self.rows.get(place).into_iter().flatten().map(|(_, probability)| probability).sum::<f64>();
            if (sum - 1.0).abs() > SUM_SLACK {
                return Err(TableError::Sum { place: place.in_words(), sum });
            }
        }
        self.rows.values_mut().for_each(|row| row.sort_by(|(left, _), (right, _)| left.cmp(right)));
        Ok(self)
    }
}

/// The probability of an item.
pub fn probability(distribution: &Distribution, item: &str) -> f64 {
    let found = distribution.binary_search_by(|(other, _)| (**other).cmp(item));
    found.map_or(0.0, |at| distribution[at].1)
}

fn matrix(lines: impl Iterator<Item = Result<StringRecord, TableError>>) -> Result<PolicyTable, TableError> {
    let mut columns: Vec<Distribution> = Vec::new();
    for (item, line) in lines.enumerate() {
        let line = line?;
        columns.resize(line.len(), Vec::new());
        for (column, field) in columns.iter_mut().zip(&line) {
            column.push((item.to_string().into(), read_probability(&line, field)?));
        }
    }
    let keys = Keys { position: columns.len() > 1, session: false, step: false };
    let place = |position: u32| Where { position: keys.position.then_some(position), session: None, step: None };
    Ok(PolicyTable { keys, rows: (0..).map(place).zip(columns).collect() })
}

/// Where the columns of a table with a header are.
struct Columns {
    item: usize,
    probability: usize,
    position: Option<usize>,
    session: Option<usize>,
    step: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Columns, TableError> {
        const KNOWN: [&str; 5] = ["item", "probability", "position", "session", "step"];
        if let Some(unknown) = header.iter().find(|name| !KNOWN.contains(name)) {
            return Err(TableError::UnknownColumn(unknown.to_owned()));
        }
        let find = |wanted: &str| header.iter().position(|name| name == wanted);
        Ok(Columns {
            item: find("item").ok_or(TableError::NoColumn("item"))?,
            probability: find("probability").ok_or(TableError::NoColumn("probability"))?,
            position: find("position"),
            session: find("session"),
            step: find("step"),
        })
    }
}

fn listed(
    columns: &Columns,
    lines: impl Iterator<Item = Result<StringRecord, TableError>>,
) -> Result<PolicyTable, TableError> {
    let keys =
        Keys { position: columns.position.is_some(), session: columns.session.is_some(), step: columns.step.is_some() };
    let mut rows: HashMap<Where, HashMap<Id, f64>> = HashMap::new();
    for line in lines {
        let line = line?;
        let field = |column: usize| line.get(column).unwrap_or_default();
        let whole = |column: Option<usize>| column.map(|column| read_whole(&line, field(column))).transpose();
        let place = Where {
            position: whole(columns.position)?,
            session: columns.session.map(|column| field(column).into()),
            step: whole(columns.step)?,
        };
        let item = field(columns.item);
        let probability = read_probability(&line, field(columns.probability))?;
        if rows.entry(place).or_default().insert(item.into(), probability).is_some() {
            return Err(TableError::Twice { line: line_of(&line), item: item.to_owned() });
        }
    }
    let rows = rows.into_iter().map(|(place, row)| (place, row.into_iter().collect())).collect();
    Ok(PolicyTable { keys, rows })
}

fn read_probability(line: &StringRecord, field: &str) -> Result<f64, TableError> {
    let number = field.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| refused(line, field, PROBABILITY))
}

fn read_whole(line: &StringRecord, field: &str) -> Result<u32, TableError> {
    field.parse().map_err(|_| refused(line, field, WHOLE))
}

fn refused(line: &StringRecord, field: &str, wanted: &'static str) -> TableError {
    TableError::NotANumber { line: line_of(line), found: field.to_owned(), wanted }
}

fn line_of(line: &StringRecord) -> u64 {
    line.position().map_or(0, csv::Position::line)
}

impl Where {
    fn in_words(&self) -> String {
        let parts = [
            self.position.map(|position| format!("position {position}")),
            self.session.as_ref().map(|session| format!("session {session}")),
            self.step.map(|step| format!("step {step}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "the policy table".to_owned() } else { parts.join(", ") }
    }
}
