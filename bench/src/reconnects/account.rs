//! The documents that a returning client must get, and those that it got. Each writer numbers its documents, so the numbers alone show which
//! documents are missing, doubled or out of order.

/// The members that number a document. A server that sorts members puts them side by side.
const SERIAL: &[u8] = b"\"serial\":";
const WRITER: &[u8] = b",\"writer\":";
/// How far a search for [`SERIAL`] may skip, by the byte that stands where it would end.
const SHIFTS: [u8; 256] = shifts();

/// The rooms that documents are in, by turns, and the room that is asked for; `None` asks for all.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    pub count: u64,
    pub chosen: Option<u64>,
}

/// The documents that one client got.
#[derive(Clone, Debug)]
pub struct Account {
    seen: Seen,
    pub received: u64,
    /// Documents that were left out.
    pub lost: u64,
    /// Documents that came again, or after a later one.
    pub repeated: u64,
    /// Documents that the client didn't ask for.
    pub strange: u64,
}

#[derive(Clone, Debug)]
enum Seen {
    /// The last number of each writer.
    InOrder(Vec<u64>),
    /// Numbers of the first writer, from 1 on, one bit each.
    Once { bits: Vec<u64>, end: u64 },
}

impl Rooms {
    /// Returns the next number after `last` that is asked for.
    pub fn next(&self, last: u64) -> u64 {
        let next = last + 1;
        self.chosen.map_or(next, |room| next + (self.count + room - next % self.count) % self.count)
    }

    /// Counts the numbers after `last`, up to and including `until`, that are asked for.
    pub fn count_between(&self, last: u64, until: u64) -> u64 {
        let up_to = |number: u64| match self.chosen {
            None => number,
            Some(0) => number / self.count,
            Some(room) => (number + self.count - room) / self.count,
        };
        up_to(until).saturating_sub(up_to(last))
    }
}

impl Account {
    /// The account of a client that has each writer's documents up to these numbers, and gets the rest in order.
    pub fn in_order(last: Vec<u64>) -> Self {
        Self::new(Seen::InOrder(last))
    }

    /// The account of a client that gets the first writer's documents up to `end` in any order, each once.
    pub fn once(end: u64) -> Self {
        Self::new(Seen::Once { bits: vec![0; end as usize / 64 + 1], end })
    }

    fn new(seen: Seen) -> Self {
        Self { seen, received: 0, lost: 0, repeated: 0, strange: 0 }
    }

    /// Adds a document that came.
    pub fn record(&mut self, rooms: &Rooms, writer: usize, serial: u64) {
        self.received += 1;
        let is_asked_for = serial > 0 && rooms.next(serial - 1) == serial;
        match &mut self.seen {
            Seen::InOrder(last) if is_asked_for && writer < last.len() => {
                let last = &mut last[writer];
                if serial > *last {
                    self.lost += rooms.count_between(*last, serial) - 1;
                    *last = serial;
                } else {
                    self.repeated += 1;
                }
            }
            Seen::Once { bits, end } if is_asked_for && writer == 0 && serial <= *end => {
                let (word, bit) = (&mut bits[serial as usize / 64], 1 << (serial % 64));
                self.repeated += u64::from(*word & bit != 0);
                *word |= bit;
            }
            Seen::InOrder(_) | Seen::Once { .. } => self.strange += 1,
        }
    }

    /// Whether the client has each writer's documents up to these numbers.
    pub fn reaches(&self, rooms: &Rooms, written: &[u64]) -> bool {
        match &self.seen {
            Seen::InOrder(last) => last.iter().zip(written).all(|(&last, &end)| rooms.next(last) > end),
            Seen::Once { bits, end } => count_ones(bits) == rooms.count_between(0, *end),
        }
    }

    /// Counts each writer's documents up to these numbers that have not come as lost.
    pub fn close(&mut self, rooms: &Rooms, written: &[u64]) {
        self.lost += match &self.seen {
            Seen::InOrder(last) => {
                let missing = |(&last, &written)| rooms.count_between(last, written);
                last.iter().zip(written).map(missing).sum()
            }
            Seen::Once { bits, end } => rooms.count_between(0, *end) - count_ones(bits),
        };
    }
}

fn count_ones(bits: &[u64]) -> u64 {
    bits.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Calls `each` with the writer and the number of every document in a text.
pub fn find_documents(text: &[u8], mut each: impl FnMut(usize, u64)) {
    let mut at = 0;
    while let Some(window) = text.get(at..at + SERIAL.len()) {
        if window != SERIAL {
            at += usize::from(SHIFTS[usize::from(window[SERIAL.len() - 1])]);
            continue;
        }
        at += SERIAL.len();
        let Some((serial, rest)) = split_number(&text[at..]) else { continue };
        let Some((writer, _)) = rest.strip_prefix(WRITER).and_then(split_number) else { continue };
        each(writer as usize, serial);
    }
}

fn split_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// Makes the table of Horspool's search.
const fn shifts() -> [u8; 256] {
    let mut shifts = [SERIAL.len() as u8; 256];
    let mut at = 0;
    while at < SERIAL.len() - 1 {
        shifts[SERIAL[at] as usize] = (SERIAL.len() - 1 - at) as u8;
        at += 1;
    }
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rooms = Rooms { count: 10, chosen: None };

    fn account(mut account: Account, rooms: &Rooms, serials: &[u64], written: u64) -> [u64; 4] {
        for &serial in serials {
            account.record(rooms, 0, serial);
        }
        account.close(rooms, &[written]);
        [account.received, account.lost, account.repeated, account.strange]
    }

    #[test]
    fn counting_agrees_with_going_from_number_to_number() {
        for count in 1..5 {
            for chosen in std::iter::once(None).chain((0..count).map(Some)) {
                let rooms = Rooms { count, chosen };
                for last in 0..12 {
                    let mut number = rooms.next(last);
                    for nth in 1..4 {
                        assert!(chosen.is_none_or(|room| number % count == room), "{rooms:?} {last}");
                        assert_eq!(rooms.count_between(last, number), nth, "{rooms:?} {last}");
                        assert_eq!(rooms.count_between(last, number - 1), nth - 1, "{rooms:?} {last}");
                        number = rooms.next(number);
                    }
                }
            }
        }
    }

    #[test]
    fn an_account_in_order_finds_losses_and_repetitions() {
        let room = Rooms { count: 10, chosen: Some(3) };
        let cases: [(&Rooms, &[u64], [u64; 4], &str); 7] = [
            (&ALL, &[6, 7, 8], [3, 0, 0, 0], "all"),
            (&ALL, &[6, 8], [2, 1, 0, 0], "one was left out"),
            (&ALL, &[6, 7], [2, 1, 0, 0], "the last is missing"),
            (&ALL, &[6, 6, 7, 8], [4, 0, 1, 0], "one came twice"),
            (&ALL, &[7, 6, 8], [3, 1, 1, 0], "two changed places"),
            (&room, &[13, 33], [2, 1, 0, 0], "one of a room was left out"),
            (&room, &[13, 14, 23, 33], [4, 0, 0, 1], "one of another room"),
        ];
        for (rooms, serials, expected, why) in cases {
            let written = if rooms.chosen.is_some() { 42 } else { 8 };
            assert_eq!(account(Account::in_order(vec![5]), rooms, serials, written), expected, "{why}");
        }
    }

    #[test]
    fn an_account_in_any_order_finds_losses_and_repetitions() {
        let cases: [(&[u64], [u64; 4], &str); 4] = [
            (&[3, 1, 2], [3, 0, 0, 0], "all"),
            (&[3, 1], [2, 1, 0, 0], "one is missing"),
            (&[3, 1, 1], [3, 1, 1, 0], "one came twice"),
            (&[3, 1, 2, 4], [4, 0, 0, 1], "a document that does not exist"),
        ];
        for (serials, expected, why) in cases {
            assert_eq!(account(Account::once(3), &ALL, serials, 3), expected, "{why}");
        }
    }

    #[test]
    fn documents_are_found_wherever_they_stand() {
        let document = r#"{"pad":"xxxx","room":"r1","serial":12,"writer":3}"#;
        for pad in 0..20 {
            let text = format!(
                r#"{}{document},{document}{{"serial":"x"}}{{"serial":7}}{document}"serial":"#,
                "x".repeat(pad)
            );
            let mut found = Vec::new();
            find_documents(text.as_bytes(), |writer, serial| found.push((writer, serial)));
            assert_eq!(found, [(3, 12); 3], "after {pad} bytes");
        }
    }
}
