//! A connection on its way from one worker to another: what goes beside its descriptor.
//!
//! Workers of one generation share a socket for this; they are of one build, so the form is plain bytes with a version in
//! front. Who receives one checks everything all the same: the message comes from a process that runs an app.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Version of the form.
const VERSION: u8 = 2;
/// Bytes before the input.
const FIXED: usize = 1 + 1 + 1 + 4 * 8 + 3 * ADDRESS;
/// Where numbers begin, and addresses.
const NUMBERS: usize = 3;
const ADDRESSES: usize = NUMBERS + 4 * 8;
/// Bytes of an address: family, IP, port, scope.
const ADDRESS: usize = 1 + 16 + 2 + 4;
/// The most bytes of input that are passed with a connection.
pub const MAX_INPUT: usize = 32 * 1024;
/// The longest message.
pub const MAX_PASSED: usize = FIXED + MAX_INPUT;

const BEGUN: u8 = 1;
const GREETED: u8 = 2;

/// A connection that waits for a request, or for the rest of its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Which listener it came from: the inode of its socket, which is the same in every generation.
    pub listener: u64,
    /// How often it was passed on for the sake of balance since its last request.
    pub hops: u8,
    /// The client, unless it came over a unix socket.
    pub peer: Option<SocketAddr>,
    /// When its wait ends (CLOCK_MONOTONIC ns).
    pub deadline: u64,
    /// When the request in `input` arrived (CLOCK_MONOTONIC ns); 0: nothing has.
    pub arrived: u64,
    /// Requests served on it.
    pub served: u64,
    /// A request has begun to arrive.
    pub begun: bool,
    /// A PROXY header has been looked for.
    pub greeted: bool,
    /// What the PROXY header said: kind of connection (a number of the worker's), source and destination.
    pub proxy: Option<(u8, Option<(SocketAddr, SocketAddr)>)>,
    /// Read and not parsed.
    pub input: Vec<u8>,
}

impl Passed {
    /// As one message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.input.len());
        out.push(VERSION);
        out.push(if self.begun { BEGUN } else { 0 } | if self.greeted { GREETED } else { 0 });
        out.push(self.hops);
        for number in [self.listener, self.deadline, self.arrived, self.served] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let (kind, ends) = self.proxy.map_or((0, None), |(kind, ends)| (kind, Some(ends)));
        put_address(&mut out, self.peer, 0);
        let (source, destination) = ends.flatten().map_or((None, None), |(source, to)| (Some(source), Some(to)));
        // The first of the two families carries the kind, in its high bits, one more than it is: 0 is none.
        put_address(&mut out, source, ends.map_or(0, |_| (kind + 1) << 4));
        put_address(&mut out, destination, 0);
        out.extend_from_slice(&self.input);
        out
    }

    /// Reads a message; `None`: it is none.
    pub fn decode(bytes: &[u8]) -> Option<Passed> {
        let (fixed, input) = bytes.split_first_chunk::<FIXED>()?;
        if fixed[0] != VERSION || input.len() > MAX_INPUT || fixed[1] & !(BEGUN | GREETED) != 0 {
            return None;
        }
        let number = |index: usize| Some(u64::from_le_bytes(*fixed[NUMBERS + index * 8..].first_chunk()?));
        let address = |index: usize| fixed[ADDRESSES + index * ADDRESS..].first_chunk::<ADDRESS>();
        let (peer, none) = get_address(address(0)?)?;
        let (source, kind) = get_address(address(1)?)?;
        let (destination, none_either) = get_address(address(2)?)?;
        if none != 0 || none_either != 0 || source.is_some() != destination.is_some() {
            return None;
        }
        Some(Passed {
            listener: number(0)?,
            hops: fixed[2],
            peer,
            deadline: number(1)?,
            arrived: number(2)?,
            served: number(3)?,
            begun: fixed[1] & BEGUN != 0,
            greeted: fixed[1] & GREETED != 0,
            proxy: kind.checked_sub(1).map(|kind| (kind, source.zip(destination))),
            input: input.to_vec(),
        })
    }
}

fn put_address(out: &mut Vec<u8>, address: Option<SocketAddr>, high: u8) {
    let (family, ip, port, scope) = match address {
        None => (0, Ipv6Addr::UNSPECIFIED, 0, 0),
        Some(SocketAddr::V4(v4)) => (4, v4.ip().to_ipv6_mapped(), v4.port(), 0),
        Some(SocketAddr::V6(v6)) => (6, *v6.ip(), v6.port(), v6.scope_id()),
    };
    out.push(family | high);
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&port.to_le_bytes());
    out.extend_from_slice(&scope.to_le_bytes());
}

/// The address, and the high bits of its family.
fn get_address(bytes: &[u8; ADDRESS]) -> Option<(Option<SocketAddr>, u8)> {
    let ip = Ipv6Addr::from(*bytes[1..].first_chunk::<16>()?);
    let port = u16::from_le_bytes([bytes[17], bytes[18]]);
    let scope = u32::from_le_bytes(*bytes[19..].first_chunk()?);
    let address = match bytes[0] & 0xf {
        0 => None,
        4 => Some(SocketAddr::new(IpAddr::V4(ip.to_ipv4_mapped()?), port)),
        6 => Some(SocketAddr::V6(std::net::SocketAddrV6::new(ip, port, 0, scope))),
        _ => return None,
    };
    Some((address, bytes[0] >> 4))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port));
        let v6 = any::<([u16; 8], u16, u32)>().prop_map(|(ip, port, scope)| {
            SocketAddr::V6(std::net::SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope))
        });
        prop_oneof![v4, v6]
    }

    prop_compose! {
        fn passed()(
            (listener, hops, deadline, arrived, served, begun, greeted) in any::<(u64, u8, u64, u64, u64, bool, bool)>(),
            peer in option::of(address()),
            proxy in option::of((0u8..8, option::of((address(), address())))),
            input in vec(any::<u8>(), 0..300),
        ) -> Passed {
            Passed { listener, hops, peer, deadline, arrived, served, begun, greeted, proxy, input }
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(passed in passed()) {
            prop_assert_eq!(Passed::decode(&passed.encode()), Some(passed));
        }

        #[test]
        fn anything_may_arrive(mut bytes in vec(any::<u8>(), 0..400)) {
            let _ = Passed::decode(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = Passed::decode(&bytes);
        }
    }

    #[test]
    fn the_longest_fits() {
        let mut passed = Passed {
            listener: 0,
            hops: 0,
            peer: None,
            deadline: 0,
            arrived: 0,
            served: 0,
            begun: true,
            greeted: true,
            proxy: None,
            input: vec![b'x'; MAX_INPUT],
        };
        assert_eq!(passed.encode().len(), MAX_PASSED);
        assert_eq!(Passed::decode(&passed.encode()), Some(passed.clone()));
        passed.input.push(b'x');
        assert_eq!(Passed::decode(&passed.encode()), None);
    }
}
