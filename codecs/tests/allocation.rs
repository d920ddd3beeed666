//! After warm-up, encoding and decoding a block allocates no memory.
#![cfg(feature = "testing")]
#![expect(unsafe_code, reason = "an allocator that counts allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tsmith_codecs::testing::shapes;
use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Decoders, DynEncoder, Encoders};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes unchanged to the system allocator. The count is a variable of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `System` through `alloc` or `realloc` above, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: `place` came from `System` through `alloc` or `realloc` above, with this layout.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The number of allocations in a second pass over columns of one type. The first pass has grown the buffers.
fn second_pass(encoder: &mut DynEncoder, decoders: &mut Decoders, columns: &[Column]) -> usize {
    let mut block = Vec::new();
    let mut back = Column::new(columns[0].field_type());
    let mut before = 0;
    for pass in 0..2 {
        if pass == 1 {
            before = ALLOCATIONS.get();
        }
        for column in columns {
            block.clear();
            if encoder.encode(column.as_ref(), &mut block).is_ok() {
                encoder.decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
                decoders.decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
            }
        }
    }
    ALLOCATIONS.get() - before
}

#[test]
fn blocks_do_not_allocate_after_warm_up() {
    let columns = shapes::all();
    for of_one_type in columns.chunk_by(|a, b| a.field_type() == b.field_type()) {
        for entry in &Encoders::standard() {
            let count = second_pass(&mut entry.make(), &mut Decoders::standard(), of_one_type);
            assert_eq!(count, 0, "{}, {}s", entry.name(), of_one_type[0].field_type());
        }
    }
}
