//! Prints what prost makes of messages: a line "hex R" when it refuses one, "hex A fields" when it accepts it; "-" is the empty message.

mod generate;
mod schema;

use generate::{groups, wrap, Generator, Rng};
use prost::Message;
use schema::{Envelope, Header, LinkType, Member, Name};
use std::collections::HashSet;
use std::fmt::Write;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").unwrap();
        s
    })
}

fn optional<T>(v: &Option<T>, show: impl Fn(&T) -> String) -> String {
    v.as_ref().map_or("-".into(), show)
}

/// [component,component,component,high.low|string,string,string], with - for what is absent
fn name(n: &Option<Name>) -> String {
    optional(n, |n| {
        let encoded = optional(&n.name, |e| {
            format!(
                "{:x},{:x},{:x},{}",
                e.c0,
                e.c1,
                e.c2,
                optional(&e.id, |i| format!("{:x}.{:x}", i.hi, i.lo))
            )
        });
        let strings = optional(&n.str_name, |s| {
            format!(
                "{},{},{}",
                hex(s.s0.as_bytes()),
                hex(s.s1.as_bytes()),
                hex(s.s2.as_bytes())
            )
        });
        format!("[{encoded}|{strings}]")
    })
}

fn header(h: &Option<Header>) -> String {
    optional(h, |h| {
        format!(
            "{} {} {:?} {} {:?} {} {} {} {} {} {}",
            name(&h.source),
            name(&h.destination),
            hex(h.identity.as_bytes()),
            h.fanout,
            hex(h.version.as_bytes()),
            h.ttl,
            optional(&h.recv_from, u64::to_string),
            optional(&h.forward_to, u64::to_string),
            optional(&h.incoming_conn, u64::to_string),
            optional(&h.error, bool::to_string),
            optional(&h.header_mac, |m| format!("{:?}", hex(m))),
        )
    })
}

fn show(m: &Envelope) -> String {
    match &m.member {
        None => "0".into(),
        Some(Member::Subscribe(s)) => format!("1 {} {}", s.subscription_id, header(&s.header)),
        Some(Member::Unsubscribe(s)) => format!("2 {} {}", s.subscription_id, header(&s.header)),
        Some(Member::Publish(p)) => format!(
            "3 {} {}",
            optional(&p.session, |_| "session".into()),
            header(&p.header)
        ),
        Some(Member::Link(l)) => format!(
            "5 {}",
            optional(&l.link_type, |LinkType::Negotiation(_)| "negotiation"
                .into())
        ),
        Some(Member::Ack(_)) => "6".into(),
    }
}

struct Output {
    seen: HashSet<Vec<u8>>,
    accepted: usize,
}

impl Output {
    fn judge(&mut self, msg: &[u8]) {
        if !self.seen.insert(msg.to_vec()) {
            return;
        }
        let text = if msg.is_empty() { "-".into() } else { hex(msg) };
        match Envelope::decode(msg) {
            Err(_) => println!("{text} R"),
            Ok(m) => {
                self.accepted += 1;
                println!("{text} A {}", show(&m));
            }
        }
    }
}

/// Paths to every message type of the schema, as field numbers.
fn paths() -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = vec![vec![], vec![4], vec![5], vec![5, 1], vec![6]];
    for member in [1, 2, 3] {
        all.push(vec![member]);
        for tail in [
            &[1][..],
            &[1, 1],
            &[1, 2],
            &[1, 1, 1],
            &[1, 1, 2],
            &[1, 2, 1, 4],
        ] {
            all.push([&[member], tail].concat());
        }
    }
    all.extend([vec![3, 2], vec![3, 3], vec![3, 3, 1], vec![3, 3, 2]]);
    for command in 1..=16 {
        all.push(vec![3, 3, 2, command]);
    }
    for tail in [
        &[3, 1][..],
        &[3, 2],
        &[3, 3, 1, 4],
        &[3, 4],
        &[4, 2],
        &[4, 2, 1, 2],
        &[4, 2, 2],
        &[7, 2],
        &[7, 3],
        &[7, 3, 1, 1, 4],
        &[7, 4],
        &[8, 1],
        &[8, 2],
        &[9, 1],
        &[10, 1],
        &[14, 1],
        &[15, 1],
    ] {
        all.push([&[3, 3, 2], tail].concat());
    }
    all
}

fn systematic(out: &mut Output) {
    for path in paths() {
        let depth = path.len();
        out.judge(&wrap(&path, &[]));
        // Every field number with every wire type: which are known, and with which type.
        for tag in 1..=17u8 {
            for (wire, value) in [(0u8, &[1u8][..]), (2, &[2, 0x20, 0x01])] {
                let key = (tag as u16) << 3 | wire as u16;
                let mut body = if key < 0x80 {
                    vec![key as u8]
                } else {
                    vec![key as u8 | 0x80, (key >> 7) as u8]
                };
                body.extend_from_slice(value);
                out.judge(&wrap(&path, &body));
            }
            if tag < 16 {
                // Which of them are strings: a length-delimited field that is neither UTF-8 nor a message.
                out.judge(&wrap(&path, &[tag << 3 | 2, 1, 0xff]));
            }
        }
        for body in [
            &[0x00u8, 0x00][..],
            &[0x06],
            &[0x0f],
            &[0x0c],
            &[0xa4, 0x01],
            &[0xa3, 0x01],
            &[0xa6, 0x01, 0x00],
            &[0xa0, 0x81, 0x00, 0x07],
            &[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01],
            &[0xf8, 0xff, 0xff, 0xff, 0x1f, 0x01],
            &[0xa1, 0x01, 1, 2, 3, 4, 5, 6, 7],
            &[0xa5, 0x01, 1, 2, 3],
            &[
                0xa2, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            &[
                0xa0, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            &[
                0xa0, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
            &[
                0xa0, 0x01, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
            ],
        ] {
            out.judge(&wrap(&path, body));
        }
        // The recursion limit counts sub-messages and groups together.
        for n in 99 - depth..=101 - depth {
            out.judge(&wrap(&path, &groups(n, &[])));
            out.judge(&wrap(&path, &groups(n, &[0x08, 0x01])));
        }
    }
}

fn main() {
    let mut out = Output {
        seen: HashSet::new(),
        accepted: 0,
    };

    systematic(&mut out);
    for seed in 0..1000u64 {
        let mut g = Generator {
            rng: Rng(seed),
            odd: [0, 0, 60, 200][seed as usize % 4],
            loose: [3, 6, 12, 40][seed as usize / 4 % 4],
        };
        let mut msg = g.envelope();
        if msg.len() > 600 {
            continue;
        }
        out.judge(&msg);
        if msg.is_empty() {
            continue;
        }
        // The same message cut off, and with one byte changed.
        let at = g.rng.below(msg.len() as u64) as usize;
        if seed % 3 == 0 {
            out.judge(&msg[..at]);
        }
        msg[at] ^= 1 << g.rng.below(8);
        out.judge(&msg);
    }
    eprintln!("{} messages, {} accepted", out.seen.len(), out.accepted);
}
