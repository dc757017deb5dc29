//! The short way through a document: it reads what nearly all records are made of, and gives up on everything else.
//!
//! It knows strings without escapes, every number, and sound structure. Whatever it does not like, be it wrong or only
//! rare, it answers with `None`, and the strict scan looks at the document from the start: so there is one judge of what is
//! malformed, and one place that words it. What this module owes is the other half: what it accepts, the strict scan
//! accepts with the same findings. The tests hold the two side by side.

use std::borrow::Cow;

use super::keys::Seen;
use super::mapping::Limits;
use super::plan::{Collect, Node, Plan, Scope};
use super::scan::{Found, Run, Scan, Slate};

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Integers up to here are exact doubles.
const EXACT_MAX: u64 = 1 << 53;
/// So many digits always fit in 64 bits.
const DIGITS_MAX: usize = 18;

pub(super) fn scan<'de>(text: &'de str, plan: &Plan, limits: &Limits) -> Option<Scan<'de>> {
    let slots = std::iter::repeat_with(Found::default).take(plan.slots(Scope::Record)).collect();
    let scan = Scan { slots, numbers: Vec::new(), ids: Vec::new(), slate: Slate::Absent };
    let mut walk = Walk { text, bytes: text.as_bytes(), at: 0, plan, limits, scan };
    walk.skip_space();
    walk.value(Where { node: Some(plan.root(Scope::Record)), base: 0, collect: Collect::Nothing, depth: 0 })?;
    walk.skip_space();
    (walk.at == walk.bytes.len()).then_some(walk.scan)
}

struct Walk<'p, 'de> {
    text: &'de str,
    bytes: &'de [u8],
    at: usize,
    plan: &'p Plan,
    limits: &'p Limits,
    scan: Scan<'de>,
}

/// A value's place; see `Visit` of the strict scan.
#[derive(Clone, Copy)]
struct Where<'p> {
    node: Option<&'p Node>,
    base: usize,
    collect: Collect,
    depth: u32,
}

/// A number as its text has it.
#[derive(Clone, Copy)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    #[inline]
    fn value(self) -> f64 {
        match self {
            Number::Unsigned(number) => number as f64,
            Number::Signed(number) => number as f64,
            Number::Float(number) => number,
        }
    }
}

impl<'p, 'de> Walk<'p, 'de> {
    /// Reads one value, and answers whether it is what the surrounding array wanted.
    fn value(&mut self, place: Where<'p>) -> Option<bool> {
        let is_slate = place.node.is_some_and(|node| node.each);
        if is_slate {
            self.scan.slate = Slate::NotAList;
        }
        match *self.bytes.get(self.at)? {
            b'"' => {
                let text = self.string()?;
                Some(self.scalar(place, Found::Text(Cow::Borrowed(text))))
            }
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                Some(self.keep_number(place, number))
            }
            b'{' => self.object(place),
            b'[' if is_slate => self.slate(place),
            b'[' => self.array(place),
            b't' => self.boolean(place, "true", true),
            b'f' => self.boolean(place, "false", false),
            b'n' => {
                self.word("null")?;
                if is_slate {
                    self.scan.slate = Slate::Absent;
                }
                Some(self.scalar(place, Found::Null))
            }
            _ => None,
        }
    }

    fn object(&mut self, place: Where<'p>) -> Option<bool> {
        let depth = self.descend(place)?;
        let (mut seen, mut hint) = (Seen::new(), 0);
        self.at += 1;
        self.skip_space();
        if !self.take(b'}') {
            loop {
                let key = self.string()?;
                self.skip_space();
                self.expect(b':')?;
                self.skip_space();
                let node = place.node.and_then(|node| self.plan.member(node, key, &mut hint));
                if !seen.insert(Cow::Borrowed(key)) {
                    return None;
                }
                self.value(Where { node, base: place.base, collect: Collect::Nothing, depth })?;
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        self.put(place, Found::Object);
        Some(place.collect == Collect::Nothing)
    }

    fn array(&mut self, place: Where<'p>) -> Option<bool> {
        let depth = self.descend(place)?;
        let collect = place.node.map_or(Collect::Nothing, |node| node.collect);
        let (numbers, ids) = (self.scan.numbers.len(), self.scan.ids.len());
        if collect == Collect::Numbers && numbers == 0 {
            self.scan.numbers.reserve(self.plan.numbers_expected);
        }
        let indexed = place.node.filter(|node| node.has_indexes);
        let are_features = indexed.is_none() && collect == Collect::Numbers;
        let (mut index, mut all_wanted) = (0, true);
        self.at += 1;
        self.skip_space();
        if !self.take(b']') {
            loop {
                // Most of what a log holds are features: they take a shorter way still, tried without asking whether a number
                // begins here, because whether that is a digit or a sign cannot be foreseen.
                if are_features && let Some(number) = self.short_number() {
                    self.scan.numbers.push(number);
                } else if are_features && self.is_at_number() {
                    let number = self.number()?.value();
                    self.scan.numbers.push(number);
                } else {
                    let node = indexed.and_then(|node| self.plan.element(node, index));
                    all_wanted &= self.value(Where { node, base: place.base, collect, depth })?;
                    index += 1;
                }
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        let found = match collect {
            Collect::Nothing => Found::Array,
            Collect::Numbers | Collect::Ids if !all_wanted => Found::Mixed,
            Collect::Numbers => Found::Numbers(Run { start: numbers, end: self.scan.numbers.len() }),
            Collect::Ids => Found::Ids(Run { start: ids, end: self.scan.ids.len() }),
        };
        self.put(place, found);
        Some(place.collect == Collect::Nothing)
    }

    fn slate(&mut self, place: Where<'p>) -> Option<bool> {
        let depth = self.descend(place)?;
        let (plan, mut count) = (self.plan, 0);
        self.at += 1;
        self.skip_space();
        if !self.take(b']') {
            loop {
                let base = self.scan.slots.len();
                self.scan.slots.resize(base + plan.slots(Scope::Element), Found::Absent);
                let node = Some(plan.root(Scope::Element));
                self.value(Where { node, base, collect: Collect::Nothing, depth })?;
                count += 1;
                if count > self.limits.events as usize {
                    return None;
                }
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.scan.slate = Slate::Elements(count);
        Some(place.collect == Collect::Nothing)
    }

    fn boolean(&mut self, place: Where<'p>, word: &str, boolean: bool) -> Option<bool> {
        self.word(word)?;
        Some(self.keep(place, f64::from(u8::from(boolean)), Found::Boolean(boolean)))
    }

    #[inline]
    fn keep_number(&mut self, place: Where<'p>, number: Number) -> bool {
        let found = match number {
            Number::Unsigned(number) => Found::Unsigned(number),
            Number::Signed(number) => Found::Signed(number),
            Number::Float(number) => Found::Float(number),
        };
        self.keep(place, number.value(), found)
    }

    #[inline]
    fn keep(&mut self, place: Where<'p>, number: f64, found: Found<'de>) -> bool {
        match place.collect {
            Collect::Nothing => {}
            Collect::Numbers => self.scan.numbers.push(number),
            Collect::Ids => self.scan.ids.push(found.clone()),
        }
        self.put(place, found);
        true
    }

    #[inline]
    fn scalar(&mut self, place: Where<'p>, found: Found<'de>) -> bool {
        let wanted = match place.collect {
            Collect::Nothing => true,
            Collect::Numbers => false,
            Collect::Ids => {
                self.scan.ids.push(found.clone());
                true
            }
        };
        self.put(place, found);
        wanted
    }

    #[inline]
    fn put(&mut self, place: Where<'p>, found: Found<'de>) {
        if let Some(slot) = place.node.and_then(|node| node.slot) {
            self.scan.slots[place.base + slot] = found;
        }
    }

    fn descend(&self, place: Where<'p>) -> Option<u32> {
        let depth = place.depth + 1;
        (depth <= self.limits.depth).then_some(depth)
    }

    /// After a member or an element: another one follows, or the end.
    #[inline]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.skip_space();
        if self.take(b',') {
            self.skip_space();
            return Some(true);
        }
        self.expect(end)?;
        Some(false)
    }

    /// From quote to quote, without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'de str> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = &self.bytes[start..];
        let len = plain_len(rest)?;
        self.at = start + len;
        self.expect(b'"')?;
        self.text.get(start..start + len)
    }

    #[inline]
    fn is_at_number(&self) -> bool {
        matches!(self.bytes.get(self.at), Some(b'-' | b'0'..=b'9'))
    }

    /// A number with one digit before the point and one to seven behind it, as features usually are: all digits at once.
    /// `None`, and nothing has happened, for every other number, also for a wrong one.
    #[inline]
    fn short_number(&mut self) -> Option<f64> {
        let is_negative = self.bytes.get(self.at) == Some(&b'-');
        let [whole, b'.', digits @ ..] = self.bytes.get(self.at + usize::from(is_negative)..)?.first_chunk::<10>()?
        else {
            return None;
        };
        let whole = whole.wrapping_sub(b'0');
        // Every byte that was a digit is now its value; adding lifts all others above 127.
        let digits = u64::from_le_bytes(*digits) ^ repeated(b'0');
        let others = (digits.wrapping_add(repeated(0x76)) | digits) & repeated(0x80);
        let count = others.trailing_zeros() as usize / 8;
        if whole > 9 || !(1..8).contains(&count) {
            return None;
        }
        let at = self.at + usize::from(is_negative) + 2 + count;
        if let Some(b'e' | b'E') = self.bytes.get(at) {
            return None;
        }
        // Eight digits with zeros in front; then pairs, fours and all eight of them become one number.
        let digits = digits << (64 - 8 * count);
        let pairs = (digits.wrapping_mul(10 * 256 + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs.wrapping_mul(100 * 65_536 + 1) >> 16) & 0x0000_ffff_0000_ffff;
        let fraction = fours.wrapping_mul((10_000 << 32) + 1) >> 32;
        self.at = at;
        // Exact, as below.
        let magnitude = (f64::from(whole) * POWERS[count] + fraction as f64) / POWERS[count];
        // The sign's bit, without a branch.
        Some(f64::from_bits(magnitude.to_bits() | u64::from(is_negative) << 63))
    }

    #[inline]
    fn number(&mut self) -> Option<Number> {
        let start = self.at;
        let is_negative = self.take(b'-');
        let digits_start = self.at;
        let mut mantissa = 0;
        self.digits(&mut mantissa);
        let whole = self.at - digits_start;
        // A number has a digit, and no other one after a leading zero.
        if whole == 0 || (whole > 1 && self.bytes[digits_start] == b'0') {
            return None;
        }
        let mut fraction = 0;
        if self.take(b'.') {
            let from = self.at;
            self.digits(&mut mantissa);
            fraction = self.at - from;
            if fraction == 0 {
                return None;
            }
        } else if !matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            return if whole <= DIGITS_MAX { Some(integer(is_negative, mantissa)) } else { None };
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'-') {
                self.take(b'+');
            }
            let from = self.at;
            self.digits(&mut 0);
            return if self.at > from { self.exactly(start) } else { None };
        }
        // Two exact doubles, so their quotient is the double next to the number (Clinger 1990).
        if whole + fraction <= DIGITS_MAX && mantissa <= EXACT_MAX {
            let magnitude = mantissa as f64 / POWERS[fraction];
            return Some(Number::Float(if is_negative { -magnitude } else { magnitude }));
        }
        self.exactly(start)
    }

    /// The number whose text begins at `start` and ends here, whatever its digits.
    #[cold]
    fn exactly(&self, start: usize) -> Option<Number> {
        let number: f64 = self.text.get(start..self.at)?.parse().ok()?;
        number.is_finite().then_some(Number::Float(number))
    }

    /// Beyond [`DIGITS_MAX`] digits the sum means nothing, and nobody looks at it.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) {
        while let Some(byte) = self.bytes.get(self.at) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let end = self.at + word.len();
        let found = self.bytes.get(self.at..end)?;
        self.at = end;
        (found == word.as_bytes()).then_some(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

/// Bytes before the first that ends a string or the short way: a quote, a backslash, a control character.
#[inline]
fn plain_len(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte's highest bit is set where it is below the other byte; what borrows may spoil lies behind a true one.
        let below = |word: u64, byte: u8| word.wrapping_sub(repeated(byte)) & !word & repeated(0x80);
        let ends = below(word ^ repeated(b'"'), 1) | below(word ^ repeated(b'\\'), 1) | below(word, 0x20);
        if ends != 0 {
            return Some(8 * index + ends.trailing_zeros() as usize / 8);
        }
    }
    let len = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(8 * words.len() + len)
}

/// The byte eight times.
const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Minus zero is no integer.
fn integer(is_negative: bool, magnitude: u64) -> Number {
    match (is_negative, i64::try_from(magnitude)) {
        (false, _) => Number::Unsigned(magnitude),
        (true, Ok(1..)) => Number::Signed(-(magnitude as i64)),
        (true, _) => Number::Float(-0.0),
    }
}
