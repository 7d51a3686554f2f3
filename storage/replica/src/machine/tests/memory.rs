//! Tables in memory. A batch is not seen by reads before it is written, as on disk.

use std::collections::BTreeMap;
use std::io;

use crate::machine::records::HASH_KEY;
use crate::machine::{
    Family, MessageKey, PackVisitor, RecordVisitor, Sink, Tables, message_key, message_key_id, message_key_queue,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memory {
    entries: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
}

enum Write {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

#[derive(Default)]
pub(super) struct MemoryBatch(Vec<Write>);

impl Memory {
    pub(super) fn batch(&self) -> MemoryBatch {
        MemoryBatch::default()
    }

    pub(super) fn write(&mut self, batch: MemoryBatch) {
        for write in batch.0 {
            match write {
                Write::Put(family, key, value) => {
                    self.entries.insert((family, key), value);
                }
                Write::Delete(family, key) => {
                    self.entries.remove(&(family, key));
                }
                Write::DeleteRange(family, from, to) => {
                    self.entries.retain(|(of, key), _| *of != family || *key < from || *key >= to);
                }
            }
        }
    }

    pub(super) fn without_hash(&self) -> Self {
        let mut copy = self.clone();
        copy.entries.remove(&(Family::Meta, HASH_KEY.to_vec()));
        copy
    }
}

impl Tables for Memory {
    fn get(&self, family: Family, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.entries.get(&(family, key.to_vec())).cloned())
    }

    fn get_each(&self, family: Family, keys: &[MessageKey], visit: RecordVisitor<'_>) -> io::Result<()> {
        assert!(keys.is_sorted(), "keys in order");
        let mut there = keys.iter().filter_map(|key| Some((*key, self.entries.get(&(family, key.to_vec()))?)));
        there.try_for_each(|(key, value)| visit(key, value))
    }

    fn packs(&self, keys: &[MessageKey], visit: PackVisitor<'_>) -> io::Result<()> {
        assert!(keys.is_sorted(), "keys in order");
        for key in keys {
            let from = message_key(message_key_queue(key), message_key_id(key)?.first_of_entry());
            let within = (Family::Packs, from.to_vec())..=(Family::Packs, key.to_vec());
            if let Some(((_, at), value)) = self.entries.range(within).next_back() {
                let _ = visit(at.as_slice().try_into().unwrap(), value)?;
            }
        }
        Ok(())
    }

    fn keys(&self, family: Family, from: &[u8], to: &[u8], limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let within = self.entries.range((family, from.to_vec())..(family, to.to_vec()));
        Ok(within.map(|((_, key), _)| key.clone()).take(limit).collect())
    }

    fn scan(&self, family: Family) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entries = self.entries.iter().filter(|((of, _), _)| *of == family);
        Ok(entries.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

impl Sink for MemoryBatch {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.0.push(Write::Put(family, key.to_vec(), value.to_vec()));
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.0.push(Write::Delete(family, key.to_vec()));
    }

    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.0.push(Write::DeleteRange(family, from.to_vec(), to.to_vec()));
    }
}
