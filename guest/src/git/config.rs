//! Settings of git: the guest's own file, and which keys of others run programs.

use std::fmt::Write;

/// Settings as a file that git reads.
pub fn file(settings: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in settings {
        let (Some((section, rest)), Some((_, name))) = (key.split_once('.'), key.rsplit_once('.'))
        else {
            continue;
        };
        match rest.rsplit_once('.') {
            Some((sub, _)) => {
                let _ = writeln!(text, "[{section} \"{}\"]", escaped(sub));
            }
            None => {
                let _ = writeln!(text, "[{section}]");
            }
        }
        let _ = writeln!(text, "\t{name} = \"{}\"", escaped(value));
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Whether a key makes git run a program, connect elsewhere or read other settings.
///
/// While the guest works, such keys of users have no effect: they would act with the guest's secrets in reach.
pub fn acts(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let (section, rest) = key.split_once('.').unwrap_or((&key, ""));
    let name = rest.rsplit('.').next().unwrap_or_default();
    match section {
        "alias" | "credential" | "filter" | "gpg" | "include" | "includeif" | "lfs"
        | "protocol" | "safe" | "uploadpack" | "url" => true,
        "core" => matches!(
            name,
            "askpass"
                | "editor"
                | "fsmonitor"
                | "gitproxy"
                | "hookspath"
                | "pager"
                | "sshcommand"
                | "worktree"
                | "attributesfile"
                | "alternaterefscommand"
        ),
        "diff" => matches!(name, "command" | "external" | "textconv"),
        "http" => matches!(
            name,
            "extraheader" | "cookiefile" | "followredirects" | "savecookies"
        ),
        "init" => name == "templatedir",
        "interactive" => name == "difffilter",
        "merge" => name == "driver",
        "pager" | "trailer" => true,
        "remote" => matches!(name, "uploadpack" | "receivepack" | "vcs" | "proxy"),
        "sequence" => name == "editor",
        "ssh" => true,
        "submodule" => name == "update",
        _ => false,
    }
}

/// Whether a key is of use while the guest works, and does no more than that.
pub fn helps(key: &str) -> bool {
    let section = key
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    matches!(
        section.as_str(),
        "checkout" | "core" | "fetch" | "http" | "pack"
    ) && !acts(key)
}

/// Whether it is a key as git writes them: a section, a name, and whatever stands in between.
pub fn is_key(key: &str) -> bool {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let section = key.split('.').next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    key.contains('.') && !key.contains(['\n', '\0']) && word(section) && word(name)
}

/// What switches such keys of a repository off, given the names of all keys in effect and the guest's own settings.
pub fn neutral<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    own: &[(String, String)],
) -> Vec<(String, String)> {
    let mut settings = vec![
        ("core.hooksPath".to_owned(), "/dev/null".to_owned()),
        ("core.fsmonitor".to_owned(), "false".to_owned()),
    ];
    for key in keys {
        let lower = key.to_ascii_lowercase();
        if let Some((_, value)) = own.iter().find(|(own, _)| own.eq_ignore_ascii_case(key)) {
            if acts(key) && !lower.starts_with("url.") && !lower.starts_with("safe.") {
                settings.push((key.to_owned(), value.clone()));
            }
            continue;
        }
        let value = match lower.rsplit('.').next() {
            Some("required") => "false",
            Some("hookspath" | "fsmonitor" | "path") => continue,
            Some("update") => "checkout",
            _ => "",
        };
        if acts(key) && !lower.starts_with("url.") && !lower.starts_with("safe.") {
            settings.push((key.to_owned(), value.to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_dots_and_quotes_survive() {
        let settings = [
            ("core.a".to_owned(), "x".to_owned()),
            (
                "url.https://h.x/\"q\".insteadOf".to_owned(),
                "git@h.x:\\".to_owned(),
            ),
        ];
        assert_eq!(
            file(&settings),
            "[core]\n\ta = \"x\"\n[url \"https://h.x/\\\"q\\\"\"]\n\tinsteadOf = \"git@h.x:\\\\\"\n"
        );
    }

    #[test]
    fn keys_are_gits() {
        for key in ["user.name", "url.https://h/.insteadOf", "branch.a b.merge"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["user", "--global.x", "a.b\nc.d", ".x", "core.", "a b.c"] {
            assert!(!is_key(key), "{key}");
        }
        assert!(helps("http.sslVerify") && !helps("core.sshCommand") && !helps("user.name"));
    }

    #[test]
    fn what_runs_programs_is_known() {
        for key in [
            "core.sshCommand",
            "filter.x.clean",
            "Alias.a",
            "remote.origin.uploadpack",
        ] {
            assert!(acts(key), "{key}");
        }
        for key in [
            "user.name",
            "core.autocrlf",
            "remote.origin.url",
            "branch.main.merge",
        ] {
            assert!(!acts(key), "{key}");
        }
        let neutral = neutral(
            [
                "filter.x.process",
                "filter.x.required",
                "filter.lfs.process",
                "user.name",
            ],
            &[("filter.lfs.process".into(), "git-lfs".into())],
        );
        assert_eq!(neutral.len(), 5);
        assert!(neutral.contains(&("filter.lfs.process".into(), "git-lfs".into())));
        assert!(neutral.contains(&("filter.x.process".into(), String::new())));
    }
}
