//! One strict pass over a document.
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
#[derive(Debug)]
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
        let detail = format!("{} bytes are more than mapping.limits.bytes = {}", bytes.len(), limits.bytes.0);
        return Err(Malformed::document(MalformedReason::TooLarge, detail));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| Malformed::document(MalformedReason::NotUtf8, error.to_string()))?;
    let slots = vec![Found::Absent; plan.slots(Scope::Record)];
    let mut scan = Scan { slots, numbers: Vec::new(), ids: Vec::new(), slate: Slate::Absent };
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let place = Place { node: Some(plan.root(Scope::Record)), base: 0, collect: Collect::Nothing, depth: 0 };
    let walk = Walk { scan: &mut scan, fault: &mut fault, plan, limits, place };
    match walk.deserialize(&mut json).and_then(|_| json.end()) {
        Ok(()) => Ok(scan),
        Err(error) => Err(fault.unwrap_or_else(|| syntax(&error))),
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

/// Where in document and plan the walk stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// `None` below what the plan names.
    node: Option<&'p Node>,
    /// First slot of the scope.
    base: usize,
    /// What the surrounding array wants of its elements.
    collect: Collect,
    depth: u32,
}

/// Visits one value. Answers whether it is what the surrounding array wanted.
struct Walk<'s, 'p, 'de> {
    scan: &'s mut Scan<'de>,
    fault: &'s mut Option<Malformed>,
    plan: &'p Plan,
    limits: &'p Limits,
    place: Place<'p>,
}

impl<'p, 'de> Walk<'_, 'p, 'de> {
    fn inner(&mut self, node: Option<&'p Node>, base: usize, collect: Collect) -> Walk<'_, 'p, 'de> {
        let place = Place { node, base, collect, depth: self.place.depth };
        Walk { scan: self.scan, fault: self.fault, plan: self.plan, limits: self.limits, place }
    }

    fn put(&mut self, found: Found<'de>) {
        if let Some(slot) = self.place.node.and_then(|node| node.slot) {
            self.scan.slots[self.place.base + slot] = found;
        }
    }

    fn scalar(mut self, found: Found<'de>) -> bool {
        let wanted = match self.place.collect {
            Collect::Nothing => true,
            Collect::Numbers => match found.number() {
                Some(number) => {
                    self.scan.numbers.push(number);
                    true
                }
                None => false,
            },
            Collect::Ids => {
                self.scan.ids.push(found.clone());
                true
            }
        };
        self.put(found);
        wanted
    }

    fn descend<E: Error>(&mut self) -> Result<(), E> {
        self.place.depth += 1;
        if self.place.depth > self.limits.depth {
            let detail = format!("nested deeper than mapping.limits.depth = {}", self.limits.depth);
            return Err(self.fail(Malformed::document(MalformedReason::TooDeep, detail)));
        }
        Ok(())
    }

    /// serde carries only text; the reason travels beside it.
    fn fail<E: Error>(&mut self, malformed: Malformed) -> E {
        *self.fault = Some(malformed);
        E::custom("refused")
    }

    fn elements<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<Found<'de>, A::Error> {
        let node = self.place.node;
        let collect = node.map_or(Collect::Nothing, |node| node.collect);
        let (numbers, ids) = (self.scan.numbers.len(), self.scan.ids.len());
        let (mut index, mut all_wanted) = (0, true);
        let base = self.place.base;
        loop {
            let child = node.and_then(|node| self.plan.element(node, index));
            let Some(wanted) = list.next_element_seed(self.inner(child, base, collect))? else { break };
            all_wanted &= wanted;
            index += 1;
        }
        Ok(match collect {
            Collect::Nothing => Found::Array,
            Collect::Numbers | Collect::Ids if !all_wanted => Found::Mixed,
            Collect::Numbers => Found::Numbers(Run { start: numbers, end: self.scan.numbers.len() }),
            Collect::Ids => Found::Ids(Run { start: ids, end: self.scan.ids.len() }),
        })
    }

    fn slate<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<(), A::Error> {
        let root = self.plan.root(Scope::Element);
        let mut count = 0;
        loop {
            let base = self.scan.slots.len();
            self.scan.slots.resize(base + self.plan.slots(Scope::Element), Found::Absent);
            if list.next_element_seed(self.inner(Some(root), base, Collect::Nothing))?.is_none() {
                self.scan.slots.truncate(base);
                break;
            }
            count += 1;
            if count > self.limits.events as usize {
                let detail = format!("more elements than mapping.limits.events = {}", self.limits.events);
                return Err(self.fail(Malformed::field(MalformedReason::TooManyEvents, "each", detail)));
            }
        }
        self.scan.slate = Slate::Elements(count);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.place.node.is_some_and(|node| node.each) {
            self.scan.slate = Slate::NotAList;
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.place.node.is_some_and(|node| node.each) {
            self.scan.slate = Slate::Absent;
        }
        Ok(self.scalar(Found::Null))
    }

    fn visit_bool<E: Error>(self, boolean: bool) -> Result<bool, E> {
        Ok(self.scalar(Found::Boolean(boolean)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<bool, E> {
        Ok(self.scalar(Found::Unsigned(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<bool, E> {
        Ok(self.scalar(Found::Signed(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<bool, E> {
        Ok(self.scalar(Found::Float(number)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<bool, E> {
        Ok(self.scalar(Found::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        let is_kept = self.place.collect == Collect::Ids || self.place.node.is_some_and(|node| node.slot.is_some());
        let text = if is_kept { Cow::Owned(text.to_owned()) } else { Cow::Borrowed("") };
        Ok(self.scalar(Found::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        self.descend()?;
        if self.place.node.is_some_and(|node| node.each) {
            self.slate(&mut list)?;
        } else {
            let found = self.elements(&mut list)?;
            self.put(found);
        }
        Ok(self.place.collect == Collect::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<bool, A::Error> {
        self.descend()?;
        let (mut seen, mut hint) = (Seen::new(), 0);
        while let Some(key) = members.next_key_seed(Key)? {
            let child = self.place.node.and_then(|node| self.plan.member(node, &key, &mut hint));
            if !seen.insert(key) {
                return Err(self.fail(Malformed::document(
                    MalformedReason::DuplicateKey,
                    "an object has two members of the same name",
                )));
            }
            members.next_value_seed(self.inner(child, self.place.base, Collect::Nothing))?;
        }
        self.put(Found::Object);
        Ok(self.place.collect == Collect::Nothing)
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
