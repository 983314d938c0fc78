//! Hexadecimal digits without an allocation.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Returns the 16 hexadecimal digits of a number, in ASCII.
pub fn digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|at| {
        let digit = (number >> (60 - 4 * at)) & 15;
        DIGITS.get(digit as usize).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_have_sixteen_digits() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(super::digits(number), format!("{number:016x}").as_bytes());
        }
    }
}
