//! Quadric edge collapse that keeps a closed mesh closed: Garland and Heckbert's error with the link
//! condition.
//!
//! Works in passes instead of with a heap: each pass values all edges, takes the cheapest part in order, and
//! values an edge again when its neighbourhood has changed meanwhile. Deterministic.

use crate::Mesh;
use crate::components::compact;
use crate::quadric::{P, Quadric, cross, dot, sub};

/// More faces at one vertex would make needles.
const DEGREE_MAX: u16 = 20;
/// A face may turn by at most this cosine (60 degrees) in one collapse.
const TURN_COSINE_MIN: f64 = 0.5;
/// Twice the area that a face must keep, m²: well above what `check` calls zero.
const DOUBLE_AREA_MIN: f64 = 1e-11;
/// Share of the edges that a pass looks at.
const PASS_SHARE: usize = 4;
/// A slice of which less than one in this many could be collapsed is blocked, and the next one is tried.
const BLOCKED_SHARE: usize = 16;
/// Two passes at least halve the mesh where nothing stands in the way; more than this many never help.
const PASSES_MAX: u32 = 40;
/// No triangle, end of a list.
const NONE: u32 = u32::MAX;

/// What decimation leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Decimated {
    /// With fewer triangles, without normals and texture coordinates.
    pub mesh: Mesh,
    /// The error of the dearest collapse: root mean square distance to the planes of the original faces that
    /// it stands for, metres.
    pub error_metres: f32,
}

/// The mesh with at most `triangles_max` triangles if the topology allows it, else with as few as that
/// allows.
///
/// `error_bounds` (root mean square distance in metres to the planes of the original faces) are tried in
/// turn: what can be had within the first costs no more than that. Without [`f32::INFINITY`] at the end, the
/// last bound wins over the number of triangles.
///
/// The mesh must have passed `check`; the result passes it too. Normals and texture coordinates are dropped.
pub fn decimate(mesh: &Mesh, triangles_max: usize, error_bounds: &[f32]) -> Decimated {
    let mut work = Collapser::new(mesh);
    for bound in error_bounds.iter().map(|bound| f64::from(*bound).powi(2)) {
        for _ in 0..PASSES_MAX {
            if work.triangles.len() <= triangles_max || !work.pass(triangles_max, bound) {
                break;
            }
        }
    }
    let positions = work.positions.iter().map(|p| p.map(|value| value as f32)).collect();
    let mesh = compact(Mesh { positions, triangles: work.triangles, ..Mesh::default() });
    Decimated { mesh, error_metres: work.error.sqrt() as f32 }
}

struct Collapser {
    positions: Vec<P>,
    quadrics: Vec<Quadric>,
    triangles: Vec<[u32; 3]>,
    /// First corner (3 * triangle + k) of each vertex, and the next corner of the same vertex after each
    /// corner.
    head: Vec<u32>,
    next: Vec<u32>,
    /// Faces at each vertex; 0 = merged away.
    degree: Vec<u16>,
    /// Changed in this pass, so that edge values no longer hold.
    touched: Vec<bool>,
    /// Marks the neighbours of the vertex at hand.
    stamp: Vec<u32>,
    stamp_now: u32,
    /// Faces that stay, at either end of the edge at hand.
    around: Vec<u32>,
    /// Largest mean square distance that a collapse cost so far.
    error: f64,
}

impl Collapser {
    fn new(mesh: &Mesh) -> Collapser {
        let vertices = mesh.positions.len();
        let positions: Vec<P> = mesh.positions.iter().map(|p| p.map(f64::from)).collect();
        let mut quadrics = vec![Quadric::default(); vertices];
        for &triangle in &mesh.triangles {
            let plane = Quadric::of_face(triangle.map(|index| positions[index as usize]));
            triangle.iter().for_each(|&index| quadrics[index as usize].add(&plane));
        }
        Collapser {
            positions,
            quadrics,
            triangles: mesh.triangles.clone(),
            head: vec![NONE; vertices],
            next: Vec::new(),
            degree: vec![0; vertices],
            touched: vec![false; vertices],
            stamp: vec![0; vertices],
            stamp_now: 0,
            around: Vec::new(),
            error: 0.0,
        }
    }

    /// Collapses the cheapest edges; false if none could be.
    fn pass(&mut self, triangles_max: usize, error_max: f64) -> bool {
        self.index();
        let (edges, mut order) = self.candidates(error_max);
        let goal = (self.triangles.len() - triangles_max).div_ceil(2);
        // A collapse makes about three candidates useless; towards the end only as many as are needed are
        // worth sorting.
        let slice = (edges.len() / PASS_SHARE).min(goal * 3).max(1);
        let (mut done, mut open) = (0, order.as_mut_slice());
        while !open.is_empty() {
            let taken = slice.min(open.len());
            if taken < open.len() {
                open.select_nth_unstable(taken - 1);
            }
            let (cheapest, rest) = std::mem::take(&mut open).split_at_mut(taken);
            cheapest.sort_unstable();
            done += self.collapse_all(cheapest, &edges, goal - done, error_max);
            // The cheapest edges may be blocked, as around many small holes: then the dearer ones have to do.
            if done >= goal.min(slice.div_ceil(BLOCKED_SHARE)) {
                break;
            }
            open = rest;
        }
        self.triangles.retain(|triangle| triangle[0] != NONE);
        done > 0
    }

    /// Collapses edges in the order given, at most `goal`; returns how many could be.
    fn collapse_all(&mut self, order: &[u64], edges: &[(u32, u32)], goal: usize, error_max: f64) -> usize {
        let Some(last) = order.last() else { return 0 };
        let value_max = f64::from(f32::from_bits((last >> 32) as u32));
        let mut done = 0;
        for &entry in order {
            let (a, b) = edges[(entry & u64::from(u32::MAX)) as usize];
            if self.degree[a as usize] == 0 || self.degree[b as usize] == 0 {
                continue;
            }
            let (place, value, error) = self.value(a, b);
            let changed = self.touched[a as usize] || self.touched[b as usize];
            if changed && (value > value_max || error > error_max) {
                continue;
            }
            if self.collapse(a, b, place) {
                self.error = self.error.max(error);
                done += 1;
                if done >= goal {
                    break;
                }
            }
        }
        done
    }

    /// Lists the faces at each vertex anew.
    fn index(&mut self) {
        self.head.fill(NONE);
        self.degree.fill(0);
        self.touched.fill(false);
        self.next.clear();
        for (corner, &vertex) in self.triangles.iter().flatten().enumerate() {
            self.next.push(self.head[vertex as usize]);
            self.head[vertex as usize] = corner as u32;
            self.degree[vertex as usize] = self.degree[vertex as usize].saturating_add(1);
        }
    }

    /// All edges, and (value, edge) of those under the error bound, value as sortable bits in the upper half.
    fn candidates(&self, error_max: f64) -> (Vec<(u32, u32)>, Vec<u64>) {
        let mut edges = Vec::with_capacity(self.triangles.len() * 3 / 2);
        let mut order = Vec::with_capacity(self.triangles.len() * 3 / 2);
        for &[a, b, c] in &self.triangles {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                if from > to {
                    continue;
                }
                let (_, value, error) = self.value(from, to);
                if error <= error_max {
                    order.push(u64::from((value as f32).to_bits()) << 32 | edges.len() as u64);
                }
                edges.push((from, to));
            }
        }
        (edges, order)
    }

    /// Where an edge would best collapse to, what that costs, and its mean square distance to the original
    /// faces.
    fn value(&self, a: u32, b: u32) -> (P, f64, f64) {
        let (from, to) = (self.positions[a as usize], self.positions[b as usize]);
        let mut quadric = self.quadrics[a as usize];
        quadric.add(&self.quadrics[b as usize]);
        let middle = [0, 1, 2].map(|k| (from[k] + to[k]) * 0.5);
        let place = quadric.best_near(middle);
        let cost = quadric.at(place).max(0.0);
        let edge = sub(to, from);
        // On a plane every collapse is free: then the short edges go first, so that faces stay even.
        let value = cost + 1e-4 * quadric.weight * dot(edge, edge);
        (place, value, cost / quadric.weight.max(f64::MIN_POSITIVE))
    }

    /// Merges `b` into `a` at a place, if the mesh stays closed and no face turns over.
    fn collapse(&mut self, a: u32, b: u32, place: P) -> bool {
        let degree = self.degree[a as usize] + self.degree[b as usize];
        if !(7..=DEGREE_MAX + 4).contains(&degree) {
            return false;
        }
        let Some((opposite, tail)) = self.neighbourhood(a, b) else { return false };
        if opposite.iter().any(|&vertex| self.degree[vertex as usize] < 4) {
            return false;
        }
        if !self.around.iter().all(|&triangle| self.survives(triangle, a, b, place)) {
            return false;
        }
        let mut corner = self.head[b as usize];
        while corner != NONE {
            let corners = &mut self.triangles[(corner / 3) as usize];
            if corners.contains(&a) {
                *corners = [NONE; 3];
            } else {
                corners.iter_mut().filter(|corner| **corner == b).for_each(|corner| *corner = a);
            }
            corner = self.next[corner as usize];
        }
        opposite.iter().for_each(|&vertex| self.degree[vertex as usize] -= 1);
        self.next[tail as usize] = self.head[a as usize];
        self.head[a as usize] = self.head[b as usize];
        self.degree[a as usize] = degree - 4;
        self.degree[b as usize] = 0;
        let other = self.quadrics[b as usize];
        self.quadrics[a as usize].add(&other);
        self.positions[a as usize] = place;
        self.touched[a as usize] = true;
        true
    }

    /// The link condition: the ends share exactly the two vertices opposite of the edge. Fills `around`;
    /// returns those two vertices and the last corner in `b`'s list.
    fn neighbourhood(&mut self, a: u32, b: u32) -> Option<([u32; 2], u32)> {
        self.around.clear();
        self.stamp_now += 2;
        let (near_a, shared) = (self.stamp_now - 1, self.stamp_now);
        let (mut opposite, mut faces) = ([NONE; 2], 0);
        let mut corner = self.head[a as usize];
        while corner != NONE {
            let triangle = self.triangles[(corner / 3) as usize];
            if triangle[0] != NONE {
                triangle.iter().for_each(|&vertex| self.stamp[vertex as usize] = near_a);
                if triangle.contains(&b) {
                    *opposite.get_mut(faces)? =
                        *triangle.iter().find(|&&vertex| vertex != a && vertex != b)?;
                    faces += 1;
                } else {
                    self.around.push(corner / 3);
                }
            }
            corner = self.next[corner as usize];
        }
        (self.stamp[a as usize], self.stamp[b as usize]) = (0, 0);
        let (mut common, mut tail) = (0, NONE);
        corner = self.head[b as usize];
        while corner != NONE {
            tail = corner;
            let triangle = self.triangles[(corner / 3) as usize];
            if triangle[0] != NONE {
                for vertex in triangle {
                    if self.stamp[vertex as usize] == near_a {
                        self.stamp[vertex as usize] = shared;
                        common += 1;
                    }
                }
                if !triangle.contains(&a) {
                    self.around.push(corner / 3);
                }
            }
            corner = self.next[corner as usize];
        }
        (faces == 2 && common == 2).then_some((opposite, tail))
    }

    /// Whether a face keeps its direction and an area when `a` and `b` both move to a place.
    fn survives(&self, triangle: u32, a: u32, b: u32, place: P) -> bool {
        let triangle = self.triangles[triangle as usize];
        let old = triangle.map(|index| self.positions[index as usize]);
        let new = [0, 1, 2].map(|k| if triangle[k] == a || triangle[k] == b { place } else { old[k] });
        let normal = |[p, q, r]: [P; 3]| cross(sub(q, p), sub(r, p));
        let (before, after) = (normal(old), normal(new));
        let lengths = (dot(before, before) * dot(after, after)).sqrt();
        dot(before, after) > TURN_COSINE_MIN * lengths
            && dot(after, after) > DOUBLE_AREA_MIN * DOUBLE_AREA_MIN
            && (even(new, after) || !even(old, before))
    }
}

/// Not a needle: at least 2 % of the area of the equilateral triangle with the same sum of squared edges.
fn even([p, q, r]: [P; 3], normal: P) -> bool {
    let edges = [sub(q, p), sub(r, q), sub(p, r)];
    let sum: f64 = edges.iter().map(|&edge| dot(edge, edge)).sum();
    2.0 * 3.0_f64.sqrt() * dot(normal, normal).sqrt() > 0.02 * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::sample::{cube, torus};

    #[test]
    fn a_torus_loses_nine_tenths_and_stays_a_torus() {
        let full = torus(1.0, 0.4, 200, 100);
        let before = check(&full).expect("closed");
        let Decimated { mesh: small, error_metres } = decimate(&full, 4000, &[0.01]);
        let after = check(&small).expect("still closed");
        assert!(after.triangles <= 4000 && after.triangles > 3900, "{after:?}");
        // One hole: Euler's characteristic is 0.
        assert_eq!(after.vertices * 2, after.triangles);
        assert!((after.volume / before.volume - 1.0).abs() < 0.005, "{after:?} {before:?}");
        let gap = |p: &[f32; 3]| ((p[0].hypot(p[2]) - 1.0).hypot(p[1]) - 0.4).abs();
        let farthest = small.positions.iter().map(gap).fold(0.0, f32::max);
        assert!(farthest < 0.01);
        // What is told is a mean over faces: of the size of what is found, and within the bound.
        assert!(error_metres < 0.01 && error_metres > 0.1 * farthest, "{error_metres} for {farthest}");
    }

    #[test]
    fn the_error_bound_stops_it() {
        let full = torus(1.0, 0.4, 100, 50);
        let Decimated { mesh: small, error_metres } = decimate(&full, 10, &[1e-4]);
        assert!(check(&small).is_ok());
        assert!(small.triangles.len() > 1000, "{}", small.triangles.len());
        assert!(error_metres <= 1e-4, "{error_metres}");
    }

    #[test]
    fn without_a_bound_the_topology_stops_it() {
        let small = decimate(&torus(1.0, 0.4, 60, 30), 0, &[f32::INFINITY]).mesh;
        let facts = check(&small).expect("still closed");
        assert_eq!(facts.vertices * 2, facts.triangles);
        assert!(facts.triangles < 200, "{facts:?}");
        assert!(check(&decimate(&cube([0.0; 3], 0.5), 0, &[f32::INFINITY]).mesh).is_ok());
    }
}
