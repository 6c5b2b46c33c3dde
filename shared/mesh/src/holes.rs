//! Holes of a mesh: the loops along which faces are missing, and closing them with the smallest surface.

use crate::check::DOUBLE_AREA_MIN;
use crate::geometry::area;
use crate::repair::Work;
use std::collections::BTreeMap;

/// Longest loop that is closed: the time grows with its third power.
const EDGES_MAX: usize = 64;
/// Largest share of the whole surface that is closed: more is no flaw, it is a part that is missing.
const AREA_SHARE_MAX: f32 = 0.02;

/// An edge with one face, as that face walks it: its vertices, by which it is textured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    from: u32,
    to: u32,
}

/// Where faces are missing: closed walks along edges that have one face, none of which comes to a place
/// twice.
pub(crate) fn loops(work: &Work) -> Vec<Vec<Open>> {
    let mut onwards: BTreeMap<u32, Vec<Open>> = BTreeMap::new();
    for edge in work.edges().chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        let [(low, high, face)] = edge else { continue };
        let triangle = work.mesh.triangles[*face as usize];
        for k in 0..3 {
            let open = Open { from: triangle[k], to: triangle[(k + 1) % 3] };
            let (from, to) = (place(work, open.from), place(work, open.to));
            if (from.min(to), from.max(to)) == (*low, *high) {
                onwards.entry(from).or_default().push(open);
            }
        }
    }
    let mut loops = Vec::new();
    let mut walk: Vec<Open> = Vec::new();
    while let Some((&start, _)) = onwards.first_key_value() {
        let mut at = start;
        while let Some(open) = taken(&mut onwards, at) {
            walk.push(open);
            at = place(work, open.to);
            // Back at a place of the walk: what lies between is a loop of its own.
            if let Some(begins) = walk.iter().position(|earlier| place(work, earlier.from) == at) {
                loops.push(walk.split_off(begins));
            }
        }
        // A walk that ends nowhere borders on an edge with more than two faces.
        walk.clear();
    }
    loops
}

/// An edge that goes on from a place.
fn taken(onwards: &mut BTreeMap<u32, Vec<Open>>, at: u32) -> Option<Open> {
    let edges = onwards.get_mut(&at)?;
    let open = edges.pop();
    if edges.is_empty() {
        onwards.remove(&at);
    }
    open
}

fn place(work: &Work, vertex: u32) -> u32 {
    work.place_of[vertex as usize]
}

/// Closes a loop if it is short, its smallest surface is small, and no edge gets a third face. `whole` is
/// the area of the mesh.
pub(crate) fn close(work: &mut Work, edges: &[Open], whole: f32) -> bool {
    if !(3..=EDGES_MAX).contains(&edges.len()) {
        return false;
    }
    let Some((faces, size)) = smallest(work, edges) else { return false };
    if size > AREA_SHARE_MAX * whole {
        return false;
    }
    let corners = textured(work, edges);
    // The face beside a missing one walks their edge forwards, so that what closes it walks backwards.
    work.mesh.triangles.extend(faces.iter().map(|&[a, b, c]| [corners[c], corners[b], corners[a]]));
    true
}

/// The triangulation of a loop with the least area, as places in the loop, and that area (Klincsek 1980).
/// None if every one has a face without area or an edge that is there already.
fn smallest(work: &Work, edges: &[Open]) -> Option<(Vec<[usize; 3]>, f32)> {
    let count = edges.len();
    let position = |k: usize| work.mesh.positions[edges[k].from as usize];
    let known = work.edges();
    let free = |a: usize, b: usize| {
        if b - a == 1 || b - a == count - 1 {
            return true;
        }
        let (one, other) = (place(work, edges[a].from), place(work, edges[b].from));
        let wanted = (one.min(other), one.max(other));
        known.binary_search_by(|edge| (edge.0, edge.1).cmp(&wanted)).is_err()
    };
    // Least area between two places of the loop, and the third corner of the face on their edge.
    let mut best = vec![(0.0_f32, 0_usize); count * count];
    for width in 2..count {
        for a in 0..count - width {
            let b = a + width;
            let mut least = (f32::INFINITY, 0);
            for middle in a + 1..b {
                let face = area([position(a), position(middle), position(b)]);
                let sum = best[a * count + middle].0 + best[middle * count + b].0 + face;
                if face * 2.0 > DOUBLE_AREA_MIN && sum < least.0 && free(a, b) {
                    least = (sum, middle);
                }
            }
            best[a * count + b] = least;
        }
    }
    let size = best[count - 1].0;
    if !size.is_finite() {
        return None;
    }
    let (mut faces, mut open) = (Vec::with_capacity(count - 2), vec![(0, count - 1)]);
    while let Some((a, b)) = open.pop() {
        if b - a >= 2 {
            let middle = best[a * count + b].1;
            faces.push([a, middle, b]);
            open.extend([(a, middle), (middle, b)]);
        }
    }
    Some((faces, size))
}

/// The vertices of a loop. Where it lies in one chart they are those that are there; else new ones which
/// all have one colour, that of the first: what lies between charts in the texture belongs to neither.
fn textured(work: &mut Work, edges: &[Open]) -> Vec<u32> {
    let joined = |k: usize| edges[k].to == edges[(k + 1) % edges.len()].from;
    let own: Vec<u32> = edges.iter().map(|edge| edge.from).collect();
    if (0..edges.len()).all(joined) || work.mesh.uvs.is_empty() {
        return own;
    }
    let uv = work.mesh.uvs[own[0] as usize];
    let copy = |index: u32| {
        let index = index as usize;
        work.mesh.positions.push(work.mesh.positions[index]);
        work.place_of.push(work.place_of[index]);
        if let Some(&normal) = work.mesh.normals.get(index) {
            work.mesh.normals.push(normal);
        }
        work.mesh.uvs.push(uv);
        work.mesh.positions.len() as u32 - 1
    };
    own.into_iter().map(copy).collect()
}
