//! One number for a whole state, and one for each of its sections, so that two runs can be called equal, or the
//! section named in which they are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3 hash, printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum([u8; 32]);

impl From<blake3::Hash> for Checksum {
    fn from(hash: blake3::Hash) -> Checksum {
        Checksum(*hash.as_bytes())
    }
}

/// The digest of a state: of the whole, and of each named section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    whole: Checksum,
    sections: BTreeMap<String, Checksum>,
}

/// Takes a state in, section by section. The order of sections does not matter, the order within one does.
#[derive(Debug, Default)]
pub struct DigestBuilder {
    sections: BTreeMap<String, blake3::Hasher>,
}

/// A tensor by name, shape and the exact bits of its values.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

impl Checksum {
    pub fn of(content: &[u8]) -> Checksum {
        Checksum(*blake3::hash(content).as_bytes())
    }
}

impl DigestBuilder {
    pub fn new() -> DigestBuilder {
        DigestBuilder::default()
    }

    /// Adds a canonical encoding to the section `name`; a name used again extends its section.
    pub fn section(&mut self, name: &str, content: &[u8]) -> &mut DigestBuilder {
        self.open_section(name, content.len()).update(content);
        self
    }

    /// The same for an encoding of `length` bytes that is yet to be written.
    pub fn open_section(&mut self, name: &str, length: usize) -> &mut blake3::Hasher {
        let hasher = self.sections.entry(String::from(name)).or_default();
        take_in_length(hasher, length);
        hasher
    }

    /// Adds tensors to the section `name`. They are sorted by their names: two equal networks may list them
    /// differently.
    pub fn tensors<'a>(&mut self, name: &str, tensors: impl IntoIterator<Item = Tensor<'a>>) -> &mut DigestBuilder {
        let mut tensors: Vec<Tensor<'a>> = tensors.into_iter().collect();
        tensors.sort_by_key(|tensor| tensor.name);
        let hasher = self.sections.entry(String::from(name)).or_default();
        for tensor in tensors {
            take_in(hasher, tensor.name.as_bytes());
            take_in_length(hasher, tensor.shape.len());
            for &extent in tensor.shape {
                take_in_length(hasher, extent);
            }
            take_in_length(hasher, tensor.values.len());
            for value in tensor.values {
                hasher.update(&value.to_bits().to_le_bytes());
            }
        }
        self
    }

    pub fn finish(&self) -> Digest {
        let mut whole = blake3::Hasher::new();
        let mut sections = BTreeMap::new();
        for (name, hasher) in &self.sections {
            let section = hasher.finalize();
            take_in(&mut whole, name.as_bytes());
            take_in(&mut whole, section.as_bytes());
            sections.insert(name.clone(), Checksum(*section.as_bytes()));
        }
        Digest { whole: Checksum(*whole.finalize().as_bytes()), sections }
    }
}

impl Digest {
    pub fn whole(&self) -> Checksum {
        self.whole
    }

    pub fn sections(&self) -> &BTreeMap<String, Checksum> {
        &self.sections
    }

    /// The names of the sections in which the two states differ, or which only one of them has.
    pub fn differing<'a>(&'a self, other: &'a Digest) -> Vec<&'a str> {
        let names: BTreeSet<&String> = self.sections.keys().chain(other.sections.keys()).collect();
        names
            .into_iter()
            .filter(|&name| self.sections.get(name) != other.sections.get(name))
            .map(String::as_str)
            .collect()
    }
}

impl Default for Digest {
    /// The digest of a state without sections.
    fn default() -> Digest {
        DigestBuilder::new().finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checksum has 64 lower-case hexadecimal digits")]
pub struct NotAChecksum;

impl FromStr for Checksum {
    type Err = NotAChecksum;

    // Lower case only: one flipped bit turns `a` into `A`, and must not go unnoticed.
    fn from_str(text: &str) -> Result<Checksum, NotAChecksum> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAChecksum);
        }
        blake3::Hash::from_hex(text).map(|hash| Checksum(*hash.as_bytes())).map_err(|_| NotAChecksum)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checksum, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The length goes first, so that no two lists of pieces run together into the same bytes.
fn take_in(hasher: &mut blake3::Hasher, content: &[u8]) {
    take_in_length(hasher, content.len());
    hasher.update(content);
}

fn take_in_length(hasher: &mut blake3::Hasher, length: usize) {
    hasher.update(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(pieces: &[(&str, &str)]) -> Digest {
        let mut builder = DigestBuilder::new();
        for (name, content) in pieces {
            builder.section(name, content.as_bytes());
        }
        builder.finish()
    }

    #[test]
    fn a_mismatch_names_the_differing_sections() {
        let left = digest(&[("window", "1"), ("sessions", "a"), ("level", "x")]);
        let right = digest(&[("sessions", "b"), ("window", "1"), ("policy", "p")]);
        assert_ne!(left.whole(), right.whole());
        assert_eq!(left.differing(&right), ["level", "policy", "sessions"]);
        assert_eq!(left.differing(&left), Vec::<&str>::new());
    }

    #[test]
    fn the_order_of_sections_is_no_difference_but_the_order_within_one_is() {
        assert_eq!(digest(&[("a", "1"), ("b", "2")]), digest(&[("b", "2"), ("a", "1")]));
        assert_ne!(digest(&[("a", "1"), ("a", "2")]), digest(&[("a", "2"), ("a", "1")]));
    }

    #[test]
    fn pieces_do_not_run_together() {
        assert_ne!(digest(&[("a", "12"), ("a", "3")]).whole(), digest(&[("a", "1"), ("a", "23")]).whole());
        assert_ne!(digest(&[("ab", "c")]).whole(), digest(&[("a", "bc")]).whole());
        assert_ne!(digest(&[("a", "")]).whole(), digest(&[]).whole());
    }

    #[test]
    fn tensors_count_by_name_shape_and_bits_whatever_their_order() {
        let of = |tensors: &[Tensor<'_>]| {
            let mut builder = DigestBuilder::new();
            builder.tensors("policy", tensors.iter().copied());
            builder.finish()
        };
        let weight = Tensor { name: "weight", shape: &[2, 1], values: &[0.0, 1.0] };
        let bias = Tensor { name: "bias", shape: &[1], values: &[2.0] };
        assert_eq!(of(&[weight, bias]), of(&[bias, weight]));
        assert_ne!(of(&[weight]), of(&[Tensor { shape: &[1, 2], ..weight }]));
        assert_ne!(of(&[weight]), of(&[Tensor { name: "bias", ..weight }]));
        // Zero and minus zero are equal numbers, but not the same state.
        assert_ne!(of(&[weight]), of(&[Tensor { values: &[-0.0, 1.0], ..weight }]));
    }

    #[test]
    fn a_digest_reads_back_from_json_and_upper_case_is_refused() {
        let digest = digest(&[("a", "1")]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        let upper = digest.to_string().to_uppercase();
        assert_eq!(upper.parse::<Checksum>(), Err(NotAChecksum));
        assert_eq!(digest.to_string().parse(), Ok(digest.whole()));
    }

    #[test]
    fn the_digest_of_a_known_state_never_changes() {
        let mut builder = DigestBuilder::new();
        builder.section("window", b"abc");
        builder.tensors("policy", [Tensor { name: "w", shape: &[2], values: &[1.0, -2.5] }]);
        assert_eq!(builder.finish().to_string(), "dcdfad6523d3a998bdc0b39c5178468a3209ae8c5dc1ba074aeb62f4b1c53243");
    }
}
