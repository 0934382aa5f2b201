//! What a request may not ask of the guest: remotes with credentials or of another kind, and what looks like an option or
//! leaves the workspace. The guest checks the same again where it uses it.

use crate::error::FieldViolation;
use crate::proto::contentservice::workspace_initializer::Spec;
use crate::proto::contentservice::{GitInitializer, WorkspaceInitializer};

/// Returns the violations of an initializer.
pub fn faults(initializer: &WorkspaceInitializer, allow_files: bool) -> Vec<FieldViolation> {
    let mut check = Check {
        allow_files,
        faults: Vec::new(),
    };
    check.initializer(initializer, "spec.initializer");
    check.faults
}

struct Check {
    allow_files: bool,
    faults: Vec<FieldViolation>,
}

impl Check {
    fn initializer(&mut self, initializer: &WorkspaceInitializer, path: &str) {
        match &initializer.spec {
            Some(Spec::Git(git)) => self.git(git, &format!("{path}.git")),
            Some(Spec::Prebuild(prebuild)) => {
                for (at, git) in prebuild.git.iter().enumerate() {
                    self.git(git, &format!("{path}.prebuild.git[{at}]"));
                }
            }
            Some(Spec::Composite(composite)) => {
                for (at, part) in composite.initializer.iter().enumerate() {
                    self.initializer(part, &format!("{path}.composite.initializer[{at}]"));
                }
            }
            Some(Spec::Download(download)) => {
                self.location(
                    &download.target_location,
                    &format!("{path}.download.target_location"),
                );
                for (at, file) in download.files.iter().enumerate() {
                    let path = format!("{path}.download.files[{at}]");
                    self.location(&file.file_path, &format!("{path}.file_path"));
                    let is_web =
                        file.url.starts_with("https://") || file.url.starts_with("http://");
                    self.unless(
                        is_web,
                        format!("{path}.url"),
                        "must be an http or https URL",
                    );
                    let has_user = has_credentials(&file.url);
                    self.unless(!has_user, format!("{path}.url"), "has credentials in it");
                }
            }
            Some(Spec::Backup(backup)) => {
                self.location(
                    &backup.checkout_location,
                    &format!("{path}.backup.checkout_location"),
                );
            }
            Some(Spec::Empty(_) | Spec::Snapshot(_)) | None => {}
        }
    }

    fn git(&mut self, git: &GitInitializer, path: &str) {
        for (field, remote) in [
            ("remote_uri", &git.remote_uri),
            ("upstream_Remote_uri", &git.upstream_remote_uri),
        ] {
            if remote.is_empty() && field != "remote_uri" {
                continue;
            }
            if let Some(why) = self.remote(remote) {
                self.faults
                    .push(FieldViolation::new(format!("{path}.{field}"), why));
            }
        }
        let target = format!("{path}.clone_taget");
        self.unless(
            !git.clone_taget.starts_with('-'),
            target,
            "must not begin with '-'",
        );
        self.location(&git.checkout_location, &format!("{path}.checkout_location"));
    }

    fn remote(&self, remote: &str) -> Option<&'static str> {
        if remote.is_empty() {
            return Some("cannot be blank");
        }
        if remote.starts_with('-') {
            return Some("must not begin with '-'");
        }
        if remote.chars().any(|c| c.is_control() || c == ' ') {
            return Some("has spaces or control characters");
        }
        if has_credentials(remote) {
            return Some(
                "has credentials in it; give them as config.auth_user and config.auth_password",
            );
        }
        let scheme = remote.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            Some("https" | "http" | "ssh" | "git") if has_host(remote) => None,
            Some("https" | "http" | "ssh" | "git") => Some("has no host"),
            Some("file") if self.allow_files => None,
            None if remote.starts_with('/') && self.allow_files => None,
            None if is_short_ssh(remote) => None,
            Some("file") | None if remote.starts_with('/') || scheme.is_some() => {
                Some("is a directory of the guest; content.git.allowFileRemotes accepts those")
            }
            _ => Some("must be an https, http, ssh or git URL, or user@host:path"),
        }
    }

    /// A location is below the root of the workspace.
    fn location(&mut self, location: &str, path: &str) {
        let leaves = location.starts_with('/') || location.split('/').any(|part| part == "..");
        let why = "must be a path below the root of the workspace";
        self.unless(!leaves && !location.contains('\0'), path.to_owned(), why);
        self.unless(
            !location.starts_with('-'),
            path.to_owned(),
            "must not begin with '-'",
        );
    }

    fn unless(&mut self, holds: bool, path: String, why: &str) {
        if !holds {
            self.faults.push(FieldViolation::new(path, why));
        }
    }
}

/// Whether a URL has a password, or a user where that is a token: ssh has users that are no secret.
fn has_credentials(url: &str) -> bool {
    if !url.contains("://") {
        // user:password@host:path.
        let rest = url.split_once(':').map(|(_, rest)| rest);
        return rest.is_some_and(|rest| rest.split('/').next().is_some_and(|r| r.contains('@')))
            && !url.split(':').next().is_some_and(|user| user.contains('@'));
    }
    ::url::Url::parse(url).is_ok_and(|url| {
        let is_token = matches!(url.scheme(), "http" | "https" | "git");
        url.password().is_some() || (is_token && !url.username().is_empty())
    })
}

fn has_host(url: &str) -> bool {
    ::url::Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(is_host))
}

/// Whether it is `user@host:path`, and not `helper::address`.
fn is_short_ssh(remote: &str) -> bool {
    let Some((host, path)) = remote.split_once(':') else {
        return false;
    };
    !host.contains('/')
        && !path.starts_with(':')
        && is_host(host.rsplit('@').next().unwrap_or(host))
}

/// A host that begins with `-` would be an option of ssh.
fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(remote: &str, allow_files: bool) -> Option<String> {
        let git = GitInitializer {
            remote_uri: remote.to_owned(),
            ..GitInitializer::default()
        };
        let initializer = WorkspaceInitializer {
            spec: Some(Spec::Git(git)),
        };
        let faults = faults(&initializer, allow_files);
        faults.first().map(|fault| fault.why.clone())
    }

    /// The guest reads the same cases.
    #[test]
    fn remotes_are_accepted_as_the_guest_accepts_them() {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../testdata/remotes.json")).unwrap();
        for case in cases {
            let remote = case["remote"].as_str().unwrap();
            for allow_files in [false, true] {
                let accepted = match case["accepted"].as_str().unwrap() {
                    "always" => true,
                    "with files" => allow_files,
                    "never" => false,
                    other => panic!("{other}"),
                };
                let fault = of(remote, allow_files);
                assert_eq!(fault.is_none(), accepted, "{remote:?}: {fault:?}");
                assert!(!fault.unwrap_or_default().contains("marker"), "{remote:?}");
            }
        }
    }

    #[test]
    fn a_message_repeats_no_credential() {
        let why = of("https://user:hunter2@example.com/a.git", false).unwrap();
        assert!(!why.contains("hunter2"));
    }

    #[test]
    fn locations_stay_in_the_workspace() {
        for (location, good) in [
            ("", true),
            ("a/b", true),
            ("..a", true),
            ("a/../b", false),
            ("/etc", false),
            ("-x", false),
        ] {
            let git = GitInitializer {
                remote_uri: "https://example.com/a".to_owned(),
                checkout_location: location.to_owned(),
                ..GitInitializer::default()
            };
            let initializer = WorkspaceInitializer {
                spec: Some(Spec::Git(git)),
            };
            assert_eq!(faults(&initializer, false).is_empty(), good, "{location}");
        }
    }
}
