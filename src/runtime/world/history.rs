//! One history: lives after lives over one log and one disk, until the log has been read to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::broker::{Broker, Topic};
use super::dice::Dice;
use super::expected::{self, Expected, Line};
use super::life::{self, DEAD_LETTER_LOG, DECISION_LOG, Life, STATE, Turn};
use super::log;
use super::setup::Setup;
use super::undisturbed::{self, Account};
use crate::checkpoint::modelled::{ModelledDisk, Reboot, Trouble};
use crate::checkpoint::{self, Sequence};
use crate::decode::DeadLetter;
use crate::pipeline::Judged;
use crate::position::{Partition, Position};
use crate::runtime::JournalEntry;
use crate::runtime::messages::{IdleChange, Purpose};

/// What the histories went through, so that a world in which nothing happens does not pass for a safe one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub records: u64,
    pub repeated: u64,
    pub lost: u64,
    pub seals: u64,
    pub kills: u64,
    pub power_losses: u64,
    pub refused_writes: u64,
    pub rotten: u64,
    pub idle_changes: u64,
    pub trajectories: u64,
    pub admitted: u64,
    pub batches: u64,
    /// Histories whose every verdict was worked out by the sorted list.
    pub judged_by_hand: u64,
}

impl Tally {
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            records: self.records + other.records,
            repeated: self.repeated + other.repeated,
            lost: self.lost + other.lost,
            seals: self.seals + other.seals,
            kills: self.kills + other.kills,
            power_losses: self.power_losses + other.power_losses,
            refused_writes: self.refused_writes + other.refused_writes,
            rotten: self.rotten + other.rotten,
            idle_changes: self.idle_changes + other.idle_changes,
            trajectories: self.trajectories + other.trajectories,
            admitted: self.admitted + other.admitted,
            batches: self.batches + other.batches,
            judged_by_hand: self.judged_by_hand + other.judged_by_hand,
        }
    }

    pub fn assert_eventful(&self, histories: u64) {
        let kinds = [self.repeated, self.lost, self.rotten * 4, self.idle_changes, self.refused_writes * 4];
        let crashes =
            [self.kills, self.power_losses, self.seals / 2, self.admitted / 4, self.batches, self.trajectories / 8];
        let often = kinds.into_iter().chain(crashes).chain([self.judged_by_hand * 4]);
        assert!(often.min() >= Some(histories / 4), "the world is too quiet: {self:?}");
    }
}

/// Why a process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Everything was read, closed and sealed.
    Complete,
    Crash,
}

struct World {
    setup: Setup,
    dice: Dice,
    broker: Broker,
    disk: ModelledDisk,
    /// At which change of this life the disk makes trouble.
    trouble: Option<u64>,
    /// By checkpoint, what went into it; also for those that may or may not have become durable.
    accounts: BTreeMap<Sequence, Account>,
    /// The newest checkpoint that the next process must find.
    promised: Option<Sequence>,
    tally: Tally,
    is_told: bool,
}

/// The feeder's place in one life.
struct Feeding {
    account: Account,
    /// Entries of the log that have been read or lost.
    read: BTreeMap<Partition, usize>,
    idle: BTreeSet<Partition>,
    /// What the cut in flight holds.
    in_flight: Option<Account>,
}

pub fn history(seed: u64, is_told: bool) -> Tally {
    let mut dice = Dice::new(seed);
    let setup = Setup::draw(&mut dice);
    let topic =
        |dice: &mut Dice, partition| Topic { entries: log::draw(dice, &setup, partition), produced: 0, deleted: 0 };
    let partitions = setup.partitions.iter().map(|partition| (*partition, topic(&mut dice, *partition))).collect();
    let broker = Broker { partitions };
    let (disk, accounts, tally) = (ModelledDisk::new(), BTreeMap::new(), Tally::default());
    let lives = 1 + dice.below(5);
    let mut world = World { setup, dice, broker, disk, trouble: None, accounts, promised: None, tally, is_told };
    let mut account = None;
    for life in 1.. {
        if world.live(life >= lives, &mut account) == End::Complete {
            break;
        }
        world.reboot();
        assert!(life < lives + 2, "the last life does not end");
    }
    world.judge(&account.expect("a complete life tells what it read"));
    world.tally
}

impl World {
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", what());
        }
    }

    /// One process, from its start to its end.
    fn live(&mut self, is_last: bool, complete: &mut Option<Account>) -> End {
        self.trouble = None;
        if !is_last && self.dice.chance(50) {
            let trouble = match self.dice.below(3) {
                0 => Trouble::Refuse(self.dice.pick(&[libc::ENOSPC, libc::EIO])),
                _ => Trouble::Freeze,
            };
            let at = 1 + self.dice.below(80);
            self.tell(|| format!("life: {trouble:?} at change {at}"));
            self.disk.trouble_at(at, trouble);
            self.trouble = Some(at);
        }
        let (mut life, mut feeding) = match self.begin() {
            Ok(begun) => begun,
            Err(error) => return self.crash(&error),
        };
        let steps = self.dice.below(400);
        for _ in 0..steps {
            if let Err(error) = self.step(&mut life, &mut feeding) {
                return self.crash(&error);
            }
        }
        if !is_last {
            self.tally.kills += 1;
            self.tell(|| "killed".to_owned());
            return End::Crash;
        }
        match self.complete(&mut life, &mut feeding) {
            Ok(()) => {
                *complete = Some(feeding.account);
                End::Complete
            }
            Err(error) => self.crash(&error),
        }
    }

    /// An error is right only when the disk made trouble.
    fn crash(&mut self, error: &dyn std::error::Error) -> End {
        let has_struck = self.trouble.is_some_and(|at| self.disk.changes() >= at);
        let cause = error.source().map(ToString::to_string);
        assert!(has_struck, "an error out of the blue: {error}: {cause:?}");
        self.tally.refused_writes += u64::from(!self.disk.is_frozen());
        self.tell(|| format!("the process ends: {error}"));
        End::Crash
    }

    fn begin(&mut self) -> Result<(Life, Feeding), checkpoint::Error> {
        let (store, loaded) = life::open(Arc::new(self.disk.clone()), &self.setup)?;
        let found = loaded.newest.as_ref().map(|(sealed, _)| sealed.sequence);
        assert!(found >= self.promised, "{found:?} was found, {:?} had been sealed", self.promised);
        // What a process builds on may not be lost either.
        self.promised = found;
        let account = match found {
            Some(sequence) => self.accounts.get(&sequence).expect("only what was sealed is found").clone(),
            None => {
                let start = |(partition, topic): (&Partition, &Topic)| (*partition, topic.start());
                Account { start: self.broker.partitions.iter().map(start).collect(), ..Account::default() }
            }
        };
        if let Some((sealed, _)) = &loaded.newest {
            let digest = undisturbed::digest(&self.setup, &self.broker, &account);
            assert_eq!(sealed.manifest.facts.digest, digest, "checkpoint {} is not its own", sealed.sequence);
        }
        self.tell(|| format!("begins at {found:?}, {:?}", account.position(&self.broker)));
        let life = Life::begin(&self.setup, &mut self.dice, store, loaded, &account.start)?;
        assert_eq!(life.meta().journal, account.journal, "the journal of the checkpoint");
        let position: Position = life.intakes().map(|(partition, intake)| (*partition, intake.next_offset())).collect();
        assert_eq!(position, account.position(&self.broker), "the position of the checkpoint");
        let mut feeding = Feeding { account, read: BTreeMap::new(), idle: BTreeSet::new(), in_flight: None };
        for change in feeding.account.journal.iter().flat_map(|entry| &entry.changes) {
            match change.idle {
                true => feeding.idle.insert(change.partition),
                false => feeding.idle.remove(&change.partition),
            };
        }
        assert_eq!(life.meta().idle, feeding.idle, "the idle partitions of the checkpoint");
        for (partition, next) in position {
            let topic = self.broker.topic(partition);
            let index = topic.index_of(next);
            // Retention was faster: what it deleted is lost, and the partition goes on behind it.
            self.tally.lost += topic.deleted.saturating_sub(index) as u64;
            feeding.read.insert(partition, index.max(topic.deleted));
        }
        Ok((life, feeding))
    }

    fn step(&mut self, life: &mut Life, feeding: &mut Feeding) -> Result<(), crate::runtime::JobError> {
        match self.dice.below(100) {
            0..12 => {
                let (partition, count) = (self.broker.pick(&mut self.dice), 1 + self.dice.below(20));
                self.broker.topic_mut(partition).produce(count as usize);
            }
            12..14 => {
                let (partition, count) = (self.broker.pick(&mut self.dice), 1 + self.dice.below(6));
                // What a consumer is still reading stays: a gap under a running consumer is the source's to find.
                let room = feeding.read[&partition].saturating_sub(self.broker.topic(partition).deleted);
                self.broker.topic_mut(partition).delete(room.min(count as usize));
            }
            14..35 => {
                let partition = self.broker.pick(&mut self.dice);
                self.poll(life, feeding, partition);
            }
            35..40 => self.cut(life, feeding),
            _ => {
                let turns = life.turns();
                if !turns.is_empty() {
                    let turn = self.dice.pick(&turns);
                    self.take(life, feeding, turn)?;
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self, life: &mut Life, feeding: &mut Feeding, partition: Partition) {
        if feeding.idle.contains(&partition) {
            return;
        }
        let count = 1 + self.dice.below(8) as usize;
        let again = if self.dice.chance(20) { self.dice.below(6) as usize } else { 0 };
        let read = feeding.read[&partition];
        let delivery = self.broker.topic(partition).fetch(partition, read, count, again);
        if delivery.run.is_empty() {
            return;
        }
        let new = delivery.until.saturating_sub(read);
        self.tally.repeated += (delivery.run.len() - new) as u64;
        self.tally.records += new as u64;
        self.tell(|| format!("partition {partition}: entries {read}..{}, {again} again", delivery.until));
        if let Some(to) = feeding.account.gap_before(&self.broker, partition, read) {
            life.skip_to(partition, to);
        }
        feeding.account.consumed.entry(partition).or_default().extend(read..delivery.until);
        feeding.read.insert(partition, delivery.until.max(read));
        life.hand_over(delivery.run);
    }

    /// A cut, with what the wall clock has to say about silent partitions.
    fn cut(&mut self, life: &mut Life, feeding: &mut Feeding) {
        if feeding.in_flight.is_some() {
            return;
        }
        let mut changes = Vec::new();
        for (partition, topic) in &self.broker.partitions {
            let has_news = topic.produced > feeding.read[partition];
            let is_idle = feeding.idle.contains(partition);
            if has_news == is_idle && self.dice.chance(30) {
                changes.push(IdleChange { partition: *partition, idle: !is_idle });
            }
        }
        self.cut_with(life, feeding, Purpose::Routine, changes);
    }

    fn cut_with(&mut self, life: &mut Life, feeding: &mut Feeding, purpose: Purpose, changes: Vec<IdleChange>) {
        self.tell(|| format!("cut {purpose:?} {changes:?}"));
        for change in &changes {
            match change.idle {
                true => feeding.idle.insert(change.partition),
                false => feeding.idle.remove(&change.partition),
            };
        }
        if !changes.is_empty() {
            self.tally.idle_changes += changes.len() as u64;
            let position = feeding.account.position(&self.broker);
            feeding.account.journal.push(JournalEntry { position, changes: changes.clone() });
        }
        feeding.in_flight = Some(feeding.account.clone());
        life.cut(purpose, changes);
    }

    fn take(&mut self, life: &mut Life, feeding: &mut Feeding, turn: Turn) -> Result<(), crate::runtime::JobError> {
        if turn != Turn::Seal {
            return life.take(turn);
        }
        let account = feeding.in_flight.take().expect("a seal was asked for");
        self.accounts.insert(life.next_sequence(), account.clone());
        life.take(turn)?;
        let (sequence, sealed) = life.sealed().expect("a seal that succeeds is told");
        self.tell(|| format!("sealed {sequence} {:?}", sealed.barrier.purpose));
        self.tally.seals += 1;
        self.promised = Some(sequence);
        assert_eq!(sealed.position, account.position(&self.broker), "what is committed");
        let digest = undisturbed::digest(&self.setup, &self.broker, &account);
        assert_eq!(life.board.figures().digest, Some(digest.to_string()), "checkpoint {sequence} is not its own");
        Ok(())
    }

    /// Everybody works until nobody has anything to do.
    fn settle(&mut self, life: &mut Life, feeding: &mut Feeding) -> Result<(), crate::runtime::JobError> {
        loop {
            let turns = life.turns();
            if turns.is_empty() {
                return Ok(());
            }
            let turn = self.dice.pick(&turns);
            self.take(life, feeding, turn)?;
        }
    }

    /// The log ends: reads the rest, seals it, closes what is open, seals again.
    fn complete(&mut self, life: &mut Life, feeding: &mut Feeding) -> Result<(), crate::runtime::JobError> {
        self.broker.partitions.values_mut().for_each(|topic| topic.produce(usize::MAX / 2));
        let is_read = |world: &World, feeding: &Feeding| {
            world.broker.partitions.iter().all(|(partition, topic)| feeding.read[partition] == topic.entries.len())
        };
        while !is_read(self, feeding) {
            self.step(life, feeding)?;
        }
        self.settle(life, feeding)?;
        self.cut_with(life, feeding, Purpose::RangeRead, Vec::new());
        self.settle(life, feeding)?;
        life.finish();
        feeding.account.is_finished = true;
        self.cut_with(life, feeding, Purpose::Complete, Vec::new());
        self.settle(life, feeding)
    }

    /// What the machine finds when it comes up again.
    fn reboot(&mut self) {
        let reboot = match self.dice.below(3) {
            0 => Reboot::Killed,
            _ => {
                self.tally.power_losses += 1;
                let seed = self.dice.seed();
                self.dice.pick(&Reboot::all(seed, 3))
            }
        };
        self.tell(|| format!("{reboot:?}"));
        self.disk.reboot(reboot);
        if self.dice.chance(15) {
            self.rot();
        }
    }

    /// A byte of the newest checkpoint flips, if there is an older one to go back to.
    fn rot(&mut self) {
        let files = self.disk.files();
        let sequence_of = |path: &Path| -> Option<Sequence> {
            let name = path.strip_prefix(STATE).ok()?.iter().next()?.to_str()?;
            Some(Sequence(name.strip_prefix("checkpoint-")?.parse().ok()?))
        };
        let there: BTreeSet<Sequence> = files.keys().filter_map(|path| sequence_of(path)).collect();
        let mut newest = there.into_iter().rev();
        let (Some(rotten), Some(older)) = (newest.next(), newest.next()) else { return };
        let its = files.iter().filter(|(path, bytes)| sequence_of(path) == Some(rotten) && !bytes.is_empty());
        let its: Vec<PathBuf> = its.map(|(path, _)| path.clone()).collect();
        let (path, seed) = (self.dice.pick(&its), self.dice.seed());
        self.tell(|| format!("rot in {}", path.display()));
        self.disk.tamper(&path, |bytes| {
            let place = (seed % bytes.len() as u64) as usize;
            bytes[place] ^= 1 << (seed >> 32 & 7);
        });
        self.tally.rotten += 1;
        self.promised = Some(older);
    }

    /// The end of all: the state and both side files, against what the log says.
    fn judge(&mut self, account: &Account) {
        let files = self.disk.files();
        let expected: BTreeMap<Partition, Expected> = self
            .setup
            .partitions
            .iter()
            .map(|partition| (*partition, expected::partition(&self.setup, &self.broker, account, *partition)))
            .collect();
        let loaded = checkpoint::read_newest(&self.disk, Path::new(STATE)).unwrap();
        let (_, parts) = loaded.newest.expect("a complete range is sealed");
        let (content, _) = crate::runtime::content::decode(&parts.state).unwrap();
        for (partition, expected) in &expected {
            let intake = &content.intakes[partition];
            assert_eq!(intake.progress.counters, expected.records, "records of partition {partition}");
            assert_eq!(*intake.lane.counters(), expected.lane, "events of partition {partition}");
        }
        let letters: Vec<DeadLetter> = lines(&files, DEAD_LETTER_LOG);
        for (partition, expected) in &expected {
            let its = letters.iter().filter(|letter| letter.partition == *partition).map(|letter| letter.offset);
            assert!(its.eq(expected.malformed.iter().copied()), "dead letters of partition {partition}");
        }
        let judged: Vec<Judged> = lines(&files, DECISION_LOG);
        let order = expected::order(&expected, account, &judged);
        let all: usize = expected.values().map(|expected| expected.trajectories.len()).sum();
        self.tally.trajectories += all as u64;
        self.tally.admitted += content.pipeline.filter.totals.admitted;
        self.tally.batches += content.pipeline.buffer.batches();
        if self.setup.is_plain() {
            self.tally.judged_by_hand += 1;
            assert_eq!(order.len(), all, "trajectories that were judged");
            let by_hand = expected::judge(&self.setup, &order);
            let found: Vec<Line> = judged.iter().map(Line::of).collect();
            assert_eq!(found, by_hand);
        }
    }
}

/// A side file with its rotated files, in their order.
fn lines<T: serde::de::DeserializeOwned>(files: &BTreeMap<PathBuf, Vec<u8>>, path: &str) -> Vec<T> {
    let name = |file: usize| if file == 0 { PathBuf::from(path) } else { PathBuf::from(format!("{path}.{file}")) };
    let content: Vec<u8> = (0..).map_while(|file| files.get(&name(file))).flatten().copied().collect();
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a whole line of a side file")).collect()
}
