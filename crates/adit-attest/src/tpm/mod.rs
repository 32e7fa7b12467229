//! `tpm2`: a TPM 2.0 as attester. References are to the TPM 2.0 Library and the TCG EK Credential Profile.

mod address;
mod attester;
mod device;
mod endorsement;

pub use address::Address;
pub use attester::{BOOT_REGISTERS, REPORT_DATA, TpmAttester, WrappedKey};
pub use device::{Tpm, TpmError};
