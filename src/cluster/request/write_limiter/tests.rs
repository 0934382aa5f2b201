//! Who gets the next permit, and what a cancelled wait leaves behind.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;
use crate::window::{Class, FIRST, LEAST};

fn kind(class: Class) -> Kind {
    let name = format!("{class:?}");
    Kind { class, name }
}

fn full() -> (WriteLimiter, Vec<Permit>) {
    let limiter = WriteLimiter::default();
    let enter = || limiter.acquire(kind(Class::Rest)).now_or_never();
    let permits = std::iter::from_fn(enter)
        .take(2 * FIRST)
        .collect::<Vec<_>>();
    assert_eq!(permits.len(), FIRST);
    (limiter, permits)
}

/// Starts to wait.
fn wait(limiter: &WriteLimiter, class: Class) -> BoxFuture<'static, Permit> {
    let limiter = limiter.clone();
    let mut waits = async move { limiter.acquire(kind(class)).await }.boxed();
    assert!((&mut waits).now_or_never().is_none());
    waits
}

fn under_way(limiter: &WriteLimiter) -> usize {
    limiter.state().window.under_way()
}

#[tokio::test]
async fn starts_overtake_others_that_came_first() {
    let (limiter, mut permits) = full();
    let mut others: Vec<_> = (0..3).map(|_| wait(&limiter, Class::Rest)).collect();
    let mut starts: Vec<_> = (0..3).map(|_| wait(&limiter, Class::Start)).collect();
    let mut held = Vec::new();
    for start in &mut starts {
        drop(permits.pop());
        held.push(start.now_or_never().expect("a start goes first"));
    }
    for other in &mut others {
        assert!(other.now_or_never().is_none());
        drop(permits.pop());
        held.push(other.now_or_never().expect("then the others"));
    }
    assert_eq!(under_way(&limiter), FIRST);
    drop((held, permits));
    assert_eq!(under_way(&limiter), 0);
}

#[tokio::test]
async fn one_who_stops_waiting_leaves_nothing_behind() {
    let (limiter, mut permits) = full();
    // Before it gets a permit.
    drop(wait(&limiter, Class::Start));
    // After it got a permit that it never took.
    let late = wait(&limiter, Class::Start);
    drop(permits.pop());
    drop(late);
    assert_eq!(under_way(&limiter), FIRST - 1);
    // Many that are cancelled at once.
    permits.extend(limiter.acquire(kind(Class::Rest)).now_or_never());
    let crowd: Vec<_> = (0..10_000).map(|_| wait(&limiter, Class::Start)).collect();
    drop(crowd);
    let last = wait(&limiter, Class::Rest);
    drop(permits.pop());
    drop(last.now_or_never().expect("the only one who waits"));
    drop(permits);
    assert_eq!(under_way(&limiter), 0);
    assert!(limiter.next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_late_counts_as_overload() {
    let (limiter, permits) = full();
    drop(permits);
    assert_eq!(limiter.state().window.limit(), FIRST);
    for _ in 0..10 {
        let permit = limiter.acquire(kind(Class::Start)).await;
        tokio::time::advance(SILENCE).await;
        drop(permit);
    }
    assert_eq!(limiter.state().window.limit(), LEAST);
}
