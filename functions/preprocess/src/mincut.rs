//! The cheapest way to part pixels into subject and background: a minimum cut, by Boykov and Kolmogorov's
//! search from both terminals ("An Experimental Comparison of Min-Cut/Max-Flow Algorithms", 2004), over some
//! pixels of a grid with their eight neighbours. It knows no colours and no picture.

use std::collections::VecDeque;

/// No node.
const NONE: u32 = u32::MAX;
/// Steps of the eight neighbours; a direction and the next or previous one are opposite: `d ^ 1`.
pub(crate) const STEPS: [(isize, isize); 8] =
    [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)];
/// Work per node after which the cut is taken as it is: a few hundred are usual, so this bounds the time
/// of pictures made to be slow.
const WORK_PER_NODE_MAX: u64 = 20_000;
/// Work of any cut: seconds.
const WORK_MAX: u64 = 400_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Free,
    Subject,
    Ground,
}

/// How a node hangs on its tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    Nobody,
    Terminal,
    /// The neighbour in this direction.
    Near(u8),
}

/// Nodes, what each would rather be, and what it costs to part neighbours.
pub(crate) struct MinCut {
    near: Vec<[u32; 8]>,
    /// What still fits from a node to its neighbour.
    room: Vec<[i32; 8]>,
    /// What still fits from the subject's terminal, or, negative, to the background's.
    terminal: Vec<i32>,
    tree: Vec<Tree>,
    parent: Vec<Parent>,
    /// When a node's way to its terminal was last found, and how long it is.
    seen: Vec<u64>,
    steps: Vec<u32>,
    active: VecDeque<u32>,
    orphans: VecDeque<u32>,
    round: u64,
    work: u64,
}

impl MinCut {
    /// Of pixels by their places in a picture of this size. `wish` is positive for who would rather be
    /// subject; `bond` is what it costs to part a pixel and its neighbour in a direction.
    pub(crate) fn new(
        places: &[usize],
        [width, height]: [usize; 2],
        wish: impl Fn(usize) -> i32,
        bond: impl Fn(usize, usize) -> i32,
    ) -> MinCut {
        let mut node_at = vec![NONE; width * height];
        (0..).zip(places).for_each(|(node, at)| node_at[*at] = node);
        let near_of = |at: usize| {
            let place = ((at % width) as isize, (at / width) as isize);
            STEPS.map(|step| {
                let (x, y) = (place.0 + step.0, place.1 + step.1);
                let inside = x >= 0 && y >= 0 && x < width as isize && y < height as isize;
                if inside { node_at[y as usize * width + x as usize] } else { NONE }
            })
        };
        let near: Vec<[u32; 8]> = places.iter().map(|at| near_of(*at)).collect();
        let room_of = |(at, near): (&usize, &[u32; 8])| {
            [0, 1, 2, 3, 4, 5, 6, 7].map(|d| match near[d] {
                NONE => 0,
                node => bond(*at, places[node as usize]),
            })
        };
        let room = places.iter().zip(&near).map(room_of).collect();
        let terminal: Vec<i32> = places.iter().map(|at| wish(*at)).collect();
        let count = places.len();
        MinCut {
            near,
            room,
            terminal,
            tree: vec![Tree::Free; count],
            parent: vec![Parent::Nobody; count],
            seen: vec![0; count],
            steps: vec![0; count],
            active: VecDeque::new(),
            orphans: VecDeque::new(),
            round: 0,
            work: 0,
        }
    }

    /// Which nodes are subject, in the order of their places.
    pub(crate) fn solve(mut self) -> Vec<bool> {
        for node in 0..self.near.len() as u32 {
            let tree = match self.terminal[node as usize] {
                0 => continue,
                wish if wish > 0 => Tree::Subject,
                _ => Tree::Ground,
            };
            self.tree[node as usize] = tree;
            self.parent[node as usize] = Parent::Terminal;
            self.steps[node as usize] = 1;
            self.active.push_back(node);
        }
        while let Some(node) = self.active.front().copied() {
            match self.grow(node) {
                Some((from, direction)) if self.work < self.work_max() => {
                    self.augment(from, direction);
                    self.adopt();
                }
                Some(_) => break,
                None => drop(self.active.pop_front()),
            }
        }
        self.tree.iter().map(|tree| *tree == Tree::Subject).collect()
    }

    fn work_max(&self) -> u64 {
        (WORK_PER_NODE_MAX * self.near.len() as u64).min(WORK_MAX)
    }

    /// What still fits between a node and its neighbour, the way that water flows in the node's tree:
    /// away from the subject's terminal, towards the background's.
    fn outward(&self, node: u32, direction: usize) -> i32 {
        match self.tree[node as usize] {
            Tree::Ground => self.room[self.near[node as usize][direction] as usize][direction ^ 1],
            _ => self.room[node as usize][direction],
        }
    }

    /// Takes free neighbours into the node's tree; the edge where it meets the other tree, seen from the
    /// subject's side.
    fn grow(&mut self, node: u32) -> Option<(u32, usize)> {
        let own = self.tree[node as usize];
        if own == Tree::Free {
            return None;
        }
        self.work += 1;
        for direction in 0..8 {
            let near = self.near[node as usize][direction];
            if near == NONE || self.outward(node, direction) == 0 {
                continue;
            }
            let theirs = self.tree[near as usize];
            if theirs == Tree::Free {
                self.tree[near as usize] = own;
                self.parent[near as usize] = Parent::Near((direction ^ 1) as u8);
                self.seen[near as usize] = self.seen[node as usize];
                self.steps[near as usize] = self.steps[node as usize] + 1;
                self.active.push_back(near);
            } else if theirs != own {
                return Some(if own == Tree::Subject { (node, direction) } else { (near, direction ^ 1) });
            }
        }
        None
    }

    /// Sends as much as fits along the path over this edge.
    fn augment(&mut self, from: u32, direction: usize) {
        let to = self.near[from as usize][direction];
        let mut fits = self.room[from as usize][direction];
        for (start, tree) in [(from, Tree::Subject), (to, Tree::Ground)] {
            let mut node = start;
            while let Parent::Near(up) = self.parent[node as usize] {
                let above = self.near[node as usize][up as usize];
                let room = match tree {
                    Tree::Ground => self.room[node as usize][up as usize],
                    _ => self.room[above as usize][up as usize ^ 1],
                };
                (fits, node) = (fits.min(room), above);
            }
            fits = fits.min(self.terminal[node as usize].abs());
        }
        self.room[from as usize][direction] -= fits;
        self.room[to as usize][direction ^ 1] += fits;
        for (start, tree) in [(from, Tree::Subject), (to, Tree::Ground)] {
            self.drain(start, tree, fits);
        }
    }

    /// Takes what flows off the way from a node to its terminal; who hangs on a full edge is an orphan.
    fn drain(&mut self, start: u32, tree: Tree, flow: i32) {
        let mut node = start;
        while let Parent::Near(up) = self.parent[node as usize] {
            self.work += 1;
            let (above, up) = (self.near[node as usize][up as usize], up as usize);
            let sign = if tree == Tree::Ground { -flow } else { flow };
            self.room[above as usize][up ^ 1] -= sign;
            self.room[node as usize][up] += sign;
            let left = match tree {
                Tree::Ground => self.room[node as usize][up],
                _ => self.room[above as usize][up ^ 1],
            };
            if left == 0 {
                self.orphan(node);
            }
            node = above;
        }
        let terminal = &mut self.terminal[node as usize];
        *terminal -= if tree == Tree::Ground { -flow } else { flow };
        if *terminal == 0 {
            self.orphan(node);
        }
    }

    fn orphan(&mut self, node: u32) {
        self.parent[node as usize] = Parent::Nobody;
        self.orphans.push_back(node);
    }

    /// Finds orphans another parent in their tree, or sets them free with all that hangs on them.
    fn adopt(&mut self) {
        self.round += 1;
        // What is left over belongs to the tree that it hung on: only that is asked afterwards.
        while self.work < self.work_max()
            && let Some(node) = self.orphans.pop_front()
        {
            let mut best: Option<(u32, usize)> = None;
            for direction in 0..8 {
                if self.could_carry(node, direction)
                    && let Some(steps) = self.steps_to_terminal(self.near[node as usize][direction])
                    && best.is_none_or(|(least, _)| steps < least)
                {
                    best = Some((steps, direction));
                }
            }
            match best {
                Some((steps, direction)) => {
                    self.parent[node as usize] = Parent::Near(direction as u8);
                    self.seen[node as usize] = self.round;
                    self.steps[node as usize] = steps + 1;
                }
                None => self.set_free(node),
            }
        }
    }

    /// Whether the neighbour in this direction is of the node's tree, with room between them.
    fn could_carry(&self, node: u32, direction: usize) -> bool {
        let near = self.near[node as usize][direction];
        near != NONE
            && self.tree[near as usize] == self.tree[node as usize]
            && self.outward(near, direction ^ 1) > 0
    }

    fn set_free(&mut self, node: u32) {
        for direction in 0..8 {
            let near = self.near[node as usize][direction];
            if near == NONE || self.tree[near as usize] != self.tree[node as usize] {
                continue;
            }
            if self.outward(near, direction ^ 1) > 0 {
                self.active.push_back(near);
            }
            if self.parent[near as usize] == Parent::Near((direction ^ 1) as u8) {
                self.orphan(near);
            }
        }
        self.tree[node as usize] = Tree::Free;
    }

    /// How far a node is from its terminal; none if its way ends at an orphan.
    fn steps_to_terminal(&mut self, start: u32) -> Option<u32> {
        let (mut node, mut steps) = (start, 0);
        let rooted = loop {
            self.work += 1;
            if self.seen[node as usize] == self.round {
                break steps + self.steps[node as usize];
            }
            match self.parent[node as usize] {
                Parent::Near(up) => node = self.near[node as usize][up as usize],
                Parent::Terminal => break steps + 1,
                Parent::Nobody => return None,
            }
            steps += 1;
        };
        // Who comes by in this round need not walk again.
        let (mut node, mut left) = (start, rooted);
        while self.seen[node as usize] != self.round {
            self.seen[node as usize] = self.round;
            self.steps[node as usize] = left;
            match self.parent[node as usize] {
                Parent::Near(up) => node = self.near[node as usize][up as usize],
                _ => break,
            }
            left -= 1;
        }
        Some(rooted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parting costs.
    fn cost(subject: &[bool], wishes: &[i32], bond: &dyn Fn(usize, usize) -> i32, width: usize) -> i64 {
        let mut cost = 0;
        for at in 0..wishes.len() {
            let against = if subject[at] { (-wishes[at]).max(0) } else { wishes[at].max(0) };
            cost += i64::from(against);
            let place = ((at % width) as isize, (at / width) as isize);
            for (dx, dy) in STEPS {
                let (x, y) = (place.0 + dx, place.1 + dy);
                let height = wishes.len() / width;
                if x >= 0 && y >= 0 && x < width as isize && y < height as isize {
                    let near = y as usize * width + x as usize;
                    cost += i64::from(subject[at] && !subject[near]) * i64::from(bond(at, near));
                }
            }
        }
        cost
    }

    #[test]
    fn no_other_parting_is_cheaper() {
        let mut state = 9_u32;
        let mut random = move |below: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as i32 % below
        };
        for _ in 0..200 {
            let wishes: Vec<i32> = (0..12).map(|_| random(41) - 20).collect();
            let strengths: Vec<i32> = (0..144).map(|_| random(12)).collect();
            let bond = |a: usize, b: usize| strengths[a.min(b) * 12 + a.max(b)];
            let places: Vec<usize> = (0..12).collect();
            let found = MinCut::new(&places, [4, 3], |at| wishes[at], bond).solve();
            let best = (0..1_u32 << 12)
                .map(|bits| {
                    let subject: Vec<bool> = (0..12).map(|at| bits >> at & 1 == 1).collect();
                    cost(&subject, &wishes, &bond, 4)
                })
                .min();
            assert_eq!(Some(cost(&found, &wishes, &bond, 4)), best);
        }
    }

    #[test]
    fn nodes_that_nothing_joins_follow_their_wishes() {
        let found = MinCut::new(&[0, 7], [4, 2], |at| at as i32 - 3, |_, _| 100).solve();
        assert_eq!(found, [false, true]);
        assert!(MinCut::new(&[], [0, 0], |_| 0, |_, _| 0).solve().is_empty());
    }
}
