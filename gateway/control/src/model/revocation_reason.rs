//! Why a certificate is revoked (RFC 5280 §5.3.1).

vocabulary::words! {
    /// Why a certificate is revoked, by the standard's names.
    pub enum RevocationReason("a reason of a revocation") {
        /// Nothing is said.
        Unspecified = "unspecified",
        /// Its private key is in other hands.
        KeyCompromise = "keyCompromise",
        /// The CA's private key is.
        CaCompromise = "cACompromise",
        /// Its holder's name or place has changed.
        AffiliationChanged = "affiliationChanged",
        /// Another one took its place.
        Superseded = "superseded",
        /// It is not needed any more.
        CessationOfOperation = "cessationOfOperation",
        /// It may be restored.
        CertificateHold = "certificateHold",
        /// Its holder may not do any more what it says.
        PrivilegeWithdrawn = "privilegeWithdrawn",
        /// An attribute authority's key is in other hands.
        AaCompromise = "aACompromise",
    }
}

impl RevocationReason {
    /// Its number in lists.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            // 7 is not used, and 8 takes an entry back.
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_back() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::of_code(reason.code()), Some(reason));
        }
        for unused in [7, 8, 11, 255] {
            assert_eq!(RevocationReason::of_code(unused), None);
        }
    }
}
