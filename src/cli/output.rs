//! Writes results to standard output: tables and lines for people, JSON and YAML for programs.
//!
//! Text of a server is escaped before it reaches a terminal, and a closed pipe is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use super::escape::{escape, escape_json, is_deceptive};
use super::exit::{self, Exit, Failure};
pub use block::Block;
pub use format::{Format, Formats};
pub use table::{Column, Layout, shorten};

mod block;
mod format;
mod jsonpath;
mod table;
#[cfg(test)]
mod tests;

/// What is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Red,
    Green,
    Yellow,
    Cyan,
    DarkGrey,
}

/// Standard output in one format.
pub struct Output {
    format: Format,
    is_terminal: bool,
    colours: bool,
    /// Columns of the terminal, if it is one.
    room: Option<usize>,
    out: Box<dyn Write>,
    /// Whether a YAML document was written, so that the next needs a separator.
    separate: bool,
}

/// A part of a table or a line: text, and its colour.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    text: String,
    colour: Option<Color>,
}

impl Piece {
    pub fn coloured(text: impl Into<String>, colour: Option<Color>) -> Self {
        Self {
            text: text.into(),
            colour,
        }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// Returns its text and its colour.
    pub fn parts(self) -> (String, Option<Color>) {
        (self.text, self.colour)
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
        let is_terminal = out.is_terminal();
        Self {
            format,
            is_terminal,
            colours: is_terminal && !unwanted && !dumb,
            room: room(&out),
            out: Box::new(out),
            separate: false,
        }
    }

    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Whether the output is for people, not for programs.
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a failure on standard error.
    pub fn failure(&self, failure: &Failure) {
        let style = match self.format {
            Format::Json => exit::Style::Json,
            _ => exit::Style::Text,
        };
        exit::print(failure, style);
    }

    /// Writes one line for people, its pieces as they are.
    pub fn line<const N: usize>(&mut self, pieces: [Piece; N]) -> Result<(), Failure> {
        let mut line = String::new();
        for piece in &pieces {
            line.push_str(&self.paint(piece));
        }
        self.write(&format!("{}\n", line.trim_end()))
    }

    /// Writes a line of a log: as it is, except on a terminal, which it could deceive.
    pub fn log(&mut self, name: &Piece, text: &str) -> Result<(), Failure> {
        let name = self.paint(name);
        if !self.is_terminal {
            return self.write(&format!("{name}{text}\n"));
        }
        let cells: Vec<_> = text.split('\t').map(escape).collect();
        self.write(&format!("{name}{}\n", cells.join("\t")))
    }

    /// Writes a table without borders. Returns its layout, for rows that follow.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<Piece>]) -> Result<Layout, Failure> {
        let room = self.room.filter(|_| self.format != Format::Wide);
        let layout = Layout::fit(columns, rows, room);
        let header: Vec<Piece> = columns.iter().map(|column| column.title.into()).collect();
        self.write_rows(&layout, "", std::iter::once(&header).chain(rows))?;
        Ok(layout)
    }

    /// Writes a row below a table.
    pub fn row(&mut self, layout: &Layout, row: &Vec<Piece>) -> Result<(), Failure> {
        self.write_rows(layout, "", std::iter::once(row))
    }

    /// Writes rows aligned like a table, indented and without a header.
    pub fn rows(&mut self, indent: &str, rows: Vec<Vec<Piece>>) -> Result<(), Failure> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let columns = vec![Column::fixed(""); columns];
        let layout = Layout::fit(&columns, &rows, None);
        self.write_rows(&layout, indent, &rows)
    }

    fn write_rows<'a>(
        &mut self,
        layout: &Layout,
        indent: &str,
        rows: impl IntoIterator<Item = &'a Vec<Piece>>,
    ) -> Result<(), Failure> {
        let mut text = String::new();
        for row in rows {
            text.push_str(indent);
            text.push_str(&layout.line(row, |piece, text| self.dye(piece.colour, text)));
        }
        self.write(&text)
    }

    /// Writes the whole result of a command for programs.
    pub fn document<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        match &self.format {
            Format::Json | Format::Table | Format::Wide => {
                let text = serde_json::to_string_pretty(value).map_err(cannot_encode)?;
                self.write(&format!("{}\n", escape_json(&text)))
            }
            _ => self.record(value),
        }
    }

    /// Writes one of a stream of values for programs.
    pub fn record<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        match &self.format {
            Format::Yaml => self.yaml(value),
            Format::Name => {
                let value = serde_json::to_value(value).map_err(cannot_encode)?;
                let mut names = String::new();
                for name in names_in(&value) {
                    names.push_str(&escape(name));
                    names.push('\n');
                }
                self.write(&names)
            }
            Format::JsonPath(path) => {
                let value = serde_json::to_value(value).map_err(cannot_encode)?;
                // What separates lines and columns comes from the template.
                let text: String = path
                    .fill(&value)
                    .split_inclusive(['\n', '\t'])
                    .flat_map(|line| {
                        let end = line.len() - usize::from(line.ends_with(['\n', '\t']));
                        [escape(&line[..end]).into_owned(), line[end..].to_owned()]
                    })
                    .collect();
                let end = if text.ends_with('\n') { "" } else { "\n" };
                self.write(&format!("{text}{end}"))
            }
            Format::Json | Format::Table | Format::Wide => {
                let text = serde_json::to_string(value).map_err(cannot_encode)?;
                self.write(&format!("{}\n", escape_json(&text)))
            }
        }
    }

    fn yaml<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let mut text = serde_saphyr::to_string(value).map_err(cannot_encode)?;
        // Plain YAML cannot spell these characters; JSON can, and every JSON document is YAML.
        if text.chars().any(|c| c != '\n' && is_deceptive(c)) {
            text = escape_json(&serde_json::to_string_pretty(value).map_err(cannot_encode)?);
        }
        let separator = if self.separate { "---\n" } else { "" };
        self.separate = true;
        self.write(&format!("{separator}{}\n", text.trim_end()))
    }

    fn paint(&self, piece: &Piece) -> String {
        self.dye(piece.colour, &escape(&piece.text))
    }

    fn dye(&self, colour: Option<Color>, text: &str) -> String {
        let code = match colour {
            Some(Color::Red) => 31,
            Some(Color::Green) => 32,
            Some(Color::Yellow) => 33,
            Some(Color::Cyan) => 36,
            Some(Color::DarkGrey) => 90,
            None => return text.to_owned(),
        };
        match self.colours {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Writes and flushes: the reader of a stream through a pipe gets each line at once.
    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }
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

/// The names in a result: of each item, of its status, or its own.
fn names_in(value: &Value) -> Vec<&str> {
    match value["items"].as_array() {
        Some(items) => items.iter().flat_map(names_in).collect(),
        None => {
            let id = value.pointer("/status/id").or_else(|| value.get("id"));
            id.and_then(Value::as_str).into_iter().collect()
        }
    }
}

/// How many columns there are, if it is a terminal.
fn room(out: &io::Stdout) -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(out)?;
    Some(usize::from(width.0)).filter(|width| *width > 0)
}

fn cannot_encode(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot encode the result: {error}"))
}
