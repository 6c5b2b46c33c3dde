//! Tasks that the planner holds, packed: a hundred thousand of them wait at one stage, and each is looked at
//! twice. What many share (recipe, tenant, shape, the beginning of a token) is kept once.

use crate::key::{Shape, shape};
use crate::token::{Prefixes, Token};
use domain::{BatchTask, Bytes, Class, JobId, Recipe, Stage, Task, TenantId, Timestamp, UploadId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Recipes that are kept for those to come; who has another one keeps it for itself.
const RECIPES_MAX: usize = 256;

/// A tenant's number in its pool.
pub(crate) type TenantNo = u16;
/// A shape's number in its pool.
pub(crate) type ShapeNo = u32;
/// A task's place in its pool.
pub(crate) type Slot = u32;

/// Where a task that is held stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In its line.
    Waits,
    /// It fits nowhere now.
    Aside,
    /// In a live batch.
    InBatch,
    /// In a live batch, and its token was lost: it is not ours to propose again.
    Lost,
}

/// A task that is held.
pub(crate) struct Held {
    pub(crate) job: JobId,
    upload: UploadId,
    pub(crate) token: Token,
    size: Bytes,
    accepted_at: Timestamp,
    pub(crate) published_at: Timestamp,
    pub(crate) drawn_at: Timestamp,
    /// When it is due; never, if nobody has said.
    pub(crate) due: Timestamp,
    /// Its place in the order of arrival.
    pub(crate) arrival: u64,
    recipe: Arc<Recipe>,
    /// Deliveries beyond four billion are told as that many.
    delivery: u32,
    pub(crate) shape: ShapeNo,
    pub(crate) tenant: TenantNo,
    pub(crate) class: Class,
    pub(crate) state: State,
}

/// What a decision needs to know of a task.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) slot: Slot,
    pub(crate) stage: Stage,
    pub(crate) job: JobId,
    pub(crate) shape: ShapeNo,
    pub(crate) texture_px: u32,
    pub(crate) size: Bytes,
    pub(crate) drawn_at: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

/// The tasks of a stage that are held, by slot and by job.
pub(crate) struct Pool {
    stage: Stage,
    tasks: Vec<Option<Held>>,
    free: Vec<Slot>,
    jobs: BTreeMap<JobId, Slot>,
    prefixes: Prefixes,
    recipes: BTreeSet<Arc<Recipe>>,
    tenants: Vec<TenantId>,
    tenant_numbers: BTreeMap<TenantId, TenantNo>,
    /// The names of the shapes.
    shapes: Vec<String>,
    shape_numbers: BTreeMap<Shape, ShapeNo>,
    /// How often a task was looked at.
    #[cfg(test)]
    looks: std::cell::Cell<u32>,
}

impl Pool {
    pub(crate) fn new(stage: Stage) -> Pool {
        Pool {
            stage,
            tasks: Vec::new(),
            free: Vec::new(),
            jobs: BTreeMap::new(),
            prefixes: Prefixes::default(),
            recipes: BTreeSet::new(),
            tenants: Vec::new(),
            tenant_numbers: BTreeMap::new(),
            shapes: Vec::new(),
            shape_numbers: BTreeMap::new(),
            #[cfg(test)]
            looks: std::cell::Cell::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn looks(&self) -> u32 {
        self.looks.get()
    }

    /// All tasks that are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn slot(&self, job: JobId) -> Option<Slot> {
        self.jobs.get(&job).copied()
    }

    /// # Panics
    /// Nothing is held there.
    pub(crate) fn at(&self, slot: Slot) -> &Held {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.tasks.get(slot as usize).and_then(Option::as_ref).expect("a slot is known only while it is held")
    }

    /// # Panics
    /// Nothing is held there.
    pub(crate) fn at_mut(&mut self, slot: Slot) -> &mut Held {
        let held = self.tasks.get_mut(slot as usize).and_then(Option::as_mut);
        held.expect("a slot is known only while it is held")
    }

    /// Where a task goes in its line: nearest deadline, then arrival.
    pub(crate) fn place(&self, slot: Slot) -> (Timestamp, u64) {
        let held = self.at(slot);
        (held.due, held.arrival)
    }

    pub(crate) fn insert(&mut self, arrival: u64, given: &BatchTask) -> Slot {
        let held = self.packed(arrival, given);
        let job = held.job;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            (self.tasks.len() - 1) as Slot
        });
        if let Some(place) = self.tasks.get_mut(slot as usize) {
            *place = Some(held);
        }
        let earlier = self.jobs.insert(job, slot);
        assert!(earlier.is_none(), "a task is held once");
        slot
    }

    fn packed(&mut self, arrival: u64, given: &BatchTask) -> Held {
        let BatchTask { task, ack_token, delivery, published_at, drawn_at } = given;
        Held {
            job: task.job,
            upload: task.upload,
            token: self.prefixes.pack(ack_token),
            size: task.size_bytes,
            accepted_at: task.accepted_at,
            published_at: *published_at,
            drawn_at: *drawn_at,
            due: task.deadline.unwrap_or(NEVER),
            arrival,
            recipe: self.recipe(&task.recipe),
            delivery: u32::try_from(*delivery).unwrap_or(u32::MAX),
            shape: self.shape_no(task),
            tenant: self.tenant_no(&task.tenant),
            class: task.class,
            state: State::Waits,
        }
    }

    fn recipe(&mut self, recipe: &Recipe) -> Arc<Recipe> {
        if let Some(known) = self.recipes.get(recipe) {
            return known.clone();
        }
        let recipe = Arc::new(recipe.clone());
        if self.recipes.len() < RECIPES_MAX {
            self.recipes.insert(recipe.clone());
        }
        recipe
    }

    fn shape_no(&mut self, task: &Task) -> ShapeNo {
        let shape = shape(task);
        if let Some(number) = self.shape_numbers.get(&shape) {
            return *number;
        }
        let number = self.shapes.len() as ShapeNo;
        self.shapes.push(shape.name());
        self.shape_numbers.insert(shape, number);
        number
    }

    pub(crate) fn shape(&self, number: ShapeNo) -> &str {
        &self.shapes[number as usize]
    }

    pub(crate) fn tenant_no(&mut self, tenant: &TenantId) -> TenantNo {
        if let Some(number) = self.tenant_numbers.get(tenant) {
            return *number;
        }
        // Tenants come from configuration; more than these share the last number, and its turns.
        let number = TenantNo::try_from(self.tenants.len()).unwrap_or(TenantNo::MAX);
        self.tenants.push(tenant.clone());
        self.tenant_numbers.insert(tenant.clone(), number);
        number
    }

    pub(crate) fn known_tenant(&self, tenant: &TenantId) -> Option<TenantNo> {
        self.tenant_numbers.get(tenant).copied()
    }

    pub(crate) fn tenant(&self, number: TenantNo) -> &TenantId {
        &self.tenants[usize::from(number)]
    }

    /// The task as it was given.
    pub(crate) fn open(&self, slot: Slot) -> BatchTask {
        let held = self.at(slot);
        let task = Task {
            job: held.job,
            upload: held.upload,
            stage: self.stage,
            class: held.class,
            tenant: self.tenant(held.tenant).clone(),
            recipe: Recipe::clone(&held.recipe),
            size_bytes: held.size,
            accepted_at: held.accepted_at,
            deadline: Some(held.due).filter(|due| *due < NEVER),
        };
        BatchTask {
            task,
            ack_token: self.prefixes.open(&held.token),
            delivery: u64::from(held.delivery),
            published_at: held.published_at,
            drawn_at: held.drawn_at,
        }
    }

    pub(crate) fn head(&self, slot: Slot) -> Head {
        let held = self.at(slot);
        Head {
            slot,
            stage: self.stage,
            job: held.job,
            shape: held.shape,
            texture_px: held.recipe.texture_px,
            size: held.size,
            drawn_at: held.drawn_at,
            deadline: Some(held.due).filter(|due| *due < NEVER),
        }
    }

    /// Lets go of a task.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let held = self.tasks.get_mut(slot as usize).and_then(Option::take);
        if let Some(held) = held {
            self.jobs.remove(&held.job);
            self.free.push(slot);
        }
    }
}

/// Later than any deadline.
const NEVER: Timestamp = Timestamp(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::given;

    #[test]
    fn a_task_comes_out_as_it_went_in_and_its_slot_is_used_again() {
        let mut pool = Pool::new(Stage::Shape);
        let mut first = given(1, 3, Class::Low, Timestamp(7));
        first.task.deadline = Some(Timestamp(99));
        first.task.recipe.texture_px = 4096;
        let second = given(2, 0, Class::High, Timestamp(8));
        let slots = [pool.insert(1, &first), pool.insert(2, &second)];
        assert_eq!(slots.map(|slot| pool.open(slot)), [first.clone(), second]);
        pool.remove(slots[0]);
        assert_eq!((pool.len(), pool.slot(first.task.job)), (1, None));
        assert_eq!(pool.insert(3, &first), slots[0]);
    }

    /// The bar of a task in view is 200 bytes, its entries in the order of jobs and in its line included.
    #[test]
    fn a_held_task_takes_at_most_136_bytes() {
        assert!(size_of::<Option<Held>>() <= 136, "{}", size_of::<Option<Held>>());
    }
}
