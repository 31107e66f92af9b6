//! SOCK_SEQPACKET links: whole messages, with descriptors and the sender's pid beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt,
    socketpair, sockopt,
};

use super::Pid;

/// A message as it came in.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who sent it, as the kernel says.
    pub sender: Option<Pid>,
    /// Descriptors that came with it, now ours.
    pub fds: Vec<OwnedFd>,
}

/// What a receive found.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Packet(Packet),
    /// None now.
    Nothing,
    /// Nobody holds the other end any more, or the message was longer than any may be.
    Closed,
}

/// A link: our end, which never blocks and learns senders' pids, and theirs, which does block. Both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(io::Error::from)?;
    setsockopt(&ours, sockopt::PassCred, &true)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// A pair that workers hand connections over with: whole messages, neither end blocks. The first end receives.
pub fn hand_off() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one message. `Ok(false)`: the link is full now.
pub fn send(link: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    loop {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        return match sendmsg::<()>(link.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => Ok(true),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}

/// Receives one message of at most `limit` bytes.
pub fn receive(link: &OwnedFd, limit: usize) -> Received {
    let mut bytes = vec![0u8; limit];
    // Room for credentials and for as many descriptors as the kernel lets anybody send (SCM_MAX_FD): those that do not
    // fit would be open here without anybody knowing their numbers.
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials, [RawFd; 253]);
    loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(link.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Received::Nothing,
            Err(_) => return Received::Closed,
        };
        let mut sender = None;
        let mut fds = Vec::new();
        for part in message.cmsgs().into_iter().flatten() {
            match part {
                ControlMessageOwned::ScmCredentials(who) => sender = Some(Pid(who.pid())),
                ControlMessageOwned::ScmRights(raw) => fds.extend(raw.into_iter().map(|fd| {
                    // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows of it.
                    unsafe { OwnedFd::from_raw_fd(fd) }
                })),
                _ => {}
            }
        }
        let (length, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
        if length == 0 || cut {
            return Received::Closed;
        }
        bytes.truncate(length);
        return Received::Packet(Packet { bytes, sender, fds });
    }
}

/// Closes descriptors that nobody asked for. A socket with a long SO_LINGER would make the close wait for its peer.
pub fn discard(fds: Vec<OwnedFd>) {
    for fd in fds {
        let _ = setsockopt(&fd, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
    }
}

/// Borrows a list of owned descriptors.
pub fn borrow_all(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_sender_and_descriptors() {
        let (ours, theirs) = pair().unwrap();
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(send(&theirs, b"hello", &[null.as_fd()]).unwrap());
        let Received::Packet(packet) = receive(&ours, 100) else { panic!("no message") };
        assert_eq!(packet.bytes, b"hello");
        assert_eq!(packet.sender, Some(super::super::process::own_pid()));
        assert_eq!(packet.fds.len(), 1);
        assert!(matches!(receive(&ours, 100), Received::Nothing));
        drop(theirs);
        assert!(matches!(receive(&ours, 100), Received::Closed));
    }

    #[test]
    fn a_message_that_is_too_long_closes_the_link() {
        let (ours, theirs) = pair().unwrap();
        assert!(send(&theirs, &[b'x'; 200], &[]).unwrap());
        assert!(matches!(receive(&ours, 100), Received::Closed));
    }

    #[test]
    fn a_full_link_says_so() {
        let (ours, _theirs) = pair().unwrap();
        let sent = (0..10_000).take_while(|_| send(&ours, &[b'x'; 1000], &[]).unwrap()).count();
        assert!((1..10_000).contains(&sent), "{sent}");
    }
}
