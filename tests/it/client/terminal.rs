//! What only happens on a terminal: questions, signs of life, tables that fit. The terminal is a real one of the kernel's.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::*;
use WorkspacePhase::*;

/// A process whose standard input, output and error are one terminal.
pub(super) struct Terminal {
    child: Child,
    master: File,
    seen: Receiver<String>,
    text: String,
}

impl Terminal {
    fn start(server: &Server, columns: u16, args: &[&str]) -> Self {
        Self::at(&server.address.to_string(), columns, args)
    }

    /// Starts `wsman client` against a server elsewhere.
    pub(super) fn at(address: &str, columns: u16, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let path = path.into_string().unwrap();
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let end = || Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
        let child = Command::new(env!("CARGO_BIN_EXE_wsman"))
            .args(["client", "-H", address])
            .args(args)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        drop(slave);
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, seen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose other end is closed fails to be read.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let _ = sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            }
        });
        Self {
            child,
            master,
            seen,
            text: String::new(),
        }
    }

    /// Waits until this was printed.
    #[track_caller]
    pub(super) fn wait_for(&mut self, part: &str) {
        while !self.text.contains(part) {
            match self.seen.recv_timeout(TIMEOUT) {
                Ok(text) => self.text.push_str(&text),
                Err(_) => panic!("{part:?} was not printed, but:\n{}", self.text),
            }
        }
    }

    fn answer(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end; the code, and all that was printed.
    pub(super) fn done(mut self) -> (i32, String) {
        while let Ok(text) = self.seen.recv_timeout(TIMEOUT) {
            self.text.push_str(&text);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, std::mem::take(&mut self.text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_ends_workspaces_is_asked() {
    for (args, call) in [
        (&["set-timeout", "a", "0"][..], "SetTimeout"),
        (&["stop", "--all"], "StopWorkspace"),
    ] {
        for (answer, code, calls) in [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("yess\n", 1, 0)]
        {
            let server = Server::start(vec![workspace("a", Running, 1)]);
            let mut terminal = Terminal::start(&server, 80, args);
            terminal.wait_for("Go on? [y/N]");
            assert!(
                terminal.text.contains("stops a") || terminal.text.contains("stops 1 workspace")
            );
            terminal.answer(answer);
            let (ended, text) = terminal.done();
            assert_eq!(ended, code, "{text}");
            assert_eq!(server.requests(call).len(), calls, "{text}");
            assert_eq!(
                text.contains("not confirmed; nothing was changed"),
                code == 1,
                "{text}"
            );
        }
    }
}

#[test]
fn silence_shows_what_is_awaited() {
    let server = Server::start(vec![]);
    server.state().hanging.insert("GetWorkspaces");
    let mut terminal = Terminal::start(&server, 120, &["list", "--timeout", "20s"]);
    terminal.wait_for(&format!("waiting for {} to answer (since ", server.address));
    terminal.wait_for(", 3 s)");
    drop(terminal);

    let server = Server::start(vec![]);
    let pending = saying("0/3 nodes are available", workspace("", Pending, 10));
    server.state().start_as = Some(pending);
    let args = ["start", "--image", "i", "--name", "x", "--wait"];
    let mut terminal = Terminal::start(&server, 120, &args);
    terminal.wait_for("waiting for x to run; x is PENDING: 0/3 nodes are available (since ");
    server.update(workspace("x", Running, 11));
    let (code, text) = terminal.done();
    assert_eq!(code, 0, "{text}");
    // The sign goes before a line comes.
    let (_, last) = text.rsplit_once("\r\u{1b}[K").unwrap();
    assert!(
        last.contains("RUNNING") && !last.contains("waiting"),
        "{last:?}"
    );
}

#[test]
fn tables_fit_the_terminal() {
    let server = Server::start(vec![saying(
        "0/3 nodes are available: insufficient cpu",
        workspace("6f2c1e0a-3b7d-4f52-9a53-0c1d2e3f4a5b", Pending, 1),
    )]);
    let mut all = String::new();
    for columns in [160, 120, 100, 80, 60, 40] {
        let (code, text) = Terminal::start(&server, columns, &["list"]).done();
        assert_eq!(code, 0, "{text}");
        let text = text.replace('\r', "");
        let widest = text.lines().map(str::len).max().unwrap();
        assert!(widest <= usize::from(columns).max(50), "{columns}: {text}");
        all.push_str(&format!("{columns} columns:\n{text}"));
    }
    check("list_narrow", &all);
    let (_, wide) = Terminal::start(&server, 60, &["list", "-o", "wide"]).done();
    assert!(
        wide.contains("insufficient cpu") && wide.contains("IMAGE"),
        "{wide}"
    );
}
