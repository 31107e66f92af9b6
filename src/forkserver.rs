//! The daemon's end of a forkserver: its process and the link to it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rgunicorn_wire::message::Load;
use rgunicorn_wire::{MAX_INLINE, MAX_MESSAGE, MEMFD_MARK, Order, Report};

use crate::home::Home;
use crate::settings::{ConfigSource, Invocation, table};
use crate::sys::link::{self, Received};
use crate::sys::{Pid, memory, process};

/// What the interpreter is started with: it loads the extension and the package, and leaves no other trace.
const BOOT: &str = include_str!("../python/boot.py");

/// A title can be as long as this: the last argument is blanks, which it is written over.
const TITLE_ROOM: usize = 256;

/// A forkserver that runs, or ran.
#[derive(Debug)]
pub struct Forkserver {
    /// Its pid.
    pub pid: Pid,
    link: OwnedFd,
    /// What a full link did not take. The arbiter never waits for a hook that blocks.
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

/// What came over the link.
#[derive(Debug)]
pub enum Heard {
    /// A report.
    Report(Report),
    /// Nothing now.
    Nothing,
    /// Nobody is there any more, or what is there does not speak our language.
    Closed,
}

impl Forkserver {
    /// Starts the interpreter in `directory`. The error names the interpreter and where it was set.
    pub fn start(home: &Home, directory: &Path) -> Result<Forkserver, String> {
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let (ours, theirs) = link::pair().map_err(|error| failed("can't make a socket pair", error))?;
        let mut command = Command::new(&home.python);
        // The number stays the same in the child: it is only made to survive the exec.
        let number = std::os::fd::AsRawFd::as_raw_fd(&theirs).to_string();
        command.arg("-c").arg(BOOT).arg(number).arg(&home.packages).arg(&home.extension).arg(" ".repeat(TITLE_ROOM));
        command.current_dir(directory);
        let pid = process::spawn_forkserver(command, theirs.as_fd()).map_err(|error| {
            let python = home.python.display();
            failed(&format!("can't run the Python interpreter '{python}' (from {})", home.python_from), error)
        })?;
        Ok(Forkserver { pid, link: ours, waiting: VecDeque::new() })
    }

    /// Sends an order, or keeps it until there is room.
    pub fn say(&mut self, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut bytes = rgunicorn_wire::encode(order);
        let mut file = None;
        if bytes.len() > MAX_INLINE {
            file = Some(memory::holding(&bytes)?);
            bytes = MEMFD_MARK.to_vec();
        }
        let all: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).chain(fds.iter().copied()).collect();
        self.flush()?;
        if self.waiting.is_empty() && link::send(&self.link, &bytes, &all)? {
            return Ok(());
        }
        let kept = all.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<Vec<_>>>()?;
        self.waiting.push_back((bytes, kept));
        Ok(())
    }

    /// Sends what was kept, as far as there is room.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, fds)) = self.waiting.front() {
            if !link::send(&self.link, bytes, &link::borrow_all(fds))? {
                break;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next report.
    pub fn hear(&self) -> Heard {
        let packet = match link::receive(&self.link, MAX_INLINE) {
            Received::Packet(packet) => packet,
            Received::Nothing => return Heard::Nothing,
            Received::Closed => return Heard::Closed,
        };
        let bytes = match packet.fds.into_iter().next() {
            Some(file) if packet.bytes == MEMFD_MARK => memory::contents(&file.into(), MAX_MESSAGE).unwrap_or_default(),
            _ => packet.bytes,
        };
        rgunicorn_wire::decode(&bytes).map_or(Heard::Closed, Heard::Report)
    }
}

/// What a forkserver of this generation is to read.
pub fn load(invocation: &Invocation, source: ConfigSource, generation: u32, watch: bool) -> Load {
    let config = match source {
        ConfigSource::Python(config) => Some(config),
        ConfigSource::None | ConfigSource::Toml { .. } => None,
    };
    let mut argv = invocation.argv().to_vec();
    // Configurations look at it: galaxy for `--preload`, others for the program's name.
    if let Some(program) = argv.first_mut() {
        *program = std::path::Path::new(&program).with_file_name("gunicorn").display().to_string();
    }
    Load {
        generation,
        argv,
        config,
        chdir: invocation.environment().start_dir.display().to_string(),
        watch,
        names: table::all().filter(|setting| setting.in_python_file()).map(|setting| setting.name.to_owned()).collect(),
    }
}

impl AsFd for Forkserver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
