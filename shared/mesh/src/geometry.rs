//! The arithmetic of points and directions that this crate's algorithms share. Inlined by hand: without
//! that, a function of another crate is a call for three multiplications.

/// Difference.
#[inline]
pub fn sub(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Scalar product.
#[inline]
pub fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
#[inline]
pub fn cross(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The direction of a vector; zero stays zero.
#[inline]
pub fn unit(a: [f32; 3]) -> [f32; 3] {
    let length = dot(a, a).sqrt();
    if length > 0.0 { a.map(|value| value / length) } else { a }
}

/// A triangle's normal, as long as twice its area.
#[inline]
pub fn face_normal([a, b, c]: [[f32; 3]; 3]) -> [f32; 3] {
    cross(sub(b, a), sub(c, a))
}

/// A triangle's area.
#[inline]
pub fn area(corners: [[f32; 3]; 3]) -> f32 {
    let normal = face_normal(corners);
    dot(normal, normal).sqrt() * 0.5
}
