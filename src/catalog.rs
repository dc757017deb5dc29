//! The items that can be recommended: their ids, their numbers and their embeddings.
//!
//! A catalog comes from a JSON-lines file and never changes while a log is read. A log whose items are not known in
//! advance gets a [`Vocabulary`] that numbers them in the order in which they are first judged, which is a function
//! of the log alone.

use std::fs;
use std::path::{Path, PathBuf};

use ahash::AHashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::Id;

/// Items known before the first event. The dimension is the same for all embeddings; 0 when there are none.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    ids: Vec<Id>,
    numbers: AHashMap<Id, u32>,
    /// `[items, dimension]`, row-major.
    embeddings: Vec<f32>,
    dimension: usize,
}

/// Where an item's id and embedding stand in a line of the catalog file (JSON Pointers).
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogFields {
    pub item: String,
    pub embedding: String,
}

#[derive(Debug, Error)]
pub enum CatalogError {
    #[error("could not read the catalog {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("catalog {}, line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
}

impl Catalog {
    /// One item a line, `{"item": "a", "embedding": [..]}` by default. Embeddings may be missing, but from all or none.
    pub fn load(path: &Path, fields: &CatalogFields) -> Result<Catalog, CatalogError> {
        let text =
            fs::read_to_string(path).map_err(|source| CatalogError::Read { path: path.to_path_buf(), source })?;
        let mut catalog = Catalog::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            catalog.add_line(line, fields).map_err(|problem| CatalogError::Line {
                path: path.to_path_buf(),
                line: index + 1,
                problem,
            })?;
        }
        Ok(catalog)
    }

    /// A catalog made in memory: `(id, embedding)` of one common dimension.
    pub fn from_items(items: impl IntoIterator<Item = (String, Vec<f32>)>) -> Result<Catalog, String> {
        let mut catalog = Catalog::default();
        for (id, embedding) in items {
            catalog.add(id.into(), &embedding)?;
        }
        Ok(catalog)
    }

    fn add_line(&mut self, line: &str, fields: &CatalogFields) -> Result<(), String> {
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let id = match value.pointer(&fields.item) {
            Some(serde_json::Value::String(id)) => id.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            Some(_) | None => return Err(format!("no string or number at {} (catalog.item)", fields.item)),
        };
        let embedding = match value.pointer(&fields.embedding) {
            None => Vec::new(),
            Some(value) => numbers(value)
                .ok_or_else(|| format!("{} (catalog.embedding) is not a list of finite numbers", fields.embedding))?,
        };
        self.add(id.into(), &embedding)
    }

    fn add(&mut self, id: Id, embedding: &[f32]) -> Result<(), String> {
        if self.ids.is_empty() {
            self.dimension = embedding.len();
        } else if embedding.len() != self.dimension {
            return Err(format!(
                "embedding of {id} has {} numbers, the first item {}",
                embedding.len(),
                self.dimension
            ));
        }
        let number = u32::try_from(self.ids.len()).map_err(|_| "more than 2^32 items".to_owned())?;
        if self.numbers.insert(id.clone(), number).is_some() {
            return Err(format!("item {id} stands there twice"));
        }
        self.ids.push(id);
        self.embeddings.extend_from_slice(embedding);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// `[items, dimension]`, row-major.
    pub fn embeddings(&self) -> &[f32] {
        &self.embeddings
    }

    pub fn embedding(&self, id: &str) -> Option<&[f32]> {
        let row = *self.numbers.get(id)? as usize;
        (self.dimension > 0).then(|| &self.embeddings[row * self.dimension..(row + 1) * self.dimension])
    }

    /// Which row of the embeddings an item has.
    pub fn row(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// BLAKE3 of ids and embeddings: two runs are only comparable over the same catalog.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for id in &self.ids {
            hasher.update(&(id.len() as u64).to_le_bytes());
            hasher.update(id.as_bytes());
        }
        for value in &self.embeddings {
            hasher.update(&value.to_bits().to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn numbers(value: &serde_json::Value) -> Option<Vec<f32>> {
    value
        .as_array()?
        .iter()
        .map(|number| number.as_f64().map(|wide| wide as f32).filter(|number| number.is_finite()))
        .collect()
}

/// Item numbers for the softmax policy: the catalog's items first, then others in order of first appearance, up to a
/// fixed capacity. What comes after that has no number and is not trained on.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    ids: Vec<Id>,
    numbers: AHashMap<Id, u32>,
    capacity: usize,
    /// Items that found no place.
    overflow: u64,
}

/// What a checkpoint keeps of a vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VocabularyState {
    pub ids: Vec<Id>,
    pub overflow: u64,
}

impl Vocabulary {
    pub fn new(catalog: &Catalog, capacity: usize) -> Vocabulary {
        let state = VocabularyState { ids: catalog.ids.clone(), overflow: 0 };
        Vocabulary::restore(state, capacity)
    }

    pub fn restore(state: VocabularyState, capacity: usize) -> Vocabulary {
        let numbers = state.ids.iter().zip(0..).map(|(id, number)| (id.clone(), number)).collect();
        Vocabulary { ids: state.ids, numbers, capacity, overflow: state.overflow }
    }

    pub fn snapshot(&self) -> VocabularyState {
        VocabularyState { ids: self.ids.clone(), overflow: self.overflow }
    }

    /// The item's number, given now if it has none yet. `None` when the vocabulary is full.
    pub fn number(&mut self, id: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(id) {
            return Some(*number);
        }
        if self.ids.len() >= self.capacity {
            self.overflow += 1;
            return None;
        }
        let number = u32::try_from(self.ids.len()).ok()?;
        let id = Id::from(id);
        self.ids.push(id.clone());
        self.numbers.insert(id, number);
        Some(number)
    }

    /// The item's number, if it has one already.
    pub fn known(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_numbered_in_order_of_appearance_up_to_the_capacity() {
        let catalog = Catalog::from_items([("a".to_owned(), vec![]), ("b".to_owned(), vec![])]).unwrap();
        let mut vocabulary = Vocabulary::new(&catalog, 3);
        assert_eq!([vocabulary.number("b"), vocabulary.number("x"), vocabulary.number("y")], [Some(1), Some(2), None]);
        let restored = Vocabulary::restore(vocabulary.snapshot(), 3);
        assert_eq!((restored.ids().len(), restored.snapshot()), (3, vocabulary.snapshot()));
    }

    #[test]
    fn a_catalog_line_that_does_not_fit_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("items.jsonl");
        let fields = CatalogFields { item: "/item".to_owned(), embedding: "/embedding".to_owned() };
        for (bad, expected) in [
            ("{\"item\":\"b\",\"embedding\":[1]}", "has 1 numbers"),
            ("{\"item\":\"a\",\"embedding\":[1,2]}", "twice"),
            ("{\"embedding\":[1,2]}", "no string or number at /item"),
            ("{\"item\":\"b\",\"embedding\":[1,\"x\"]}", "list of finite numbers"),
        ] {
            fs::write(&path, format!("{{\"item\":\"a\",\"embedding\":[1,2]}}\n\n{bad}\n")).unwrap();
            let error = Catalog::load(&path, &fields).unwrap_err().to_string();
            assert!(error.contains("line 3") && error.contains(expected), "{bad}: {error}");
        }
    }
}
