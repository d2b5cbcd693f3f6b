//! Random messages on the wire: after the schema, with parts repeated, reordered, unknown, and damaged.

/// splitmix64, so that the file is the same on every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }
}

#[derive(Clone, Copy)]
pub enum Kind {
    Varint,
    Text,
    Bytes,
    Sub(&'static Shape),
}
use Kind::*;

/// The fields of a message type; in a choice only one of them counts.
pub struct Shape {
    pub choice: bool,
    pub fields: &'static [(u32, Kind)],
}
const fn all(fields: &'static [(u32, Kind)]) -> Shape {
    Shape {
        choice: false,
        fields,
    }
}
const fn one(fields: &'static [(u32, Kind)]) -> Shape {
    Shape {
        choice: true,
        fields,
    }
}

static EMPTY: Shape = all(&[]);
static ID: Shape = all(&[(1, Varint), (2, Varint)]);
static ENCODED: Shape = all(&[(1, Varint), (2, Varint), (3, Varint), (4, Sub(&ID))]);
static STRINGS: Shape = all(&[(1, Text), (2, Text), (3, Text)]);
static NAME: Shape = all(&[(1, Sub(&ENCODED)), (2, Sub(&STRINGS))]);
pub static HEADER: Shape = all(&[
    (1, Sub(&NAME)),
    (2, Sub(&NAME)),
    (3, Text),
    (4, Varint),
    (5, Text),
    (6, Varint),
    (7, Varint),
    (8, Varint),
    (9, Varint),
    (10, Varint),
    (11, Bytes),
    (12, Bytes),
]);
static SESSION: Shape = all(&[(1, Varint), (2, Varint), (3, Varint), (4, Varint)]);
static TWO_NUMBERS: Shape = all(&[(1, Varint), (2, Varint)]);
static NUMBER: Shape = all(&[(1, Varint)]);
static MLS: Shape = all(&[(1, Varint), (2, Bytes)]);
static PARTICIPANT: Shape = all(&[(1, Sub(&NAME)), (2, Sub(&TWO_NUMBERS)), (3, Varint)]);
static NAME_AND_BYTES: Shape = all(&[(1, Sub(&NAME)), (2, Bytes)]);
static JOIN_REQUEST: Shape = all(&[
    (1, Sub(&TWO_NUMBERS)),
    (2, Sub(&NAME)),
    (3, Sub(&NAME)),
    (4, Sub(&NUMBER)),
]);
static JOIN_REPLY: Shape = all(&[(1, Bytes), (2, Sub(&PARTICIPANT))]);
static GROUP_UPDATE: Shape = all(&[
    (1, Varint),
    (2, Sub(&PARTICIPANT)),
    (3, Sub(&PARTICIPANT)),
    (4, Sub(&MLS)),
]);
static GROUP_WELCOME: Shape = all(&[
    (1, Sub(&PARTICIPANT)),
    (1, Sub(&PARTICIPANT)),
    (2, Sub(&MLS)),
]);
static GROUP_CLOSE: Shape = all(&[(1, Sub(&NAME)), (1, Sub(&NAME))]);
static STATE: Shape = all(&[(1, Sub(&NAME)), (2, Varint), (3, Varint)]);
static COMMAND: Shape = one(&[
    (1, Sub(&EMPTY)),
    (2, Sub(&EMPTY)),
    (3, Sub(&JOIN_REQUEST)),
    (4, Sub(&JOIN_REPLY)),
    (5, Sub(&EMPTY)),
    (6, Sub(&EMPTY)),
    (7, Sub(&GROUP_UPDATE)),
    (8, Sub(&GROUP_WELCOME)),
    (9, Sub(&GROUP_CLOSE)),
    (10, Sub(&NAME_AND_BYTES)),
    (11, Sub(&EMPTY)),
    (12, Sub(&EMPTY)),
    (13, Sub(&NUMBER)),
    (14, Sub(&STATE)),
    (15, Sub(&NAME_AND_BYTES)),
    (16, Sub(&MLS)),
]);
static APP: Shape = all(&[(1, Text), (2, Bytes)]);
static CONTENT: Shape = one(&[(1, Sub(&APP)), (2, Sub(&COMMAND)), (2, Sub(&COMMAND))]);
static NEGOTIATION: Shape = all(&[
    (1, Text),
    (2, Text),
    (3, Varint),
    (4, Bytes),
    (5, Varint),
    (6, Text),
    (7, Text),
    (8, Bytes),
]);
static LINK: Shape = one(&[(1, Sub(&NEGOTIATION))]);
static ACK: Shape = all(&[(1, Varint), (2, Varint), (3, Text)]);
static SUBSCRIBE: Shape = all(&[(1, Sub(&HEADER)), (2, Varint)]);
static PUBLISH: Shape = all(&[(1, Sub(&HEADER)), (2, Sub(&SESSION)), (3, Sub(&CONTENT))]);
static ENTRY: Shape = all(&[(1, Text), (2, Text)]);
static MEMBER: Shape = one(&[
    (1, Sub(&SUBSCRIBE)),
    (2, Sub(&SUBSCRIBE)),
    (3, Sub(&PUBLISH)),
    (3, Sub(&PUBLISH)),
    (3, Sub(&PUBLISH)),
    (5, Sub(&LINK)),
    (6, Sub(&ACK)),
]);

pub struct Generator {
    pub rng: Rng,
    /// One place in so many is against the rules; 0: none.
    pub odd: u64,
    /// One field in so many is absent, repeated or unknown.
    pub loose: u64,
}

impl Generator {
    fn odd(&mut self) -> bool {
        let n = self.odd;
        self.rng.one_in(n)
    }

    pub fn varint(&mut self, out: &mut Vec<u8>, mut v: u64) {
        let start = out.len();
        while v >= 0x80 {
            out.push(v as u8 | 0x80);
            v >>= 7;
        }
        out.push(v as u8);
        if self.rng.one_in(self.loose * 4) && out.len() - start < 9 {
            *out.last_mut().unwrap() |= 0x80;
            while self.rng.one_in(2) && out.len() - start < 9 {
                out.push(0x80);
            }
            out.push(0);
        }
        if self.odd() {
            let long: &[u8] = match self.rng.below(3) {
                0 => &[0xff; 10],
                1 => &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                _ => &[
                    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
                ],
            };
            out.truncate(start);
            out.extend_from_slice(long);
        }
    }

    fn number(&mut self) -> u64 {
        const SOME: [u64; 10] = [
            0,
            1,
            7,
            127,
            128,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            u64::MAX - 1,
            u64::MAX,
        ];
        if self.rng.one_in(2) {
            SOME[self.rng.below(10) as usize]
        } else {
            let shift = self.rng.below(64);
            self.rng.next() >> shift
        }
    }

    fn text(&mut self) -> Vec<u8> {
        const GOOD: [&[u8]; 9] = [
            b"",
            b"org",
            b"a\0b",
            b"\xc3\xa9",
            b"\xe2\x82\xac",
            b"\xf0\x9f\x98\x80",
            b"\xf4\x8f\xbf\xbf",
            b"abcdefgh\xed\x9f\xbfijklmnop",
            b"abcdefghijklmnopqrstuvwxyz0123456789ABC",
        ];
        const BAD: [&[u8]; 10] = [
            b"\x80",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xed\xa0\x80",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80",
            b"01234567\xe2\x82",
            b"abcdefghijklmnopqrstuvwxyz0123456\xff",
        ];
        if self.odd() {
            BAD[self.rng.below(10) as usize].to_vec()
        } else {
            GOOD[self.rng.below(9) as usize].to_vec()
        }
    }

    fn unknown(&mut self, out: &mut Vec<u8>, depth: u32) {
        let tag = if self.rng.one_in(2) {
            17 + self.rng.below(6)
        } else {
            17 + self.rng.below(0x1fff_ffff - 17)
        };
        let wire = if self.odd() {
            self.rng.below(8)
        } else {
            [0, 1, 2, 3, 5][self.rng.below(5) as usize]
        };
        self.varint(out, tag << 3 | wire);
        match wire {
            0 => {
                let n = self.number();
                self.varint(out, n)
            }
            1 => out.extend_from_slice(&[9; 8]),
            5 => out.extend_from_slice(&[9; 4]),
            2 => {
                let n = self.rng.below(5);
                self.varint(out, n);
                out.extend(std::iter::repeat(0xff).take(n as usize));
            }
            3 => {
                let n = self.rng.below(3);
                for _ in 0..n {
                    if depth < 3 {
                        self.unknown(out, depth + 1);
                    }
                }
                let tag = if self.odd() { tag + 1 } else { tag };
                self.varint(out, tag << 3 | 4);
            }
            _ => {}
        }
    }

    fn field(&mut self, out: &mut Vec<u8>, tag: u32, kind: Kind) {
        let wire = match kind {
            Varint => 0,
            _ => 2,
        };
        let wire = if self.odd() { self.rng.below(8) } else { wire };
        self.varint(out, (tag as u64) << 3 | wire);
        let body = match kind {
            Varint => {
                let n = self.number();
                return self.varint(out, n);
            }
            Text => self.text(),
            Bytes => {
                let n = if tag == 11 {
                    32
                } else {
                    self.rng.below(5) as usize
                };
                vec![self.rng.next() as u8; n]
            }
            Sub(shape) => self.message(shape),
        };
        let grown = if self.odd() { 1 + self.rng.below(3) } else { 0 };
        self.varint(out, body.len() as u64 + grown);
        out.extend_from_slice(&body);
    }

    pub fn message(&mut self, shape: &'static Shape) -> Vec<u8> {
        let mut out = Vec::new();
        let mut order: Vec<usize> = (0..shape.fields.len()).collect();
        if shape.choice {
            let n = shape.fields.len() as u64;
            order = vec![self.rng.below(n) as usize];
            while self.rng.one_in(self.loose) {
                order.push(self.rng.below(n) as usize);
            }
        } else if self.rng.one_in(self.loose) {
            for i in (1..order.len()).rev() {
                order.swap(i, self.rng.below(i as u64 + 1) as usize);
            }
        }
        for i in order {
            let (tag, kind) = shape.fields[i];
            if self.rng.one_in(self.loose) {
                continue;
            }
            self.field(&mut out, tag, kind);
            if self.rng.one_in(self.loose * 2) {
                self.field(&mut out, tag, kind);
            }
            if self.rng.one_in(self.loose * 2) {
                self.unknown(&mut out, 0);
            }
        }
        out
    }

    pub fn envelope(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let lead = self.rng.one_in(5);
        if lead {
            self.field(&mut out, 4, Sub(&ENTRY));
        }
        let member = self.message(&MEMBER);
        out.extend_from_slice(&member);
        for _ in 0..self.rng.below(3) {
            self.field(&mut out, 4, Sub(&ENTRY));
        }
        out
    }
}

/// A field of `path` around the body, outermost first.
pub fn wrap(path: &[u32], body: &[u8]) -> Vec<u8> {
    let mut plain = Generator {
        rng: Rng(0),
        odd: 0,
        loose: 0,
    };
    path.iter().rev().fold(body.to_vec(), |inner, tag| {
        let mut out = Vec::new();
        plain.varint(&mut out, (*tag as u64) << 3 | 2);
        plain.varint(&mut out, inner.len() as u64);
        out.extend_from_slice(&inner);
        out
    })
}

/// `n` unknown groups in each other, with something inside.
pub fn groups(n: usize, inside: &[u8]) -> Vec<u8> {
    let mut out = vec![0xa3, 0x01].repeat(n);
    out.extend_from_slice(inside);
    out.extend(vec![0xa4, 0x01].repeat(n));
    out
}
