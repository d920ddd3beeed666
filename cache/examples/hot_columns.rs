//! Batches in, columns out, and a snapshot that takes them away: what an engine does with a cache, without the engine.
//!
//! `cargo run -p tsmith-cache --example hot_columns`

use tsmith_cache::{
    BatchBuilder, Cache, CacheOptions, Column, Error, FieldKey, FieldType, Position, Ring, Storer, TimeRange,
    Value, WhenFull,
};

fn main() -> Result<(), Error> {
    let options = CacheOptions { limit: Some(1 << 20), when_full: WhenFull::Refuse };
    let cache: Cache<Ring> = Cache::new(options);

    // Ten minutes of two hosts, as one batch.
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

    // Admission wins memory and types. An engine logs the batch here, and the log gives the position.
    let admitted = cache.admit(&batch)?;
    let published = admitted.publish(Position(1));
    println!("position {}: {} values, {} bytes", published.position().0, batch.value_count(), cache.size());

    let usage = FieldKey::new(b"cpu,host=a", b"usage");
    let mut column = Column::new(FieldType::Float);
    cache.read(usage, TimeRange::new(0, 180_000_000_000), &mut column);
    println!("{usage}: {:?} at {:?}", column.values(), column.times());

    // A snapshot: cut the log, write what is frozen to files, forget it. Readers see it all the while.
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
