//! One seed, many independent generators: each is named by what it is for and a number.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// A generator that depends on nothing but its arguments, so the order in which things are asked for does not matter.
pub(super) fn generator(seed: u64, purpose: &str, number: u64) -> Xoshiro256PlusPlus {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(purpose.as_bytes());
    Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes())
}
