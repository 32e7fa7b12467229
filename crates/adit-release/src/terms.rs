//! The numbers of a grant: how many holders, how many are needed, and what follows.

/// How many holders there are and how many of them give a key together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    n: u8,
    k: u8,
}

/// Numbers that protect nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    #[error("a key is split among 2 to {most} holders, not {n}", most = Terms::MOST)]
    Holders { n: u8 },
    #[error("of {n} holders, {k} are no majority, and a slot could be used twice: take {} or more", n / 2 + 1)]
    TooFew { n: u8, k: u8 },
    #[error("{k} of {n} holders can't be needed")]
    TooMany { n: u8, k: u8 },
}

impl Terms {
    /// Most holders of one object.
    pub const MOST: u8 = 32;

    /// `k` of `n` holders.
    ///
    /// # Errors
    /// The numbers protect nothing, or can't be reached.
    pub const fn new(n: u8, k: u8) -> Result<Self, TermsError> {
        if n < 2 || n > Self::MOST {
            return Err(TermsError::Holders { n });
        }
        if k > n {
            return Err(TermsError::TooMany { n, k });
        }
        if 2 * k <= n {
            return Err(TermsError::TooFew { n, k });
        }
        Ok(Self { n, k })
    }

    /// All holders.
    pub const fn holders(self) -> u8 {
        self.n
    }

    /// Holders that give a key together.
    pub const fn needed(self) -> u8 {
        self.k
    }

    /// How many holders may lie, while no slot is ever used twice: the greatest `f` with `2k > n + f`; where all
    /// holders are needed one less, because a holder that starts must hear one that doesn't lie.
    pub const fn faulty(self) -> u8 {
        let f = 2 * self.k - self.n - 1;
        if self.k == self.n { f - 1 } else { f }
    }

    /// How many may be silent, while keys are still given.
    pub const fn silent(self) -> u8 {
        self.n - self.k
    }

    /// Other holders that have an entry in their logs before what it says is acted upon.
    pub const fn witnesses(self) -> u8 {
        self.k - 1
    }

    /// Other holders that one must hear when it starts. Those that had witnessed an entry (or, for one whose own holder is
    /// silent, its remaining witnesses) overlap with these in more than [`faulty`](Self::faulty).
    pub const fn heard(self) -> u8 {
        if self.k == self.n { self.n - 1 } else { self.k }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_majorities_are_terms() {
        for n in 0..=40 {
            for k in 0..=40 {
                let sound = (2..=32).contains(&n) && k <= n && 2 * k > n;
                assert_eq!(Terms::new(n, k).is_ok(), sound, "{k} of {n}");
            }
        }
    }

    /// The counting that everything rests on, for all numbers.
    #[test]
    fn quorums_overlap_in_more_than_may_lie() {
        for n in 2..=Terms::MOST {
            for k in n / 2 + 1..=n {
                let terms = Terms::new(n, k).unwrap();
                let [n, k, f] = [n, k, terms.faulty()].map(i32::from);
                let [a, b] = [terms.witnesses(), terms.heard()].map(i32::from);
                assert!(2 * k > n + f, "two groups that use a slot");
                assert!(a + b - (n - 1) > f, "an entry's witnesses and those whom its own holder hears");
                if b <= n - 2 {
                    let why = "an entry's other witnesses and those whom a witness hears, its own holder not among them";
                    assert!((a - 1) + b - (n - 2) > f, "{why}");
                }
                assert!(2 * b - (n - 1) > f, "two starts of one holder");
                assert!(a < n && b < n);
            }
        }
    }
}
