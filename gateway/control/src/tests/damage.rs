//! Damage of the store's file, block by block: told, and never a panic.

use super::*;

/// What a disk writes or loses at once.
const BLOCK_BYTES: usize = 4096;
/// Blocks that are tried, spread over the file: some seconds.
const BLOCKS: usize = 60;

#[test]
fn a_damaged_block_is_told_by_every_entry_and_trips_none() {
    let mut world = World::new();
    let zone = world.served(MtlsMode::Require);
    let control = world.control();
    control.add_rule(zone.id, rule("ssl"), None).unwrap();
    control
        .issue_certificate(zone.id, &csr("device"), 9)
        .unwrap();
    world.control = None;
    let good = std::fs::read(world.path()).unwrap();
    let key = world.directory.path().join("ca.key");
    let place = world.directory.path().join("damaged");
    std::fs::create_dir(&place).unwrap();
    std::fs::copy(key, place.join("ca.key")).unwrap();
    let path = place.join("store.redb");
    let blocks = good.chunks(BLOCK_BYTES).enumerate();
    let used: Vec<(usize, &[u8])> = blocks
        .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
        .collect();
    let (mut tried, mut told) = (0, 0);
    for (number, block) in used.iter().step_by(used.len().div_ceil(BLOCKS)) {
        let zeroed: fn(&mut [u8]) = |block| block.fill(0);
        let flipped: fn(&mut [u8]) = |block| block.iter_mut().for_each(|byte| *byte ^= 0xff);
        for damage in [zeroed, flipped] {
            let mut bytes = good.clone();
            damage(&mut bytes[number * BLOCK_BYTES..][..block.len()]);
            std::fs::write(&path, &bytes).unwrap();
            tried += 1;
            match Control::open(&path, Arc::default()) {
                // Nothing that is read was in it. A change may meet it, and says so.
                Ok(control) => drop(control.create_zone("other.test")),
                Err(error) => {
                    assert!(!error.to_string().is_empty(), "block {number}");
                    told += 1;
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Err(error) = verify(&path) {
                assert!(!error.to_string().is_empty(), "block {number}");
            }
        }
    }
    println!("{tried} damaged stores, {told} of them refused at a start");
    assert!(told > 0);
}
