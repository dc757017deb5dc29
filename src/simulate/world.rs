//! The catalogue, what people like, and what an item pays.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::seed::generator;
use super::settings::SimulateSettings;

/// The simulated world. Knows the answer; shows none of it in the log.
#[derive(Debug, Clone)]
pub struct World {
    settings: SimulateSettings,
    /// `[items, dimension]`, rows of length 1.
    embeddings: Vec<f32>,
    taste: Taste,
    /// What taste drifts to.
    later_taste: Taste,
    /// The direction that the popular recommender pushes to everybody, of length 1.
    fashion: Vec<f32>,
}

/// u*(x) = unit(tanh(x W1) W2).
#[derive(Debug, Clone)]
struct Taste {
    /// `[context, hidden]`.
    first: Vec<f32>,
    /// `[hidden, dimension]`.
    second: Vec<f32>,
    hidden: usize,
    dimension: usize,
}

impl World {
    pub fn new(settings: SimulateSettings) -> World {
        let seed = settings.raw().seed;
        let taste = Taste::draw(&settings, &mut generator(seed, "taste", 0));
        let later_taste = Taste::draw(&settings, &mut generator(seed, "taste", 1));
        let fashion = taste.toward(&normals(settings.raw().context, &mut generator(seed, "fashion", 0)));
        let embeddings = draw_catalogue(&settings, [&taste, &later_taste]);
        World { settings, embeddings, taste, later_taste, fashion }
    }

    pub fn settings(&self) -> &SimulateSettings {
        &self.settings
    }

    /// The row of the catalogue, of length 1.
    pub fn embedding(&self, item: usize) -> &[f32] {
        let dimension = self.settings.raw().dimension;
        &self.embeddings[item * dimension..(item + 1) * dimension]
    }

    /// Every item's id and embedding, in the order of item numbers.
    pub fn catalogue(&self) -> impl Iterator<Item = (String, &[f32])> {
        let dimension = self.settings.raw().dimension;
        self.embeddings.chunks_exact(dimension).enumerate().map(|(item, row)| (item_id(item), row))
    }

    /// The catalogue as JSON lines: `{"item": id, "embedding": [..]}`.
    ///
    /// # Errors
    /// What `output` says.
    pub fn write_catalogue(&self, output: &mut dyn std::io::Write) -> std::io::Result<()> {
        for (item, embedding) in self.catalogue() {
            serde_json::to_writer(&mut *output, &CatalogueLine { item: &item, embedding })?;
            output.write_all(b"\n")?;
        }
        Ok(())
    }

    /// u*(x), of length 1, when taste has moved by `drift` (0 to 1).
    pub fn taste(&self, context: &[f32], drift: f64) -> Vec<f32> {
        let now = self.taste.toward(context);
        if drift == 0.0 {
            return now;
        }
        let later = self.later_taste.toward(context);
        let drift = drift as f32;
        unit(now.iter().zip(&later).map(|(now, later)| (1.0 - drift) * now + drift * later).collect())
    }

    /// Where the popular recommender aims: some taste, much fashion.
    pub(super) fn popular_aim(&self, taste: &[f32]) -> Vec<f32> {
        let raw = self.settings.raw();
        let (own, pull) = (raw.popular_taste as f32, raw.popular_fashion as f32);
        unit(taste.iter().zip(&self.fashion).map(|(taste, fashion)| own * taste + pull * fashion).collect())
    }

    /// What the item pays before noise, in (0, 1]: exp(-(1 - cos(e_a, u*)) / (2 delta^2)).
    pub fn latent_reward(&self, item: usize, taste: &[f32]) -> f64 {
        let cosine = f64::from(dot(self.embedding(item), taste)).clamp(-1.0, 1.0);
        let delta = self.settings.raw().delta;
        (-(1.0 - cosine) / (2.0 * delta * delta)).exp()
    }

    /// The item with the greatest inner product, which is the nearest one as all have length 1; of equals the first.
    pub fn nearest(&self, direction: &[f32]) -> usize {
        let mut best = (0, f32::NEG_INFINITY);
        for (item, row) in self.embeddings.chunks_exact(self.settings.raw().dimension).enumerate() {
            let product = dot(row, direction);
            if product > best.1 {
                best = (item, product);
            }
        }
        best.0
    }

    /// The inner product of every item with `direction`.
    pub(super) fn products(&self, direction: &[f32]) -> impl Iterator<Item = f32> {
        self.embeddings.chunks_exact(self.settings.raw().dimension).map(move |row| dot(row, direction))
    }
}

/// The id by which the log and the catalogue file name an item.
pub fn item_id(item: usize) -> String {
    format!("i{item}")
}

#[derive(serde::Serialize)]
struct CatalogueLine<'a> {
    item: &'a str,
    embedding: &'a [f32],
}

impl Taste {
    fn draw(settings: &SimulateSettings, random: &mut Xoshiro256PlusPlus) -> Taste {
        let raw = settings.raw();
        // Unit variance before tanh: bent enough that no linear rule is right, straight enough to be learned.
        let scale = 1.0 / (raw.context as f32).sqrt();
        let first = normals(raw.context * raw.hidden, random).iter().map(|weight| weight * scale).collect();
        let second = normals(raw.hidden * raw.dimension, random);
        Taste { first, second, hidden: raw.hidden, dimension: raw.dimension }
    }

    fn toward(&self, context: &[f32]) -> Vec<f32> {
        let mut hidden = vec![0.0_f32; self.hidden];
        for (x, row) in context.iter().zip(self.first.chunks_exact(self.hidden)) {
            hidden.iter_mut().zip(row).for_each(|(sum, weight)| *sum += x * weight);
        }
        let mut direction = vec![0.0_f32; self.dimension];
        for (sum, row) in hidden.iter().zip(self.second.chunks_exact(self.dimension)) {
            let activity = sum.tanh();
            direction.iter_mut().zip(row).for_each(|(sum, weight)| *sum += activity * weight);
        }
        unit(direction)
    }
}

/// A mixture of Gaussians, each row scaled to length 1. Its centers are tastes of random contexts, half of them tastes
/// to come: a shop stocks what its people may want. (In 32 dimensions 5,000 items thrown anywhere are far from
/// everybody, and even a perfect policy would earn little.)
fn draw_catalogue(settings: &SimulateSettings, tastes: [&Taste; 2]) -> Vec<f32> {
    let raw = settings.raw();
    let mut random = generator(raw.seed, "catalogue", 0);
    let drifts = raw.drift_strength > 0.0;
    let centers: Vec<Vec<f32>> = (0..raw.clusters)
        .map(|cluster| tastes[usize::from(drifts && cluster % 2 == 1)].toward(&normals(raw.context, &mut random)))
        .collect();
    let spread = (raw.cluster_spread / (raw.dimension as f64).sqrt()) as f32;
    let mut embeddings = Vec::with_capacity(raw.items * raw.dimension);
    for _ in 0..raw.items {
        let center = &centers[random.random_range(0..centers.len())];
        let deviate = normals(raw.dimension, &mut random);
        let row = unit(center.iter().zip(&deviate).map(|(center, deviate)| center + spread * deviate).collect());
        // What the file says is what the world uses.
        embeddings.extend(row.iter().map(|value| rounded(*value)));
    }
    embeddings
}

/// Four decimals: small records, and a learner that reads them holds the very numbers that the world paid for.
pub(super) fn rounded(value: f32) -> f32 {
    ((f64::from(value) * 1e4).round() / 1e4) as f32
}

pub(super) fn normals(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    (0..count).map(|_| StandardNormal.sample(random)).collect()
}

/// Scaled to length 1; the first axis if there is no direction.
fn unit(mut direction: Vec<f32>) -> Vec<f32> {
    let length = dot(&direction, &direction).sqrt();
    if length > 0.0 {
        direction.iter_mut().for_each(|value| *value /= length);
    } else if let Some(first) = direction.first_mut() {
        *first = 1.0;
    }
    direction
}

/// Eight sums side by side: a fixed order of additions (the same bits everywhere) that a compiler can vectorize.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (left_blocks, right_blocks) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f32 = left_blocks.remainder().iter().zip(right_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (left, right) in left_blocks.zip(right_blocks) {
        for lane in 0..8 {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
