use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use nix::unistd::pipe;

use super::*;

/// Longer than any of it takes: only a bug waits so long.
const LONG: Duration = Duration::from_secs(60);
/// Says what a copy of this test program is to write, to its standard input.
const ROLE: &str = "RGUNICORN_LOGS_TEST_WRITER";

#[test]
fn nothing_is_lost_and_the_order_is_kept() {
    let (reader, sender) = pipe().unwrap();
    let writer = Writer::new(sender);
    let reading = read_all(reader);
    for i in 0..20_000 {
        writer.push(format!("line {i}\n").as_bytes());
    }
    assert!(writer.flush(LONG));
    let (other, _keep) = pipe().unwrap();
    writer.reopen(other); // closes the pipe's writing end
    let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert!(reading.join().unwrap() == expected);
}

#[test]
fn a_target_that_nobody_reads_does_not_stop_the_caller() {
    let (reader, sender) = pipe().unwrap();
    let writer = Writer::new(sender);
    let line = [vec![b'x'; 1023], b"\n".to_vec()].concat();
    for _ in 0..20_000 {
        writer.push(&line);
    }
    assert!(!writer.flush(Duration::from_millis(10)));
    let dropped = writer.stats().dropped;
    assert!(dropped > 0);
    // When it is read again, nothing that was kept is lost, and the log says what is missing. (Said once or twice: it
    // depends on when the thread looked.)
    let reading = read_all(reader);
    assert!(writer.flush(LONG));
    writer.reopen(null());
    let text = reading.join().unwrap();
    let said: u64 =
        text.lines().filter_map(|line| line.strip_prefix("[rgunicorn] ")?.split(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(said, dropped);
    assert_eq!(text.lines().filter(|line| line.len() == 1023).count() as u64, 20_000 - dropped);
}

#[test]
fn what_is_too_much_at_once_is_said_though_nothing_else_comes() {
    let (reader, sender) = pipe().unwrap();
    let writer = Writer::new(sender);
    let reading = read_all(reader);
    writer.push(&b"\n".repeat(CAPACITY + 1));
    assert!(writer.flush(LONG));
    writer.reopen(null());
    assert_eq!(
        reading.join().unwrap(),
        format!("[rgunicorn] {} log lines dropped: the log's reader is too slow\n", CAPACITY + 1)
    );
}

/// A message socket keeps writes apart: each is at most 4096 bytes, and ends where a line does unless it is part of a longer
/// one.
#[test]
fn writes_are_whole_lines_of_4096_bytes_at_most() {
    let (reader, sender) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let writer = Writer::new(sender);
    let lines: Vec<Vec<u8>> =
        [1, 10, 4000, 4096, 90, 4097, 5, 10_000, 4095, 1, 4096].into_iter().map(line_of).collect();
    let total: usize = lines.iter().map(Vec::len).sum();
    writer.push(&lines.concat());
    let mut got = Vec::new();
    while got.len() < total {
        let mut buffer = vec![0; 64 * 1024];
        let length = recv(reader.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert!((1..=4096).contains(&length), "a write of {length} bytes");
        let ends_line = buffer[length - 1] == b'\n';
        assert!(ends_line || length == 4096, "a write of {length} bytes ends within a line");
        assert!(ends_line || !buffer[..length].contains(&b'\n'), "part of a line after other lines");
        got.extend_from_slice(&buffer[..length]);
    }
    assert!(got == lines.concat());
}

/// A writer that several processes run at once: this test program again, writing to its standard input.
#[test]
fn writing_for_another_test() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (number, longest) = role.split_once(' ').unwrap();
    let longest: usize = longest.parse().unwrap();
    let writer = Writer::new(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    for i in 0..400usize {
        let head = format!("{number} {i} ");
        let length = (20 + i * 7919 % longest).min(longest);
        let tail = number.repeat(length - head.len() - 1);
        writer.push(format!("{head}{tail}\n").as_bytes());
    }
    assert!(writer.flush(LONG));
    // As at the end of a worker: nothing runs after the flush.
    std::process::exit(0);
}

#[test]
fn lines_of_several_processes_never_tear_on_a_pipe() {
    let (reader, sender) = pipe().unwrap();
    let reading = read_all(reader);
    let sender = File::from(sender);
    write_together(&sender, 4096);
    drop(sender);
    all_whole(&reading.join().unwrap());
}

/// In a file of O_APPEND, lines of any length.
#[test]
fn lines_of_several_processes_never_tear_in_a_file() {
    let file = scratch("together");
    write_together(&append(&file.0), 20_000);
    all_whole(&std::fs::read_to_string(&file.0).unwrap());
}

/// Somebody else has set O_NONBLOCK on what we share: lines wait for the reader all the same, and the flag is left alone.
#[test]
fn a_target_set_nonblocking_by_others() {
    let (reader, sender) = pipe().unwrap();
    fcntl(&sender, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let theirs = sender.try_clone().unwrap();
    let writer = Writer::new(sender);
    let lines: String = (0..50_000).map(|i| format!("line {i}\n")).collect();
    writer.push(lines.as_bytes());
    // More than a pipe takes: without a reader it can't be done.
    assert!(!writer.flush(Duration::from_millis(50)));
    let reading = read_all(reader);
    assert!(writer.flush(LONG));
    let flags = OFlag::from_bits_retain(fcntl(&theirs, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK));
    drop(theirs);
    writer.reopen(null());
    assert!(reading.join().unwrap() == lines);
}

/// /dev/full: what is written waits for space, the end waits for its deadline only, and a reopened file gets it all.
#[test]
fn a_full_disk_loses_nothing_until_the_deadline() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let writer = Writer::new(full.into());
    writer.push(b"a\n");
    writer.push(b"b\n");
    assert!(!writer.flush(Duration::from_millis(300)));
    let file = scratch("after-full");
    writer.reopen(append(&file.0).into());
    writer.push(b"c\n");
    assert!(writer.flush(LONG));
    assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "a\nb\nc\n");
    assert_eq!(writer.stats().dropped, 0);
}

#[test]
fn reopen_goes_on_in_the_new_file() {
    let (old, new) = (scratch("old"), scratch("new"));
    let writer = Writer::new(append(&old.0).into());
    writer.push(b"a\n");
    assert!(writer.flush(LONG));
    writer.reopen(append(&new.0).into());
    writer.push(b"b\n");
    assert!(writer.flush(LONG));
    assert_eq!(std::fs::read_to_string(&old.0).unwrap(), "a\n");
    assert_eq!(std::fs::read_to_string(&new.0).unwrap(), "b\n");
}

/// The new target gets a line whole though the old one has taken a part of it.
#[test]
fn reopen_frees_a_writer_from_a_stuck_reader() {
    let (_reader, sender) = pipe().unwrap();
    let writer = Writer::new(sender);
    let lines: Vec<Vec<u8>> = (0..100).map(|_| line_of(10_000)).collect();
    writer.push(&lines.concat());
    assert!(!writer.flush(Duration::from_millis(50)));
    let file = scratch("unstuck");
    writer.reopen(append(&file.0).into());
    assert!(writer.flush(LONG));
    let text = std::fs::read(&file.0).unwrap();
    let rest = lines.concat();
    assert!(!text.is_empty() && rest.ends_with(&text) && text.len().is_multiple_of(10_000), "{} bytes", text.len());
}

#[test]
fn a_reader_that_is_gone_holds_nobody_up() {
    let (reader, sender) = pipe().unwrap();
    drop(reader);
    let writer = Writer::new(sender);
    writer.push(b"a\nb\n");
    assert!(writer.flush(LONG));
    assert_eq!(writer.stats().dropped, 2);
    let file = scratch("after-gone");
    writer.reopen(append(&file.0).into());
    writer.push(b"c\n");
    assert!(writer.flush(LONG));
    assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "c\n");
}

#[test]
fn a_disabled_writer_writes_nothing() {
    let file = scratch("disabled");
    let writer = Writer::new(append(&file.0).into());
    writer.disable();
    writer.push(b"a\n");
    assert!(writer.flush(Duration::MAX));
    assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "");
}

/// Four processes at once, each with lines of up to so many bytes.
fn write_together(target: &File, longest: usize) {
    let this = std::env::current_exe().unwrap();
    let start = |number: usize| {
        let mut command = Command::new(&this);
        command.args(["--exact", "writer::tests::writing_for_another_test"]).env(ROLE, format!("{number} {longest}"));
        command.stdin(Stdio::from(target.try_clone().unwrap())).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let children: Vec<_> = (1..=4).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

/// Every line of [`write_together`], once and in its writer's order, and nothing else.
fn all_whole(text: &str) {
    let mut next = [0; 5];
    for line in text.lines() {
        let mut parts = line.split(' ');
        let (writer, number) = (parts.next().unwrap(), parts.next().unwrap());
        let index: usize = writer.parse().unwrap_or_else(|_| panic!("a torn line: {line:.60}"));
        assert_eq!(number.parse(), Ok(next[index]), "{line:.60}");
        assert!(parts.next().unwrap().bytes().all(|byte| byte == writer.as_bytes()[0]), "a torn line: {line:.60}");
        next[index] += 1;
    }
    assert_eq!(next, [0, 400, 400, 400, 400]);
}

fn line_of(length: usize) -> Vec<u8> {
    [vec![b'x'; length - 1], b"\n".to_vec()].concat()
}

fn read_all(reader: OwnedFd) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        text
    })
}

fn null() -> OwnedFd {
    OpenOptions::new().write(true).open("/dev/null").unwrap().into()
}

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("rgunicorn-logs-{}-{name}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.flush().unwrap();
    Scratch(path)
}

fn append(path: &PathBuf) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}
