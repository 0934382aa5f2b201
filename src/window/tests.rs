//! The limit, its bounds, and the order of the waiters.

use proptest::prelude::*;

use super::*;

fn kind(name: &str) -> Kind {
    let name = name.to_owned();
    let class = Class::Rest;
    Kind { class, name }
}

fn pod() -> Kind {
    kind("POST pods")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Answer {
    Answer::After(Duration::from_millis(millis))
}

/// Takes every permit.
fn fill(window: &mut Window) {
    while window.enter(Class::Rest) {}
}

#[test]
fn there_are_as_many_permits_as_the_limit() {
    let mut window = Window::default();
    fill(&mut window);
    assert_eq!((window.limit(), window.under_way()), (FIRST, FIRST));
    assert_eq!(window.leave(&pod(), Answer::Unknown, seconds(1)), None);
    assert_eq!(window.under_way(), FIRST - 1);
    assert!(window.enter(Class::Rest));
    assert!(!window.enter(Class::Rest));
}

#[test]
fn the_limit_grows_only_while_it_is_used_up() {
    let mut window = Window::default();
    for _ in 0..1000 {
        assert!(window.enter(Class::Rest));
        window.leave(&pod(), millis(5), seconds(1));
    }
    assert_eq!(window.limit(), FIRST);
}

#[test]
fn the_limit_doubles_in_a_round_and_after_a_fall_grows_by_one() {
    let mut window = Window::default();
    let round = |window: &mut Window, answers| {
        for _ in 0..answers {
            fill(window);
            window.leave(&pod(), millis(5), seconds(1));
        }
        window.limit()
    };
    assert_eq!(round(&mut window, FIRST), 2 * FIRST);
    window.leave(&pod(), Answer::Overload, seconds(2));
    assert_eq!(window.limit(), FIRST);
    while window.under_way() >= FIRST {
        window.cancel(Class::Rest);
    }
    assert_eq!(round(&mut window, FIRST + 1), FIRST + 1);
    assert_eq!(round(&mut Window::default(), 4 * MOST), MOST);
}

#[test]
fn overload_halves_the_limit_at_most_once_a_second() {
    let mut window = Window::default();
    fill(&mut window);
    for _ in 0..FIRST {
        window.leave(&pod(), Answer::Overload, seconds(1));
    }
    assert_eq!(window.limit(), FIRST / 2);
    window.leave(&pod(), Answer::Overload, seconds(2));
    assert_eq!(window.limit(), FIRST / 4);
}

#[test]
fn an_answer_is_slow_by_the_quickest_of_its_own_kind() {
    let mut window = Window::default();
    // A webhook that is always slow shows nothing about the load.
    for second in 0..10 {
        window.leave(&pod(), millis(500), seconds(second));
        window.leave(&kind("PATCH pods"), millis(2), seconds(second));
    }
    assert_eq!(window.limit(), FIRST);
    // Short times vary much.
    window.leave(&kind("PATCH pods"), millis(490), seconds(20));
    assert_eq!(window.limit(), FIRST);
    window.leave(&kind("PATCH pods"), millis(510), seconds(30));
    assert_eq!(window.limit(), FIRST * 9 / 10);
    window.leave(&pod(), millis(2100), seconds(40));
    assert_eq!(window.limit(), FIRST * 81 / 100);
    // A lasting latency replaces the fastest one.
    for second in [110, 120, 180, 190] {
        window.leave(&pod(), millis(2100), seconds(second));
    }
    let limit = window.limit();
    window.leave(&pod(), millis(2100), seconds(200));
    assert_eq!(window.limit(), limit);
}

#[test]
fn a_low_limit_and_its_end_are_reported_once_each() {
    let mut window = Window::default();
    let mut changes = Vec::new();
    for second in 1..6 {
        fill(&mut window);
        changes.extend(window.leave(&pod(), Answer::Overload, seconds(second)));
    }
    assert_eq!(window.limit(), LEAST);
    for _ in 0..10_000 {
        fill(&mut window);
        // Requests from before the fall end too.
        changes.extend(window.leave(&pod(), millis(5), seconds(9)));
    }
    assert_eq!(changes, [Change::Low, Change::Restored]);
}

#[test]
fn writes_are_sorted_by_what_they_are_for() {
    let class = |method: &str, path: &str| Kind::of(method, path).map(|kind| kind.class);
    let core = "/api/v1/namespaces/pods";
    for (method, path, expected) in [
        ("POST", "/pods", Some(Class::Start)),
        ("POST", "/secrets", Some(Class::Start)),
        ("POST", "/persistentvolumeclaims", Some(Class::Start)),
        ("POST", "/services", Some(Class::Serve)),
        ("POST", "/configmaps", Some(Class::Rest)),
        ("PATCH", "/pods/ws-a", Some(Class::Rest)),
        ("DELETE", "/pods/ws-a", Some(Class::Rest)),
        ("GET", "/pods/ws-a", None),
        ("GET", "/pods?labelSelector=a", None),
    ] {
        assert_eq!(
            class(method, &format!("{core}{path}")),
            expected,
            "{method} {path}"
        );
    }
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    assert_eq!(class("POST", lease), None);
    assert_eq!(class("PATCH", &format!("{lease}/wsman")), None);
}

/// The order of waiters at `now`, with one permit that is free again at once.
fn order(queue: &mut Queue<&'static str>, now: Duration) -> Vec<&'static str> {
    let mut window = Window::default();
    let next = || {
        let (class, waiter) = window.admit(queue, now)?;
        window.cancel(class);
        Some(waiter)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn what_is_urgent_overtakes_for_a_while() {
    let mut queue = Queue::default();
    let at = Duration::from_millis;
    queue.push(Class::Serve, "serve 0", at(0));
    queue.push(Class::Rest, "rest 0", at(0));
    queue.push(Class::Rest, "rest 1", at(0));
    queue.push(Class::Start, "start 0", at(400));
    queue.push(Class::Start, "start 1", at(600));
    queue.push(Class::Rest, "rest 2", at(1400));
    queue.push(Class::Start, "start 2", at(2100));
    queue.push(Class::Serve, "serve 1", at(2100));
    assert_eq!(
        order(&mut queue, at(2100)),
        [
            "start 0", "rest 0", "rest 1", "start 1", "rest 2", "serve 0", "start 2", "serve 1",
        ]
    );
}

#[test]
fn services_wait_while_pods_are_created_but_not_for_ever() {
    let mut window = Window::default();
    let mut queue = Queue::default();
    assert!(window.enter(Class::Serve) && window.enter(Class::Start));
    assert!(!window.enter(Class::Serve) && window.enter(Class::Start));
    assert_eq!(queue.push(Class::Serve, "a", seconds(1)), seconds(3));
    queue.push(Class::Serve, "b", seconds(2));
    assert_eq!(window.admit(&mut queue, seconds(2)), None);
    assert_eq!(
        window.admit(&mut queue, seconds(3)),
        Some((Class::Serve, "a"))
    );
    assert_eq!(window.admit(&mut queue, seconds(3)), None);
    window.cancel(Class::Start);
    assert_eq!(window.admit(&mut queue, seconds(3)), None);
    window.cancel(Class::Start);
    assert_eq!(
        window.admit(&mut queue, seconds(3)),
        Some((Class::Serve, "b"))
    );
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => (0u64..20_000).prop_map(millis),
        2 => (0u64..20).prop_map(millis),
        1 => Just(Answer::Overload),
        1 => Just(Answer::Unknown),
    ]
}

proptest! {
    /// Whatever the server does: the limit stays within its bounds, falls at most once a second, and writes in
    /// flight never exceed the limit of their time.
    #[test]
    fn the_limit_stays_within_its_bounds(
        steps in prop::collection::vec((any::<bool>(), answers(), 0u64..3000), 1..2000),
    ) {
        let (mut window, mut now, mut entered) = (Window::default(), Duration::ZERO, 0usize);
        let mut fell: Option<Duration> = None;
        for (enters, answer, passes) in steps {
            now += Duration::from_millis(passes);
            if enters {
                let before = window.under_way();
                let admitted = window.enter(Class::Rest);
                prop_assert_eq!(admitted, before < window.limit());
                entered += usize::from(admitted);
            } else if entered > 0 {
                let before = window.limit;
                window.leave(&pod(), answer, now);
                entered -= 1;
                prop_assert!(window.limit <= before + 1.0);
                prop_assert!(window.limit >= before * 0.5);
                if window.limit < before {
                    prop_assert!(fell.is_none_or(|fell| now - fell >= REST));
                    fell = Some(now);
                }
            }
            prop_assert_eq!(window.under_way(), entered);
            prop_assert!((LEAST..=MOST).contains(&window.limit()));
        }
    }
}
