//! Trees as tar streams: the same tree always gives the same bytes.

pub mod read;
pub mod write;

/// How much a tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sizes of all files added up.
    pub max_bytes: u64,
    /// Entries of every kind.
    pub max_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 32_212_254_720,
            max_files: 5_000_000,
        }
    }
}

/// A tree that holds more than it may.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitError {
    #[error("the tree holds more than {0} bytes")]
    Bytes(u64),
    #[error("the tree holds more than {0} files")]
    Files(u64),
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Everything that is not a directory.
    pub files: u64,
    /// Sizes of the files added up.
    pub bytes: u64,
    /// Entries of every kind.
    pub entries: u64,
}

impl Counted {
    /// Counts one entry, unless that is one too many.
    fn add(&mut self, is_dir: bool, bytes: u64, limits: &Limits) -> Result<(), LimitError> {
        self.entries += 1;
        self.files += u64::from(!is_dir);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > limits.max_files {
            return Err(LimitError::Files(limits.max_files));
        }
        if self.bytes > limits.max_bytes {
            return Err(LimitError::Bytes(limits.max_bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
