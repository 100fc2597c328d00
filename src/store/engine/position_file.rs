//! The file beside the data that says how far commits were acknowledged.
//!
//! Recovery after a crash replays the write-ahead log up to the first damaged record, and so could lose what was
//! acknowledged without a word. This file is written after each synced write and before anybody is answered: what is
//! recovered must reach as far as it says. It is not synced itself: a killed process leaves it in the system's cache, and
//! after a power cut it may say less than the truth, which only makes the check weaker, never wrong.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use crate::store::position::Position;

/// Position and checksum.
const LENGTH: usize = 16;

/// The open file.
#[derive(Debug)]
pub(super) struct PositionFile(File);

impl PositionFile {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).create(true).truncate(false).open(path)?))
    }

    /// What it says; zero when it is new.
    pub(super) fn read(&self) -> io::Result<Position> {
        let mut bytes = [0; LENGTH];
        match self.0.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Position::ZERO),
            read => read?,
        }
        let (position, sum) = bytes.split_at(8);
        let position = u64::from_be_bytes(position.try_into().unwrap_or_default());
        if sum != checksum(position) {
            let message =
                "the file POSITION is damaged: it says how far writes were acknowledged. Remove it to go on without";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Position(position))
    }

    /// Says that everything up to `position` is durable.
    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        let mut bytes = [0; LENGTH];
        let (head, sum) = bytes.split_at_mut(8);
        head.copy_from_slice(&position.0.to_be_bytes());
        sum.copy_from_slice(&checksum(position.0));
        self.0.write_all_at(&bytes, 0)
    }
}

fn checksum(position: u64) -> [u8; 8] {
    let mut out = [0; 8];
    blake3::Hasher::new().update(&position.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}
