//! The limit, its bounds, and the order of those who wait.

use proptest::prelude::*;

use super::*;

const POD: &str = "POST pods";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Answer {
    Answer::After(Duration::from_millis(millis))
}

/// Takes every place there is.
fn fill(window: &mut Window) {
    while window.enter() {}
}

#[test]
fn there_are_as_many_places_as_the_limit_says() {
    let mut window = Window::default();
    fill(&mut window);
    assert_eq!((window.limit(), window.under_way()), (FIRST, FIRST));
    assert_eq!(window.leave(POD, Answer::Unknown, seconds(1)), None);
    assert_eq!(window.under_way(), FIRST - 1);
    assert!(window.enter());
    assert!(!window.enter());
}

#[test]
fn the_limit_grows_by_one_per_round_and_only_while_it_is_used_up() {
    let mut window = Window::default();
    for _ in 0..1000 {
        assert!(window.enter());
        window.leave(POD, millis(5), seconds(1));
    }
    assert_eq!(window.limit(), FIRST);
    for _ in 0..=FIRST {
        fill(&mut window);
        window.leave(POD, millis(5), seconds(1));
    }
    assert_eq!(window.limit(), FIRST + 1);
}

#[test]
fn overload_halves_the_limit_at_most_once_a_second() {
    let mut window = Window::default();
    fill(&mut window);
    for _ in 0..FIRST {
        window.leave(POD, Answer::Overload, seconds(1));
    }
    assert_eq!(window.limit(), 32);
    window.leave(POD, Answer::Overload, seconds(2));
    assert_eq!(window.limit(), 16);
}

#[test]
fn an_answer_is_slow_by_the_quickest_of_its_own_kind() {
    let mut window = Window::default();
    // A webhook that is always slow says nothing of the load.
    for second in 0..10 {
        window.leave(POD, millis(500), seconds(second));
        window.leave("PATCH pods", millis(2), seconds(second));
    }
    assert_eq!(window.limit(), FIRST);
    // Short times vary by much.
    window.leave("PATCH pods", millis(90), seconds(20));
    assert_eq!(window.limit(), FIRST);
    window.leave("PATCH pods", millis(110), seconds(30));
    assert_eq!(window.limit(), 57);
    window.leave(POD, millis(2100), seconds(40));
    assert_eq!(window.limit(), 51);
    // What is quick is learnt anew when it lasts.
    for second in [110, 120, 180, 190] {
        window.leave(POD, millis(2100), seconds(second));
    }
    let limit = window.limit();
    window.leave(POD, millis(2100), seconds(200));
    assert_eq!(window.limit(), limit);
}

#[test]
fn a_low_limit_and_its_end_are_reported_once_each() {
    let mut window = Window::default();
    let mut changes = Vec::new();
    for second in 1..6 {
        fill(&mut window);
        changes.extend(window.leave(POD, Answer::Overload, seconds(second)));
    }
    assert_eq!(window.limit(), LEAST);
    for _ in 0..10_000 {
        fill(&mut window);
        // Those of before the fall leave too.
        changes.extend(window.leave(POD, millis(5), seconds(9)));
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

#[test]
fn of_four_places_one_goes_to_the_least_urgent_who_wait() {
    let mut line = Line::default();
    for n in 0..6 {
        line.push(Class::Rest, format!("rest {n}"));
        line.push(Class::Serve, format!("serve {n}"));
        line.push(Class::Start, format!("start {n}"));
    }
    let order: Vec<_> = std::iter::from_fn(|| line.pop()).collect();
    assert_eq!(
        order[..9],
        [
            "start 0", "start 1", "start 2", "rest 0", "start 3", "start 4", "start 5", "rest 1",
            "serve 0",
        ]
    );
    assert_eq!(order.len(), 18);
    assert!(line.is_empty());
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
    /// Whatever the server does: the limit stays within its bounds, falls at most once a second, and what is
    /// under way never passes the limit that it entered by.
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
                let admitted = window.enter();
                prop_assert_eq!(admitted, before < window.limit());
                entered += usize::from(admitted);
            } else if entered > 0 {
                let before = window.limit;
                window.leave(POD, answer, now);
                entered -= 1;
                prop_assert!(window.limit <= before + 1.0 / before);
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
