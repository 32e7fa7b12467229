//! Randomness from the job's seed: unpredictable to nobody who has the seed, the same on every host.

use super::{Host, bindings::wasi::random, stop::Stop};
use crate::fault::LimitKind;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use wasmtime::Result;

/// Most bytes in one call.
const MAX_BYTES: u64 = 1 << 20;

/// Three streams of one seed, so that asking one tells nothing about what the others will say.
pub(crate) struct Chance {
    secure: ChaCha20Rng,
    insecure: ChaCha20Rng,
    hashes: (u64, u64),
}

impl Chance {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let stream = |number| {
            let mut rng = ChaCha20Rng::from_seed(seed);
            rng.set_stream(number);
            rng
        };
        let mut hashes = stream(2);
        Chance { secure: stream(0), insecure: stream(1), hashes: (hashes.next_u64(), hashes.next_u64()) }
    }
}

impl Host {
    /// The next bytes of the stream that is meant for secrets. Paid for by the caller.
    pub(crate) fn fill_random(&mut self, bytes: &mut [u8]) {
        self.chance.secure.fill_bytes(bytes);
    }

    fn random_bytes(&mut self, length: u64, rng: fn(&mut Chance) -> &mut ChaCha20Rng) -> Result<Vec<u8>> {
        self.charge(length)?;
        if length > MAX_BYTES {
            let detail = "more than 1 MiB of randomness in one call";
            return Err(Stop::limit(LimitKind::Resources, detail).into());
        }
        let mut bytes = vec![0; length as usize];
        rng(&mut self.chance).fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

impl random::random::Host for Host {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.random_bytes(length, |chance| &mut chance.secure)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.charge(8)?;
        Ok(self.chance.secure.next_u64())
    }
}

impl random::insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.random_bytes(length, |chance| &mut chance.insecure)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.charge(8)?;
        Ok(self.chance.insecure.next_u64())
    }
}

impl random::insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        self.charge(16)?;
        Ok(self.chance.hashes)
    }
}
