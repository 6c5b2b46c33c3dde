//! Regions of a picture: connected pixels that satisfy a test.

/// Labels 4-connected regions of `inside`; 0 is outside, regions count from 1. Returns labels and sizes
/// (index 0 unused).
pub(crate) fn regions(inside: &[bool], width: usize) -> (Vec<u32>, Vec<usize>) {
    let mut labels = vec![0u32; inside.len()];
    let (mut sizes, mut open) = (vec![0usize], Vec::new());
    for start in 0..inside.len() {
        if !inside[start] || labels[start] != 0 {
            continue;
        }
        let label = sizes.len() as u32;
        sizes.push(0);
        labels[start] = label;
        open.push(start);
        while let Some(at) = open.pop() {
            sizes[label as usize] += 1;
            for near in neighbours(at, width, inside.len()) {
                if inside[near] && labels[near] == 0 {
                    labels[near] = label;
                    open.push(near);
                }
            }
        }
    }
    (labels, sizes)
}

/// The up to four neighbours of a pixel.
pub(crate) fn neighbours(at: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    let column = at % width;
    let left = (column > 0).then(|| at - 1);
    let right = (column + 1 < width).then(|| at + 1);
    let up = at.checked_sub(width);
    let down = Some(at + width).filter(|down| *down < count);
    [left, right, up, down].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_join_around_a_corner_or_over_the_edge() {
        let inside = [true, false, true, false, true, false].map(|b| b);
        let (labels, sizes) = regions(&inside, 3);
        assert_eq!(labels, [1, 0, 2, 0, 3, 0]);
        assert_eq!(sizes, [0, 1, 1, 1]);
    }
}
