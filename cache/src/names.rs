//! Field names, each stored once. A column holds the number of its name.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// The names of one table with their numbers of users. A number whose name has no users is reused.
#[derive(Debug, Default)]
pub(crate) struct Names {
    hasher: RandomState,
    by_text: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    users: u32,
}

impl Names {
    /// The name with this number. The number must be in use.
    #[inline]
    pub(crate) fn get(&self, name: u32) -> &[u8] {
        &self.entries[name as usize].text
    }

    /// The number of this name, if the name is in use.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        self.by_text.find(self.hasher.hash_one(text), |&at| &*self.entries[at as usize].text == text).copied()
    }

    /// Adds a user of a name.
    pub(crate) fn acquire(&mut self, text: &[u8]) -> u32 {
        if let Some(name) = self.find(text) {
            self.entries[name as usize].users += 1;
            return name;
        }
        let entry = Entry { text: text.into(), users: 1 };
        let name = if let Some(name) = self.free.pop() {
            self.entries[name as usize] = entry;
            name
        } else {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |&at: &u32| hasher.hash_one(&*entries[at as usize].text);
        self.by_text.insert_unique(hash(&name), name, hash);
        name
    }

    /// Removes a user of a name.
    pub(crate) fn give_up(&mut self, name: u32) {
        let entry = &mut self.entries[name as usize];
        entry.users -= 1;
        if entry.users == 0 {
            let text = std::mem::take(&mut entry.text);
            if let Ok(found) = self.by_text.find_entry(self.hasher.hash_one(&*text), |&at| at == name) {
                found.remove();
            }
            self.free.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_users_is_dropped() {
        let mut names = Names::default();
        let usage = names.acquire(b"usage");
        assert_eq!(names.acquire(b"usage"), usage);
        names.give_up(usage);
        assert_eq!((names.find(b"usage"), names.get(usage)), (Some(usage), &b"usage"[..]));
        names.give_up(usage);
        assert_eq!(names.find(b"usage"), None);
        assert_eq!(names.acquire(b"idle"), usage, "the number is reused");
    }
}
