//! The commands that attestation takes, one at a time: TPM 2.0 Library, Part 3 "Commands".

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tpm2_protocol::basic::{TpmBuffer, TpmHandle, TpmUint16, TpmUint32};
use tpm2_protocol::constant::TPM_MAX_COMMAND_SIZE;
use tpm2_protocol::data::{
    Tpm2bData, Tpm2bEncryptedSecret, Tpm2bPrivate, Tpm2bPublic, Tpm2bSensitiveCreate, TpmAlgId, TpmCap,
    TpmRc, TpmRh, TpmSe, TpmSt, TpmlDigest, TpmlPcrSelection, TpmsAuthCommand, TpmsPcrSelect,
    TpmsPcrSelection, TpmtPublic, TpmtSigScheme, TpmtSymDefObject, TpmuCapabilities,
};
use tpm2_protocol::frame::{
    TpmActivateCredentialCommand, TpmActivateCredentialResponse, TpmCreateCommand, TpmCreatePrimaryCommand,
    TpmCreatePrimaryResponse, TpmCreateResponse, TpmFlushContextCommand, TpmFlushContextResponse, TpmFrame,
    TpmGetCapabilityCommand, TpmGetCapabilityResponse, TpmLoadCommand, TpmLoadResponse, TpmNvReadCommand,
    TpmNvReadPublicCommand, TpmNvReadPublicResponse, TpmNvReadResponse, TpmPcrReadCommand,
    TpmPcrReadResponse, TpmPolicyOrCommand, TpmPolicyOrResponse, TpmPolicySecretCommand,
    TpmPolicySecretResponse, TpmQuoteCommand, TpmResponse, TpmStartAuthSessionCommand,
    TpmStartAuthSessionResponse, TpmUnmarshalBody, tpm_marshal_command,
};
use tpm2_protocol::{TpmField as _, TpmMarshal, TpmUnmarshal as _, TpmWriter};
use zeroize::Zeroizing;

use super::address::{Address, Channel};
use super::endorsement::Template;

/// The TPM is busy, was interrupted, or still tests itself: it is to be asked again.
const RETRY: [u32; 3] = [0x922, 0x908, 0x90a];
/// How often, and for how long at most between two tries: ten seconds in all.
const TRIES: u32 = 48;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How much of an NV index every TPM hands out at once.
const NV_PART: usize = 512;
/// The largest NV index that is read. Certificates are a tenth of it.
const MAX_NV: usize = 16 << 10;
/// Tag, size and response code.
const HEADER: usize = 10;

/// Why a TPM gave no evidence.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("cannot open the TPM at {address}")]
    Open {
        /// Where it was looked for.
        address: Address,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection to it failed.
    #[error("the TPM does not answer")]
    Channel(#[source] io::Error),
    /// What came back is no answer to the command.
    #[error("the TPM's answer to {0} is malformed")]
    Answer(&'static str),
    /// A command is larger than the TPM's buffer: what went into it is too long.
    #[error("{0} cannot be put to a TPM: its content is too long")]
    Command(&'static str),
    /// It refused a command.
    #[error("the TPM refuses {command}: {name} ({code:#x})")]
    Refused {
        /// The command.
        command: &'static str,
        /// The response code, as the TPM gave it.
        code: u32,
        /// Its name, or nothing where it comes from elsewhere, such as the kernel.
        name: String,
    },
    /// It asked again and again to be asked later.
    #[error("the TPM stays busy at {0}")]
    Busy(&'static str),
    /// No certificate of an endorsement key is kept in it.
    #[error("the TPM keeps no certificate of an endorsement key")]
    NoCertificate,
    /// It makes another endorsement key than the one that its certificate is for.
    #[error("the TPM's certificate is for another endorsement key than it makes")]
    OtherKey,
    /// It measures with other hashes.
    #[error("the TPM has no SHA-256 bank for register {0}")]
    NoBank(u8),
    /// Something extends the registers faster than they are quoted.
    #[error("the TPM's registers do not stand still")]
    Unsteady,
    /// What the evidence shall be bound to does not fit a quote.
    #[error("a quote binds at most 32 bytes")]
    ReportData,
    /// Registers that do not exist, or none.
    #[error("registers are numbered 0 to 23, and at least one is quoted")]
    Selection,
    /// A kept attestation key that is not of this TPM, or was changed.
    #[error("the attestation key is not of this TPM, or the TPM was cleared since it was made")]
    ForeignKey,
}

/// A connection to a TPM 2.0. Keys and sessions that are made through it end with it only where the kernel's resource
/// manager is between; elsewhere whoever makes them flushes them.
pub struct Tpm {
    channel: Box<dyn Channel>,
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Tpm").finish_non_exhaustive()
    }
}

impl Tpm {
    /// Connects to a TPM.
    ///
    /// # Errors
    /// [`TpmError::Open`].
    pub fn open(address: &Address) -> Result<Self, TpmError> {
        match address.open() {
            Ok(channel) => Ok(Self { channel }),
            Err(source) => Err(TpmError::Open { address: address.clone(), source }),
        }
    }

    /// One command, one response. A device takes a command in one write.
    fn transmit(&mut self, name: &'static str, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.channel.write_all(command).map_err(TpmError::Channel)?;
        let mut response = Zeroizing::new(vec![0; TPM_MAX_COMMAND_SIZE]);
        let mut have = 0;
        loop {
            let count = match self.channel.read(&mut response[have..]) {
                Ok(0) => return Err(TpmError::Answer(name)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TpmError::Channel(error)),
            };
            have += count;
            if have >= HEADER {
                let size = u32_at(&response, 2) as usize;
                if size < HEADER || have > size {
                    return Err(TpmError::Answer(name));
                }
                if have == size {
                    response.truncate(size);
                    return Ok(response);
                }
            }
        }
    }

    /// The response to a command that was carried out.
    fn raw<C: TpmFrame>(
        &mut self,
        name: &'static str,
        command: &C,
        auth: &[TpmsAuthCommand],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let tag = if auth.is_empty() { TpmSt::NoSessions } else { TpmSt::Sessions };
        let mut frame = Zeroizing::new(vec![0; TPM_MAX_COMMAND_SIZE]);
        let mut writer = TpmWriter::new(&mut frame);
        tpm_marshal_command(command, tag, auth, &mut writer).map_err(|_| TpmError::Command(name))?;
        let size = writer.len();
        let mut pause = Duration::from_millis(2);
        for _ in 0..TRIES {
            let response = self.transmit(name, &frame[..size])?;
            // The code is read before anything is parsed: the crate has no value for codes of other layers, such as
            // the kernel's resource manager.
            let code = u32_at(&response, 6);
            if code == 0 {
                return Ok(response);
            }
            if !RETRY.contains(&code) {
                let name_of_code = TpmRc::try_from(code).map_or_else(|_| String::new(), |rc| rc.to_string());
                return Err(TpmError::Refused { command: name, code, name: name_of_code });
            }
            // The TPM itself asks for this pause.
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(TpmError::Busy(name))
    }

    fn call<C: TpmFrame, R: TpmUnmarshalBody>(
        &mut self,
        name: &'static str,
        command: &C,
        auth: &[TpmsAuthCommand],
    ) -> Result<R, TpmError> {
        let response = self.raw(name, command, auth)?;
        TpmResponse::cast(&response)
            .and_then(|response| response.unmarshal())
            .map_err(|_| TpmError::Answer(name))
    }

    /// The NV indices from `first` on, ascending: as many as `most`, and none from `end` on.
    pub(super) fn nv_indices(&mut self, first: u32, end: u32, most: u32) -> Result<Vec<u32>, TpmError> {
        const NAME: &str = "TPM2_GetCapability";
        let command = TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::Handles,
            property: TpmUint32::from(first),
            property_count: TpmUint32::from(most),
        };
        let answer: TpmGetCapabilityResponse = self.call(NAME, &command, &[])?;
        let TpmuCapabilities::Handles(list) = answer.capability_data.data else {
            return Err(TpmError::Answer(NAME));
        };
        Ok(list.iter().map(|one| u32::from(*one)).filter(|one| (first..end).contains(one)).collect())
    }

    /// A whole NV index, or nothing where there is none. The owner's empty password is enough for certificates.
    pub(super) fn nv_read(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        if self.nv_indices(index, index + 1, 1)?.is_empty() {
            return Ok(None);
        }
        let index = TpmHandle::new(index);
        let public: TpmNvReadPublicResponse =
            self.call("TPM2_NV_ReadPublic", &TpmNvReadPublicCommand { handles: [index] }, &[])?;
        let size = usize::from(u16::from(public.nv_public.inner.data_size));
        if size > MAX_NV {
            return Err(TpmError::Answer("TPM2_NV_ReadPublic"));
        }
        let mut out = Vec::with_capacity(size);
        while out.len() < size {
            let part = (size - out.len()).min(NV_PART);
            let read = TpmNvReadCommand {
                handles: [handle(TpmRh::Owner), index],
                size: TpmUint16::from(part as u16),
                offset: TpmUint16::from(out.len() as u16),
            };
            let answer: TpmNvReadResponse = self.call("TPM2_NV_Read", &read, &[password()])?;
            if answer.data.len() != part {
                return Err(TpmError::Answer("TPM2_NV_Read"));
            }
            out.extend_from_slice(&answer.data);
        }
        Ok(Some(out))
    }

    /// Makes a primary key under the endorsement seed: the same one each time.
    pub(super) fn create_endorsement(
        &mut self,
        template: Template,
    ) -> Result<(TpmHandle, TpmtPublic), TpmError> {
        const NAME: &str = "TPM2_CreatePrimary";
        let command = TpmCreatePrimaryCommand {
            handles: [handle(TpmRh::Endorsement)],
            in_public: Tpm2bPublic { inner: template.public() },
            ..Default::default()
        };
        let made: TpmCreatePrimaryResponse = self.call(NAME, &command, &[password()])?;
        let [handle] = made.handles;
        Ok((handle, made.out_public.inner))
    }

    /// A session with an endorsement key's policy. The TPM ends it after the first command that uses it.
    ///
    /// Templates of the high range admit an empty password too, but TPMs count that as a guess, and a few power cuts
    /// after guesses lock them.
    fn endorsement_session(&mut self, template: Template) -> Result<TpmsAuthCommand, TpmError> {
        const NAME: &str = "TPM2_StartAuthSession";
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| TpmError::Channel(io::Error::other(error.to_string())))?;
        let start = TpmStartAuthSessionCommand {
            handles: [handle(TpmRh::Null), handle(TpmRh::Null)],
            nonce_caller: buffer(NAME, &nonce)?,
            encrypted_salt: Tpm2bEncryptedSecret::default(),
            session_type: TpmSe::Policy,
            symmetric: TpmtSymDefObject { algorithm: TpmAlgId::Null, ..Default::default() },
            auth_hash: template.hash(),
        };
        let session: TpmStartAuthSessionResponse = self.call(NAME, &start, &[])?;
        let [session_handle] = session.handles;
        match self.fulfil(template, session_handle) {
            Ok(()) => Ok(TpmsAuthCommand { session_handle, ..Default::default() }),
            Err(error) => {
                let _ = self.flush(session_handle);
                Err(error)
            }
        }
    }

    /// Does what the policy of an endorsement key asks for.
    fn fulfil(&mut self, template: Template, session: TpmHandle) -> Result<(), TpmError> {
        let secret =
            TpmPolicySecretCommand { handles: [handle(TpmRh::Endorsement), session], ..Default::default() };
        let _: TpmPolicySecretResponse = self.call("TPM2_PolicySecret", &secret, &[password()])?;
        if let Some(branches) = template.branches() {
            const NAME: &str = "TPM2_PolicyOR";
            let mut list = TpmlDigest::default();
            for branch in branches {
                list.try_push(buffer(NAME, branch)?).map_err(|_| TpmError::Command(NAME))?;
            }
            let either = TpmPolicyOrCommand { handles: [session], p_hash_list: list };
            let _: TpmPolicyOrResponse = self.call(NAME, &either, &[])?;
        }
        Ok(())
    }

    /// Runs `command` with `before` and then the endorsement key's authorisation.
    fn call_as_endorsement<C: TpmFrame, R: TpmUnmarshalBody>(
        &mut self,
        name: &'static str,
        template: Template,
        before: &[TpmsAuthCommand],
        command: &C,
    ) -> Result<R, TpmError> {
        let own = self.endorsement_session(template)?;
        let result = self.call(name, command, &[before, &[own]].concat());
        if result.is_err() {
            let _ = self.flush(own.session_handle);
        }
        result
    }

    /// Makes an attestation key below the endorsement key: its wrapped private part and its public area.
    pub(super) fn create_attestation_key(
        &mut self,
        template: Template,
        endorsement: TpmHandle,
    ) -> Result<(Tpm2bPrivate, TpmtPublic), TpmError> {
        let command = TpmCreateCommand {
            handles: [endorsement],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic { inner: super::endorsement::attestation_key() },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        };
        let made: TpmCreateResponse = self.call_as_endorsement("TPM2_Create", template, &[], &command)?;
        Ok((made.out_private, made.out_public.inner))
    }

    pub(super) fn load(
        &mut self,
        template: Template,
        endorsement: TpmHandle,
        private: Tpm2bPrivate,
        public: TpmtPublic,
    ) -> Result<TpmHandle, TpmError> {
        let command = TpmLoadCommand {
            handles: [endorsement],
            in_private: private,
            in_public: Tpm2bPublic { inner: public },
        };
        let loaded: TpmLoadResponse = self.call_as_endorsement("TPM2_Load", template, &[], &command)?;
        let [handle] = loaded.handles;
        Ok(handle)
    }

    /// What is in a credential, if it is for these two keys.
    pub(super) fn activate(
        &mut self,
        template: Template,
        endorsement: TpmHandle,
        attestation_key: TpmHandle,
        credential: &adit_trust::Credential,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        const NAME: &str = "TPM2_ActivateCredential";
        let command = TpmActivateCredentialCommand {
            handles: [attestation_key, endorsement],
            credential_blob: buffer(NAME, &credential.blob)?,
            secret: buffer(NAME, &credential.secret)?,
        };
        let answer: TpmActivateCredentialResponse =
            self.call_as_endorsement(NAME, template, &[password()], &command)?;
        Ok(Zeroizing::new(answer.cert_info.to_vec()))
    }

    /// The SHA-256 values of these registers. A TPM tells eight at a time.
    pub(super) fn registers(&mut self, selected: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, TpmError> {
        const NAME: &str = "TPM2_PCR_Read";
        let mut values = BTreeMap::new();
        while let Some(next) = selected.iter().find(|one| !values.contains_key(*one)) {
            let missing: Vec<u8> = selected.iter().copied().filter(|one| !values.contains_key(one)).collect();
            let command = TpmPcrReadCommand { handles: [], pcr_selection_in: selection(&missing)? };
            let answer: TpmPcrReadResponse = self.call(NAME, &command, &[])?;
            let told = answer.pcr_selection_out.first().map_or(&[][..], |one| &one.pcr_select);
            let told = (0..24u8).filter(|pcr| {
                told.get(usize::from(pcr / 8)).is_some_and(|octet| octet >> (pcr % 8) & 1 == 1)
            });
            let before = values.len();
            for (pcr, value) in told.zip(answer.pcr_values.iter()) {
                let value = <[u8; 32]>::try_from(&**value).map_err(|_| TpmError::Answer(NAME))?;
                values.insert(pcr, value);
            }
            if values.len() == before || !values.contains_key(next) {
                return Err(TpmError::NoBank(*next));
            }
        }
        values.retain(|pcr, _| selected.contains(pcr));
        Ok(values)
    }

    /// TPMS_ATTEST over these registers, to the byte as it was signed, and its TPMT_SIGNATURE.
    pub(super) fn quote(
        &mut self,
        key: TpmHandle,
        report_data: &[u8],
        selected: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        const NAME: &str = "TPM2_Quote";
        let command = TpmQuoteCommand {
            handles: [key],
            qualifying_data: buffer(NAME, report_data)?,
            in_scheme: TpmtSigScheme::default(),
            pcr_select: selection(selected)?,
        };
        let response = self.raw(NAME, &command, &[password()])?;
        let signed = || {
            let (size, body) = TpmUint32::unmarshal(TpmResponse::cast(&response).ok()?.body()).ok()?;
            let parameters = body.get(..u32::from(size) as usize)?;
            // The crate's own answer holds parsed fields, which may be written otherwise than they were signed.
            let (attest, signature) = TpmBuffer::<1024>::cast_prefix_field(parameters).ok()?;
            Some((attest.data().to_vec(), signature.to_vec()))
        };
        signed().ok_or(TpmError::Answer(NAME))
    }

    pub(super) fn flush(&mut self, flush_handle: TpmHandle) -> Result<(), TpmError> {
        let command = TpmFlushContextCommand { flush_handle, handles: [] };
        let _: TpmFlushContextResponse = self.call("TPM2_FlushContext", &command, &[])?;
        Ok(())
    }
}

/// Registers of the SHA-256 bank; three octets, as firmware writes it.
fn selection(pcrs: &[u8]) -> Result<TpmlPcrSelection, TpmError> {
    let mut bits = [0u8; 3];
    for pcr in pcrs {
        *bits.get_mut(usize::from(pcr / 8)).ok_or(TpmError::Selection)? |= 1 << (pcr % 8);
    }
    let mut list = TpmlPcrSelection::default();
    let pcr_select = TpmsPcrSelect::try_from(&bits[..]).map_err(|_| TpmError::Selection)?;
    list.try_push(TpmsPcrSelection { hash: TpmAlgId::Sha256, pcr_select })
        .map_err(|_| TpmError::Selection)?;
    Ok(list)
}

/// The bytes of a structure.
pub(super) fn marshalled(name: &'static str, value: &impl TpmMarshal) -> Result<Vec<u8>, TpmError> {
    let mut bytes = vec![0; TPM_MAX_COMMAND_SIZE];
    let mut writer = TpmWriter::new(&mut bytes);
    value.marshal(&mut writer).map_err(|_| TpmError::Command(name))?;
    let size = writer.len();
    bytes.truncate(size);
    Ok(bytes)
}

fn buffer<const N: usize>(name: &'static str, bytes: &[u8]) -> Result<TpmBuffer<N>, TpmError> {
    TpmBuffer::try_from(bytes).map_err(|_| TpmError::Command(name))
}

fn handle(value: TpmRh) -> TpmHandle {
    TpmHandle::new(value.value())
}

/// A session with the empty password.
fn password() -> TpmsAuthCommand {
    TpmsAuthCommand { session_handle: handle(TpmRh::Pw), ..Default::default() }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
