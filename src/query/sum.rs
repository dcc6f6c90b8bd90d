//! Exact sums. They are rounded once, at the end, so they depend neither on the order of the numbers nor on the database.

use serde_json::{Number, Value};

/// The exponent of the least double, 2^-1074, which is the unit of a sum.
const LEAST_EXPONENT: i32 = -1074;
/// The bits of a limb in use after [`Sum::settle`]. The rest of its 64 bits has room for the carries of many numbers.
const LIMB_BITS: usize = 32;
/// Limbs from 2^-1074 to beyond 2^1024, with room for 2^64 numbers of this size.
const LIMBS: usize = (1074 + 1024 + 64) / LIMB_BITS + 3;
/// The most numbers that may be added before carries must be moved on.
const UNSETTLED: u32 = 1 << 30;

/// The exact sum of 64-bit integers and doubles: one wide integer, in units of 2^-1074.
#[derive(Clone, Debug)]
pub struct Sum {
    limbs: [i64; LIMBS],
    unsettled: u32,
}

/// The sign of a sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Positive,
    Negative,
}

/// The value of a sum: its sign, and its limbs without the sign.
struct Magnitude {
    sign: Sign,
    limbs: [u32; LIMBS],
}

impl Default for Sum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], unsettled: 0 }
    }
}

impl Sum {
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

    /// Moves carries on. Then each limb is from 0 to 2^32 - 1, except the last, which has the sign.
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

    /// Returns the sum as a sign and settled limbs.
    fn magnitude(&self) -> Magnitude {
        let mut settled = self.clone();
        settled.settle();
        let is_negative = settled.limbs[LIMBS - 1] < 0;
        if is_negative {
            for limb in &mut settled.limbs {
                *limb = -*limb;
            }
            settled.settle();
        }
        let sign = if is_negative { Sign::Negative } else { Sign::Positive };
        Magnitude { sign, limbs: settled.limbs.map(|limb| limb as u32) }
    }

    /// Returns the sum as a canonical number: exact if it is an integer of 64 bits, and the nearest double otherwise. Null if
    /// it is outside the range of doubles.
    pub fn total(&self) -> Value {
        let magnitude = self.magnitude();
        match magnitude.to_integer() {
            Some(integer) => integer.into(),
            None => canonical(magnitude.to_double()),
        }
    }

    /// Returns the sum divided by a count, as a canonical number. Null if the count is 0 or the result is outside the range of
    /// doubles.
    pub fn average(&self, count: u64) -> Value {
        match count {
            0 => Value::Null,
            _ => canonical(self.magnitude().to_double() / count as f64),
        }
    }
}

/// Returns a double as documents have it: a whole one that fits into 64 bits is an integer.
fn canonical(double: f64) -> Value {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double.fract() == 0.0 && (-LIMIT..LIMIT).contains(&double) {
        return Value::from(double as i64);
    }
    Number::from_f64(double).map_or(Value::Null, Value::Number)
}

impl Magnitude {
    /// Returns the sum if it is an integer of 64 bits.
    fn to_integer(&self) -> Option<i64> {
        let limbs = &self.limbs;
        // The number 1 is bit 1074: bit 18 of limb 33, counted from 0.
        const ONE: usize = (-LEAST_EXPONENT) as usize;
        let (first, shift) = (ONE / LIMB_BITS, ONE % LIMB_BITS);
        let has_fraction =
            limbs[..first].iter().any(|limb| *limb != 0) || limbs[first] & ((1 << shift) - 1) != 0;
        if has_fraction || limbs[first + 4..].iter().any(|limb| *limb != 0) {
            return None;
        }
        let wide =
            (0..4).rev().fold(0_u128, |wide, place| wide << LIMB_BITS | u128::from(limbs[first + place]));
        let integer = i128::try_from(wide >> shift).ok()?;
        i64::try_from(if self.sign == Sign::Negative { -integer } else { integer }).ok()
    }

    /// Returns the nearest double. Of two that are equally near, it is the even one.
    fn to_double(&self) -> f64 {
        let limbs = &self.limbs;
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
        // The scale is a power of two, so the product is exact, or infinite.
        let exponent = lowest as i32 + LEAST_EXPONENT;
        let scale = match exponent {
            1024.. => f64::INFINITY,
            -1022..1024 => f64::from_bits(((exponent + 1023) as u64) << 52),
            _ => f64::from_bits(1 << (exponent - LEAST_EXPONENT)),
        };
        let double = mantissa as f64 * scale;
        if self.sign == Sign::Negative { -double } else { double }
    }
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
        fn numbers_that_are_added_and_subtracted_again_leave_no_trace(
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
            prop_assert_eq!(sum.magnitude().to_double(), double);
        }

        #[test]
        fn integers_add_up_like_wide_integers(integers in proptest::collection::vec(any::<i64>(), 0..50)) {
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
