//! Mends what can be mended without guessing what was meant: faces without area or twice there, faces wound
//! the wrong way, small holes. What is left of flaws `check` finds afterwards.
//!
//! Works on meshes whose vertices are doubled along texture seams: what counts is which vertices share a
//! position. Every repair is a change of the list of faces, so that what is whole keeps its normals and
//! texture coordinates.

use crate::Mesh;
use crate::check::{DOUBLE_AREA_MIN, volume, volume_below};
use crate::components::{compact, label};
use crate::geometry::{area, dot, sub};
use crate::holes;
use crate::weld::welded;
use serde::Serialize;

/// Ends of an edge that are no farther apart are one place: 1 µm of an object of 1 m.
const SAME_PLACE_METRES: f32 = 1e-6;
/// Faces without area that are looked at in one round: each takes a walk over all faces.
const SLIVERS_MAX: usize = 1000;
/// Rounds of mending such faces: mending one may make another one.
const ROUNDS_MAX: usize = 8;

/// How much was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repairs {
    /// Faces without area that were taken out.
    pub degenerate: usize,
    /// Faces that were there more than once.
    pub duplicate: usize,
    /// Faces that were turned over.
    pub flipped: usize,
    /// Holes that were closed.
    pub holes: usize,
}

/// The mesh, mended as far as it can be, and what was done. Indices must be in range and numbers finite.
pub fn repair(mesh: &Mesh) -> (Mesh, Repairs) {
    let mut repairs = Repairs::default();
    let mut work = Work { mesh: mesh.clone(), place_of: welded(mesh).vertex_of };
    for _ in 0..ROUNDS_MAX {
        let found = work.mend_slivers();
        repairs.degenerate += found;
        if found == 0 {
            break;
        }
    }
    repairs.duplicate = work.drop_duplicates();
    let (flipped, mixed) = work.orient();
    repairs.holes = work.close_holes();
    repairs.flipped = flipped + work.turn_outwards(&mixed);
    (compact(work.mesh), repairs)
}

/// A mesh while it is mended.
pub(crate) struct Work {
    pub(crate) mesh: Mesh,
    /// The place of each vertex: vertices at one position have the same.
    pub(crate) place_of: Vec<u32>,
}

impl Work {
    /// The places of a face's corners.
    pub(crate) fn places(&self, triangle: [u32; 3]) -> [u32; 3] {
        triangle.map(|index| self.place_of[index as usize])
    }

    /// Each edge between two places with a face that has it, sorted by edge: smaller place, larger place,
    /// face.
    pub(crate) fn edges(&self) -> Vec<(u32, u32, u32)> {
        let mut edges = Vec::with_capacity(self.mesh.triangles.len() * 3);
        for (face, &triangle) in (0_u32..).zip(&self.mesh.triangles) {
            let [a, b, c] = self.places(triangle);
            edges.extend([(a, b), (b, c), (c, a)].map(|(from, to)| (from.min(to), from.max(to), face)));
        }
        edges.sort_unstable();
        edges
    }

    /// Takes out faces without area; returns how many. Where two corners are one place, the face just goes.
    /// Where a corner lies on the opposite edge, the face beyond that edge is split there.
    fn mend_slivers(&mut self) -> usize {
        let flat = |work: &Work, triangle: [u32; 3]| {
            let [a, b, c] = work.places(triangle);
            a == b || b == c || c == a || area(work.mesh.corners(triangle)) * 2.0 <= DOUBLE_AREA_MIN
        };
        let slivers: Vec<[u32; 3]> =
            self.mesh.triangles.iter().copied().filter(|&t| flat(self, t)).take(SLIVERS_MAX).collect();
        let mut gone = 0;
        for &sliver in &slivers {
            // It may be another one by now, or gone.
            let Some(at) = self.mesh.triangles.iter().position(|&t| t == sliver) else { continue };
            self.mesh.triangles.swap_remove(at);
            gone += 1;
            let [a, b, c] = self.places(sliver);
            if a != b && b != c && c != a {
                self.mend_sliver(sliver);
            }
        }
        gone
    }

    /// Closes the gap that a face without area, whose corners are three places, leaves.
    fn mend_sliver(&mut self, sliver: [u32; 3]) {
        let corners = self.mesh.corners(sliver);
        let length = |k: usize| {
            let edge = sub(corners[(k + 1) % 3], corners[k]);
            dot(edge, edge)
        };
        let longest = (0..3).reduce(|best, k| if length(k) > length(best) { k } else { best }).unwrap_or(0);
        let [a, b, c] = [0, 1, 2].map(|k| sliver[(longest + k) % 3]);
        let [from, to, apex] = [a, b, c].map(|index| self.mesh.positions[index as usize]);
        let along = sub(to, from);
        let share = (dot(sub(apex, from), along) / dot(along, along).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        let reach = share.min(1.0 - share) * dot(along, along).sqrt();
        if reach <= SAME_PLACE_METRES {
            self.merge(c, if share < 0.5 { a } else { b });
            return;
        }
        let [a, b] = [a, b].map(|index| self.place_of[index as usize]);
        let beyond = (0..self.mesh.triangles.len()).find_map(|at| {
            let places = self.places(self.mesh.triangles[at]);
            (0..3).find(|&k| places[k] == b && places[(k + 1) % 3] == a).map(|k| (at, k))
        });
        let Some((at, k)) = beyond else { return };
        let [end, start, opposite] = [0, 1, 2].map(|step| self.mesh.triangles[at][(k + step) % 3]);
        let middle = self.between(start, end, share, c);
        self.mesh.triangles[at] = [end, middle, opposite];
        self.mesh.triangles.push([middle, start, opposite]);
    }

    /// Moves a place to another vertex's.
    fn merge(&mut self, from: u32, to: u32) {
        let (old, new) = (self.place_of[from as usize], self.place_of[to as usize]);
        let position = self.mesh.positions[to as usize];
        for (place, own) in self.place_of.iter_mut().zip(&mut self.mesh.positions) {
            if *place == old {
                (*place, *own) = (new, position);
            }
        }
    }

    /// A vertex at the place of `at`, its attributes those between two others; itself where there are none.
    fn between(&mut self, start: u32, end: u32, share: f32, at: u32) -> u32 {
        if self.mesh.normals.is_empty() && self.mesh.uvs.is_empty() {
            return at;
        }
        let (start, end) = (start as usize, end as usize);
        let mix = |a: f32, b: f32| a + (b - a) * share;
        self.mesh.positions.push(self.mesh.positions[at as usize]);
        self.place_of.push(self.place_of[at as usize]);
        if let (Some(&a), Some(&b)) = (self.mesh.normals.get(start), self.mesh.normals.get(end)) {
            self.mesh.normals.push(crate::geometry::unit([0, 1, 2].map(|k| mix(a[k], b[k]))));
        }
        if let (Some(&a), Some(&b)) = (self.mesh.uvs.get(start), self.mesh.uvs.get(end)) {
            self.mesh.uvs.push([0, 1].map(|k| mix(a[k], b[k])));
        }
        self.mesh.positions.len() as u32 - 1
    }

    /// Leaves one of faces that lie on each other, or none where they look opposite ways: a fold without
    /// thickness. Returns how many went.
    fn drop_duplicates(&mut self) -> usize {
        // Places in ascending order, whether that turns the face over, and the face.
        let key = |(face, &triangle): (usize, &[u32; 3])| {
            let [a, b, c] = self.places(triangle);
            let mut sorted = [a, b, c];
            sorted.sort_unstable();
            let turned = ![[a, b, c], [b, c, a], [c, a, b]].contains(&sorted);
            (sorted, turned, face)
        };
        let mut keys: Vec<_> = self.mesh.triangles.iter().enumerate().map(key).collect();
        keys.sort_unstable();
        let mut kept = vec![true; self.mesh.triangles.len()];
        for group in keys.chunk_by(|one, other| one.0 == other.0).filter(|group| group.len() > 1) {
            let turned = group.iter().filter(|(_, turned, _)| *turned).count();
            let wanted = match (2 * turned).cmp(&group.len()) {
                std::cmp::Ordering::Less => Some(false),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(true),
            };
            let survivor = group.iter().find(|(_, turned, _)| Some(*turned) == wanted);
            group.iter().for_each(|(_, _, face)| kept[*face] = false);
            survivor.into_iter().for_each(|(_, _, face)| kept[*face] = true);
        }
        let mut face = 0;
        let before = kept.len();
        self.mesh.triangles.retain(|_| (kept[face], face += 1).0);
        before - self.mesh.triangles.len()
    }

    /// Turns faces over until neighbours agree, as few as possible in each part. Returns how many, and which
    /// faces belong to a part that did not agree.
    fn orient(&mut self) -> (usize, Vec<bool>) {
        let count = self.mesh.triangles.len();
        let mut neighbours: Vec<Vec<u32>> = vec![Vec::new(); count];
        for edge in self.edges().chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            if let [(.., one), (.., other)] = edge {
                neighbours[*one as usize].push(*other);
                neighbours[*other as usize].push(*one);
            }
        }
        let (mut turned, mut mixed) = (vec![None; count], vec![false; count]);
        let mut flipped = 0;
        for start in 0..count {
            if turned[start].is_some() {
                continue;
            }
            turned[start] = Some(false);
            let (mut part, mut at) = (vec![start], 0);
            while let Some(&face) = part.get(at) {
                at += 1;
                for &near in &neighbours[face] {
                    if turned[near as usize].is_none() {
                        let against = self.against(face, near as usize);
                        turned[near as usize] = turned[face].map(|own| own != against);
                        part.push(near as usize);
                    }
                }
            }
            let wrong: Vec<usize> = part.iter().copied().filter(|&f| turned[f] == Some(true)).collect();
            let few = wrong.len() * 2 <= part.len();
            for face in part.iter().copied().filter(|&f| (turned[f] == Some(true)) == few) {
                self.mesh.triangles[face].reverse();
                flipped += 1;
            }
            part.iter().for_each(|&face| mixed[face] = !wrong.is_empty());
        }
        (flipped, mixed)
    }

    /// Whether two neighbours walk a common edge the same way, as no two neighbours should.
    fn against(&self, one: usize, other: usize) -> bool {
        let walks = |face: usize| {
            let [a, b, c] = self.places(self.mesh.triangles[face]);
            [(a, b), (b, c), (c, a)]
        };
        walks(one).iter().any(|edge| walks(other).contains(edge))
    }

    /// Closes what is small enough; returns how many holes.
    fn close_holes(&mut self) -> usize {
        let loops = holes::loops(self);
        let whole: f32 = self.mesh.triangles.iter().map(|&t| area(self.mesh.corners(t))).sum();
        loops.into_iter().filter(|edges| holes::close(self, edges, whole)).count()
    }

    /// Turns parts over that are inside out: those whose faces did not agree before, and all such parts if
    /// the whole has no positive volume. Returns how many faces.
    fn turn_outwards(&mut self, mixed: &[bool]) -> usize {
        let triangles: Vec<[u32; 3]> = self.mesh.triangles.iter().map(|&t| self.places(t)).collect();
        // Places are numbered as the welded mesh's vertices are, which stand in order of first appearance.
        let mut positions = vec![[0.0; 3]; self.place_of.len()];
        let places = self.place_of.iter().zip(&self.mesh.positions);
        places.for_each(|(place, position)| positions[*place as usize] = *position);
        let solid = Mesh { positions, triangles, ..Mesh::default() };
        let all = volume(&solid) <= 0.0;
        let (labels, count) = label(&solid);
        let (mut volumes, mut asked) = (vec![0.0; count], vec![all; count]);
        for (face, &part) in labels.iter().enumerate() {
            volumes[part as usize] += volume_below(&solid, solid.triangles[face]);
            asked[part as usize] |= mixed.get(face) == Some(&true);
        }
        let is_inside_out = |part: u32| asked[part as usize] && volumes[part as usize] < 0.0;
        let mut flipped = 0;
        for (triangle, part) in self.mesh.triangles.iter_mut().zip(&labels) {
            if is_inside_out(*part) {
                triangle.reverse();
                flipped += 1;
            }
        }
        flipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::sample::{ball, cube, torus};
    use crate::smooth::vertex_normals;
    use crate::weld::weld;

    /// A ball with normals and texture coordinates, doubled along a seam.
    fn sample() -> Mesh {
        let mut mesh = ball(0.5, 24);
        let (front, back): (Vec<[u32; 3]>, Vec<[u32; 3]>) = mesh
            .triangles
            .iter()
            .copied()
            .partition(|&t| mesh.corners(t).iter().map(|p| p[2]).sum::<f32>() >= 0.0);
        let count = mesh.positions.len() as u32;
        mesh.positions.extend_from_within(..);
        mesh.triangles = front;
        mesh.triangles.extend(back.iter().map(|t| t.map(|index| index + count)));
        mesh = compact(mesh);
        mesh.normals = mesh.positions.iter().map(|p| crate::geometry::unit(*p)).collect();
        mesh.uvs = mesh.positions.iter().map(|p| [p[0] + 0.5, p[1] + 0.5]).collect();
        mesh
    }

    /// What is broken is sound again after exactly these repairs.
    fn mended(break_it: impl FnOnce(&mut Mesh), expect: Repairs) -> Mesh {
        let mut mesh = sample();
        let before = check(&weld(&mesh)).expect("a ball").volume;
        break_it(&mut mesh);
        assert!(check(&weld(&mesh)).is_err() || expect == Repairs::default());
        let (mended, repairs) = repair(&mesh);
        assert_eq!(repairs, expect);
        let facts = check(&weld(&mended)).expect("mended");
        assert!((facts.volume / before - 1.0).abs() < 0.01, "{facts:?}");
        let vertices = mended.positions.len();
        assert_eq!((mended.normals.len(), mended.uvs.len()), (vertices, vertices));
        mended
    }

    #[test]
    fn what_is_sound_stays_as_it_is() {
        assert_eq!(mended(|_| (), Repairs::default()), sample());
        let torus = torus(0.5, 0.2, 30, 12);
        assert_eq!(repair(&torus), (torus, Repairs::default()));
    }

    #[test]
    fn faces_of_two_corners_and_faces_that_are_there_twice_go() {
        let expect = Repairs { degenerate: 1, duplicate: 2, ..Repairs::default() };
        mended(
            |mesh| {
                let [a, b, _] = mesh.triangles[7];
                mesh.triangles.extend([[a, b, a], mesh.triangles[9], mesh.triangles[9]]);
            },
            expect,
        );
        // A fold without thickness hangs on nothing.
        let fold = |mesh: &mut Mesh| {
            let [a, b, _] = mesh.triangles[7];
            let far = mesh.triangles[100][0];
            mesh.triangles.extend([[a, b, far], [b, a, far]]);
        };
        mended(fold, Repairs { duplicate: 2, ..Repairs::default() });
    }

    #[test]
    fn a_corner_on_the_opposite_edge_splits_the_face_beyond() {
        let mut mesh = cube([0.0; 3], 0.5);
        // The middle of an edge, known to the face on one side of it only.
        let [a, b, c] = mesh.triangles[0];
        let [from, to] = [a, b].map(|index| mesh.positions[index as usize]);
        mesh.positions.push([0, 1, 2].map(|k| (from[k] + to[k]) * 0.5));
        mesh.triangles[0] = [a, 8, c];
        mesh.triangles.extend([[8, b, c], [a, b, 8]]);
        assert!(check(&mesh).is_err());
        let (mended, repairs) = repair(&mesh);
        assert_eq!(repairs, Repairs { degenerate: 1, ..Repairs::default() });
        let facts = check(&mended).expect("mended");
        assert_eq!((facts.triangles, facts.vertices), (14, 9));
        assert!((facts.volume - 1.0).abs() < 1e-6, "{facts:?}");
    }

    #[test]
    fn faces_that_are_turned_over_turn_back_and_a_whole_too() {
        let some = |mesh: &mut Mesh| (0..30).for_each(|k| mesh.triangles[k * 17].reverse());
        mended(some, Repairs { flipped: 30, ..Repairs::default() });
        let all = |mesh: &mut Mesh| mesh.triangles.iter_mut().for_each(|t| t.reverse());
        mended(all, Repairs { flipped: sample().triangles.len(), ..Repairs::default() });
    }

    #[test]
    fn small_holes_are_closed_and_large_ones_are_not() {
        let hole = |mesh: &mut Mesh| {
            let centre = mesh.triangles[300][0];
            mesh.triangles.retain(|t| !t.contains(&centre));
        };
        mended(hole, Repairs { holes: 1, ..Repairs::default() });
        let mut open = sample();
        open.triangles.retain(|&t| t.iter().any(|&index| open.positions[index as usize][1] < 0.3));
        let (left, repairs) = repair(&open);
        assert_eq!((left, repairs.holes), (compact(open), 0));
    }

    #[test]
    fn all_at_once_is_mended_and_an_edge_with_four_faces_is_not() {
        let mut mesh = sample();
        mesh.triangles[40].reverse();
        mesh.triangles.push(mesh.triangles[90]);
        mesh.triangles.swap_remove(500);
        let (mended, repairs) = repair(&mesh);
        assert_eq!(repairs, Repairs { duplicate: 1, flipped: 1, holes: 1, degenerate: 0 });
        assert!(check(&weld(&mended)).is_ok());
        // Two cubes that touch along an edge: which faces belong together nobody knows.
        let mut touching = cube([0.0; 3], 0.5);
        let other = cube([1.0, 1.0, 0.0], 0.5);
        touching.triangles.extend(other.triangles.iter().map(|t| t.map(|index| index + 8)));
        touching.positions.extend(other.positions);
        touching.normals = vertex_normals(&touching);
        let (left, repairs) = repair(&touching);
        assert_eq!((left, repairs), (touching, Repairs::default()));
    }
}
