//! MurmurHash3 x64, first 64 bits, seed 0: the hash that places names in a UnixFS HAMT
//! (multihash code 0x22; public domain algorithm by Austin Appleby).

/// Hashes `data`; HAMT levels consume the result's bits from the most significant end.
pub fn murmur3_x64_64(data: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);

    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        let (low, high) = block.split_at(8);
        let k1 = u64::from_le_bytes(low.try_into().expect("half of 16 bytes"));
        let k2 = u64::from_le_bytes(high.try_into().expect("half of 16 bytes"));
        h1 = (h1 ^ mix1(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }

    let tail = blocks.remainder();
    let mut padded = [0u8; 16];
    padded[..tail.len()].copy_from_slice(tail);
    let (low, high) = padded.split_at(8);
    // A zero word mixes to zero, so an absent half changes nothing.
    h2 ^= mix2(u64::from_le_bytes(high.try_into().expect("half of 16 bytes")));
    h1 ^= mix1(u64::from_le_bytes(low.try_into().expect("half of 16 bytes")));

    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn finish(mut k: u64) -> u64 {
    k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // From github.com/spaolacci/murmur3, the implementation that Kubo uses (first half of Sum128).
        for (hash, text) in [
            (0x0000_0000_0000_0000, ""),
            (0xcbd8_a7b3_41bd_9b02, "hello"),
            (0x342f_ac62_3a5e_bc8e, "hello, world"),
            (0xb89e_5988_b737_affc, "19 Jan 2038 at 3:14:07 AM"),
            (0xcd99_481f_9ee9_02c9, "The quick brown fox jumps over the lazy dog."),
        ] {
            assert_eq!(murmur3_x64_64(text.as_bytes()), hash, "{text:?}");
        }
    }
}
