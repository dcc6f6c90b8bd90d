//! Sums of numbers without an error of rounding on the way, so that they don't depend on the order of the numbers, and are
//! the same on every database.

use serde_json::{Number, Value};

/// The place of a double's last bit: the least double is 2^-1074.
const LEAST_EXPONENT: i32 = -1074;
/// Bits of a limb that are in use after [`Sum::settle`]; a 64-bit integer has room for the carries of many numbers.
const LIMB_BITS: usize = 32;
/// From 2^-1074 to beyond 2^1024, and room for 2^64 numbers of this size.
const LIMBS: usize = (1074 + 1024 + 64) / LIMB_BITS + 3;
/// Numbers that may be added until carries have to be brought on.
const UNSETTLED: u32 = 1 << 30;

/// The exact sum of 64-bit integers and doubles: one wide integer, in units of 2^-1074.
#[derive(Clone, Debug)]
pub struct Sum {
    limbs: [i64; LIMBS],
    unsettled: u32,
}

impl Default for Sum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], unsettled: 0 }
    }
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: &Number) {
        match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => self.add_scaled(integer, 0),
            (None, Some(double)) => {
                let bits = double.to_bits();
                let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
                let (mantissa, exponent) = match exponent {
                    0 => (fraction, LEAST_EXPONENT),
                    _ => (fraction | 1 << 52, exponent - 1 + LEAST_EXPONENT),
                };
                let mantissa = mantissa as i64;
                self.add_scaled(if double < 0.0 { -mantissa } else { mantissa }, exponent);
            }
            (None, None) => {}
        }
    }

    /// Adds `mantissa` × 2^`exponent`.
    fn add_scaled(&mut self, mantissa: i64, exponent: i32) {
        let place = (exponent - LEAST_EXPONENT) as usize;
        let (first, shift) = (place / LIMB_BITS, place % LIMB_BITS);
        // At most 64 + 31 bits.
        let mut rest = i128::from(mantissa) << shift;
        for limb in &mut self.limbs[first..first + 3] {
            *limb += (rest & 0xffff_ffff) as i64;
            rest >>= LIMB_BITS;
        }
        self.limbs[first + 3] += rest as i64;
        self.unsettled += 1;
        if self.unsettled >= UNSETTLED {
            self.settle();
        }
    }

    /// Brings carries on: every limb but the last is then from 0 to 2^32 - 1, and the last has the sign.
    fn settle(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let value = *limb + carry;
            *limb = value & 0xffff_ffff;
            carry = value >> LIMB_BITS;
        }
        self.limbs[LIMBS - 1] += carry;
        self.unsettled = 0;
    }

    /// Whether the sum is below 0, and its limbs without the sign.
    fn magnitude(&self) -> (bool, [u32; LIMBS]) {
        let mut settled = self.clone();
        settled.settle();
        let is_negative = settled.limbs[LIMBS - 1] < 0;
        if is_negative {
            for limb in &mut settled.limbs {
                *limb = -*limb;
            }
            settled.settle();
        }
        (is_negative, settled.limbs.map(|limb| limb as u32))
    }

    /// The sum as a canonical number: exact if it is whole and has 64 bits, else the nearest double. Null past every
    /// double.
    pub fn total(&self) -> Value {
        let (is_negative, limbs) = self.magnitude();
        if let Some(integer) = to_integer(is_negative, &limbs) {
            return integer.into();
        }
        canonical(to_double(is_negative, &limbs))
    }

    /// The sum divided by a count of numbers, as a canonical number. Null past every double, and of none.
    pub fn average(&self, count: u64) -> Value {
        let (is_negative, limbs) = self.magnitude();
        match count {
            0 => Value::Null,
            _ => canonical(to_double(is_negative, &limbs) / count as f64),
        }
    }
}

/// A whole double that has 64 bits is an integer, as in documents.
fn canonical(double: f64) -> Value {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double.fract() == 0.0 && (-LIMIT..LIMIT).contains(&double) {
        return Value::from(double as i64);
    }
    Number::from_f64(double).map_or(Value::Null, Value::Number)
}

fn to_integer(is_negative: bool, limbs: &[u32; LIMBS]) -> Option<i64> {
    // 1 is the bit 1074, the 19th of the 34th limb.
    const ONE: usize = (-LEAST_EXPONENT) as usize;
    let (first, shift) = (ONE / LIMB_BITS, ONE % LIMB_BITS);
    let has_fraction = limbs[..first].iter().any(|limb| *limb != 0) || limbs[first] & ((1 << shift) - 1) != 0;
    if has_fraction || limbs[first + 4..].iter().any(|limb| *limb != 0) {
        return None;
    }
    let wide = (0..4).rev().fold(0_u128, |wide, place| wide << LIMB_BITS | u128::from(limbs[first + place]));
    let integer = i128::try_from(wide >> shift).ok()?;
    i64::try_from(if is_negative { -integer } else { integer }).ok()
}

/// The nearest double; of two that are equally near, the even one.
fn to_double(is_negative: bool, limbs: &[u32; LIMBS]) -> f64 {
    let has_bit = |place: usize| limbs[place / LIMB_BITS] >> (place % LIMB_BITS) & 1 == 1;
    let Some(highest) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let top = highest * LIMB_BITS + limbs[highest].ilog2() as usize;
    let lowest = top.saturating_sub(52);
    let mut mantissa =
        (lowest..=top).rev().fold(0_u64, |mantissa, place| mantissa << 1 | u64::from(has_bit(place)));
    if lowest > 0 && has_bit(lowest - 1) {
        let is_more = mantissa & 1 == 1 || (0..lowest - 1).any(has_bit);
        mantissa += u64::from(is_more);
    }
    // Powers of two: both factors, and so the product, are exact, or it is past every double.
    let exponent = lowest as i32 + LEAST_EXPONENT;
    let scale = match exponent {
        1024.. => f64::INFINITY,
        -1022..1024 => f64::from_bits(((exponent + 1023) as u64) << 52),
        _ => f64::from_bits(1 << (exponent - LEAST_EXPONENT)),
    };
    let double = mantissa as f64 * scale;
    if is_negative { -double } else { double }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sum(numbers: &[Value]) -> Sum {
        let mut sum = Sum::default();
        for number in numbers {
            sum.add(number.as_number().unwrap());
        }
        sum
    }

    #[test]
    fn sums_are_exact() {
        let largest = f64::MAX;
        for (numbers, total) in [
            (vec![], json!(0)),
            (vec![json!(1), json!(-1)], json!(0)),
            (vec![json!(0.1); 10], json!(1)),
            (vec![json!(0.1), json!(0.2)], json!(0.1 + 0.2)),
            (vec![json!(1e308), json!(1e308), json!(-1e308)], json!(1e308)),
            (vec![json!(largest), json!(largest)], json!(null)),
            (vec![json!(-largest), json!(-largest)], json!(null)),
            (vec![json!(1e16), json!(1), json!(-1e16)], json!(1)),
            (vec![json!(i64::MAX), json!(1)], json!(9_223_372_036_854_775_808.0)),
            (vec![json!(i64::MAX), json!(1), json!(-1)], json!(i64::MAX)),
            (vec![json!(i64::MIN), json!(0)], json!(i64::MIN)),
            (
                vec![json!(9_007_199_254_740_993_i64), json!(0.5), json!(-0.5)],
                json!(9_007_199_254_740_993_i64),
            ),
            (vec![json!(5e-324), json!(5e-324)], json!(1e-323)),
            (vec![json!(-5e-324), json!(1.0)], json!(1)),
            (vec![json!(1e300), json!(1e-300), json!(-1e300)], json!(1e-300)),
        ] {
            assert_eq!(sum(&numbers).total(), total, "{numbers:?}");
        }
        assert_eq!(sum(&[json!(1), json!(2)]).average(2), json!(1.5));
        assert_eq!(sum(&[]).average(0), json!(null));
        assert_eq!(sum(&[json!(7), json!(7)]).average(2), json!(7));
    }

    proptest! {
        #[test]
        fn a_single_number_is_its_own_sum_whatever_was_added_and_taken_away(
            bits in any::<u64>(), others in proptest::collection::vec(any::<u64>(), 0..20)
        ) {
            let finite = |bits| Some(f64::from_bits(bits)).filter(|double| double.is_finite());
            let Some(double) = finite(bits) else { return Ok(()) };
            let number = |double: f64| Number::from_f64(double).unwrap();
            let mut sum = Sum::default();
            sum.add(&number(double));
            for other in others.iter().filter_map(|bits| finite(*bits)) {
                sum.add(&number(other));
                sum.add(&number(-other));
            }
            let (is_negative, limbs) = sum.magnitude();
            prop_assert_eq!(to_double(is_negative, &limbs), double);
        }

        #[test]
        fn integers_add_up_as_wide_integers_do(integers in proptest::collection::vec(any::<i64>(), 0..50)) {
            let exact: i128 = integers.iter().map(|integer| i128::from(*integer)).sum();
            let mut sum = Sum::default();
            for integer in &integers {
                sum.add(&Number::from(*integer));
            }
            let expected = i64::try_from(exact).map_or_else(|_| json!(exact as f64), |exact| json!(exact));
            prop_assert_eq!(sum.total(), expected);
        }
    }
}
