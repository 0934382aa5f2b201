//! Progress on a terminal: after some silence it shows what a command waits for, and since when.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, interval_at};

use super::escape::escape;
use super::output::shorten;

/// Longest silence.
const SILENCE: Duration = Duration::from_secs(2);
/// Columns of a terminal whose width is unknown.
const COLUMNS: usize = 80;

/// Waits for `future`. After two seconds, if standard error is a terminal, it shows what `what` returns; the line is
/// removed at the end of the wait.
pub(super) fn during<T>(
    what: impl Fn() -> String,
    future: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let future = Box::pin(future);
    async move {
        let stderr = io::stderr();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !stderr.is_terminal() || dumb {
            return future.await;
        }
        let columns = terminal_size::terminal_size_of(&stderr).map(|(width, _)| width.0);
        let columns = columns
            .filter(|width| *width > 0)
            .map_or(COLUMNS, usize::from);
        wait(what, future, columns, &mut io::stderr()).await
    }
}

async fn wait<T>(
    what: impl Fn() -> String,
    future: impl Future<Output = T>,
    columns: usize,
    out: &mut impl Write,
) -> T {
    let (start, since) = (Instant::now(), Timestamp::now());
    let mut ticks = interval_at(start + SILENCE, Duration::from_secs(1));
    let mut future = std::pin::pin!(future);
    let mut shown = false;
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut future => break outcome,
            _ = ticks.tick() => {}
        }
        let seconds = start.elapsed().as_secs();
        let since = since.strftime("%H:%M:%SZ");
        let tail = format!(" (since {since}, {seconds} s)");
        let room = columns.saturating_sub(tail.len() + 1);
        let what = what();
        let line = format!("{}{tail}", shorten(&escape(&what), room));
        // A failure to show it changes nothing.
        let _ = write!(out, "\r\u{1b}[K{line}").and_then(|()| out.flush());
        shown = true;
    };
    if shown {
        let _ = write!(out, "\r\u{1b}[K").and_then(|()| out.flush());
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(seconds: u64, columns: usize) -> String {
        let mut out = Vec::new();
        let what = || "waiting for blue-owl to run: 0/3 nodes are available".to_owned();
        let future = tokio::time::sleep(Duration::from_millis(seconds * 1000 - 500));
        wait(what, future, columns, &mut out).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_after_two_seconds() {
        assert_eq!(after(2, 80).await, "");
        let text = after(4, 80).await;
        let lines: Vec<_> = text.split("\r\u{1b}[K").collect();
        assert_eq!((lines[0], lines.len(), lines[3]), ("", 4, ""), "{text}");
        assert!(
            lines[1].starts_with("waiting for blue-owl to run: 0/3 nodes")
                && lines[1].ends_with("Z, 2 s)"),
            "{text}"
        );
        assert!(lines[2].ends_with("Z, 3 s)"), "{text}");
        let narrow = after(3, 50).await;
        assert!(
            narrow.contains("... (since ") && narrow.len() < 64,
            "{narrow}"
        );
    }
}
