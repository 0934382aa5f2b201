//! Lines at the end of a terminal that are drawn again, below lines that stay.

use unicode_width::UnicodeWidthStr;

use super::{Output, Piece, escape, shorten};
use crate::cli::exit::Failure;

/// Rows and columns of a terminal whose size is unknown.
const SIZE: (usize, usize) = (24, 80);

/// What was drawn last.
#[derive(Debug, Default)]
pub struct Block {
    drawn: usize,
}

impl Output {
    /// Whether lines can be drawn again: it is a terminal, and its reader a person.
    pub fn can_draw(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.is_terminal && self.is_for_people() && !dumb
    }

    /// Prints `stay` in place of the block, and the block below it. What is too wide is cut, what is too high counted.
    pub fn draw(
        &mut self,
        block: &mut Block,
        stay: &[Vec<Piece>],
        lines: &[Vec<Piece>],
    ) -> Result<(), Failure> {
        let mut text = match block.drawn {
            0 => String::new(),
            drawn => format!("\u{1b}[{drawn}A\r\u{1b}[J"),
        };
        for line in stay {
            let pieces: String = line.iter().map(|piece| self.paint(piece)).collect();
            text.push_str(&format!("{}\n", pieces.trim_end()));
        }
        let (rows, columns) = size();
        let room = rows.saturating_sub(2).max(1);
        let shown = match lines.len() > room {
            true => room - 1,
            false => lines.len(),
        };
        for line in &lines[..shown] {
            text.push_str(&self.fit(line, columns.saturating_sub(1)));
        }
        let hidden = lines.len() - shown;
        if hidden > 0 {
            text.push_str(&format!("... and {hidden} more\n"));
        }
        block.drawn = shown + usize::from(hidden > 0);
        self.write(&text)
    }

    fn fit(&self, line: &[Piece], columns: usize) -> String {
        let mut text = String::new();
        let mut left = columns;
        for piece in line {
            let plain = escape(&piece.text);
            let cut = match plain.width() > left {
                true => shorten(&plain, left),
                false => plain,
            };
            left = left.saturating_sub(cut.width());
            text.push_str(&self.dye(piece.colour, &cut));
        }
        format!("{}\n", text.trim_end())
    }
}

fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    let size = size.map(|(columns, rows)| (usize::from(rows.0), usize::from(columns.0)));
    size.filter(|(rows, columns)| *rows > 0 && *columns > 0)
        .unwrap_or(SIZE)
}
