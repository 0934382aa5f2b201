//! The tours of the documents by copy and paste: every command runs, and prints what the document has, except for what
//! differs each time (ports, times, versions, addresses).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::support::skip_without;

/// A command of a `console` block, and the lines that it prints.
#[derive(Debug)]
struct Step {
    command: String,
    printed: Vec<String>,
}

#[test]
fn the_tour_prints_its_output() {
    let readme = read("README.md");
    let steps = steps(&readme);
    assert!(steps.len() > 5, "the tour has {} commands", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let mut tour = Tour::begin(folder.path(), "example-config.json", &steps[0]);
    let watch = steps.iter().find(|step| follows(step));
    let mut watching = watch.map(|step| (step, tour.spawn(&step.command)));
    for step in steps.iter().skip(1).filter(|step| !follows(step)) {
        let has_kubectl = Path::new(&tour.kubectl).exists();
        if step.command.contains("kubectl") && !has_kubectl {
            skip_without("the_tour_prints_its_output", "envtest", "kubectl");
            continue;
        }
        tour.take(step);
    }
    if let Some((step, child)) = &mut watching {
        // States in between may be merged; these never are.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for phase in ["RUNNING", "STOPPED"] {
            let of_phase = |line: &str| {
                let mut words = line.split_whitespace().skip(1);
                words.next() == Some("tour") && words.next() == Some(phase)
            };
            assert!(step.printed.iter().any(|line| of_phase(line)), "{phase}");
            let seen = lines.any(|line| of_phase(&line.unwrap()));
            assert!(seen, "watch prints {phase}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    tour.end();
}

#[test]
fn contents_on_one_machine_print_their_output() {
    let operations = read("docs/operations.md");
    let section = operations.split("\n## Contents on one machine\n").nth(1);
    let steps = steps(section.unwrap().split("\n## ").next().unwrap());
    assert!(steps.len() > 8, "the story has {} commands", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let tour = Tour::begin(folder.path(), "example-content.json", &steps[0]);
    if Path::new(&tour.kubectl).exists() {
        steps[1..].iter().for_each(|step| tour.take(step));
    } else {
        let test = "contents_on_one_machine_print_their_output";
        skip_without(test, "envtest", "kubectl");
    }
    tour.end();
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let folder = Path::new(&page).parent().unwrap().to_owned();
        let text = read(&page);
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => page.clone(),
                file => folder.join(file).to_string_lossy().into_owned(),
            };
            let linked = std::fs::read_to_string(root().join(&file));
            let linked = linked.unwrap_or_else(|error| panic!("{page} links to {file}: {error}"));
            let mut headings = linked
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(anchor);
            assert!(
                heading.is_empty() || headings.any(|known| known == heading),
                "{page} links to {target}, which {file} does not have"
            );
        }
    }
}

/// A running `wsman run`, and how the tour's commands reach it.
struct Tour {
    daemon: Child,
    /// Where the commands run.
    folder: PathBuf,
    addr: String,
    kubeconfig: String,
    kubectl: String,
}

impl Tour {
    /// Runs the first command, on ports of its own.
    fn begin(folder: &Path, file: &str, first: &Step) -> Self {
        assert_eq!(first.command, format!("wsman run --config {file}"));
        let mut config: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        config["rpcServer"]["addr"] = "127.0.0.1:0".into();
        if config["kubernetes"]["runtime"] == "process" {
            config["kubernetes"]["allowRoot"] = rustix::process::getuid().is_root().into();
            config["content"]["storage"]["local"]["path"] = json!(folder.join("store"));
        }
        for key in ["health", "prometheus", "pprof"] {
            config.as_object_mut().unwrap().remove(key);
        }
        let file = folder.join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_wsman"))
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let printed: Vec<String> = lines
            .by_ref()
            .take(first.printed.len())
            .map(Result::unwrap)
            .collect();
        let after = |line: &str, word: &str| {
            let rest = line.split_once(word).unwrap().1;
            rest.split(' ').next().unwrap().to_owned()
        };
        let addr = after(&printed[0], "listens on ");
        let kubeconfig = after(&printed[1], "--kubeconfig ");
        let expected = after(&first.printed[1], "--kubeconfig ");
        let same = printed.join("\n").replace(&kubeconfig, &expected);
        assert_eq!(
            plain(same.lines()),
            plain(first.printed.iter().map(String::as_str))
        );
        let assets = std::env::var("KUBEBUILDER_ASSETS").unwrap_or_default();
        Self {
            daemon,
            folder: folder.to_owned(),
            addr,
            kubeconfig,
            kubectl: format!("{assets}/kubectl"),
        }
    }

    /// A command of the tour, with the programs on the PATH and the addresses of this run.
    fn shell(&self, command: &str) -> Command {
        let words: Vec<String> = command
            .split(' ')
            .map(|word| match word {
                word if word.ends_with("/kubeconfig") => self.kubeconfig.clone(),
                word => word.replace("127.0.0.1:8080", &self.addr),
            })
            .collect();
        let folder = |program: &str| {
            let folder = Path::new(program).parent().unwrap().display();
            folder.to_string()
        };
        let path = format!(
            "{}:{}:{}",
            folder(env!("CARGO_BIN_EXE_wsman")),
            folder(&self.kubectl),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &words.join(" ")])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("WSMAN_HOST", &self.addr)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        for variable in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            shell.env(format!("{variable}_NAME"), "Alice");
            shell.env(format!("{variable}_EMAIL"), "alice@example.com");
        }
        shell
    }

    /// Runs a command to its end, and compares what it prints.
    fn take(&self, step: &Step) {
        let output = self.shell(&step.command).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            settled(printed.lines()),
            settled(step.printed.iter().map(String::as_str)),
            "$ {}\n{printed}{errors}",
            step.command
        );
        assert!(output.status.success(), "$ {}\n{errors}", step.command);
    }

    fn spawn(&mut self, command: &str) -> Child {
        let mut shell = self.shell(&format!("exec {command}"));
        shell.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Ends it as people do: what it runs ends with it.
    fn end(mut self) {
        let id = i32::try_from(self.daemon.id()).unwrap();
        let daemon = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::TERM).unwrap();
        assert!(self.daemon.wait().unwrap().success());
    }
}

/// Whether a command prints for ever.
fn follows(step: &Step) -> bool {
    step.command == "wsman client watch"
}

fn steps(readme: &str) -> Vec<Step> {
    let blocks = readme.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command: command.to_owned(),
                printed: Vec::new(),
            }),
            (None, Some(step)) => step.printed.push(line.to_owned()),
            (None, None) => panic!("{line:?} is printed by no command"),
        }
    }
    steps
}

/// Lines without what differs each time: numbers with their dots and colons are `#`, spaces are one.
fn plain<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let numbers = |word: &str| {
        let mut plain = String::new();
        for c in word.chars() {
            let digit = c.is_ascii_digit();
            let between = plain.ends_with('#') && matches!(c, '.' | ':');
            match digit || between {
                true if plain.ends_with('#') => {}
                true => plain.push('#'),
                false => plain.push(c),
            }
        }
        plain
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(numbers).collect();
        words.join(" ")
    };
    let lines = lines.into_iter().map(line);
    lines.filter(|line| !line.is_empty()).collect()
}

/// As [`plain`]; of the lines of progress only the last, since states in between may be merged.
fn settled<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lines = plain(lines);
    let progress = |line: &String| line.starts_with("#s ");
    let last = lines.iter().rfind(|line| progress(line)).cloned();
    let kept = lines.into_iter().filter(|line| !progress(line));
    kept.chain(last).collect()
}

/// The anchor of a heading, as Markdown renderers make it.
pub(crate) fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    let top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned);
    docs.filter(|name| name.ends_with(".md"))
        .chain(top)
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
