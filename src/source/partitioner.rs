//! Which partition a user belongs to: the rule of Kafka's Java producers, so that a file, a topic that we loaded and a
//! topic that somebody else's producer wrote are split alike.

use crate::position::Partition;

/// The partition of a record with this key. Records without a key go to partition 0, because "anywhere" would not be the
/// same place twice.
pub fn partition_of(key: Option<&[u8]>, partitions: u32) -> Partition {
    match key {
        None => Partition(0),
        // Java has no unsigned integers and clears the sign bit instead.
        Some(key) => Partition((murmur2(key) & 0x7fff_ffff) % partitions.max(1)),
    }
}

/// MurmurHash2, 32 bits, with the seed of Kafka's producers.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;

    // Keys longer than 4 GiB do not exist in Kafka; the cast only names the low half.
    let mut hash = SEED ^ (data.len() as u32);
    let (blocks, tail) = data.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // The values that Kafka's own clients are tested with, for every length of the tail.
        let known: [(&[u8], u32); 11] = [
            (b"kafka", 0xd067_cf64),
            (b"giberish123456789", 0x8f55_2b0c),
            (b"1234", 0x9fc9_7b14),
            (b"234", 0xe7c0_09ca),
            (b"34", 0x8739_30da),
            (b"4", 0x5a4b_5ca1),
            (b"PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            (b"reAmbleWillBeRemoved,ThePrePartThatIs", 0x4a62_b377),
            (b"eAmbleWillBeRemoved,ThePrePartThatIs", 0xe0e4_e09e),
            (b"AmbleWillBeRemoved,ThePrePartThatIs", 0x62b8_b43f),
            (b"", 0x106e_08d9),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_negative_hash_still_names_a_partition() {
        assert_eq!(partition_of(Some(b"kafka"), 7), Partition((0xd067_cf64 & 0x7fff_ffff) % 7));
        assert_eq!(partition_of(None, 7), Partition(0));
        assert_eq!(partition_of(Some(b"kafka"), 1), Partition(0));
    }
}
