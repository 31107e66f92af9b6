use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ANY: Rules = Rules { mode: Mode::Auto, allowed: true, permit_unknown: false };

/// A version 2 header with this command, family and address block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family], &length, block].concat()
}

fn header(protocol: Protocol, endpoints: Option<(&str, &str)>) -> Header {
    let parse = |text: &str| text.parse().unwrap();
    let endpoints =
        endpoints.map(|(source, destination)| Endpoints { source: parse(source), destination: parse(destination) });
    Header { protocol, endpoints }
}

/// What all the input comes to, which is what each of its beginnings comes to, or that more is needed.
#[track_caller]
fn settled(input: &[u8], rules: &Rules) -> Result<Step, Error> {
    let whole = parse(input, rules);
    for end in 0..input.len() {
        let part = parse(&input[..end], rules);
        assert!(part == Ok(Step::NeedMore) || part == whole, "{part:?} of {end}, then {whole:?}");
    }
    whole
}

#[track_caller]
fn accepted(input: &[u8], rules: &Rules, expected: Header) {
    let input = [input, b"GET / HTTP/1.1\r\n\r\n"].concat();
    let length = input.len() - 18;
    assert_eq!(settled(&input, rules), Ok(Step::Header(length, expected)));
    for end in 0..length {
        assert_eq!(parse(&input[..end], rules), Ok(Step::NeedMore), "{end} bytes");
    }
}

#[track_caller]
fn refused(input: &[u8]) {
    let error = settled(input, &ANY).expect_err("it is accepted");
    assert_eq!((error.status(), error.reason()), (400, "Bad Request"));
}

#[test]
fn lines() {
    for (line, protocol, ends) in [
        ("TCP4 1.2.3.4 5.6.7.8 9 65535", Protocol::Tcp4, ("1.2.3.4:9", "5.6.7.8:65535")),
        ("TCP4 255.255.255.255 0.0.0.0 0 1", Protocol::Tcp4, ("255.255.255.255:0", "0.0.0.0:1")),
        ("TCP6 ::1 2001:db8::a 1 2", Protocol::Tcp6, ("[::1]:1", "[2001:db8::a]:2")),
        ("TCP6 ::ffff:1.2.3.4 :: 1 2", Protocol::Tcp6, ("[::ffff:1.2.3.4]:1", "[::]:2")),
    ] {
        accepted(format!("PROXY {line}\r\n").as_bytes(), &ANY, header(protocol, Some(ends)));
    }
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {long} {long} 65535 65535\r\n");
    let end = format!("[{long}]:65535");
    accepted(line.as_bytes(), &ANY, header(Protocol::Tcp6, Some((&end, &end))));
}

#[test]
fn unknown_is_for_those_who_permit_it() {
    let open = Rules { permit_unknown: true, ..ANY };
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_MAX - 16));
    assert_eq!(longest.len(), V1_MAX);
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN \u{e9} x\r\n", &longest] {
        accepted(line.as_bytes(), &open, header(Protocol::Unknown, None));
        refused(line.as_bytes());
    }
    let error = parse(longest.replace("ff\r", "fff\r").as_bytes(), &open).expect_err("108 bytes");
    assert_eq!(error.status(), 400);
}

#[test]
fn bad_lines() {
    for line in [
        "",
        "TCP4",
        "TCP5 1.2.3.4 5.6.7.8 9 10",
        "tcp4 1.2.3.4 5.6.7.8 9 10",
        "UDP4 1.2.3.4 5.6.7.8 9 10",
        "TCP4 1.2.3.4 5.6.7.8 9",
        "TCP4 1.2.3.4 5.6.7.8 9 10 11",
        "TCP4 1.2.3.4 5.6.7.8 9 10 ",
        "TCP4  1.2.3.4 5.6.7.8 9 10",
        " TCP4 1.2.3.4 5.6.7.8 9 10",
        "TCP4 1.2.3.4 5.6.7.8\t9 10",
        "TCP4 1.2.3.256 5.6.7.8 9 10",
        "TCP4 1.2.3 5.6.7.8 9 10",
        "TCP4 01.2.3.4 5.6.7.8 9 10",
        "TCP4 ::1 ::1 9 10",
        "TCP4 ::ffff:1.2.3.4 5.6.7.8 9 10",
        "TCP6 1.2.3.4 5.6.7.8 9 10",
        "TCP6 ::1%lo ::1 9 10",
        "TCP6 [::1] ::1 9 10",
        "TCP6 ::g ::1 9 10",
        "TCP4 1.2.3.4 5.6.7.8 65536 10",
        "TCP4 1.2.3.4 5.6.7.8 -1 10",
        "TCP4 1.2.3.4 5.6.7.8 +1 10",
        "TCP4 1.2.3.4 5.6.7.8 09 10",
        "TCP4 1.2.3.4 5.6.7.8 9 0x10",
        "TCP4 1.2.3.4 5.6.7.8 9 1_0",
        "TCP4 1.2.3.4 5.6.7.8 9 \u{b2}",
        "TCP4 1.2.3.4 5.6.7.8 9 10\0",
        "TCP4 1.2.3.4 5.6.7.8 9 10\r",
        "TCP4 1.2.3.4 5.6.7.8 9 10\n",
        "TCP4 1.2.3.4\r\n5.6.7.8 9 10",
    ] {
        refused(format!("PROXY {line}\r\n").as_bytes());
    }
    refused("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\nGET / HTTP/1.1\r\n\r\n".as_bytes());
    for length in [V1_MAX, V1_MAX + 1, 100_000] {
        refused(format!("PROXY TCP4 {}", "1".repeat(length - 11)).as_bytes());
    }
    // 108 bytes, the last being the LF.
    refused(format!("PROXY TCP4 {}\r\n", "1".repeat(V1_MAX - 12)).as_bytes());
}

#[test]
fn binary_headers() {
    let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0xff, 0xff];
    let six = [&[0; 15][..], &[1], &[0x20, 1], &[0; 14], &[0, 1, 0, 2]].concat();
    let ends = Some(("1.2.3.4:9", "5.6.7.8:65535"));
    accepted(&v2(0x21, 0x11, &four), &ANY, header(Protocol::Tcp4, ends));
    accepted(&v2(0x21, 0x21, &six), &ANY, header(Protocol::Tcp6, Some(("[::1]:1", "[2001::]:2"))));
    accepted(&v2(0x21, 0x31, &[b'/'; 216]), &ANY, header(Protocol::Unix, None));
    for family in [0x00, 0x01] {
        accepted(&v2(0x21, family, &[]), &ANY, header(Protocol::Unspecified, None));
    }
    // TLVs are skipped, well formed or not; a LOCAL's family and addresses too.
    accepted(&v2(0x21, 0x11, &[&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat()), &ANY, header(Protocol::Tcp4, ends));
    accepted(&v2(0x21, 0x11, &[&four[..], &[0xff; 4000]].concat()), &ANY, header(Protocol::Tcp4, ends));
    for (family, block) in [(0x00, &[][..]), (0x11, &four), (0x12, &four[..3]), (0xff, b"x")] {
        accepted(&v2(0x20, family, block), &ANY, header(Protocol::Local, None));
    }
    let longest = v2(0x21, 0x11, &[&four[..], &vec![0; 65535 - 12]].concat());
    assert_eq!(parse(&longest, &ANY), Ok(Step::Header(65551, header(Protocol::Tcp4, ends))));
    assert_eq!(parse(&longest[..65550], &ANY), Ok(Step::NeedMore));
}

#[test]
fn bad_binary_headers() {
    let block = [0; 216];
    for (command, family, length) in [
        (0x11, 0x11, 12),
        (0x31, 0x11, 12),
        (0x01, 0x11, 12),
        (0x22, 0x11, 12),
        (0x2f, 0x11, 12),
        (0x21, 0x12, 12),
        (0x21, 0x22, 36),
        (0x21, 0x32, 216),
        (0x21, 0x02, 0),
        (0x21, 0x10, 12),
        (0x21, 0x13, 12),
        (0x21, 0x41, 216),
        (0x21, 0xf1, 216),
        (0x21, 0x11, 11),
        (0x21, 0x11, 0),
        (0x21, 0x21, 35),
        (0x21, 0x31, 215),
    ] {
        refused(&v2(command, family, &block[..length]));
    }
}

/// The header is optional, and each mode knows its own form only.
#[test]
fn modes() {
    let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec();
    let binary = v2(0x20, 0, &[]);
    for (mode, knows_line, knows_binary) in
        [(Mode::Off, false, false), (Mode::V1, true, false), (Mode::V2, false, true), (Mode::Auto, true, true)]
    {
        let rules = Rules { mode, ..ANY };
        for (input, known) in [(&line, knows_line), (&binary, knows_binary)] {
            let step = settled(input, &rules);
            assert_eq!(matches!(step, Ok(Step::Header(..))), known, "{mode:?}");
            assert_eq!(step == Ok(Step::NotProxy), !known, "{mode:?}");
            // From a peer that may not: nothing is answered but that, and as soon as the form is known.
            let step = settled(input, &Rules { allowed: false, ..rules });
            assert_eq!(
                step.map_err(|error| (error.status(), error.reason())).err(),
                known.then_some((403, "Forbidden"))
            );
        }
        for input in [
            "GET / HTTP/1.1\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\n",
            "PROXYX",
            "PROXY\t",
            "P\r\n",
            "\r\n\r\n\0\r\nQUIT\r",
        ] {
            for allowed in [true, false] {
                assert_eq!(settled(input.as_bytes(), &Rules { allowed, ..rules }), Ok(Step::NotProxy), "{input:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_bytes_never_change_an_answer(
        start in prop_oneof![Just(b"PROXY ".to_vec()), Just(V2_SIGNATURE.to_vec()), Just(v2(0x21, 0x11, b""))],
        cut in 0..20usize,
        rest in vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'.'), Just(0x21)], 0..160),
        allowed: bool,
        permit_unknown: bool,
    ) {
        let mut input = start;
        input.truncate(cut);
        input.extend(rest);
        for mode in [Mode::Off, Mode::V1, Mode::V2, Mode::Auto] {
            let rules = Rules { mode, allowed, permit_unknown };
            let mut answer = Ok(Step::NeedMore);
            for end in 0..=input.len() {
                let step = parse(&input[..end], &rules);
                prop_assert!(answer == Ok(Step::NeedMore) || step == answer, "{:?}, then {:?}", answer, step);
                if let Ok(Step::Header(length, _)) = &step {
                    prop_assert!(*length <= end);
                }
                answer = step;
            }
        }
    }

    #[test]
    fn endpoints_come_out_as_they_went_in(
        source: [u8; 4], destination: [u8; 4], six: ([u8; 16], [u8; 16]), ports: (u16, u16), tlvs in vec(any::<u8>(), 0..300),
    ) {
        let ends = |source: IpAddr, destination: IpAddr| Endpoints {
            source: SocketAddr::new(source, ports.0),
            destination: SocketAddr::new(destination, ports.1),
        };
        let four = ends(source.into(), destination.into());
        let six_ends = ends(six.0.into(), six.1.into());
        for (protocol, family, ends) in [(Protocol::Tcp4, 0x11, four), (Protocol::Tcp6, 0x21, six_ends)] {
            let expected = Header { protocol, endpoints: Some(ends) };
            let line = format!("PROXY {} {} {} {} {}\r\n", protocol.as_str(), ends.source.ip(), ends.destination.ip(), ports.0, ports.1);
            prop_assert_eq!(parse(line.as_bytes(), &ANY), Ok(Step::Header(line.len(), expected.clone())));
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let numbers = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            let block = [octets(ends.source.ip()), octets(ends.destination.ip()), numbers, tlvs.clone()].concat();
            let input = v2(0x21, family, &block);
            prop_assert_eq!(parse(&input, &ANY), Ok(Step::Header(input.len(), expected)));
        }
    }
}
