//! How many events a second are parsed on one core: `cargo run --release -p ingest --example parse_rate`.

use ingest::{Parsed, parse};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 200_000;

fn main() {
    let bodies: [(&str, &[u8]); 3] = [
        ("minio", include_bytes!("../tests/golden/minio.json")),
        ("sqs+sns", include_bytes!("../tests/golden/sqs_lambda_sns.json")),
        ("eventbridge", include_bytes!("../tests/golden/eventbridge.json")),
    ];
    for (name, body) in bodies {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            assert!(matches!(parse(black_box(body)), Parsed::Objects { .. }));
        }
        let rate = f64::from(ROUNDS) / begun.elapsed().as_secs_f64();
        println!("{name}: {} bytes, {rate:.0} events/s", body.len());
    }
}
