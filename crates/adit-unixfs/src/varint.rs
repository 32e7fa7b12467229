//! Unsigned LEB128 varints as protobuf, multiformats and CAR use them.

/// Why a varint could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end inside the number.
    Truncated,
    /// More than 64 bits, or a longer encoding than the number needs.
    NotMinimal,
}

/// Reads a minimally encoded varint from the front of `input` and advances it.
pub(crate) fn read(input: &mut &[u8]) -> Result<u64, VarintError> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        // The tenth byte may only carry the 64th bit.
        if i == 9 && byte > 1 {
            return Err(VarintError::NotMinimal);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(VarintError::NotMinimal);
            }
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    if input.len() < 10 { Err(VarintError::Truncated) } else { Err(VarintError::NotMinimal) }
}

/// Appends `value` to `out`.
pub(crate) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`write`] appends for `value`.
pub(crate) fn len(value: u64) -> usize {
    ((64 - value.leading_zeros()).max(1) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_round_trips_and_has_the_length_announced() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1u64 << shift, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                write(&mut bytes, value);
                assert_eq!(bytes.len(), len(value), "{value}");
                let mut rest = &bytes[..];
                assert_eq!(read(&mut rest), Ok(value));
                assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn padded_overlong_and_truncated_numbers_are_refused() {
        assert_eq!(read(&mut &[0x80, 0x00][..]), Err(VarintError::NotMinimal));
        assert_eq!(read(&mut &[0xff; 10][..]), Err(VarintError::NotMinimal));
        assert_eq!(read(&mut &[0x80; 16][..]), Err(VarintError::NotMinimal));
        assert_eq!(read(&mut &[0x80][..]), Err(VarintError::Truncated));
        assert_eq!(read(&mut &[][..]), Err(VarintError::Truncated));
    }
}
