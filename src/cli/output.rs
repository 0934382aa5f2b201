//! Writes results to standard output: tables and lines for people, JSON and YAML for programs.
//!
//! Nothing that a server says reaches a terminal unescaped, and a reader that went away is no error.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
pub use comfy_table::Color;
use comfy_table::{Cell, Table};
use serde::Serialize;

use super::exit::{Exit, Failure};

#[cfg(test)]
mod tests;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: proto3 JSON; streams have one object per line.
    Json,
    /// For programs: the same as YAML; streams have one document per value.
    Yaml,
}

/// Standard output in one format.
pub struct Output {
    format: Format,
    colours: bool,
    out: Box<dyn Write>,
    /// Whether a YAML document was written, so that the next needs a separator.
    separate: bool,
}

/// A piece of a table or a line: text, and the colour it has where colours are wanted.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    text: String,
    colour: Option<Color>,
}

impl Piece {
    /// Makes a coloured piece.
    pub fn coloured(text: impl Into<String>, colour: Option<Color>) -> Self {
        Self {
            text: text.into(),
            colour,
        }
    }
}

impl<T: Into<String>> From<T> for Piece {
    fn from(text: T) -> Self {
        Self::coloured(text, None)
    }
}

impl Output {
    /// Opens standard output; colours only on a terminal and only when `NO_COLOR` is unset.
    pub fn stdout(format: Format) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let out = io::stdout();
        Self {
            format,
            colours: out.is_terminal() && !unwanted && !dumb,
            out: Box::new(out),
            separate: false,
        }
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether people read this, rather than programs.
    pub fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Writes one line for people, its pieces as they are.
    pub fn line<const N: usize>(&mut self, pieces: [Piece; N]) -> Result<(), Failure> {
        let mut line = String::new();
        for piece in &pieces {
            line.push_str(&self.paint(piece));
        }
        self.write(&format!("{}\n", line.trim_end()))
    }

    /// Writes a table without borders.
    pub fn table(&mut self, header: &[&str], rows: Vec<Vec<Piece>>) -> Result<(), Failure> {
        let text = self.layout(Some(header), rows);
        self.write(&text)
    }

    /// Writes rows aligned like a table, indented and without a header.
    pub fn rows(&mut self, indent: &str, rows: Vec<Vec<Piece>>) -> Result<(), Failure> {
        let text = self.layout(None, rows);
        let text: String = text
            .lines()
            .map(|line| format!("{indent}{line}\n"))
            .collect();
        self.write(&text)
    }

    /// Writes the whole result of a command for programs.
    pub fn document<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.yaml(value),
            _ => {
                let text = serde_json::to_string_pretty(value).map_err(cannot_encode)?;
                self.write(&format!("{}\n", escape_json(&text)))
            }
        }
    }

    /// Writes one of a stream of values for programs.
    pub fn record<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.yaml(value),
            _ => {
                let text = serde_json::to_string(value).map_err(cannot_encode)?;
                self.write(&format!("{}\n", escape_json(&text)))
            }
        }
    }

    fn yaml<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let mut text = serde_saphyr::to_string(value).map_err(cannot_encode)?;
        // Unquoted YAML has no way to spell these characters; JSON has, and every JSON document is YAML.
        if text.chars().any(|c| c != '\n' && is_deceptive(c)) {
            text = escape_json(&serde_json::to_string_pretty(value).map_err(cannot_encode)?);
        }
        let separator = if self.separate { "---\n" } else { "" };
        self.separate = true;
        self.write(&format!("{separator}{}\n", text.trim_end()))
    }

    fn layout(&self, header: Option<&[&str]>, rows: Vec<Vec<Piece>>) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        match self.colours {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        if let Some(header) = header {
            table.set_header(header.iter().copied());
        }
        table.add_rows(
            rows.iter()
                .map(|row| row.iter().map(cell).collect::<Vec<_>>()),
        );
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        table
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    fn paint<'a>(&self, piece: &'a Piece) -> Cow<'a, str> {
        let text = escape(&piece.text);
        let code = match piece.colour {
            Some(Color::Red) => 31,
            Some(Color::Green) => 32,
            Some(Color::Yellow) => 33,
            Some(Color::Cyan) => 36,
            Some(Color::DarkGrey) => 90,
            _ => return text,
        };
        if self.colours {
            Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
        } else {
            text
        }
    }

    /// Written and flushed at once: whoever reads a stream through a pipe wants each line when it happens.
    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }
}

/// Makes control characters and characters that reorder or hide text visible as escapes.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_deceptive(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Writes an age as kubectl does: "5s", "3m12s", "2h", "4d".
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, unit: char, small: i64, part: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{part}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

fn cell(piece: &Piece) -> Cell {
    let cell = Cell::new(escape(&piece.text));
    match piece.colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// JSON strings may hold these characters as they are, so the escape loses nothing for programs.
fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !is_deceptive(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// Control characters, bidirectional controls, and characters without any width that can hide text.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn cannot_encode(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot encode the result: {error}"))
}
