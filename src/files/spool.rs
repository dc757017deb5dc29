//! The spool: one plain file per partition, made by one pass over the input.
//!
//! A record in `partition-N.records`, all numbers little-endian:
//!
//! ```text
//! value length u32 | key length u32, all ones for no key | timestamp i64 | key | value
//! ```
//!
//! `partition-N.index` holds for every block of [`BLOCK`] records: position of its first byte u64 | greatest timestamp i64.
//!
//! Crash rule: `complete.json` names the input and is renamed into place after everything else has reached the disk, so a
//! spool that was torn has none and is made anew.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::lines::{LINE_BYTES_MAX, Lines};
use super::split::{KeyOf, Splitter};
use super::{FilesError, read_spool, write_spool};
use crate::position::Partition;
use crate::source::LogIdentity;

pub const PARTITIONS_MAX: u32 = 1024;

const FORMAT: u32 = 1;
const BLOCK: u64 = 1024;
const HEADER_BYTES: usize = 16;
const NO_KEY: u32 = u32::MAX;
const WRITE_BUFFER_BYTES: usize = 64 << 10;
const READ_BUFFER_BYTES: usize = 256 << 10;
/// Lines between two calls of the progress function.
const PROGRESS_EVERY: u64 = 1 << 14;

/// A complete spool.
#[derive(Debug)]
pub struct Spool {
    pub identity: LogIdentity,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    records: u64,
    index: Vec<Block>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    position: u64,
    latest: i64,
}

/// The content of `complete.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    identity: LogIdentity,
    records: Vec<u64>,
    bytes: Vec<u64>,
}

/// One record as it lies in the spool.
#[derive(Debug, Default)]
pub struct Frame {
    pub timestamp: i64,
    key: Option<usize>,
    bytes: Vec<u8>,
}

/// Reads one partition from some record on.
#[derive(Debug)]
pub struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next frame begins, and how many records are left.
    at: u64,
    left: u64,
}

impl Spool {
    /// Reuses the spool in `directory` if it was made from this content by this splitting, or makes it anew.
    /// `progress` hears the count of lines so far.
    pub fn open(
        input: &Path,
        directory: &Path,
        (partitions, splitting): (u32, [u8; 32]),
        key_of: KeyOf<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Spool, FilesError> {
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(FilesError::Partitions { asked: partitions });
        }
        let before = stamp(input)?;
        let identity = identity(input, (partitions, splitting))?;
        if let Some(manifest) = read_manifest(directory, &identity) {
            return Spool::load(directory, manifest);
        }
        let manifest = write(input, directory, (partitions, identity), key_of, progress)?;
        // Somebody who appends while we read would give the log two contents under one name.
        if stamp(input)? != before {
            return Err(FilesError::Changed { path: input.to_owned() });
        }
        finish(directory, &manifest)?;
        Spool::load(directory, manifest)
    }

    pub fn partitions(&self) -> u32 {
        self.parts.len() as u32
    }

    pub fn records(&self, partition: Partition) -> u64 {
        self.parts.get(partition.0 as usize).map_or(0, |part| part.records)
    }

    /// `None` where the partition has no such record.
    pub fn read_from(&self, partition: Partition, offset: u64) -> Result<Option<FrameReader>, FilesError> {
        let Some(part) = self.parts.get(partition.0 as usize).filter(|part| offset < part.records) else {
            return Ok(None);
        };
        let block = offset / BLOCK;
        let position = part.index.get(block as usize).map_or(0, |block| block.position);
        let mut file = File::open(&part.path).map_err(read_spool(&part.path))?;
        file.seek(SeekFrom::Start(position)).map_err(read_spool(&part.path))?;
        let file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        let mut reader =
            FrameReader { path: part.path.clone(), file, at: position, left: part.records - block * BLOCK };
        let mut frame = Frame::default();
        for _ in 0..offset % BLOCK {
            reader.next(&mut frame)?;
        }
        Ok(Some(reader))
    }

    /// The first record at or after `millis`; the count of records if there is none.
    pub fn first_at(&self, partition: Partition, millis: i64) -> Result<u64, FilesError> {
        let records = self.records(partition);
        let Some(part) = self.parts.get(partition.0 as usize) else { return Ok(records) };
        let Some(block) = part.index.iter().position(|block| block.latest >= millis) else { return Ok(records) };
        let mut offset = block as u64 * BLOCK;
        let Some(mut reader) = self.read_from(partition, offset)? else { return Ok(records) };
        let mut frame = Frame::default();
        while reader.next(&mut frame)? && frame.timestamp < millis {
            offset += 1;
        }
        Ok(offset)
    }

    fn load(directory: &Path, manifest: Manifest) -> Result<Spool, FilesError> {
        let mut parts = Vec::with_capacity(manifest.records.len());
        for (partition, records) in manifest.records.iter().enumerate() {
            let index_path = index_path(directory, partition);
            let bytes = fs::read(&index_path).map_err(read_spool(&index_path))?;
            let (blocks, rest) = bytes.as_chunks::<16>();
            if !rest.is_empty() || blocks.len() as u64 != records.div_ceil(BLOCK) {
                return Err(FilesError::SpoolDamaged { path: index_path, at: bytes.len() as u64 });
            }
            let index = blocks.iter().map(|block| Block::decode(*block)).collect();
            parts.push(Part { path: records_path(directory, partition), records: *records, index });
        }
        Ok(Spool { identity: manifest.identity, parts })
    }
}

impl Frame {
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|length| &self.bytes[..length])
    }

    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key.unwrap_or(0)..]
    }
}

impl FrameReader {
    /// `false` at the end of the partition.
    pub fn next(&mut self, frame: &mut Frame) -> Result<bool, FilesError> {
        if self.left == 0 {
            return Ok(false);
        }
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact(&mut header).map_err(read_spool(&self.path))?;
        let [v0, v1, v2, v3, k0, k1, k2, k3, timestamp @ ..] = header;
        let value = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
        let key = u32::from_le_bytes([k0, k1, k2, k3]);
        frame.key = (key != NO_KEY).then_some(key as usize);
        frame.timestamp = i64::from_le_bytes(timestamp);
        let length = value + frame.key.unwrap_or(0);
        if value > LINE_BYTES_MAX || length > 2 * LINE_BYTES_MAX {
            return Err(FilesError::SpoolDamaged { path: self.path.clone(), at: self.at });
        }
        frame.bytes.resize(length, 0);
        self.file.read_exact(&mut frame.bytes).map_err(read_spool(&self.path))?;
        self.at += (HEADER_BYTES + length) as u64;
        self.left -= 1;
        Ok(true)
    }

    /// The error for a partition that has fewer records than it says.
    pub fn ended_early(&self) -> FilesError {
        FilesError::SpoolDamaged { path: self.path.clone(), at: self.at }
    }
}

impl Block {
    fn decode(bytes: [u8; 16]) -> Block {
        let [a, b, c, d, e, f, g, h, latest @ ..] = bytes;
        Block { position: u64::from_le_bytes([a, b, c, d, e, f, g, h]), latest: i64::from_le_bytes(latest) }
    }
}

/// One partition while it is being written.
struct PartWriter {
    path: PathBuf,
    records: BufWriter<File>,
    count: u64,
    position: u64,
    index: Vec<Block>,
}

impl PartWriter {
    fn create(directory: &Path, partition: usize) -> Result<PartWriter, FilesError> {
        let path = records_path(directory, partition);
        let file = File::create(&path).map_err(write_spool(&path))?;
        let records = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        Ok(PartWriter { path, records, count: 0, position: 0, index: Vec::new() })
    }

    fn append(&mut self, timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> Result<(), FilesError> {
        if self.count.is_multiple_of(BLOCK) {
            self.index.push(Block { position: self.position, latest: timestamp });
        }
        if let Some(block) = self.index.last_mut() {
            block.latest = block.latest.max(timestamp);
        }
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&key.map_or(NO_KEY, |key| key.len() as u32).to_le_bytes());
        header[8..].copy_from_slice(&timestamp.to_le_bytes());
        let key = key.unwrap_or_default();
        for bytes in [&header[..], key, value] {
            self.records.write_all(bytes).map_err(write_spool(&self.path))?;
        }
        self.position += (HEADER_BYTES + key.len() + value.len()) as u64;
        self.count += 1;
        Ok(())
    }

    fn finish(self, directory: &Path, partition: usize) -> Result<(u64, u64), FilesError> {
        let file = self.records.into_inner().map_err(|error| write_spool(&self.path)(error.into_error()))?;
        file.sync_all().map_err(write_spool(&self.path))?;
        let path = index_path(directory, partition);
        let encode = |block: &Block| [block.position.to_le_bytes(), block.latest.to_le_bytes()];
        let bytes: Vec<u8> = self.index.iter().flat_map(encode).flatten().collect();
        write_durably(&path, &bytes)?;
        Ok((self.count, self.position))
    }
}

fn write(
    input: &Path,
    directory: &Path,
    (partitions, identity): (u32, LogIdentity),
    key_of: KeyOf<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Manifest, FilesError> {
    fs::create_dir_all(directory).map_err(write_spool(directory))?;
    let marker = manifest_path(directory);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(write_spool(&marker)(error)),
        // The old marker must be gone for good before the first old record is overwritten.
        Ok(()) | Err(_) => sync_directory(directory)?,
    }
    let mut writers = Vec::with_capacity(partitions as usize);
    for partition in 0..partitions as usize {
        writers.push(PartWriter::create(directory, partition)?);
    }
    let mut splitter = Splitter::new(partitions);
    let mut lines = Lines::open(input)?;
    let mut count: u64 = 0;
    while let Some(line) = lines.next()? {
        let key = key_of(line);
        let placed = splitter.place(&key);
        writers[placed.partition.0 as usize].append(placed.timestamp, key.user.as_deref(), line)?;
        count += 1;
        if count.is_multiple_of(PROGRESS_EVERY) {
            progress(count);
        }
    }
    progress(count);
    let mut manifest = Manifest { format: FORMAT, identity, records: Vec::new(), bytes: Vec::new() };
    for (partition, writer) in writers.into_iter().enumerate() {
        let (records, bytes) = writer.finish(directory, partition)?;
        manifest.records.push(records);
        manifest.bytes.push(bytes);
    }
    Ok(manifest)
}

fn finish(directory: &Path, manifest: &Manifest) -> Result<(), FilesError> {
    let draft = directory.join("complete.json.draft");
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| write_spool(&draft)(error.into()))?;
    write_durably(&draft, &text)?;
    fs::rename(&draft, manifest_path(directory)).map_err(write_spool(&draft))?;
    sync_directory(directory)
}

/// The log that a file is when it is split like this.
pub fn identity(input: &Path, (partitions, splitting): (u32, [u8; 32])) -> Result<LogIdentity, FilesError> {
    let (bytes, _) = stamp(input)?;
    Ok(LogIdentity::File { bytes, content: digest(input)?, partitions, splitting })
}

/// Removes a spool; what is left of it by a crash on the way counts as none.
pub fn remove(directory: &Path) -> Result<(), FilesError> {
    let removed = fs::remove_file(manifest_path(directory)).and_then(|()| fs::remove_dir_all(directory));
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(write_spool(directory)(error)),
            Ok(()) | Err(_) => Ok(()),
        },
        removed => removed.map_err(write_spool(directory)),
    }
}

/// `None` unless a complete spool of exactly this input lies there.
fn read_manifest(directory: &Path, identity: &LogIdentity) -> Option<Manifest> {
    let text = fs::read(manifest_path(directory)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&text).ok()?;
    let intact = |(partition, bytes): (usize, &u64)| {
        fs::metadata(records_path(directory, partition)).is_ok_and(|metadata| metadata.len() == *bytes)
    };
    let fits = manifest.format == FORMAT
        && manifest.identity == *identity
        && manifest.records.len() == manifest.bytes.len()
        && manifest.bytes.iter().enumerate().all(intact);
    fits.then_some(manifest)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let mut file = File::create(path).map_err(write_spool(path))?;
    file.write_all(bytes).map_err(write_spool(path))?;
    file.sync_all().map_err(write_spool(path))
}

fn sync_directory(directory: &Path) -> Result<(), FilesError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(write_spool(directory))
}

fn stamp(input: &Path) -> Result<(u64, Option<SystemTime>), FilesError> {
    let failed = |source| FilesError::Open { path: input.to_owned(), source };
    let metadata = fs::metadata(input).map_err(failed)?;
    if !metadata.is_file() {
        return Err(FilesError::NotAFile { path: input.to_owned() });
    }
    Ok((metadata.len(), metadata.modified().ok()))
}

fn digest(input: &Path) -> Result<[u8; 32], FilesError> {
    let open = |source| FilesError::Open { path: input.to_owned(), source };
    let read = |source| FilesError::Read { path: input.to_owned(), line: 0, source };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(input).map_err(open)?).map_err(read)?;
    Ok(*hasher.finalize().as_bytes())
}

fn manifest_path(directory: &Path) -> PathBuf {
    directory.join("complete.json")
}

fn records_path(directory: &Path, partition: usize) -> PathBuf {
    directory.join(format!("partition-{partition}.records"))
}

fn index_path(directory: &Path, partition: usize) -> PathBuf {
    directory.join(format!("partition-{partition}.index"))
}
