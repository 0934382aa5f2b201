//! Lines, what they do not hold, and files that fail.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::entry::Entry;
use super::*;
use crate::proto::registryfacade::ImageSpec;
use crate::workspaces::case::{self, Case, Objects};

const TOKEN: &str = "hunter2-token";
const KEYS: &str = "c3NoLWVkMjU1MTkgaHVudGVyMg==";

fn objects() -> Objects {
    let spec = ImageSpec {
        base_ref: "user:hunter2@registry.example.com/dev:1".to_owned(),
        ide_ref: "registry.example.com/ide:1".to_owned(),
        ..ImageSpec::default()
    };
    let case = json!({
        "pod": {
            "metadata": {
                "name": "ws-a1",
                "uid": "u-1",
                "resourceVersion": "7",
                "creationTimestamp": "2026-03-01T10:00:00Z",
                "labels": {"gpwsman": "true", "workspaceType": "regular", "owner": "alice"},
                "annotations": {
                    "gitpod/id": "a1",
                    "gitpod/url": "https://a1.example.com",
                    "gitpod/servicePrefix": "a1",
                    "gitpod/ownerToken": TOKEN,
                    "gitpod.io/sshPublicKeys": KEYS,
                    "gitpod/contentInitializer": "aHVudGVyMg==",
                    "gitpod/imageSpec": BASE64_STANDARD.encode(spec.encode_to_vec()),
                    "gitpod/explicitFail": format!("token {TOKEN}, https://bob:hunter2@git.example.com/x.git"),
                },
            },
            "spec": {"containers": [{
                "name": "workspace",
                "image": "user:hunter2@registry.example.com/dev:1",
                "env": [{"name": "PASSWORD", "value": "hunter2"}],
            }]},
            "status": {
                "phase": "Pending",
                "containerStatuses": [{
                    "name": "workspace",
                    "state": {"waiting": {
                        "reason": "ErrImagePull",
                        "message": "cannot pull user:hunter2@registry.example.com/dev:1",
                    }},
                }],
            },
        },
        "events": [{"message": "user:hunter2@registry.example.com/dev:1", "type": "Warning", "reason": "Failed"}],
    });
    Objects::read(&case).unwrap()
}

fn folded() -> Folded<Workspace> {
    let objects = objects();
    let entry = objects.fold();
    Folded {
        objects: Arc::new(objects),
        entry,
    }
}

fn decided() -> Decided<Workspace> {
    let case = Case {
        members: vec![objects()],
        now: "2026-03-01T10:01:00Z".parse().unwrap(),
        ..Case::default()
    };
    Decided {
        name: "ws-a1".into(),
        members: vec![Arc::new(objects())],
        decision: case.decide().unwrap(),
        case: Case {
            members: Vec::new(),
            ..case
        },
    }
}

#[test]
fn no_secret_is_in_a_line_and_yet_it_is_answered_alike() {
    let update = StatusUpdate::new("u-1", folded().entry.status);
    let at = Timestamp::UNIX_EPOCH;
    let lines = [
        entry::status(at, &folded()),
        entry::decision(at, &decided()),
        entry::ended(at, &update),
    ];
    for line in &lines[..2] {
        for secret in ["hunter2", TOKEN, KEYS, "aHVudGVyMg=="] {
            assert!(!line.contains(secret), "{secret} is in {line}");
        }
        assert!(line.contains(REDACTED), "{line}");
        assert!(!line.contains('\n'));
    }
    // Of the words of an end only the token is known to be a secret; URLs have none.
    for secret in [TOKEN, "bob:hunter2"] {
        assert!(!lines[2].contains(secret), "{}", lines[2]);
    }
    let Entry::Status {
        objects,
        status,
        why,
    } = Entry::read(&lines[0]).unwrap()
    else {
        panic!("a status")
    };
    assert_eq!(entry::answer_status(&objects), (status, why));
    let Entry::Decision { case, decision } = Entry::read(&lines[1]).unwrap() else {
        panic!("a decision")
    };
    assert_eq!(entry::answer_decision(&case), decision);
    assert_ne!(decision["actions"], json!([]), "it has something to do");
    assert!(matches!(Entry::read(&lines[2]).unwrap(), Entry::Other));
}

#[test]
fn lines_that_cannot_be_read_say_why() {
    for (line, wanted) in [
        ("", "it is cut off"),
        ("{\"version\":2,\"kind\":\"sta", "it is cut off"),
        ("nonsense", "it is no JSON (column 2)"),
        ("[]", "it is no JSON object"),
        (
            "{\"version\":1}",
            "it is of version 1 of the format; this program reads 2",
        ),
        (
            "{\"time\":\"\"}",
            "it has no version, as those of the classic manager",
        ),
        ("{\"version\":2}", "it has no kind"),
        (
            "{\"version\":2,\"kind\":\"dream\"}",
            "its kind \"dream\" is unknown",
        ),
        ("{\"version\":2,\"kind\":\"status\"}", "it has no pod"),
        (
            "{\"version\":2,\"kind\":\"decision\",\"objects\":{\"pod\":{}},\"now\":3}",
            "now is not what it must be",
        ),
    ] {
        assert_eq!(Entry::read(line).unwrap_err().to_string(), wanted, "{line}");
    }
    let classic = json!({"time": "", "status": {}, "objects": {"pod": {}, "events": []}});
    assert!(Entry::read_any(&classic.to_string()).is_ok());
}

#[test]
fn cases_are_read_as_they_were_written() {
    let policy = json!({
        "timeouts": {"startup": "1h0m0s"}, "maintenance": true, "recreate_after": "15s", "services": "off",
        "content": "ws-daemon", "report_stuck_after": "1m0s", "announce_within": "5m0s",
    });
    let mut case = Case {
        policy: case::policy(&policy).unwrap(),
        activity: Some(Timestamp::UNIX_EPOCH),
        announced: true,
        services: Some([("ws-a1-ide".to_owned(), Default::default())].into()),
        ..decided().case
    };
    case.members = vec![objects(), objects()];
    (case.gone, case.orphaned, case.over) = (true, true, true);
    let written = Value::Object(case.write());
    assert_eq!(Case::read(&written).unwrap(), case);
    let text = written.to_string();
    assert_eq!(
        Case::read(&serde_json::from_str(&text).unwrap()).unwrap(),
        case
    );
}

/// Lines that were taken, or the error that comes instead.
#[derive(Debug, Default, Clone)]
struct Sink(Arc<Mutex<(bool, Vec<Value>)>>);

impl Sink {
    fn fail(&self, fails: bool) {
        self.0.lock().unwrap().0 = fails;
    }

    fn kinds(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let kind = |line: &Value| match line["count"].as_u64() {
            Some(count) => format!("dropped {count}"),
            None => line["kind"].as_str().unwrap().to_owned(),
        };
        state.1.iter().map(kind).collect()
    }
}

impl Append for Sink {
    fn append(&mut self, lines: &[String]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        state.1.extend(lines);
        Ok(())
    }
}

#[tokio::test]
async fn what_finds_no_room_is_counted_in_the_log() {
    let sink = Sink::default();
    let log: Box<dyn Append> = Box::new(sink.clone());
    let (observer, writing) = start_on(log, "test".to_owned(), Clock::system(), 2);
    // The task has not run yet.
    for _ in 0..5 {
        observer.see(&Seen::Status(&folded()));
    }
    drop(observer);
    writing.finish(Duration::from_secs(10)).await;
    assert_eq!(sink.kinds(), ["dropped 3", "status", "status"]);
}

#[test]
fn what_cannot_be_written_is_counted_until_it_can() {
    let sink = Sink::default();
    let mut writer = Writer {
        sink: Box::new(sink.clone()),
        target: "test".to_owned(),
        clock: Clock::system(),
        dropped: Arc::default(),
        failing: false,
    };
    let batch = || [(Timestamp::UNIX_EPOCH, Item::Decision(Box::new(decided())))];
    sink.fail(true);
    writer.write(&batch());
    writer.write(&batch());
    assert!(writer.failing);
    assert_eq!(sink.kinds(), [""; 0]);
    sink.fail(false);
    writer.write(&batch());
    assert!(!writer.failing);
    assert_eq!(sink.kinds(), ["dropped 2", "decision"]);
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn append(log: &mut LogFile, line: &str) -> io::Result<()> {
    log.append(&[line.to_owned()])
}

#[test]
fn a_file_is_put_aside_at_a_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evts.json");
    let mut log = LogFile::new(path.clone(), 10);
    for line in ["first", "second", "third", "longer than the cap", "last"] {
        append(&mut log, line).unwrap();
    }
    assert_eq!(lines(&path), ["last"]);
    let predecessor = folder.path().join("evts.json.1");
    assert_eq!(lines(&predecessor), ["longer than the cap"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_is_not_there_any_more_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("logs");
    fs::create_dir(&place).unwrap();
    let path = place.join("evts.json");
    fs::write(&path, "half").unwrap();
    let mut log = LogFile::new(path.clone(), 1000);
    append(&mut log, "a").unwrap();
    assert_eq!(lines(&path), ["half", "a"]);
    let moved = folder.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    append(&mut log, "b").unwrap();
    assert_eq!(
        (lines(&path), lines(&moved).len()),
        (vec!["b".to_owned()], 2)
    );
    fs::remove_dir_all(&place).unwrap();
    append(&mut log, "c").unwrap_err();
    fs::create_dir(&place).unwrap();
    append(&mut log, "d").unwrap();
    assert_eq!(lines(&path), ["d"]);
}

#[test]
fn what_is_no_file_or_has_no_room_fails() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut LogFile::new(folder.path().to_owned(), 10), "a").unwrap_err();
    let full = append(&mut LogFile::new("/dev/full".into(), 10), "a").unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}
