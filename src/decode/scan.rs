//! One strict pass over a document; most take the short way of [`super::quick`] first and need no other.
//!
//! Everything is visited, also what nobody asked for: `serde_json` does not look for duplicate keys, and skips ignored
//! strings without looking for lone surrogates. What the plan names is kept, borrowed from the document.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::keys::Seen;
use super::malformed::{Malformed, MalformedReason};
use super::mapping::Limits;
use super::plan::{Collect, Node, Plan, Scope};

/// What was found at the places of a plan.
#[derive(Debug, PartialEq)]
pub(super) struct Scan<'de> {
    /// The record's slots, then those of each element.
    pub slots: Vec<Found<'de>>,
    pub numbers: Vec<f64>,
    pub ids: Vec<Found<'de>>,
    /// What was found where the plan has `each`.
    pub slate: Slate,
}

/// A value at a place. Arrays and objects are told by what can be read from them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Found<'de> {
    #[default]
    Absent,
    Null,
    Boolean(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    Text(Cow<'de, str>),
    Numbers(Run),
    Ids(Run),
    /// An array whose elements are not all of the kind that was asked for.
    Mixed,
    Array,
    Object,
}

/// Neighbors in `numbers` or `ids`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Slate {
    #[default]
    Absent,
    NotAList,
    Elements(usize),
}

pub(super) fn scan<'de>(bytes: &'de [u8], plan: &Plan, limits: &Limits) -> Result<Scan<'de>, Malformed> {
    if bytes.len() as u64 > limits.bytes.0 {
        let detail = format!("{} bytes are more than decode.max_bytes = {}", bytes.len(), limits.bytes.0);
        return Err(Malformed::document(MalformedReason::TooLarge, detail));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| Malformed::document(MalformedReason::NotUtf8, error.to_string()))?;
    match super::quick::scan(text, plan, limits) {
        Some(scan) => Ok(scan),
        None => strictly(text, plan, limits),
    }
}

/// The judge of what is malformed, and the reference for the short way.
pub(super) fn strictly<'de>(text: &'de str, plan: &Plan, limits: &Limits) -> Result<Scan<'de>, Malformed> {
    let slots = std::iter::repeat_with(Found::default).take(plan.slots(Scope::Record)).collect();
    let scan = Scan { slots, numbers: Vec::new(), ids: Vec::new(), slate: Slate::Absent };
    let mut walk = Walk { scan, fault: None, plan, limits };
    let mut json = serde_json::Deserializer::from_str(text);
    let top =
        Visit { node: Some(plan.root(Scope::Record)), base: 0, collect: Collect::Nothing, depth: 0, walk: &mut walk };
    match top.deserialize(&mut json).and_then(|_| json.end()) {
        Ok(()) => Ok(walk.scan),
        Err(error) => Err(walk.fault.unwrap_or_else(|| syntax(&error))),
    }
}

fn syntax(error: &serde_json::Error) -> Malformed {
    let detail = error.to_string();
    // The category does not tell this one apart.
    let reason = if detail.starts_with("number out of range") {
        MalformedReason::NumberOutOfRange
    } else {
        MalformedReason::NotJson
    };
    Malformed::document(reason, detail)
}

/// What all visits of one document share.
struct Walk<'p, 'de> {
    scan: Scan<'de>,
    /// serde's errors carry only text; the reason travels beside them.
    fault: Option<Malformed>,
    plan: &'p Plan,
    limits: &'p Limits,
}

impl<'p, 'de> Walk<'p, 'de> {
    /// Visits the inside of an array or object of the plan's scope that starts at slot `base`.
    fn visit(&mut self, node: Option<&'p Node>, base: usize, collect: Collect, depth: u32) -> Visit<'_, 'p, 'de> {
        Visit { walk: self, node, base, collect, depth }
    }

    fn fail<E: Error>(&mut self, malformed: Malformed) -> E {
        self.fault = Some(malformed);
        E::custom("refused")
    }
}

/// Visits one value. Answers whether it is what the surrounding array wanted.
struct Visit<'w, 'p, 'de> {
    walk: &'w mut Walk<'p, 'de>,
    /// `None` below what the plan names.
    node: Option<&'p Node>,
    /// First slot of the scope.
    base: usize,
    /// What the surrounding array wants of its elements.
    collect: Collect,
    /// Arrays and objects around the value.
    depth: u32,
}

impl<'p, 'de> Visit<'_, 'p, 'de> {
    #[inline]
    fn put(&mut self, found: Found<'de>) {
        if let Some(slot) = self.node.and_then(|node| node.slot) {
            self.walk.scan.slots[self.base + slot] = found;
        }
    }

    /// Most values of a record are features: they take this short way.
    #[inline]
    fn number(mut self, number: f64, found: Found<'de>) -> bool {
        match self.collect {
            Collect::Nothing => {}
            Collect::Numbers => self.walk.scan.numbers.push(number),
            Collect::Ids => self.walk.scan.ids.push(found.clone()),
        }
        self.put(found);
        true
    }

    #[inline]
    fn scalar(mut self, found: Found<'de>) -> bool {
        let wanted = match self.collect {
            Collect::Nothing => true,
            Collect::Numbers => false,
            Collect::Ids => {
                self.walk.scan.ids.push(found.clone());
                true
            }
        };
        self.put(found);
        wanted
    }

    fn is_slate(&self) -> bool {
        self.node.is_some_and(|node| node.each)
    }

    fn descend<E: Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > self.walk.limits.depth {
            let detail = format!("nested deeper than decode.max_depth = {}", self.walk.limits.depth);
            return Err(self.walk.fail(Malformed::document(MalformedReason::TooDeep, detail)));
        }
        Ok(())
    }

    fn elements<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<Found<'de>, A::Error> {
        let collect = self.node.map_or(Collect::Nothing, |node| node.collect);
        let (numbers, ids) = (self.walk.scan.numbers.len(), self.walk.scan.ids.len());
        if collect == Collect::Numbers && numbers == 0 {
            self.walk.scan.numbers.reserve(self.walk.plan.numbers_expected);
        }
        let indexed = self.node.filter(|node| node.has_indexes);
        let (mut index, mut all_wanted) = (0, true);
        loop {
            let child = indexed.and_then(|node| self.walk.plan.element(node, index));
            let element = self.walk.visit(child, self.base, collect, self.depth);
            let Some(wanted) = list.next_element_seed(element)? else { break };
            all_wanted &= wanted;
            index += 1;
        }
        Ok(match collect {
            Collect::Nothing => Found::Array,
            Collect::Numbers | Collect::Ids if !all_wanted => Found::Mixed,
            Collect::Numbers => Found::Numbers(Run { start: numbers, end: self.walk.scan.numbers.len() }),
            Collect::Ids => Found::Ids(Run { start: ids, end: self.walk.scan.ids.len() }),
        })
    }

    fn slate<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<(), A::Error> {
        let plan = self.walk.plan;
        let mut count = 0;
        loop {
            let base = self.walk.scan.slots.len();
            self.walk.scan.slots.resize(base + plan.slots(Scope::Element), Found::Absent);
            let element = self.walk.visit(Some(plan.root(Scope::Element)), base, Collect::Nothing, self.depth);
            if list.next_element_seed(element)?.is_none() {
                self.walk.scan.slots.truncate(base);
                break;
            }
            count += 1;
            if count > self.walk.limits.events as usize {
                let detail = format!("more elements than mapping.limits.events = {}", self.walk.limits.events);
                return Err(self.walk.fail(Malformed::field(MalformedReason::TooManyEvents, "each", detail)));
            }
        }
        self.walk.scan.slate = Slate::Elements(count);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Visit<'_, '_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.is_slate() {
            self.walk.scan.slate = Slate::NotAList;
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Visit<'_, '_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.is_slate() {
            self.walk.scan.slate = Slate::Absent;
        }
        Ok(self.scalar(Found::Null))
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<bool, E> {
        Ok(self.number(f64::from(u8::from(boolean)), Found::Boolean(boolean)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<bool, E> {
        Ok(self.number(number as f64, Found::Unsigned(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<bool, E> {
        Ok(self.number(number as f64, Found::Signed(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<bool, E> {
        Ok(self.number(number, Found::Float(number)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<bool, E> {
        Ok(self.scalar(Found::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        let is_kept = self.collect == Collect::Ids || self.node.is_some_and(|node| node.slot.is_some());
        let text = if is_kept { Cow::Owned(text.to_owned()) } else { Cow::Borrowed("") };
        Ok(self.scalar(Found::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        self.descend()?;
        if self.is_slate() {
            self.slate(&mut list)?;
        } else {
            let found = self.elements(&mut list)?;
            self.put(found);
        }
        Ok(self.collect == Collect::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<bool, A::Error> {
        self.descend()?;
        let (mut seen, mut hint) = (Seen::new(), 0);
        while let Some(key) = members.next_key_seed(Key)? {
            let child = self.node.and_then(|node| self.walk.plan.member(node, &key, &mut hint));
            if !seen.insert(key) {
                let detail = "an object has two members of the same name";
                return Err(self.walk.fail(Malformed::document(MalformedReason::DuplicateKey, detail)));
            }
            members.next_value_seed(self.walk.visit(child, self.base, Collect::Nothing, self.depth))?;
        }
        self.put(Found::Object);
        Ok(self.collect == Collect::Nothing)
    }
}

impl Found<'_> {
    /// Booleans count as 0 and 1. Integers beyond 2^53 are rounded, as everywhere where JSON numbers are doubles.
    pub fn number(&self) -> Option<f64> {
        match self {
            Found::Boolean(boolean) => Some(f64::from(u8::from(*boolean))),
            Found::Unsigned(number) => Some(*number as f64),
            Found::Signed(number) => Some(*number as f64),
            Found::Float(number) => Some(*number),
            Found::Absent | Found::Null | Found::Text(_) => None,
            Found::Numbers(_) | Found::Ids(_) | Found::Mixed | Found::Array | Found::Object => None,
        }
    }

    /// What it is, in a sentence that says that something else was expected.
    pub fn name(&self) -> &'static str {
        match self {
            Found::Absent => "nothing",
            Found::Null => "null",
            Found::Boolean(_) => "a boolean",
            Found::Unsigned(_) | Found::Signed(_) => "an integer",
            Found::Float(_) => "a number",
            Found::Text(_) => "a string",
            Found::Numbers(_) => "an array of numbers",
            Found::Ids(_) => "an array of ids",
            Found::Mixed => "an array with an element of another type",
            Found::Array => "an array",
            Found::Object => "an object",
        }
    }
}

/// A member's name; borrowed unless it is written with escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
