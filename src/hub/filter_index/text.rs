//! All texts that the `contains` terms of a collection's filters look for, found in one pass over a document's text.
//!
//! The texts are in a few Aho-Corasick automata, each at least four times as large as the next. A new text waits; when enough
//! of them wait, they become an automaton together with those that are not much larger, so that adding a text costs little,
//! however many there are. A text that is not looked for any more stays until it is one of many.
//!
//! An automaton has the first 32 bytes of a text. So what it may find at one place of a document is bounded, also where texts
//! are parts of each other, and so is its memory. A longer text is looked for by itself, where its beginning was found.

use std::{collections::HashMap, sync::Arc};

use aho_corasick::{
    Anchored, MatchKind,
    automaton::{Automaton, StateID},
    nfa::contiguous,
};
use memchr::memmem;
use slab::Slab;

/// The bytes of a text that an automaton has.
const MAX_NEEDLE: usize = 32;
/// The bytes of all texts of a collection. An automaton takes up to 70 bytes of memory for each. Texts beyond it are looked for
/// one by one, and cost accordingly.
const MAX_BYTES: usize = 512 * 1024;
/// The most texts that wait without being in an automaton. Each is looked for by itself.
const MAX_WAITING: usize = 16;
/// An automaton is this many times as large as the next smaller one, up to the largest.
const GROWTH: usize = 4;
/// The most texts of an automaton, and the most bytes of them. Building the largest one takes some 30 ms, in which the project's
/// task does nothing else. With all bytes in one automaton it took half a second.
const MAX_TEXTS_OF_AUTOMATON: usize = 16 * 1024;
const MAX_BYTES_OF_AUTOMATON: usize = 64 * 1024;

/// The texts that the filters of a collection look for.
#[derive(Default)]
pub(super) struct TextSearch {
    needles: Slab<Needle>,
    by_text: HashMap<Arc<[u8]>, u32>,
    waiting: Vec<u32>,
    /// The largest first.
    automata: Vec<Texts>,
    /// How many texts nobody looks for any more.
    unused: usize,
    bytes: usize,
}

/// A text that is looked for, or its beginning.
struct Needle {
    text: Arc<[u8]>,
    uses: u32,
}

struct Texts {
    automaton: contiguous::NFA,
    /// The needles of its patterns.
    needles: Vec<u32>,
}

/// The needles that are in a text.
#[derive(Default)]
pub(super) struct Found {
    bits: Vec<u64>,
    pub(super) needles: Vec<u32>,
}

impl Found {
    fn add(&mut self, needle: u32) {
        let (word, bit) = (needle as usize / 64, 1 << (needle % 64));
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.needles.push(needle);
        }
    }

    pub(super) fn contains(&self, needle: u32) -> bool {
        self.bits.get(needle as usize / 64).is_some_and(|word| word & (1 << (needle % 64)) != 0)
    }
}

/// Returns the part of a text that an automaton has.
fn beginning(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(MAX_NEEDLE)]
}

/// Whether a text is found by its needle alone.
pub(super) fn is_short(text: &str) -> bool {
    text.len() <= MAX_NEEDLE
}

impl TextSearch {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_text.is_empty() && self.needles.is_empty() && self.automata.is_empty()
    }

    /// Looks for a text from now on, in lower case. Returns its needle; `None` if there are too many, or if it is empty and so
    /// everywhere.
    pub(super) fn add(&mut self, text: &str) -> Option<u32> {
        let text = beginning(text);
        if text.is_empty() {
            return None;
        }
        if let Some(key) = self.by_text.get(text) {
            let needle = &mut self.needles[*key as usize];
            if needle.uses == 0 {
                self.unused -= 1;
            }
            needle.uses += 1;
            return Some(*key);
        }
        if self.bytes + text.len() > MAX_BYTES {
            return None;
        }
        let text: Arc<[u8]> = text.into();
        let key = u32::try_from(self.needles.insert(Needle { text: text.clone(), uses: 1 })).ok()?;
        self.bytes += text.len();
        self.by_text.insert(text, key);
        self.waiting.push(key);
        if self.waiting.len() > MAX_WAITING {
            self.build();
        }
        Some(key)
    }

    /// Takes back one [`TextSearch::add`].
    pub(super) fn remove(&mut self, key: u32) {
        let needle = &mut self.needles[key as usize];
        needle.uses -= 1;
        if needle.uses > 0 {
            return;
        }
        self.unused += 1;
        if self.unused == self.needles.len() {
            *self = Self::default();
        } else if self.unused > MAX_WAITING && self.unused * 2 > self.needles.len() {
            self.rebuild_one();
        }
    }

    /// Builds that automaton anew which has the most texts that nobody looks for, if they are its majority.
    fn rebuild_one(&mut self) {
        let unused =
            |texts: &Texts| texts.needles.iter().filter(|key| self.needles[**key as usize].uses == 0).count();
        let counts = self.automata.iter().map(unused).enumerate();
        let worst = counts.filter(|(place, count)| count * 2 > self.automata[*place].needles.len());
        if let Some((place, _)) = worst.max_by_key(|(_, count)| *count) {
            self.waiting.extend(self.automata.remove(place).needles);
        }
        self.build();
    }

    /// Returns the needle of a text that is looked for.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(beginning(text)).copied().filter(|key| self.needles[*key as usize].uses > 0)
    }

    /// Whether the pass over a document decides if it has this text.
    pub(super) fn finds_whole(&self, text: &str) -> bool {
        text.is_empty() || (is_short(text) && self.find(text).is_some())
    }

    /// Returns all needles that are in a text, which is in lower case. The time is linear in its length.
    pub(super) fn search(&self, text: &[u8]) -> Found {
        let mut found = Found { bits: vec![0; self.needles.capacity().div_ceil(64)], needles: Vec::new() };
        for texts in &self.automata {
            texts.search(text, &mut found);
        }
        for key in &self.waiting {
            if memmem::find(text, &self.needles[*key as usize].text).is_some() {
                found.add(*key);
            }
        }
        found
    }

    /// Makes an automaton of the texts that wait, and of the automata that are not much larger.
    fn build(&mut self) {
        let bytes_of =
            |keys: &[u32]| keys.iter().map(|key| self.needles[*key as usize].text.len()).sum::<usize>();
        let mut bytes = bytes_of(&self.waiting);
        while let Some(last) = self.automata.pop_if(|last| {
            last.needles.len() <= GROWTH * self.waiting.len()
                && last.needles.len() + self.waiting.len() <= MAX_TEXTS_OF_AUTOMATON
                && bytes_of(&last.needles) + bytes <= MAX_BYTES_OF_AUTOMATON
        }) {
            bytes += bytes_of(&last.needles);
            self.waiting.extend(last.needles);
        }
        let mut needles = std::mem::take(&mut self.waiting);
        needles.retain(|key| {
            let is_used = self.needles[*key as usize].uses > 0;
            if !is_used {
                let needle = self.needles.remove(*key as usize);
                self.by_text.remove(&needle.text);
                self.bytes -= needle.text.len();
                self.unused -= 1;
            }
            is_used
        });
        if needles.is_empty() {
            return;
        }
        let texts = needles.iter().map(|key| &self.needles[*key as usize].text);
        match contiguous::NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(texts) {
            Ok(automaton) => self.automata.push(Texts { automaton, needles }),
            // Its bound is 2^31 states, of which the bytes allow a thousandth.
            Err(_) => self.waiting = needles,
        }
        self.automata.sort_by_key(|texts| std::cmp::Reverse(texts.needles.len()));
    }
}

impl Texts {
    fn search(&self, text: &[u8], found: &mut Found) {
        /// The states that were seen last, by the lowest bits of their number. What they found is in `found` already.
        const SEEN: usize = 64;
        let automaton = &self.automaton;
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
        let mut seen = [StateID::ZERO; SEEN];
        for byte in text {
            state = automaton.next_state(Anchored::No, state, *byte);
            if !automaton.is_special(state) || !automaton.is_match(state) {
                continue;
            }
            let seen = &mut seen[state.as_usize() % SEEN];
            if *seen != state {
                *seen = state;
                for index in 0..automaton.match_len(state) {
                    found.add(self.needles[automaton.match_pattern(state, index).as_usize()]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic numbers for many rounds.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) as usize
    }

    #[test]
    fn texts_that_come_and_go_are_found_where_they_are() {
        let (mut search, mut state, mut used) = (TextSearch::default(), 1, Vec::new());
        let text = |number: usize| format!("{}{}", "a".repeat(number % 40), number % 7);
        for round in 0..2000 {
            if used.is_empty() || !next(&mut state).is_multiple_of(3) {
                let text = text(next(&mut state));
                used.push((search.add(&text).unwrap(), text));
            } else {
                let (key, _) = used.swap_remove(next(&mut state) % used.len());
                search.remove(key);
            }
            if round % 10 == 9 {
                let place = "b".repeat(3) + &text(next(&mut state)) + "x" + &text(next(&mut state));
                let found = search.search(place.as_bytes());
                for (key, text) in &used {
                    let is_there =
                        place.as_bytes().windows(beginning(text).len()).any(|w| w == beginning(text));
                    assert_eq!(found.contains(*key), is_there, "{text} in {place}");
                    assert_eq!(search.find(text), Some(*key));
                }
            }
        }
        used.into_iter().for_each(|(key, _)| search.remove(key));
        assert!(search.is_empty());
    }

    #[test]
    fn there_are_few_automata_and_few_texts_wait() {
        let mut search = TextSearch::default();
        for number in 0..10_000 {
            search.add(&format!("text {number}")).unwrap();
            assert!(search.automata.len() <= 8 && search.waiting.len() <= MAX_WAITING, "{number}");
        }
    }

    #[test]
    fn texts_inside_each_other_take_memory_and_time_by_their_length() {
        let mut search = TextSearch::default();
        for number in 1..2000 {
            search.add(&"a".repeat(number)).unwrap();
        }
        assert_eq!(search.by_text.len(), MAX_NEEDLE, "the others begin like one of these");
        let memory: usize = search.automata.iter().map(|texts| texts.automaton.memory_usage()).sum();
        assert!(memory < 16 * 1024, "{memory}");
        assert_eq!(search.search("a".repeat(1_000_000).as_bytes()).needles.len(), MAX_NEEDLE);
    }

    #[test]
    fn no_text_that_comes_or_goes_builds_a_large_automaton() {
        let mut search = TextSearch::default();
        let text = |number: usize| format!("{number:>32}");
        let keys: Vec<_> = (0..MAX_BYTES / MAX_NEEDLE).map(|n| search.add(&text(n)).unwrap()).collect();
        assert_eq!(search.add("one more"), None);
        let is_bounded = |search: &TextSearch| {
            let most = search.automata.iter().map(|texts| texts.needles.len()).max().unwrap_or(0);
            most * MAX_NEEDLE <= MAX_BYTES_OF_AUTOMATON && search.automata.len() <= 20
        };
        assert!(is_bounded(&search), "{}", search.automata.len());
        // Texts that nobody looks for any more go, automaton by automaton.
        let (gone, kept) = keys.split_at(keys.len() / 4 * 3);
        gone.iter().for_each(|key| search.remove(*key));
        assert!(is_bounded(&search) && search.needles.len() < keys.len() / 2 + MAX_WAITING);
        let found = search.search(text(keys.len() - 1).as_bytes());
        assert!(found.contains(kept[kept.len() - 1]));
        kept.iter().for_each(|key| search.remove(*key));
        assert!(search.is_empty());
    }
}
