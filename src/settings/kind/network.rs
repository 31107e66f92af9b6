//! Addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;
use rgunicorn_wire::PyValue;

use super::text::{comma_list, stripped};
use super::{Input, list_of};
use crate::settings::bind::Bind;

pub(super) fn addresses(input: Input<'_>) -> Result<PyValue, String> {
    let items = comma_list(input)?;
    for item in items.iter().filter(|item| *item != "*") {
        match network(item) {
            None => return Err(format!("{} is not an IPv4 or IPv6 address or network", input.quoted_part(item))),
            Some(network) if network.addr() != network.network() => {
                return Err(format!(
                    "{} has host bits set; the network is {}",
                    input.quoted_part(item),
                    network.trunc()
                ));
            }
            Some(_) => {}
        }
    }
    Ok(list_of(items))
}

pub(super) fn statsd(input: Input<'_>) -> Result<PyValue, String> {
    let Some(text) = stripped(input)? else { return Ok(PyValue::None) };
    // `unix:8125` is a host called unix, since it was so before there were unix sockets.
    if let Some(port) = text.strip_prefix("unix:").filter(|rest| is_digits(rest)).and_then(|rest| rest.parse().ok()) {
        return Ok(PyValue::List(vec![PyValue::Str("unix".to_owned()), PyValue::Int(port)]));
    }
    match Bind::parse(&text, 8125) {
        Ok(address) => Ok(address.wire()),
        Err(_) => Err(format!("{} is neither host:port nor unix://PATH", input.quoted())),
    }
}

/// An address, or `address/bits`, or `address/mask`.
fn network(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let address: IpAddr = address.parse().ok()?;
    if is_digits(prefix) {
        return IpNet::new(address, prefix.parse().ok()?).ok();
    }
    let mask: std::net::Ipv4Addr = prefix.parse().ok()?;
    let IpAddr::V4(_) = address else { return None };
    // Python also takes the mask the other way round: 0.0.0.255 for 255.255.255.0.
    let inverted = std::net::Ipv4Addr::from_bits(!mask.to_bits());
    let netmask = |mask: std::net::Ipv4Addr| IpNet::with_netmask(address, mask.into()).ok();
    netmask(mask).or_else(|| netmask(inverted))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}
