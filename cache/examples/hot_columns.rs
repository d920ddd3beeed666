//! Writes a batch to a cache, reads a column, and takes a snapshot, as an engine would.
//!
//! `cargo run -p tsmith-cache --example hot_columns`

use tsmith_cache::{
    BatchBuilder, Cache, CacheOptions, Column, Error, FieldKey, FieldType, Position, Ring, Storer, TimeRange,
    Value, WhenFull,
};

fn main() -> Result<(), Error> {
    let options = CacheOptions { limit: Some(1 << 20), when_full: WhenFull::Refuse };
    let cache: Cache<Ring> = Cache::new(options);

    // Ten minutes of two hosts in one batch.
    let mut points = BatchBuilder::new();
    for minute in 0..10i64 {
        for host in ["cpu,host=a", "cpu,host=b"] {
            points.begin(host.as_bytes().into());
            points.field(b"usage".into(), Value::Float(minute as f64 * 1.5)).expect("always a float");
            points.field(b"note".into(), Value::String(b"fine")).expect("always a string");
            points.commit(minute * 60_000_000_000);
        }
    }
    let batch = points.finish();

    // Admission reserves memory and types. An engine would log the batch here and get the position from the log.
    let admitted = cache.admit(&batch)?;
    let published = admitted.publish(Position(1));
    println!("position {}: {} values, {} bytes", published.position().0, batch.value_count(), cache.size());

    let usage = FieldKey::new(b"cpu,host=a", b"usage");
    let mut column = Column::new(FieldType::Float);
    cache.read(usage, TimeRange::new(0, 180_000_000_000), &mut column);
    println!("{usage}: {:?} at {:?}", column.values(), column.times());

    // A snapshot: cut the log, write the frozen columns to files, drop the frozen store. Readers see the points
    // throughout.
    let cut = || Ok::<_, Error>(Position(2));
    if let Some(frozen) = cache.freeze(cut)? {
        let mut keys = Vec::new();
        frozen.keys(&mut |key, field_type| keys.push((key.to_composite(), field_type)));
        keys.sort();
        for (key, field_type) in keys {
            let key = FieldKey::parse(&key).expect("a composite key");
            let len = frozen.with(key, |column| column.times().len()).unwrap_or(0);
            println!("to a file: {key}: {len} {field_type} values");
        }
        cache.drop_frozen(frozen);
    }
    println!("{} bytes are left", cache.size());
    Ok(())
}
