//! The lines of a file, whatever it is compressed with.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::FilesError;

/// A longer line is refused: it is a file of another kind, and would have to fit into memory.
pub const LINE_BYTES_MAX: usize = 16 << 20;

const BUFFER_BYTES: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads line after line. Empty lines are passed over, the last one needs no newline, and `\r\n` ends a line as well.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    compression: Compression,
    line: Vec<u8>,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Lines {
    /// Finds the compression by the first bytes; names lie.
    pub fn open(path: &Path) -> Result<Lines, FilesError> {
        let failed = |source| FilesError::Open { path: path.to_owned(), source };
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
        let compression = detect(file.fill_buf().map_err(failed)?);
        let reader: Box<dyn BufRead + Send> = match compression {
            Compression::Plain => Box::new(file),
            Compression::Gzip => {
                Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(file)))
            }
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(file).map_err(failed)?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
            }
        };
        Ok(Lines { path: path.to_owned(), reader, compression, line: Vec::new(), number: 0 })
    }

    /// The next line that is not empty, without its end; `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the line borrows the reader's buffer, which no iterator can do")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FilesError> {
        loop {
            self.line.clear();
            // Two more than a line may have: its end does not count.
            let limit = LINE_BYTES_MAX as u64 + 2;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line);
            let read = read.map_err(|source| self.failed(source))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(FilesError::LineTooLong { path: self.path.clone(), line: self.number });
            }
            if !self.line.is_empty() {
                return Ok(Some(&self.line));
            }
        }
    }

    /// The number of the line that was read last, counting empty ones, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn failed(&self, source: io::Error) -> FilesError {
        let (path, line) = (self.path.clone(), self.number);
        match self.compression {
            Compression::Plain => FilesError::Read { path, line, source },
            Compression::Gzip => FilesError::Decompress { path, line, format: "gzip", source },
            Compression::Zstd => FilesError::Decompress { path, line, format: "zstd", source },
        }
    }
}

fn detect(start: &[u8]) -> Compression {
    if start.starts_with(&GZIP_MAGIC) {
        Compression::Gzip
    } else if start.starts_with(&ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::Plain
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// The lines of a file with this content, or the error's text.
    fn read(content: &[u8]) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let mut lines = Lines::open(file.path()).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        while let Some(line) = lines.next().map_err(|error| error.to_string())? {
            let line = String::from_utf8_lossy(line).into_owned();
            found.push(format!("{}:{line}", lines.number()));
        }
        Ok(found)
    }

    #[test]
    fn empty_lines_are_passed_over_and_the_last_line_needs_no_end() {
        assert_eq!(read(b"\na\n\n\r\nb c\r\n\nd").unwrap(), ["2:a", "5:b c", "7:d"]);
        assert_eq!(read(b"").unwrap(), [""; 0]);
        assert_eq!(read(b"\n\n").unwrap(), [""; 0]);
    }

    #[test]
    fn compression_is_found_by_content_and_several_members_are_one_file() {
        let mut two = gzip(b"a\nb");
        two.extend(gzip(b"c\nd\n"));
        assert_eq!(read(&two).unwrap(), ["1:a", "2:bc", "3:d"]);
        let mut two = zstd::encode_all(&b"a\nb"[..], 1).unwrap();
        two.extend(zstd::encode_all(&b"c\nd\n"[..], 1).unwrap());
        assert_eq!(read(&two).unwrap(), ["1:a", "2:bc", "3:d"]);
    }

    #[test]
    fn a_compressed_file_that_is_cut_off_is_an_error_wherever_the_cut_lies() {
        let content: String = (0..2000).map(|n| format!("line {n} {}\n", n * n)).collect();
        let gzip = gzip(content.as_bytes());
        let zstd = zstd::encode_all(content.as_bytes(), 1).unwrap();
        for (whole, format) in [(gzip, "gzip"), (zstd, "zstd")] {
            assert_eq!(read(&whole).unwrap().len(), 2000);
            for cut in [5, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
                let message = read(&whole[..cut]).unwrap_err();
                assert!(message.contains("cut off or damaged") && message.contains(format), "{cut}: {message}");
            }
        }
    }

    #[test]
    fn a_line_over_the_limit_is_named_and_one_at_the_limit_is_read() {
        let line = |length: usize| [b"a\n\n".to_vec(), vec![b'x'; length], b"\r\nb".to_vec()].concat();
        assert_eq!(read(&line(LINE_BYTES_MAX)).unwrap().len(), 3);
        let message = read(&line(LINE_BYTES_MAX + 1)).unwrap_err();
        assert!(message.contains("line 3 of ") && message.contains("16 MiB"), "{message}");
    }
}
