//! Curves as SVG, by `plotters`.

use plotters::prelude::*;
use std::error::Error;

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 440);

/// A named curve.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A picture of these curves over a logarithmic axis; empty where there is nothing to draw.
pub(crate) fn lines(title: &str, (x, y): (&str, &str), lines: &[Line]) -> String {
    let mut svg = String::new();
    // The library fails only where its backend does, and this one writes into memory.
    let drawn = draw(&mut svg, title, (x, y), lines);
    drawn.map_or_else(|_| String::new(), |()| svg)
}

fn draw(svg: &mut String, title: &str, (x, y): (&str, &str), lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(1.0, f64::max);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|e| e.to_string())?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (0.9..most(|point| point.0) * 1.1).log_scale().base(2.0),
            0.0..most(|point| point.1) * 1.1,
        )
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc(x)
        .y_desc(y)
        .draw()
        .map_err(|e| e.to_string())?;
    for (n, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)).point_size(3);
        let drawn = chart.draw_series(series).map_err(|e| e.to_string())?;
        drawn
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::LowerRight)
        .draw()
        .map_err(|e| e.to_string())?;
    root.present().map_err(|e| e.to_string())?;
    drop(chart);
    drop(root);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_drawn_and_named() {
        let line =
            |name: &str| Line { name: name.to_owned(), points: vec![(1.0, 2.0), (2.0, 3.5), (4.0, 3.9)] };
        let svg = lines("shape", ("batch", "items/s"), &[line("draft"), line("fine <1>")]);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.matches("<polyline").count() >= 4, "two curves, two keys: {svg}");
        assert!(svg.contains("fine &lt;1&gt;") && svg.contains("items/s"), "{svg}");
        assert!(lines("nothing", ("x", "y"), &[]).starts_with("<svg"));
    }
}
