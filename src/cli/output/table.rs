//! The layout of tables: columns as wide as their content; a narrow terminal gets fewer and shorter ones.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Piece;
use crate::cli::escape::escape;

/// Spaces between two columns.
const GAP: usize = 3;
/// Shortest width of a text column before it is hidden.
const SHORTEST: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    /// Columns of a higher rank are hidden first on a narrow terminal; rank 0 always stays.
    pub rank: u8,
    /// Text, which is shortened before a column is hidden.
    pub is_text: bool,
}

impl Column {
    /// A column that always stays.
    pub const fn fixed(title: &'static str) -> Self {
        Self {
            title,
            rank: 0,
            is_text: false,
        }
    }

    /// A column that is hidden before those of a lower rank.
    pub const fn ranked(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            rank,
            is_text: false,
        }
    }

    /// A column of text, shortened first.
    pub const fn text(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            rank,
            is_text: true,
        }
    }
}

/// Which columns are shown, and how wide.
#[derive(Clone, Debug, Default)]
pub struct Layout(Vec<(usize, usize, bool)>);

impl Layout {
    /// Fits columns into `room`, if it is limited.
    pub(super) fn fit(columns: &[Column], rows: &[Vec<Piece>], room: Option<usize>) -> Self {
        let width_of = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|piece| escape(&piece.text).width()).max();
            widest.unwrap_or(0).max(columns[at].title.width())
        };
        let mut shown: Vec<(usize, usize, bool)> = (0..columns.len())
            .map(|at| (at, width_of(at), false))
            .collect();
        let Some(room) = room else {
            return Self(shown);
        };
        let needed = |shown: &[(usize, usize, bool)]| {
            shown
                .iter()
                .map(|(_, width, _)| width + GAP)
                .sum::<usize>()
                .saturating_sub(GAP)
        };
        // Text is shortened first, then columns are hidden, and text gets their room.
        loop {
            let over = needed(&shown).saturating_sub(room);
            if over == 0 {
                return Self(shown);
            }
            if let Some(text) = shown
                .iter_mut()
                .find(|(at, width, _)| columns[*at].is_text && *width >= SHORTEST + over)
            {
                text.1 -= over;
                text.2 = true;
                return Self(shown);
            }
            let last = shown
                .iter()
                .enumerate()
                .max_by_key(|(_, (at, ..))| columns[*at].rank)
                .filter(|(_, (at, ..))| columns[*at].rank > 0)
                .map(|(index, _)| index);
            match last {
                Some(index) => {
                    shown.remove(index);
                }
                None => return Self(shown),
            }
        }
    }

    /// One line; `paint` colours text after its layout.
    pub(super) fn line(&self, row: &[Piece], paint: impl Fn(&Piece, &str) -> String) -> String {
        let mut line = String::new();
        let last = self.0.len().saturating_sub(1);
        for (index, (at, width, cut)) in self.0.iter().enumerate() {
            let Some(piece) = row.get(*at) else { continue };
            let text = escape(&piece.text);
            let text = match cut {
                true => shorten(&text, *width),
                false => text,
            };
            line.push_str(&paint(piece, &text));
            if index < last {
                let gap = (width + GAP).saturating_sub(text.width());
                line.extend(std::iter::repeat_n(' ', gap));
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Shortens a text to a width, with an ellipsis.
pub fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut room = width.saturating_sub(3);
    let fits = |c: &char| match c.width().unwrap_or(0) {
        taken if taken <= room => {
            room -= taken;
            true
        }
        _ => false,
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    short.push_str("...");
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::fixed("ID"),
        Column::ranked("OWNER", 1),
        Column::ranked("NODE", 3),
        Column::text("MESSAGE", 2),
    ];

    fn lines(room: Option<usize>) -> Vec<String> {
        let row = |cells: [&str; 4]| cells.map(Piece::from).to_vec();
        let rows = vec![
            row([
                "blue-owl",
                "alice",
                "node-1",
                "0/3 nodes are available: insufficient cpu",
            ]),
            row(["b", "b\u{e9}\u{4e2d}\u{6587}", "-", ""]),
        ];
        let layout = Layout::fit(&COLUMNS, &rows, room);
        let header: Vec<Piece> = COLUMNS.iter().map(|c| c.title.into()).collect();
        let lines = std::iter::once(&header).chain(&rows);
        lines
            .map(|row| {
                layout
                    .line(row, |_, text| text.to_owned())
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        assert_eq!(
            lines(None),
            [
                "ID         OWNER    NODE     MESSAGE",
                "blue-owl   alice    node-1   0/3 nodes are available: insufficient cpu",
                "b          b\u{e9}\u{4e2d}\u{6587}   -",
            ]
        );
        assert_eq!(lines(Some(200)), lines(None));
    }

    #[test]
    fn a_narrow_terminal_cuts_text_and_then_drops_columns() {
        assert_eq!(
            lines(Some(60))[1],
            "blue-owl   alice    node-1   0/3 nodes are available: ins..."
        );
        assert_eq!(
            lines(Some(40))[1],
            "blue-owl   alice    0/3 nodes are ava..."
        );
        assert_eq!(lines(Some(30))[1], "blue-owl   alice");
        assert_eq!(lines(Some(10))[1], "blue-owl");
        for room in 8..100 {
            for line in lines(Some(room)) {
                assert!(line.width() <= room, "{room}: {line}");
            }
        }
    }
}
