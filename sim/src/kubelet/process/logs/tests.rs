//! Logs that are written and read.

use super::*;

async fn all(tail: &mut Tail) -> String {
    let mut text = Vec::new();
    while let Some(more) = tail.next().await.unwrap() {
        text.extend_from_slice(&more);
    }
    String::from_utf8(text).unwrap()
}

async fn read(writer: &Writer, selection: Selection) -> String {
    let mut tail = Tail::open(writer.path.clone(), selection, None).unwrap();
    all(&mut tail).await
}

#[tokio::test]
async fn lines_are_selected() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path(), 0).unwrap();
    writer.copy("stdout", Some(&b"one\ntwo\nthree"[..])).await;
    let select = |tail, limit| Selection {
        tail,
        limit,
        ..Selection::default()
    };
    assert_eq!(read(&writer, select(None, None)).await, "one\ntwo\nthree\n");
    assert_eq!(read(&writer, select(Some(2), None)).await, "two\nthree\n");
    assert_eq!(read(&writer, select(Some(0), None)).await, "");
    assert_eq!(read(&writer, select(None, Some(5))).await, "one\nt");
    let timestamps = Selection {
        timestamps: true,
        tail: Some(1),
        ..Selection::default()
    };
    let text = read(&writer, timestamps).await;
    let (at, line) = text.split_once(' ').unwrap();
    assert!(at.parse::<Timestamp>().is_ok(), "{text}");
    assert_eq!(line, "three\n");
    let later = Selection {
        since: Some(Timestamp::MAX),
        ..Selection::default()
    };
    assert_eq!(read(&writer, later).await, "");
}

#[tokio::test]
async fn a_long_line_is_written_in_parts_and_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path(), 0).unwrap();
    let long = "x".repeat(3 * LINE_LIMIT + 7) + "\nshort\n";
    writer.copy("stderr", Some(long.as_bytes())).await;
    assert_eq!(read(&writer, Selection::default()).await, long);
}

#[tokio::test]
async fn a_followed_log_ends_with_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), 0).unwrap();
    writer.limit = 100;
    writer.write("stdout", 'F', b"first");
    let progress = Some(writer.progress());
    let mut tail = Tail::open(writer.path.clone(), Selection::default(), progress).unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap(), "first\n");
    let follow = tokio::spawn(async move { all(&mut tail).await });
    let mut expected = String::new();
    for number in 0..4 {
        // Each is put aside after two lines; the reader takes every line before the next rotation.
        writer.write("stdout", 'F', format!("line {number}").as_bytes());
        expected += &format!("line {number}\n");
        tokio::task::yield_now().await;
    }
    drop(writer);
    assert_eq!(follow.await.unwrap(), expected);
}

#[test]
fn a_termination_message_is_cut_or_taken_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    assert_eq!(termination_message(&file, None), None);
    let writer = Writer::create(folder.path(), 0).unwrap();
    for number in 0..100 {
        writer.write("stdout", 'F', number.to_string().as_bytes());
    }
    let message = termination_message(&file, Some(&writer.path)).unwrap();
    assert!(message.starts_with("20\n21\n"), "{message}");
    assert!(message.ends_with("98\n99\n"), "{message}");
    std::fs::write(&file, "y".repeat(5000)).unwrap();
    let message = termination_message(&file, Some(&writer.path)).unwrap();
    assert_eq!(message, "y".repeat(4096));
}

#[test]
fn only_the_previous_run_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..4 {
        drop(Writer::create(folder.path(), run).unwrap());
    }
    let there = |run| path(folder.path(), run).exists();
    assert_eq!([0, 1, 2, 3].map(there), [false, false, true, true]);
}
