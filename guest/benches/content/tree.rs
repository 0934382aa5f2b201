//! The content that is measured: half text, half noise, the same in every run.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What files are cut from; longer than the window of the compression, so that no file repeats another.
const POOL: usize = 16 << 20;

/// Files of one directory.
const SIBLINGS: u64 = 100;

/// Sizes relative to each other: many small files, a few that are larger than all of those.
const SIZES: [u64; 20] = [
    1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 8, 10, 12, 16, 24, 40, 80, 400,
];

/// Writes `files` files with about `bytes` bytes in all below `root`, and returns how many bytes those are.
pub(crate) fn write(root: &Path, files: u64, bytes: u64) -> u64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pools = [text(&mut random), noise(&mut random)];
    let weight: u64 = SIZES.iter().sum();
    let unit = bytes * SIZES.len() as u64 / (files.max(1) * weight);
    let mut written = 0;
    for number in 0..files {
        let folder = folder(root, number / SIBLINGS);
        if number % SIBLINGS == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        let size = SIZES[random.below(SIZES.len() as u64) as usize] * unit;
        let pool = &pools[random.below(2) as usize];
        let mut file = File::create(folder.join(format!("file-{number}"))).unwrap();
        let mut left = size as usize;
        while left > 0 {
            let from = random.below(POOL as u64 / 2) as usize;
            let piece = &pool[from..from + left.min(POOL / 2)];
            file.write_all(piece).unwrap();
            left -= piece.len();
        }
        written += size;
    }
    written
}

/// Directories three levels deep.
fn folder(root: &Path, number: u64) -> PathBuf {
    root.join(format!("part-{}", number / 100))
        .join(format!("folder-{}", number / 10))
        .join(format!("folder-{number}"))
}

/// Lines of words, as source code has them.
fn text(random: &mut Random) -> Vec<u8> {
    let words: Vec<String> = (0..4000)
        .map(|_| {
            let letters = 2 + random.below(9);
            (0..letters)
                .map(|_| char::from(b'a' + random.below(26) as u8))
                .collect()
        })
        .collect();
    let mut pool = Vec::with_capacity(POOL + 64);
    while pool.len() < POOL {
        // Some words are more frequent than others.
        let word = random.below(4000).min(random.below(4000));
        pool.extend_from_slice(words[word as usize].as_bytes());
        pool.push([b' ', b' ', b' ', b'\n', b'('][random.below(5) as usize]);
    }
    pool
}

fn noise(random: &mut Random) -> Vec<u8> {
    let mut pool = Vec::with_capacity(POOL + 8);
    while pool.len() < POOL {
        pool.extend_from_slice(&random.next().to_le_bytes());
    }
    pool
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}
