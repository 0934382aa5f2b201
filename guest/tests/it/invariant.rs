//! A confirmed backup restores byte for byte: 200 random trees, as root and as a user who owns nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wsman_guest::init::{self, Context};
use wsman_guest::outcome::{InitOutcome, Progress, SaveOutcome};
use wsman_guest::plan::Plan;
use wsman_guest::save;

use crate::support::{Pod, terminate};
use crate::trees::{assert_same, contents, grow, seeded, set_time};

const NOBODY: u32 = 65_534;

/// A workspace that begins from its last backup in the directory `store`.
pub(crate) fn workspace(store: &Path) -> Pod {
    Pod::new(json!({ "backup": {} }))
        .set("store", json!({ "local": { "path": store } }))
        .set("save", json!({ "final_timeout": "60s", "keep": 2 }))
}

/// Saves without a process of its own.
pub(crate) async fn save_here(pod: &Pod) -> SaveOutcome {
    let plan = Plan::read(&pod.plan_file(), &pod.root()).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    save::run(&plan, &pod.state(), Progress::default(), stop).await
}

/// Restores without a process of its own.
pub(crate) async fn init_here(pod: &Pod) -> InitOutcome {
    let plan = Plan::read(&pod.plan_file(), &pod.root()).unwrap();
    let context = Context {
        plan: &plan,
        state: &pod.state(),
        askpass: PathBuf::new(),
        progress: Progress::default(),
    };
    init::run(&context).await
}

#[tokio::test]
async fn two_hundred_random_trees_come_back_byte_for_byte() {
    let (mut rng, seed) = seeded();
    let store = tempfile::tempdir().unwrap();
    for number in 0..200 {
        let about = format!("tree {number} of seed {seed}");
        let pod = workspace(store.path());
        grow(&mut rng, &pod.root(), 40);
        let before = contents(&pod.root());
        let saved = save_here(&pod).await;
        let backup = saved
            .backup
            .unwrap_or_else(|| panic!("{about}: {:?}", saved.message));
        assert!(backup.unreadable.is_empty(), "{about}: {backup:?}");
        let copy = workspace(store.path());
        let restored = init_here(&copy).await;
        assert!(restored.ok, "{about}: {:?}", restored.message);
        assert_eq!(
            restored.restored.unwrap().name,
            backup.backup.name,
            "{about}"
        );
        assert_same(&contents(&copy.root()), &before, &about);
    }
}

/// Gives everything of a pod away, but for the plan, which belongs to root in pods, too.
fn give(pod: &Pod, user: u32) {
    for dir in [pod.dir().to_owned(), pod.root(), pod.state()] {
        lchown(&dir, Some(user), Some(user)).unwrap();
    }
    for file in [pod.dir().join("plan"), pod.plan_file()] {
        fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_user_who_is_not_root_keeps_everything_but_foreign_owners() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run the guest as two users");
        return;
    }
    // Where everyone may run it.
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), Permissions::from_mode(0o777)).unwrap();
    let guest = shared.path().join("wsman-guest");
    fs::copy(env!("CARGO_BIN_EXE_wsman-guest"), &guest).unwrap();
    let store = shared.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, Permissions::from_mode(0o777)).unwrap();

    // Root saves files of several owners, one of them for root's eyes only.
    let pod = workspace(&store);
    for (name, owner, mode) in [
        ("mine", NOBODY, 0o640),
        ("theirs", 1234, 0o4755),
        ("secret", 0, 0o600),
    ] {
        let path = pod.root().join(name);
        fs::write(&path, name).unwrap();
        lchown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        set_time(&path, 1_000_000_000, 123_456_789);
    }
    fs::create_dir(pod.root().join("sealed")).unwrap();
    symlink("/nowhere", pod.root().join("sealed/link")).unwrap();
    fs::set_permissions(pod.root().join("sealed"), Permissions::from_mode(0o555)).unwrap();
    let before = contents(&pod.root());
    let child = pod.command("save").spawn().unwrap();
    finish_ok(&pod, child);
    fs::set_permissions(store.join("owner"), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(store.join("owner/workspace"), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(
        store.join("owner/workspace/data"),
        Permissions::from_mode(0o777),
    )
    .unwrap();

    // Root gets them back with their owners.
    let copy = workspace(&store);
    copy.init_ok();
    assert_same(&contents(&copy.root()), &before, "as root");

    // A user gets them as their own; nothing else differs.
    let theirs = workspace(&store);
    give(&theirs, NOBODY);
    let output = run_as(&theirs, "init", &guest).output().unwrap();
    assert_eq!(theirs.outcome(&output)["ok"], true);
    let restored = contents(&theirs.root());
    let plain = |text: &str| {
        text.split(' ')
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, part)| part.to_owned())
            .collect::<Vec<_>>()
    };
    for (path, about) in &before {
        assert_eq!(plain(&restored[path]), plain(about), "{path:?}");
        let owner = fs::symlink_metadata(theirs.root().join(path))
            .unwrap()
            .uid();
        assert_eq!(owner, NOBODY, "{path:?}");
    }

    // What that user may not read is missing from its backup, by name.
    fs::write(theirs.root().join("roots"), "x").unwrap();
    fs::set_permissions(theirs.root().join("roots"), Permissions::from_mode(0o600)).unwrap();
    let child = run_as(&theirs, "save", &guest).spawn().unwrap();
    let outcome = finish_ok(&theirs, child);
    assert_eq!(
        outcome["backup"]["unreadable"],
        json!(["`roots`: Permission denied (os error 13)"])
    );
    let again = workspace(&store);
    again.init_ok();
    assert_same(
        &contents(&again.root()),
        &restored,
        "from the user's backup",
    );
}

/// The command of a pod, run by nobody.
fn run_as(pod: &Pod, verb: &str, guest: &Path) -> std::process::Command {
    let given = pod.command(verb);
    let mut command = std::process::Command::new(guest);
    command
        .args(given.get_args())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY);
    command
}

fn finish_ok(pod: &Pod, mut child: std::process::Child) -> serde_json::Value {
    crate::save::wait_for_save(&mut child);
    terminate(&child);
    let outcome = pod.outcome(&child.wait_with_output().unwrap());
    assert_eq!(outcome["ok"], true, "{outcome}");
    outcome
}
