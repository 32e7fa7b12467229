//! The attester: collects evidence of what this machine runs from its hardware. Terms are those of RFC 9334.
//!
//! [`TpmAttester`] speaks with a TPM 2.0, in Rust alone, over the kernel's `/dev/tpmrm0` or a software TPM's socket:
//! it finds the endorsement key whose certificate the maker left there, makes an attestation key beside it, proves that
//! the two live together, and quotes the registers of a measured boot. [`tsm`] asks a confidential virtual machine's
//! kernel for reports (AMD SEV-SNP) and quotes (Intel TDX). [`logs`] reads the boot's and the kernel's own logs. What
//! comes out is what [`adit_trust`] appraises: [`adit_trust::Evidence`] and, where the machine keeps them,
//! certificates of its maker.
//!
//! This crate judges nothing and claims nothing: whether evidence is worth anything is for a verifier elsewhere. It
//! makes no simulated evidence, and opens no connection but to a TPM that it was told of. Everything blocks: a TPM of
//! its own chip takes up to a second for a key.
//!
//! Start reading at `tpm/attester.rs`; `tpm/device.rs` has the few commands that attestation takes.

pub mod logs;
mod tpm;
pub mod tsm;

pub use tpm::{Address, BOOT_REGISTERS, REPORT_DATA, Tpm, TpmAttester, TpmError, WrappedKey};
