use super::super::EtcdError;
use super::super::frame::Scan;
use super::*;

fn encoded(data: &[u8]) -> Vec<u8> {
    let mut encoder = WalFramer::default();
    encoder.record(0xABCD & 0x7f, Some(data));
    encoder.waiting.own
}

/// The first record of every log, and a record of an etcd version that did not pad records.
#[test]
fn known_frames() {
    let mut encoder = WalFramer::default();
    encoder.record(kind::CRC, None);
    assert_eq!(encoder.waiting.own, [4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 0x10, 0, 0, 0, 0, 0]);
    let old =
        [&[14, 0, 0, 0, 0, 0, 0, 0][..], &[8, 1, 0x10, 0x99, 0xb5, 0xe4, 0xd0, 3, 0x1a, 4, 8, 0xef, 0xfd, 2]];
    let old = old.concat();
    let mut scan = Scan::new(&old, 0, true);
    let record = scan.next().expect("reads").expect("a record");
    assert_eq!((record.kind, record.data), (1, Some(&[8, 0xef, 0xfd, 2][..])));
    assert_eq!(scan.next(), Ok(None));
}

/// The cases of etcd's own tests of torn records.
#[test]
fn a_truncated_record_is_torn_and_a_changed_is_not() {
    let intact = encoded(b"Hello world!");
    let next = |bytes: &[u8]| Scan::new(bytes, 0, true).next().map(|record| record.is_some());
    assert_eq!(next(&intact), Ok(true));
    assert_eq!(next(&[]), Ok(false));
    for len in 1..intact.len() {
        assert_eq!(next(&intact[..len]), Err(EtcdError::Torn), "{len}");
    }
    let mut changed = intact.clone();
    let end = changed.iter().rposition(|&byte| byte == b'!').expect("the last byte");
    changed[end] = b'a';
    assert!(matches!(next(&changed), Err(EtcdError::Crc { .. })));
}

/// The watermark counts the bytes that etcd's page writer would have written. Until a flush, it writes complete pages.
#[test]
fn the_watermark_rises_by_complete_pages() {
    let mut watermark = Watermark::new(64);
    let mut seed = 7u64;
    let mut total = 64;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = 8 + (seed >> 33) as usize % 20_000 / 8 * 8;
        watermark.frame(len);
        total += len as u64;
        assert!(watermark.flushed == 64 || watermark.flushed.is_multiple_of(PAGE_BYTES));
        assert!(watermark.flushed + BUFFER_BYTES + PAGE_BYTES >= total && watermark.flushed <= total);
        assert_eq!(watermark.flushed + watermark.buffered, total);
    }
    watermark.flush();
    assert_eq!(watermark.flushed, total);
}

#[test]
fn a_state_is_a_small_frame() {
    let mut encoder = WalFramer::default();
    encoder.state(HardState { term: 1, vote: 1, commit: 4 });
    assert_eq!(encoder.waiting.own.len() % 8, 0);
    let mut scan = Scan::new(&encoder.waiting.own, 0, true);
    let record = scan.next().expect("reads").expect("a record");
    assert_eq!((record.kind, record.data), (kind::STATE, Some(&[8, 1, 0x10, 1, 0x18, 4][..])));
    assert!(record.canonical);
}
