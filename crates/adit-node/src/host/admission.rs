//! Whether this node takes a job: the operator's rules and what is free, without I/O.

use std::collections::HashSet;

use adit_model::{Accept, AccountId, Task};
use cid::Cid;

use super::{Refusal, RefusalKind};
use crate::config::{Config, Hours};

/// The operator's rules in the form in which they are applied.
#[derive(Clone, Debug)]
pub struct Rules {
    own: AccountId,
    accept: Accept,
    hours: Hours,
    slots: usize,
    queue: usize,
    memory: u64,
    scratch: u64,
    longest_ms: u64,
    allow_requesters: HashSet<AccountId>,
    deny_requesters: HashSet<AccountId>,
    allow_code: HashSet<Cid>,
    deny_code: HashSet<Cid>,
}

/// What a job would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Guest memory in bytes.
    pub memory: u64,
    /// Bytes it may write.
    pub scratch: u64,
}

impl Need {
    /// What this task may take at most.
    pub fn of(task: &Task) -> Self {
        Need { memory: task.limits.memory, scratch: task.limits.output }
    }
}

/// What is taken now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs accepted and not ended, running or waiting.
    pub jobs: usize,
    /// Memory promised to them.
    pub memory: u64,
    /// Scratch space promised to them.
    pub scratch: u64,
}

/// An account in the settings that is none.
#[derive(Debug, thiserror::Error)]
#[error("setting `{key}`: `{text}` is not an account (0x and 40 hexadecimal digits)")]
pub struct BadAccount {
    key: &'static str,
    text: String,
}

impl Rules {
    /// The rules in these settings. `own` is this node's requester account, which is always
    /// accepted.
    pub fn new(config: &Config, own: AccountId) -> Result<Self, BadAccount> {
        let host = &config.host;
        Ok(Rules {
            own,
            accept: host.accept,
            hours: host.hours,
            slots: config.slots(),
            queue: host.queue as usize,
            memory: host.memory.0,
            scratch: host.scratch.0,
            longest_ms: host.longest.0.as_millis() as u64,
            allow_requesters: read_accounts("host.allow-requesters", &host.allow_requesters)?,
            deny_requesters: read_accounts("host.deny-requesters", &host.deny_requesters)?,
            allow_code: host.allow_code.iter().copied().collect(),
            deny_code: host.deny_code.iter().copied().collect(),
        })
    }

    /// Whether `issuer` may have this task run now, for at most `wall_ms`, beside the load.
    ///
    /// The node's own account is held only to what is physically there: slots, memory, scratch.
    pub fn admit(
        &self,
        issuer: &AccountId,
        task: &Task,
        wall_ms: u64,
        load: &Load,
        unix_seconds: u64,
    ) -> Result<Need, Refusal> {
        if *issuer != self.own {
            self.admit_stranger(issuer, task, wall_ms, unix_seconds)?;
        }
        let need = Need::of(task);
        let refuse = |kind, detail: String| Err(Refusal::new(kind, detail));
        if need.memory > self.memory {
            let detail =
                format!("the job may use {} bytes of memory, this host gives {}", need.memory, self.memory);
            return refuse(RefusalKind::Memory, detail);
        }
        if need.scratch > self.scratch {
            let detail =
                format!("the job may write {} bytes, this host gives {}", need.scratch, self.scratch);
            return refuse(RefusalKind::Scratch, detail);
        }
        if load.jobs >= self.slots + self.queue {
            let detail = format!("all {} slots and {} places in the queue are taken", self.slots, self.queue);
            return refuse(RefusalKind::Busy, detail);
        }
        Ok(need)
    }

    fn admit_stranger(
        &self,
        issuer: &AccountId,
        task: &Task,
        wall_ms: u64,
        unix_seconds: u64,
    ) -> Result<(), Refusal> {
        let refuse = |kind, detail: &str| Err(Refusal::new(kind, detail));
        if self.deny_requesters.contains(issuer) {
            return refuse(RefusalKind::RequesterDenied, "this host does not work for that requester");
        }
        match self.accept {
            Accept::Own => {
                return refuse(RefusalKind::NotAccepted, "this host runs only its own jobs (accept = self)");
            }
            Accept::Allowlist if !self.allow_requesters.contains(issuer) => {
                let detail = "the requester is not on this host's list (accept = allowlist)";
                return refuse(RefusalKind::NotAccepted, detail);
            }
            Accept::Allowlist | Accept::Anyone => {}
        }
        if self.deny_code.contains(&task.code) {
            return refuse(RefusalKind::CodeDenied, "this host does not run that program");
        }
        if !self.allow_code.is_empty() && !self.allow_code.contains(&task.code) {
            return refuse(RefusalKind::CodeDenied, "the program is not among those that this host runs");
        }
        if !self.hours.contains(unix_seconds) {
            let detail = format!("this host works for others only at {} UTC", self.hours);
            return refuse(RefusalKind::Hours, &detail);
        }
        if wall_ms > self.longest_ms {
            let detail =
                format!("the job may take {} s, this host grants {}", wall_ms / 1000, self.longest_ms / 1000);
            return refuse(RefusalKind::TooLong, &detail);
        }
        Ok(())
    }

    /// How many jobs run at the same time.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Whether a job that needs this can start beside those that take `running`. Jobs wait in the
    /// order of arrival until it is true.
    pub fn can_start(&self, need: &Need, running: &Load) -> bool {
        running.jobs < self.slots
            && running.memory.saturating_add(need.memory) <= self.memory
            && running.scratch.saturating_add(need.scratch) <= self.scratch
    }
}

pub(crate) fn read_accounts(key: &'static str, list: &[String]) -> Result<HashSet<AccountId>, BadAccount> {
    let read = |text: &String| text.parse::<AccountId>().map_err(|_| BadAccount { key, text: text.clone() });
    list.iter().map(read).collect()
}

impl Load {
    /// One more job.
    pub fn add(&mut self, need: &Need) {
        self.jobs += 1;
        self.memory += need.memory;
        self.scratch += need.scratch;
    }

    /// One job less.
    pub fn remove(&mut self, need: &Need) {
        self.jobs -= 1;
        self.memory -= need.memory;
        self.scratch -= need.scratch;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adit_model::{Abi, Limits, Profile};

    use super::*;
    use crate::config::{ByteSize, Span};

    const OWN: AccountId = AccountId([1; 20]);
    const FRIEND: AccountId = AccountId([2; 20]);
    const STRANGER: AccountId = AccountId([3; 20]);
    const NOON: u64 = 20_000 * 86_400 + 12 * 3600;

    fn code(text: &str) -> Cid {
        adit_model::TaskCid::of_block(text.as_bytes()).to_cid()
    }

    fn task(memory: u64) -> Task {
        Task {
            code: code("program"),
            abi: Abi::Wasip1,
            args: Vec::new(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            limits: Limits { fuel: 1, memory, output: 1 << 20 },
            profile: Profile::Deterministic,
        }
    }

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.host.cpus = 2;
        config.host.queue = 1;
        change(&mut config);
        config
    }

    fn verdict(config: &Config, issuer: AccountId, task: &Task, load: Load) -> Result<Need, RefusalKind> {
        Rules::new(config, OWN).unwrap().admit(&issuer, task, 10_000, &load, NOON).map_err(|r| r.kind)
    }

    #[test]
    fn by_default_only_own_jobs_run() {
        let config = config(|_| ());
        assert!(verdict(&config, OWN, &task(1 << 20), Load::default()).is_ok());
        assert_eq!(
            verdict(&config, STRANGER, &task(1 << 20), Load::default()),
            Err(RefusalKind::NotAccepted)
        );
    }

    #[test]
    fn every_rule_refuses_with_its_own_reason() {
        let small = task(1 << 20);
        let anyone = |change: &dyn Fn(&mut Config)| {
            let config = config(|c| {
                c.host.accept = Accept::Anyone;
                change(c);
            });
            verdict(&config, STRANGER, &small, Load::default()).unwrap_err()
        };
        let friends = config(|c| {
            c.host.accept = Accept::Allowlist;
            c.host.allow_requesters = vec![FRIEND.to_string()];
        });
        assert!(verdict(&friends, FRIEND, &small, Load::default()).is_ok());
        assert_eq!(verdict(&friends, STRANGER, &small, Load::default()), Err(RefusalKind::NotAccepted));
        let denied = STRANGER.to_string();
        assert_eq!(anyone(&|c| c.host.deny_requesters = vec![denied.clone()]), RefusalKind::RequesterDenied);
        assert_eq!(anyone(&|c| c.host.deny_code = vec![code("program")]), RefusalKind::CodeDenied);
        assert_eq!(anyone(&|c| c.host.allow_code = vec![code("another")]), RefusalKind::CodeDenied);
        assert_eq!(anyone(&|c| c.host.hours = "22:00-06:00".parse().unwrap()), RefusalKind::Hours);
        assert_eq!(anyone(&|c| c.host.longest = Span::seconds(9)), RefusalKind::TooLong);
        assert_eq!(anyone(&|c| c.host.memory = ByteSize(1 << 19)), RefusalKind::Memory);
        assert_eq!(anyone(&|c| c.host.scratch = ByteSize(1 << 19)), RefusalKind::Scratch);
    }

    #[test]
    fn the_queue_is_bounded_for_everybody() {
        let config = config(|_| ());
        let full = Load { jobs: 3, ..Load::default() };
        assert_eq!(verdict(&config, OWN, &task(1 << 20), full), Err(RefusalKind::Busy));
        let rules = Rules::new(&config, OWN).unwrap();
        let big = Need { memory: 1 << 30, scratch: 0 };
        let mut running = Load::default();
        assert!(rules.can_start(&big, &running));
        running.add(&big);
        assert!(rules.can_start(&big, &running));
        running.add(&big);
        assert!(!rules.can_start(&Need::default(), &running), "both slots are taken");
        running.remove(&big);
        assert!(
            !rules.can_start(&Need { memory: (1 << 30) + 1, scratch: 0 }, &running),
            "memory is promised"
        );
    }

    #[test]
    fn a_mistyped_account_is_named() {
        let config = config(|c| c.host.deny_requesters = vec!["0xdeadbeef".into()]);
        assert!(Rules::new(&config, OWN).unwrap_err().to_string().contains("host.deny-requesters"));
    }
}
