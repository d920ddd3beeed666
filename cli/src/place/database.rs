//! The head of an etcd database (bbolt): two meta pages. The one with the later transaction is used.
//!
//! ```text
//! page 0, page 1:  id <8B> flags <2B> count <2B> overflow <4B>                                      16 bytes
//!                  magic <4B> version <4B> page size <4B> flags <4B> root <8B> sequence <8B>
//!                  free list <8B> pages <8B> transaction <8B> checksum <8B>                         64 bytes
//! ```
//!
//! The checksum is FNV-1a of 64 bits over the 56 bytes from the magic number on. Integers are little-endian.

/// The first bytes of a database, which contain both meta pages for every page size.
pub(super) const DATABASE_HEAD_BYTES: u64 = (PAGE_BYTES_MAX + PAGE_HEADER_BYTES + META_BYTES) as u64;

const PAGE_HEADER_BYTES: usize = 16;
const META_BYTES: usize = 64;
const CHECKED_BYTES: usize = 56;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// The page size is that of the system that created the database.
const PAGE_BYTES_MIN: usize = 1 << 10;
const PAGE_BYTES_MAX: usize = 1 << 16;

const _: () = assert!(META_BYTES == CHECKED_BYTES + 8);

/// The content of the meta pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Database {
    /// Bytes per page.
    pub(super) page_bytes: u64,
    /// Number of pages, including pages that are free again.
    pub(super) pages: u64,
    /// The last transaction.
    pub(super) transaction: u64,
    /// Whether both meta pages are valid. etcd needs one. A torn write can leave the other one invalid.
    pub(super) both_valid: bool,
}

impl Database {
    /// Checks the meta pages, and that the file is long enough for its pages. No other page is read. `head` contains the
    /// first [`DATABASE_HEAD_BYTES`] of a file of `len` bytes, or all of a shorter file.
    pub(super) fn check(head: &[u8], len: u64) -> Result<Self, &'static str> {
        if len == 0 {
            return Err("the database is empty");
        }
        let first = meta(head, 0);
        let sizes = || (0..).map(|shift| PAGE_BYTES_MIN << shift).take_while(|&size| size <= PAGE_BYTES_MAX);
        let second = match first {
            Some(first) => meta(head, first.page_bytes as usize),
            // The second meta page contains the page size, but its position depends on it. All sizes are tried.
            None => sizes().find_map(|size| meta(head, size).filter(|meta| meta.page_bytes == size as u64)),
        };
        let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction);
        let newest = newest.ok_or("no meta page of the database is valid")?;
        if newest.pages.checked_mul(newest.page_bytes).is_none_or(|bytes| bytes > len) {
            return Err("the database is shorter than its meta page says");
        }
        Ok(Self { both_valid: first.is_some() && second.is_some(), ..newest })
    }
}

/// The meta page at `offset`, if it is valid.
fn meta(head: &[u8], offset: usize) -> Option<Database> {
    let meta: &[u8; META_BYTES] = head.get(offset + PAGE_HEADER_BYTES..)?.first_chunk()?;
    let word = |at: usize| meta[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let long = |at: usize| meta[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let page_bytes = word(8)?.into();
    let is_valid = word(0)? == MAGIC
        && word(4)? == VERSION
        && long(CHECKED_BYTES)? == fnv64a(&meta[..CHECKED_BYTES])
        && (PAGE_BYTES_MIN as u64..=PAGE_BYTES_MAX as u64).contains(&page_bytes);
    is_valid.then_some(Database { page_bytes, pages: long(40)?, transaction: long(48)?, both_valid: false })
}

fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A meta page that bbolt wrote for etcd 3.4.23: the header of page 0 and the fields after it.
    const META: [u8; PAGE_HEADER_BYTES + META_BYTES] = [
        0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xda, 0x0c, 0xed, 2, 0, 0, 0, 0, 0x10, 0, 0, 0,
        0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0x36, 0, 0, 0, 0, 0, 0, 0, 0x59, 0xc5, 0x8f, 0x02, 0xce, 0xf5, 0x0c,
        0xf7,
    ];

    fn database() -> Vec<u8> {
        let mut bytes = vec![0; 11 * 4096];
        bytes[..META.len()].copy_from_slice(&META);
        let second = &mut bytes[4096..][..META.len()];
        second.copy_from_slice(&META);
        second[64] = 0x37;
        let checksum = fnv64a(&second[16..72]).to_le_bytes();
        second[72..].copy_from_slice(&checksum);
        bytes
    }

    fn check(bytes: &[u8]) -> Result<Database, &'static str> {
        Database::check(&bytes[..bytes.len().min(DATABASE_HEAD_BYTES as usize)], bytes.len() as u64)
    }

    #[test]
    fn one_valid_meta_page_is_enough() {
        let valid = Database { page_bytes: 4096, pages: 11, transaction: 0x37, both_valid: true };
        assert_eq!(check(&database()), Ok(valid));
        for (torn, transaction) in [(0, 0x37), (4096, 0x36)] {
            let mut bytes = database();
            bytes[torn + 40] ^= 1;
            assert_eq!(check(&bytes), Ok(Database { transaction, both_valid: false, ..valid }));
        }
    }

    #[test]
    fn an_empty_torn_or_short_database_is_corrupt() {
        let good = database();
        let is_corrupt = |bytes: &[u8]| check(bytes).is_err();
        for len in [0, 1, 79, 4096, good.len() - 1] {
            assert!(is_corrupt(&good[..len]), "{len} bytes");
        }
        assert!(is_corrupt(&vec![0; good.len()]));
        let mut both = good;
        both[40] ^= 1;
        both[4096 + 40] ^= 1;
        assert!(is_corrupt(&both));
    }
}
