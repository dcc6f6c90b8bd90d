//! The interests of subscriptions: a filter of a collection, and how its events are written. Equal ones are stored once, and
//! their memory is bounded.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    domain::{CollectionId, FieldPath, KeyId, ProjectId},
    query::{
        Filter, Mask,
        mask::{HiddenFields, Images},
    },
    wire::Form,
};

/// The most paths that filters share, and the longest ones, in characters. Others are stored with their filters.
const MAX_PATHS: usize = 1000;
const MAX_PATH: usize = 64;
/// The bytes that a subscription counts for: what it takes from end to end, with a small filter.
pub const SUBSCRIPTION_BYTES: usize = 600;
/// The bytes of a filter that these have room for.
const FREE_FILTER_BYTES: usize = 256;
/// A key may hold so many times what it leaves free: alone three quarters of the bytes, beside others less. So a newcomer
/// always finds something.
const SHARE: usize = 3;

/// The subscriptions that get the same events of a collection, if they have the same filter.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Audience {
    pub project: ProjectId,
    /// The collection, through every rename.
    pub collection: CollectionId,
    /// How its events are written.
    pub form: Form,
    /// The collection's name in its events; see [`Form::label`]. In the documented protocol it is the name or id that the
    /// client asked with.
    pub label: Arc<str>,
    /// The key of its principal.
    pub key: KeyId,
    /// The fields that its principal may not read, if there are any.
    pub mask: Option<Arc<Mask>>,
}

/// The documents that a subscription wants to hear of, and how. When the last holder drops it, its bytes are given back.
pub struct Interest {
    audience: Arc<KnownAudience>,
    pub filter: Arc<Filter>,
    /// The bytes that the filter takes of the budget.
    bytes: usize,
}

/// An audience, with the interests that it is one of. So an interest need not hold both.
struct KnownAudience {
    audience: Audience,
    interests: Interests,
}

/// All interests of the process. Cheap to clone.
#[derive(Clone)]
pub struct Interests(Arc<Shared>);

struct Shared {
    limit: usize,
    hasher: RandomState,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By the hash of audience and filter.
    interests: HashMap<u64, Weak<Interest>>,
    /// With the number of interests that have it.
    audiences: HashMap<Arc<KnownAudience>, usize>,
    /// The filters that count, with the number of interests that have them.
    filters: HashMap<Arc<Filter>, usize>,
    paths: HashSet<FieldPath>,
    bytes: usize,
    bytes_of_keys: HashMap<KeyId, usize>,
}

/// All subscriptions together may take `limit` bytes of memory, and the others of this key leave too little of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBytes {
    pub limit: usize,
}

impl PartialEq for KnownAudience {
    fn eq(&self, other: &Self) -> bool {
        self.audience == other.audience
    }
}

impl Eq for KnownAudience {}

impl Hash for KnownAudience {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.audience.hash(state);
    }
}

impl Borrow<Audience> for Arc<KnownAudience> {
    fn borrow(&self) -> &Audience {
        &self.audience
    }
}

impl Deref for Interest {
    type Target = Audience;

    fn deref(&self) -> &Audience {
        &self.audience.audience
    }
}

impl Audience {
    /// Returns the fields that are hidden from it in a change.
    pub fn hidden_in(&self, images: Images<'_>) -> HiddenFields {
        self.mask.as_ref().map(|mask| mask.hidden_in_images(images)).unwrap_or_default()
    }
}

impl Interest {
    /// Returns the bytes that its filter counts for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts so many bytes more for its key, for what a subscription has besides the filter.
    ///
    /// # Errors
    /// [`TooManyBytes`]; then nothing is counted.
    pub fn take(&self, bytes: usize) -> Result<(), TooManyBytes> {
        let interests = &self.audience.interests;
        interests.lock().take(&self.key, bytes, bytes, interests.0.limit)
    }

    /// Gives back what [`Interest::take`] has counted.
    pub fn give_back(&self, bytes: usize) {
        self.audience.interests.lock().give_back(&self.key, bytes, bytes);
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest").field("audience", &**self).field("filter", &self.filter).finish()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let interests = &self.audience.interests;
        let hash = interests.0.hasher.hash_one((&**self, &*self.filter));
        let mut all = interests.lock();
        // Another one may have taken its place already.
        if all.interests.get(&hash).is_some_and(|known| std::ptr::eq(known.as_ptr(), self)) {
            all.interests.remove(&hash);
        }
        discount(&mut all.audiences, &self.audience);
        if self.bytes > 0 {
            let is_last = discount(&mut all.filters, &self.filter);
            all.give_back(&self.key, if is_last { self.bytes } else { 0 }, self.bytes);
        }
    }
}

impl Interests {
    /// Allows the filters of all interests, and what [`Interest::take`] counts, so many bytes together. One key may have three
    /// times what it leaves free.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Shared { limit: max_bytes, hasher: RandomState::new(), all: Mutex::default() }))
    }

    /// Returns the interest of an audience in the documents that match.
    ///
    /// # Errors
    /// [`TooManyBytes`] if the filter is too large beside those that there are.
    pub fn get(&self, audience: Audience, filter: Filter) -> Result<Arc<Interest>, TooManyBytes> {
        let filter = self.compact(filter);
        let bytes = filter.size().memory.saturating_sub(FREE_FILTER_BYTES);
        let hash = self.0.hasher.hash_one((&audience, &filter));
        // Declared before the lock, so that it is dropped after it: this may be the last holder.
        let known;
        let mut all = self.lock();
        known = all.interests.get(&hash).and_then(Weak::upgrade);
        if let Some(known) = &known
            && *known.filter == filter
            && known.audience.audience == audience
        {
            return Ok(known.clone());
        }
        let shared = all.filters.get_key_value(&filter).map(|(filter, _)| filter.clone());
        all.take(&audience.key, if shared.is_some() { 0 } else { bytes }, bytes, self.0.limit)?;
        let filter = shared.unwrap_or_else(|| Arc::new(filter));
        if bytes > 0 {
            *all.filters.entry(filter.clone()).or_default() += 1;
        }
        let shared = all.audiences.get_key_value(&audience).map(|(audience, _)| audience.clone());
        let audience =
            shared.unwrap_or_else(|| Arc::new(KnownAudience { audience, interests: self.clone() }));
        *all.audiences.entry(audience.clone()).or_default() += 1;
        let interest = Arc::new(Interest { audience, filter, bytes });
        all.interests.insert(hash, Arc::downgrade(&interest));
        Ok(interest)
    }

    /// Returns the same filter in less memory.
    fn compact(&self, filter: Filter) -> Filter {
        filter.compact(&mut |path| {
            if path.to_string().len() > MAX_PATH {
                return path;
            }
            let paths = &mut self.lock().paths;
            if let Some(known) = paths.get(&path) {
                return known.clone();
            }
            if paths.len() < MAX_PATHS {
                paths.insert(path.clone());
            }
            path
        })
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn take(&mut self, key: &KeyId, bytes: usize, of_key: usize, limit: usize) -> Result<(), TooManyBytes> {
        if of_key == 0 {
            return Ok(());
        }
        let held = self.bytes_of_keys.get(key).copied().unwrap_or(0) + of_key;
        let free = limit.checked_sub(self.bytes + bytes).ok_or(TooManyBytes { limit })?;
        if held > SHARE.saturating_mul(free) {
            return Err(TooManyBytes { limit });
        }
        self.bytes += bytes;
        self.bytes_of_keys.insert(key.clone(), held);
        Ok(())
    }

    fn give_back(&mut self, key: &KeyId, bytes: usize, of_key: usize) {
        if of_key == 0 {
            return;
        }
        self.bytes -= bytes;
        if let Entry::Occupied(mut held) = self.bytes_of_keys.entry(key.clone()) {
            *held.get_mut() -= of_key;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// Takes one off a count. Returns whether it was the last.
fn discount<T: Eq + Hash>(counts: &mut HashMap<Arc<T>, usize>, counted: &Arc<T>) -> bool {
    let Some(count) = counts.get_mut(counted) else { return false };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        counts.remove(counted);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::parse::{Typing, parse_value};

    fn audience(key: &str) -> Audience {
        Audience {
            project: ProjectId::from_stored("p"),
            collection: CollectionId::from_stored("c"),
            form: Form::Sse,
            label: "c".into(),
            key: KeyId::from_stored(key),
            mask: None,
        }
    }

    fn filter(first: u32) -> Filter {
        parse_value(json!({ "n__in": (first..first + 100).collect::<Vec<_>>() }), Typing::Typed).unwrap()
    }

    #[test]
    fn equal_interests_are_one_and_give_everything_back() {
        let interests = Interests::new(1 << 20);
        let one = interests.get(audience("one"), filter(0)).unwrap();
        let same = interests.get(audience("one"), filter(0)).unwrap();
        let of_another = interests.get(audience("two"), filter(0)).unwrap();
        assert!(Arc::ptr_eq(&one, &same) && Arc::ptr_eq(&one.filter, &of_another.filter));
        assert_eq!(interests.lock().bytes, one.bytes(), "the filter counts once");
        drop((one, same));
        assert_eq!(interests.lock().bytes, of_another.bytes(), "until the last one goes");
        of_another.take(100).unwrap();
        of_another.give_back(100);
        drop(of_another);
        let all = interests.lock();
        assert!(all.interests.is_empty() && all.audiences.is_empty() && all.filters.is_empty());
        assert!(all.bytes == 0 && all.bytes_of_keys.is_empty());
    }

    #[test]
    fn a_key_leaves_something_to_the_others() {
        let bytes = Interests::new(1 << 20).get(audience("one"), filter(0)).unwrap().bytes();
        let interests = Interests::new(bytes * 5);
        let mut held: Vec<_> = (0..3).map(|n| interests.get(audience("one"), filter(n)).unwrap()).collect();
        assert!(interests.get(audience("one"), filter(3)).is_err());
        held[0].take(bytes / 2).unwrap();
        assert!(held[0].take(bytes / 2).is_err(), "of what is left, a part is for others");
        held[0].give_back(bytes / 2);
        held.push(interests.get(audience("two"), filter(3)).unwrap());
        assert!(interests.get(audience("two"), filter(4)).is_err(), "the rest is for a third one");
        assert!(interests.get(audience("two"), filter(0)).is_ok(), "this filter is there already");
        held.remove(0);
        held.push(interests.get(audience("one"), filter(4)).unwrap());
    }
}
