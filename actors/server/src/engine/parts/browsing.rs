//! Requests that wait for a read of the store: pages of those who browse, and lists.

use std::collections::{BTreeSet, HashMap};

use baton_domain::MessageId;

use crate::engine::message::{ReadId, RequestId};

#[derive(Debug, Default)]
pub(in crate::engine) struct Browsing {
    /// Pages under way, with where they start.
    pages: HashMap<ReadId, (RequestId, MessageId)>,
    lists: BTreeSet<RequestId>,
}

impl Browsing {
    pub(in crate::engine) fn read_page(&mut self, read: ReadId, request: RequestId, from: MessageId) {
        self.pages.insert(read, (request, from));
    }

    /// A page was read; `None` if it is none of these.
    pub(in crate::engine) fn take_page(&mut self, read: ReadId) -> Option<(RequestId, MessageId)> {
        self.pages.remove(&read)
    }

    pub(in crate::engine) fn read_list(&mut self, request: RequestId) {
        self.lists.insert(request);
    }

    /// A list was read; false if its request was answered when its activation ended.
    pub(in crate::engine) fn take_list(&mut self, request: RequestId) -> bool {
        self.lists.remove(&request)
    }

    /// All of them, for they will not be answered.
    pub(in crate::engine) fn take_all(&mut self) -> Vec<RequestId> {
        let pages = self.pages.drain().map(|(_, (request, _))| request);
        pages.chain(std::mem::take(&mut self.lists)).collect()
    }

    #[cfg(test)]
    pub(in crate::engine) fn len(&self) -> usize {
        self.pages.len() + self.lists.len()
    }
}
