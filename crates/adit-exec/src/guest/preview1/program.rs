//! What a program knows about itself, randomness, and what no job has: signals and sockets.

use super::{
    Call,
    errno::{Answer, Errno},
};

impl Call<'_> {
    fn environment(&self) -> Vec<String> {
        self.host.env.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    pub(super) fn args_sizes_get(&mut self, count: u32, size: u32) -> Answer {
        let strings = self.host.args.clone();
        self.sizes(&strings, count, size)
    }

    pub(super) fn args_get(&mut self, pointers: u32, bytes: u32) -> Answer {
        let strings = self.host.args.clone();
        self.lay_out(&strings, pointers, bytes)
    }

    pub(super) fn environ_sizes_get(&mut self, count: u32, size: u32) -> Answer {
        let strings = self.environment();
        self.sizes(&strings, count, size)
    }

    pub(super) fn environ_get(&mut self, pointers: u32, bytes: u32) -> Answer {
        let strings = self.environment();
        self.lay_out(&strings, pointers, bytes)
    }

    fn sizes(&mut self, strings: &[String], count: u32, size: u32) -> Answer {
        let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
        self.memory.write_u32(count, strings.len() as u32)?;
        self.memory.write_u32(size, bytes as u32)
    }

    /// Writes strings as C has them, one after the other with a zero behind each, and pointers to them.
    fn lay_out(&mut self, strings: &[String], pointers: u32, bytes: u32) -> Answer {
        self.host.meter.pay(strings.iter().map(|string| string.len() as u64 + 1).sum())?;
        let (mut pointer, mut at) = (pointers, bytes);
        for string in strings {
            self.memory.write_u32(pointer, at)?;
            self.memory.write(at, string.as_bytes())?;
            at = at.checked_add(string.len() as u32).ok_or(Errno::Fault)?;
            self.memory.write(at, &[0])?;
            at = at.checked_add(1).ok_or(Errno::Fault)?;
            pointer = pointer.checked_add(4).ok_or(Errno::Fault)?;
        }
        Ok(())
    }

    pub(super) fn random_get(&mut self, buffer: u32, size: u32) -> Answer {
        let bytes = self.memory.bytes_mut(buffer, size)?;
        self.host.meter.pay(size.into())?;
        self.host.fill_random(bytes);
        Ok(())
    }

    pub(super) fn proc_raise(&mut self, _: u32) -> Answer {
        Err(Errno::Notsup.into())
    }

    pub(super) fn sock_accept(&mut self, fd: u32, _: u32, _: u32) -> Answer {
        self.no_socket(fd)
    }

    pub(super) fn sock_recv(&mut self, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Answer {
        self.no_socket(fd)
    }

    pub(super) fn sock_send(&mut self, fd: u32, _: u32, _: u32, _: u32, _: u32) -> Answer {
        self.no_socket(fd)
    }

    pub(super) fn sock_shutdown(&mut self, fd: u32, _: u32) -> Answer {
        self.no_socket(fd)
    }

    fn no_socket(&mut self, fd: u32) -> Answer {
        self.open(fd)?;
        Err(Errno::Notsock.into())
    }
}
