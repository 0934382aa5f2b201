//! Kills at random moments: what is in the store restores to a state that was saved, and nothing in between.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::invariant::{init_here, save_here, workspace};
use crate::support::{Pod, terminate};
use crate::trees::{Contents, assert_same, contents, grow, noise, seeded};

const ROUNDS: u32 = 25;

/// Kills a process after a random time, at most a bit longer than what it needs.
fn kill_within(child: &mut Child, rng: &mut Rng, whole: Duration) {
    std::thread::sleep(whole.mul_f64(rng.f64() * 1.2));
    child.kill().unwrap();
}

/// The manifests in the store; each must be whole.
fn manifests(store: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(store.join("owner/workspace"))
        .into_iter()
        .flatten()
    {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = fs::read(&path).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap();
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

fn fill(rng: &mut Rng, pod: &Pod) -> Contents {
    grow(rng, &pod.root(), 12);
    let size = rng.usize(..3 << 20);
    fs::write(pod.root().join("big"), noise(rng, size)).unwrap();
    contents(&pod.root())
}

#[tokio::test]
async fn a_save_that_is_killed_leaves_whole_backups_only() {
    let (mut rng, seed) = seeded();
    let store = tempfile::tempdir().unwrap();
    let mut saved: BTreeMap<String, Contents> = BTreeMap::new();
    let mut whole = Duration::ZERO;
    let mut cut = 0;
    for round in 0..ROUNDS {
        let about = format!("round {round} of seed {seed}");
        let pod = workspace(store.path());
        let state = fill(&mut rng, &pod);
        let before = manifests(store.path());
        let begun = Instant::now();
        let mut child = pod.command("save").spawn().unwrap();
        // The first is not disturbed: there is always one that must stay valid.
        if round == 0 {
            crate::save::wait_for_save(&mut child);
            terminate(&child);
        } else {
            if rng.u32(..8) != 0 {
                crate::save::wait_for_save(&mut child);
                terminate(&child);
            }
            kill_within(&mut child, &mut rng, whole);
        }
        let confirmed = child.wait_with_output().unwrap().status.success();
        if round == 0 {
            assert!(confirmed, "{about}");
            whole = begun.elapsed();
        }

        let now = manifests(store.path());
        let new: Vec<_> = now.iter().filter(|name| !before.contains(name)).collect();
        assert!(new.len() <= 1, "{about}: {new:?}");
        assert!(
            !confirmed || new.len() == 1,
            "{about}: confirmed, and not there"
        );
        cut += u32::from(new.is_empty());
        saved.extend(new.into_iter().map(|name| (name.clone(), state.clone())));
        if let Some(last) = before.last() {
            assert!(now.contains(last), "{about}: {last} is gone");
        }
        for name in &now {
            let backup = format!("owner/workspace/{name}@local");
            let copy = workspace(store.path()).set(
                "initializer",
                serde_json::json!({ "snapshot": { "snapshot": backup } }),
            );
            let restored = init_here(&copy).await;
            assert!(restored.ok, "{about}: {name}: {:?}", restored.message);
            assert_same(&contents(&copy.root()), &saved[name], &about);
        }
    }
    assert!(cut > 0, "no kill came in time: seed {seed}");
}

#[tokio::test]
async fn a_restore_that_is_killed_is_made_anew_by_the_next_run() {
    let (mut rng, seed) = seeded();
    let store = tempfile::tempdir().unwrap();
    let pod = workspace(store.path());
    let state = fill(&mut rng, &pod);
    assert!(save_here(&pod).await.ok);
    let begun = Instant::now();
    workspace(store.path()).init_ok();
    let whole = begun.elapsed();
    for round in 0..ROUNDS {
        let about = format!("round {round} of seed {seed}");
        let copy = workspace(store.path());
        for _ in 0..rng.u32(1..4) {
            let mut child = copy.command("init").spawn().unwrap();
            kill_within(&mut child, &mut rng, whole);
            let output = child.wait_with_output().unwrap();
            if output.status.success() {
                assert_same(&contents(&copy.root()), &state, &about);
            }
        }
        let restored = init_here(&copy).await;
        assert!(restored.ok, "{about}: {:?}", restored.message);
        assert_same(&contents(&copy.root()), &state, &about);
    }
}
