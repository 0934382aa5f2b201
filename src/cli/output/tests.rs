//! What needs a terminal, or more points in time than a process can run at.

use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn ages() {
    let cases = [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_520, "3h12m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (345_600, "4d"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (252_288_000, "8y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(age(seconds), expected, "{seconds}");
    }
}

#[test]
fn colours_are_for_terminals() {
    for (colours, painted, cell) in [
        (true, "\u{1b}[32mRUNNING\u{1b}[0m", true),
        (false, "RUNNING", false),
    ] {
        let written = Written::default();
        let mut out = Output {
            is_terminal: false,
            format: Format::Table,
            colours,
            room: None,
            out: Box::new(written.clone()),
            separate: false,
        };
        let piece = Piece::coloured("RUNNING", Some(Color::Green));
        out.line([piece.clone()]).unwrap();
        assert_eq!(written.take(), format!("{painted}\n"));
        out.table(&[Column::fixed("PHASE")], &[vec![piece]])
            .unwrap();
        assert_eq!(written.take().contains('\u{1b}'), cell);
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
