//! How a function of preview 1 fails.

use crate::guest::{bindings::wasi::filesystem::types::ErrorCode, files::FsError, stop::Stop, tree::Refused};

/// Error numbers, those that are ever told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errno {
    Acces = 2,
    Again = 6,
    Already = 7,
    Badf = 8,
    Busy = 10,
    Deadlk = 16,
    Dquot = 19,
    Exist = 20,
    Fault = 21,
    Fbig = 22,
    Ilseq = 25,
    Inprogress = 26,
    Intr = 27,
    Inval = 28,
    Io = 29,
    Isdir = 31,
    Loop = 32,
    Mfile = 33,
    Mlink = 34,
    Msgsize = 35,
    Nametoolong = 37,
    Nodev = 43,
    Noent = 44,
    Nolck = 46,
    Nomem = 48,
    Nospc = 51,
    Notdir = 54,
    Notempty = 55,
    Notrecoverable = 56,
    Notsock = 57,
    Notsup = 58,
    Notty = 59,
    Nxio = 60,
    Overflow = 61,
    Perm = 63,
    Pipe = 64,
    Rofs = 69,
    Spipe = 70,
    Txtbsy = 74,
    Xdev = 75,
    Notcapable = 76,
}

impl From<Errno> for u32 {
    fn from(errno: Errno) -> u32 {
        errno as u32
    }
}

/// An error number, or the end of the job.
pub(super) enum Failure {
    Errno(Errno),
    Stop(wasmtime::Error),
}

pub(super) type Answer<T = ()> = Result<T, Failure>;

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Errno(errno)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Failure::Stop(stop.into())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        FsError::from(refused).into()
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Code(code) => Failure::Errno(code.into()),
            FsError::Stop(stop) => Failure::Stop(stop),
        }
    }
}

impl From<ErrorCode> for Errno {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Access => Errno::Acces,
            ErrorCode::WouldBlock => Errno::Again,
            ErrorCode::Already => Errno::Already,
            ErrorCode::BadDescriptor => Errno::Badf,
            ErrorCode::Busy => Errno::Busy,
            ErrorCode::Deadlock => Errno::Deadlk,
            ErrorCode::Quota => Errno::Dquot,
            ErrorCode::Exist => Errno::Exist,
            ErrorCode::FileTooLarge => Errno::Fbig,
            ErrorCode::IllegalByteSequence => Errno::Ilseq,
            ErrorCode::InProgress => Errno::Inprogress,
            ErrorCode::Interrupted => Errno::Intr,
            ErrorCode::Invalid => Errno::Inval,
            ErrorCode::Io => Errno::Io,
            ErrorCode::IsDirectory => Errno::Isdir,
            ErrorCode::Loop => Errno::Loop,
            ErrorCode::TooManyLinks => Errno::Mlink,
            ErrorCode::MessageSize => Errno::Msgsize,
            ErrorCode::NameTooLong => Errno::Nametoolong,
            ErrorCode::NoDevice => Errno::Nodev,
            ErrorCode::NoEntry => Errno::Noent,
            ErrorCode::NoLock => Errno::Nolck,
            ErrorCode::InsufficientMemory => Errno::Nomem,
            ErrorCode::InsufficientSpace => Errno::Nospc,
            ErrorCode::NotDirectory => Errno::Notdir,
            ErrorCode::NotEmpty => Errno::Notempty,
            ErrorCode::NotRecoverable => Errno::Notrecoverable,
            ErrorCode::Unsupported => Errno::Notsup,
            ErrorCode::NoTty => Errno::Notty,
            ErrorCode::NoSuchDevice => Errno::Nxio,
            ErrorCode::Overflow => Errno::Overflow,
            ErrorCode::NotPermitted => Errno::Perm,
            ErrorCode::Pipe => Errno::Pipe,
            ErrorCode::ReadOnly => Errno::Rofs,
            ErrorCode::InvalidSeek => Errno::Spipe,
            ErrorCode::TextFileBusy => Errno::Txtbsy,
            ErrorCode::CrossDevice => Errno::Xdev,
        }
    }
}
