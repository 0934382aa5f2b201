//! What a shell and a packager get: version, completions, manual pages.

use super::*;

#[test]
fn the_version_names_commit_and_protocol() {
    for flag in ["--version", "-V"] {
        let text = wsman(&[flag]).expect(0).stdout;
        let (start, rest) = text.split_once(" (commit ").unwrap();
        assert_eq!(start, concat!("wsman ", env!("CARGO_PKG_VERSION")));
        let (commit, protocol) = rest.split_once("; ").unwrap();
        assert_eq!(protocol, "protocol wsman.WorkspaceManager)\n");
        let commit = commit.trim_end_matches(", debug build");
        let is_hash = commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_hash || commit == "unknown", "{commit}");
    }
}

#[test]
fn every_shell_has_completions() {
    for (shell, part) in [
        ("bash", "complete -F _wsman"),
        ("zsh", "#compdef wsman"),
        ("fish", "complete -c wsman"),
    ] {
        let script = wsman(&["completions", shell]).expect(0).stdout;
        for word in [
            part,
            "set-timeout",
            "show-token",
            "jsonpath",
            "config-schema",
            "loadtest",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    wsman(&["completions", "tcsh"]).expect(2);
    // An installed shell must be able to parse its own.
    let script = wsman(&["completions", "bash"]).expect(0).stdout;
    // What `client call` takes.
    assert!(script.contains("UpdateSSHKey") && script.contains("ExplainWorkspace"));
    assert!(script.contains("--fixed-ids") && script.contains("StartSession"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let check = Command::new("bash")
        .arg("-n")
        .arg(file.path())
        .status()
        .unwrap();
    assert!(check.success());
}

#[test]
fn every_command_has_a_manual_page() {
    let page = wsman(&["man"]).expect(0).stdout;
    assert!(
        page.contains(".TH wsman 1") && page.contains("completions"),
        "{page}"
    );
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    wsman(&["man", pages.to_str().unwrap()]).expect(0);
    for name in [
        "wsman",
        "wsman-client",
        "wsman-client-set-timeout",
        "wsman-client-session-run",
        "wsman-convert-loadtest",
        "wsman-generate-wsspec-schema",
        "wsman-run",
    ] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH"), "{name}");
    }
    let done = wsman(&["man", "/dev/null/x"]).expect(1);
    assert!(
        done.stderr.contains("cannot write to /dev/null/x"),
        "{}",
        done.stderr
    );
}

#[test]
fn help_lists_the_verbs() {
    // The flags of the connection are the same everywhere.
    let help = |args: &[&str]| {
        let text = wsman(&[args, &["--help"]].concat()).expect(0).stdout;
        text.split("\nConnection:\n").next().unwrap().to_owned()
    };
    check("help", &help(&[]));
    for verb in [
        "start",
        "stop",
        "list",
        "watch",
        "set-timeout",
        "ssh-keys",
        "bus-tail",
    ] {
        let name = format!("help_{}", verb.replace('-', "_"));
        check(&name, &help(&["client", verb]));
    }
    for verb in ["start", "watch", "logs", "run"] {
        let name = format!("help_session_{verb}");
        check(&name, &help(&["client", "session", verb]));
    }
    check("help_convert_loadtest", &help(&["convert", "loadtest"]));
}
