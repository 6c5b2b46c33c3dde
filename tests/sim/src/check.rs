//! Walks through all states of a model.

use crate::protocol::model::Action;
use crate::protocol::properties::is_over;
use crate::protocol::world::World;
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What visiting every state found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// States that differ.
    pub states: usize,
    /// Longest shortest way to a state.
    pub depth: usize,
    /// Properties that some state violates, each with the way there.
    pub violated: Vec<(&'static str, Vec<String>)>,
}

/// Visits every state.
pub fn visit<M>(model: M) -> Visit
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Send + Sync + PartialEq,
    M::Action: Clone + Debug + Send + Sync + PartialEq,
{
    search(model, HasDiscoveries::All)
}

/// A way to a state that violates this property, if there is one; a shortest one.
pub fn counterexample<M>(model: M, property: &'static str) -> Option<Vec<String>>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Send + Sync + PartialEq,
    M::Action: Clone + Debug + Send + Sync + PartialEq,
{
    let found = search(model, HasDiscoveries::AllOf(BTreeSet::from([property]))).violated;
    found.into_iter().find(|(name, _)| *name == property).map(|(_, way)| way)
}

fn search<M>(model: M, until: HasDiscoveries) -> Visit
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + Send + Sync + PartialEq,
    M::Action: Clone + Debug + Send + Sync + PartialEq,
{
    // One thread: then breadth first finds shortest ways, and tests run beside each other anyway.
    let checker = model.checker().threads(1).finish_when(until).spawn_bfs().join();
    let way = |path: stateright::Path<M::State, M::Action>| {
        path.into_actions().iter().map(|action| format!("{action:?}")).collect()
    };
    let mut violated: Vec<_> =
        checker.discoveries().into_iter().map(|(name, path)| (name, way(path))).collect();
    violated.sort();
    Visit { states: checker.unique_state_count(), depth: checker.max_depth(), violated }
}

/// From how many states no end can be reached although nothing more goes wrong and nobody wishes anything;
/// and of how many. An end is a state in which nothing happens by itself and a sweep would change nothing;
/// that every upload has its outcome there is a property of its own.
pub fn stuck(world: &World) -> (usize, usize) {
    let mut known: HashMap<u64, usize> = HashMap::new();
    let (mut backwards, mut good): (Vec<Vec<usize>>, Vec<bool>) = (Vec::new(), Vec::new());
    let mut open: VecDeque<_> = world.init_states().into_iter().map(|state| (None, state)).collect();
    while let Some((from, state)) = open.pop_front() {
        let fresh = known.len();
        let place = *known.entry(fingerprint(&state)).or_insert(fresh);
        if place == fresh {
            backwards.push(Vec::new());
            good.push(is_over(world, &state));
            let mut actions = Vec::new();
            world.actions(&state, &mut actions);
            open.extend(actions.into_iter().filter_map(|action: Action| {
                let next = world.next_state(&state, action)?;
                Some(((!action.is_optional()).then_some(place), next))
            }));
        }
        if let Some(from) = from {
            backwards[place].push(from);
        }
    }
    let mut reached: Vec<usize> = (0..good.len()).filter(|place| good[*place]).collect();
    while let Some(place) = reached.pop() {
        for before in std::mem::take(&mut backwards[place]) {
            if !good[before] {
                good[before] = true;
                reached.push(before);
            }
        }
    }
    (good.iter().filter(|good| !**good).count(), good.len())
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
