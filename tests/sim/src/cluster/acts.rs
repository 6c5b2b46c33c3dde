//! What workers do in a world: take batches, compute them, run out of memory, die.

use super::device::{LOAD_MS, load};
use super::truth::{Kind, NOISE, number};
use super::world::{ACK_WAIT, HOP, Next, World};
use super::yardstick::rate;
use domain::{
    Batch, BatchEnd, BatchEnded, BatchId, Bytes, EngineVersion, JobId, RefusedReason, Stage, WorkerId,
};
use planning::Event;
use std::time::Duration;

/// The first batches of a kind on a class of device, in which it is still found out.
const WARM_UP: u64 = 20;
/// A dead worker is back after this long: longer than its word stands.
const DEAD_FOR: Duration = Duration::from_secs(25);

/// How a batch went.
struct Computed {
    done: Vec<JobId>,
    ran_out: Vec<JobId>,
    ms: f64,
    peak: Bytes,
}

impl World {
    /// A batch is proposed: B, D and I are asserted, and the worker answers by its memory of this moment.
    pub(crate) fn proposed(&mut self, to: &WorkerId, batch: Batch) {
        let seed = self.settings.seed;
        assert!(!batch.tasks.is_empty() && !batch.why.is_empty(), "a batch has tasks and a reason");
        for given in &batch.tasks {
            let earlier = self.in_batch.insert((batch.stage, given.task.job), batch.id);
            assert!(earlier.is_none(), "property B: seed {seed}: {:?} twice", given.task.job);
        }
        if batch.tasks.len() > 1 {
            self.seen.note("tasks share a batch");
        }
        self.check_order(&batch);
        let n = self.devices.iter().position(|device| device.id == *to).expect("a worker that offered");
        let id = batch.id;
        let dead_since = self.devices[n].died_at.filter(|_| !self.devices[n].alive);
        let answer = match dead_since {
            Some(at) => {
                let dead = self.now.since(at);
                let stands = Duration::from_millis(super::device::WORD_MS);
                assert!(dead <= stands, "property I: seed {seed}: dead for {dead:?}");
                self.seen.note("a proposal reaches a dead worker");
                Event::BatchRefused(id, None)
            }
            None => match self.devices[n].answer(self.now, &batch) {
                Ok(()) => {
                    self.start(n, &batch);
                    Event::BatchAccepted(id)
                }
                Err((reading, reason)) => {
                    if reason == RefusedReason::Memory {
                        self.seen.note("a worker refuses for memory");
                    }
                    Event::BatchRefused(id, Some((reading, reason)))
                }
            },
        };
        self.asked.insert(id, (n, batch));
        self.after(HOP, Next::Answer(id, Box::new(answer)));
    }

    /// The planner hears an answer; one for an earlier term is nobody's.
    pub(crate) fn answered(&mut self, id: BatchId, event: Event) {
        let Some((_, batch)) = self.asked.remove(&id) else { return };
        if event == Event::BatchAccepted(id) {
            for given in &batch.tasks {
                self.release(&given.ack_token);
            }
        } else {
            self.put_in_order(&batch);
            self.leave_batch(&batch);
        }
        self.tell(event);
    }

    fn leave_batch(&mut self, batch: &Batch) {
        for given in &batch.tasks {
            let place = (batch.stage, given.task.job);
            if self.in_batch.get(&place) == Some(&batch.id) {
                self.in_batch.remove(&place);
            }
        }
    }

    fn start(&mut self, n: usize, batch: &Batch) {
        let computed = self.compute(batch);
        let load = if self.devices[n].warm.contains(&batch.stage) { 0 } else { LOAD_MS };
        self.after(Duration::from_millis(computed.ms as u64 + load), Next::Over(n, batch.id));
        self.after(HOP, Next::Offer(n, false));
    }

    /// What comes of it: the same whenever it is asked, since the batch's own number is the seed.
    fn compute(&self, batch: &Batch) -> Computed {
        let kind = Kind::of(&batch.tasks[0].task);
        let number_of = u64::from_be_bytes(batch.id.0[8..].try_into().expect("eight bytes"));
        let seed = self.settings.seed ^ (batch.epoch.0 << 40) ^ number_of;
        let mut dice = super::dice::Dice::new(seed);
        let mut of = |jobs: &[JobId]| {
            let off = dice.between(1.0 - NOISE, 1.0 + NOISE);
            let large = jobs.iter().any(|job| batch.stage == Stage::Shape && self.is_too_large(number(*job)));
            let peak = if large { Bytes::gib(900) } else { kind.peak(jobs.len() as u32).scale(off) };
            (peak, kind.time_ms(jobs.len() as u32) * dice.between(1.0 - NOISE, 1.0 + NOISE))
        };
        let mut all = Computed { done: Vec::new(), ran_out: Vec::new(), ms: 0.0, peak: Bytes::ZERO };
        let mut groups = vec![batch.tasks.iter().map(|given| given.task.job).collect::<Vec<_>>()];
        while let Some(group) = groups.pop() {
            let (peak, ms) = of(&group);
            all.peak = all.peak.max(peak);
            if peak <= batch.bytes {
                all.ms += ms;
                all.done.extend(group);
            } else {
                // Its runner died in the middle of it, and is started again.
                all.ms += ms / 2.0 + LOAD_MS as f64;
                match group.len() {
                    1 => all.ran_out.extend(group),
                    many => {
                        let (left, right) = group.split_at(many.div_ceil(2));
                        groups.extend([right.to_vec(), left.to_vec()]);
                    }
                }
            }
        }
        all
    }

    pub(crate) fn batch_over(&mut self, n: usize, id: BatchId) {
        let Some(batch) = self.devices[n].running.remove(&id) else { return };
        let Computed { mut done, mut ran_out, ms, mut peak } = self.compute(&batch);
        let at_items = batch.tasks.len() as u32;
        let mut out_of_memory = peak > batch.bytes;
        if !out_of_memory && peak > self.devices[n].really_free() {
            self.seen.note("strangers grew into a running batch");
            out_of_memory = true;
            // Halves fit into what is left; one item has none.
            if at_items == 1 {
                ran_out.append(&mut done);
            }
        }
        peak = peak.min(batch.bytes);
        self.count(n, &batch, out_of_memory, done.len() > 1);
        let load_ms = if load(&mut self.devices[n].warm, batch.stage) { LOAD_MS } else { 0 };
        if out_of_memory {
            self.seen.device_ms[2] += ms;
        } else {
            let kind = Kind::of(&batch.tasks[0].task);
            let best = f64::from(at_items) * 1_000.0 / rate(kind, self.devices[n].gib, 0.0);
            self.seen.device_ms[0] += best;
            self.seen.device_ms[3] += ms - best;
        }
        self.seen.device_ms[1] += load_ms as f64;
        *self.seen.starts.entry(batch.stage).or_default() += u64::from(load_ms > 0);
        let end = if out_of_memory { BatchEnd::OutOfMemory { at_items } } else { BatchEnd::Done };
        for job in &ran_out {
            self.after(HOP, Next::Put(number(*job), batch.stage, 2));
        }
        let items = done.len() as u32;
        for job in done {
            if !self.computed(number(job), batch.stage) {
                self.seen.note("a task is computed twice");
            }
        }
        self.leave_batch(&batch);
        self.tell(Event::BatchEnded(BatchEnded {
            batch: id,
            worker: self.devices[n].id.clone(),
            device_class: self.devices[n].class(),
            stage: batch.stage,
            end,
            items,
            peak_bytes: peak,
            reserved_bytes: batch.bytes,
            lane_us: (ms * 1_000.0) as u64,
            ran_out,
            engine: EngineVersion::default(),
            precision: String::new(),
            load_ms,
        }));
        self.happen_offer(n);
    }

    fn happen_offer(&mut self, n: usize) {
        let offer = self.devices[n].offer(self.now);
        self.tell(Event::OfferMade(offer));
    }

    fn count(&mut self, n: usize, batch: &Batch, out_of_memory: bool, halved: bool) {
        let key = (Kind::of(&batch.tasks[0].task), self.devices[n].class());
        let large = batch.tasks.iter().any(|given| self.is_too_large(number(given.task.job)));
        let count = self.seen.batches.entry(key).or_default();
        *count += 1;
        if *count > WARM_UP && !large {
            self.seen.after_warm_up.0 += 1;
            self.seen.after_warm_up.1 += u64::from(out_of_memory);
        }
        if out_of_memory {
            self.seen.note("a batch runs out of memory");
            if halved {
                self.seen.note("halves of a batch run through");
            }
        }
    }

    /// A worker dies with what runs there; its tokens are delivered again, and it comes back.
    pub(crate) fn kill(&mut self, n: usize) {
        if !self.devices[n].alive {
            return;
        }
        self.seen.note("a worker dies");
        let device = &mut self.devices[n];
        (device.alive, device.died_at) = (false, Some(self.now));
        device.warm.clear();
        for batch in std::mem::take(&mut device.running).into_values() {
            self.seen.note("a worker dies with a batch");
            for given in &batch.tasks {
                self.after(ACK_WAIT, Next::Put(number(given.task.job), batch.stage, given.delivery + 1));
            }
            // The planner finds out by itself; until then the tasks count as in the batch.
            self.leave_batch(&batch);
        }
        self.after(DEAD_FOR, Next::Revive(n));
    }

    /// The tokens of what runs on a device were not extended in time: its tasks are delivered again while
    /// they are still computed.
    pub(crate) fn lose_tokens(&mut self, n: usize) {
        let running: Vec<Batch> = self.devices[n].running.values().cloned().collect();
        for batch in running {
            self.seen.note("tokens of a running batch are lost");
            for given in &batch.tasks {
                self.after(HOP, Next::Put(number(given.task.job), batch.stage, given.delivery + 1));
            }
        }
    }

    /// Another program takes much of a device at once, and gives it back later.
    pub(crate) fn surge(&mut self, n: usize) {
        self.devices[n].surge = 0.6;
        self.after(Duration::from_secs(8), Next::SurgeOver(n));
    }

    /// A proposal that an earlier leader sent arrives when a newer one is known.
    pub(crate) fn late(&mut self, n: usize, batch: &Batch) {
        let device = &mut self.devices[n];
        if !device.alive || device.epoch <= batch.epoch {
            return;
        }
        let before: Vec<BatchId> = device.running.keys().copied().collect();
        let refused = device.answer(self.now, batch);
        let because = refused.as_ref().err().map(|(_, reason)| *reason);
        assert_eq!(because, Some(RefusedReason::Epoch), "property H: seed {}", self.settings.seed);
        assert!(device.running.keys().copied().eq(before), "property H: nothing of it runs");
        self.seen.note("a batch of an older term is refused");
    }
}
