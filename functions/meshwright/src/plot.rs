//! Curves as SVG, by `plotters`.

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::error::Error;

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 440);

/// A named curve.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves over one pair of axes.
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    /// What is meant by them.
    pub(crate) axes: (&'a str, &'a str),
    pub(crate) lines: Vec<Line>,
}

type Drawn = Result<(), Box<dyn Error>>;
/// An axis of numbers.
trait Axis: Ranged<ValueType = f64> + ValueFormatter<f64> {}
impl<X: Ranged<ValueType = f64> + ValueFormatter<f64>> Axis for X {}

/// A picture of these curves over a logarithmic axis; empty where there is nothing to draw.
pub(crate) fn lines(title: &str, (x, y): (&str, &str), lines: &[Line]) -> String {
    picture(SIZE, |root| {
        let ends = ends(lines);
        let mut chart = builder(root, title)
            .build_cartesian_2d((0.9..ends.0 * 1.1).log_scale().base(2.0), 0.0..ends.1 * 1.1)
            .map_err(|e| e.to_string())?;
        curves(&mut chart, (x, y), lines)
    })
}

/// A picture of these panels, one below the other, each over an even axis.
pub(crate) fn panels(panels: &[Panel<'_>]) -> String {
    picture((SIZE.0, SIZE.1 * panels.len() as u32), |root| {
        for (part, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
            let ends = ends(&panel.lines);
            let mut chart = builder(part, panel.title)
                .build_cartesian_2d(0.0..ends.0, 0.0..ends.1 * 1.1)
                .map_err(|e| e.to_string())?;
            curves(&mut chart, panel.axes, &panel.lines)?;
        }
        Ok(())
    })
}

fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    // The library fails only where its backend does, and this one writes into memory.
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let filled: Drawn = root.fill(&WHITE).map_err(|e| e.to_string().into());
        filled.and_then(|()| draw(&root)).and_then(|()| root.present().map_err(|e| e.to_string().into()))
    };
    drawn.map_or_else(|_| String::new(), |()| svg)
}

/// The largest of both coordinates.
fn ends(lines: &[Line]) -> (f64, f64) {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
    let some = |most: f64| if most > 0.0 { most } else { 1.0 };
    (some(most(|point| point.0)), some(most(|point| point.1)))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn builder<'a, 'b>(area: &'a Area<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.caption(title, ("sans-serif", 18)).margin(12).x_label_area_size(36).y_label_area_size(56);
    chart
}

fn curves<'c, 'a: 'c, X: Axis>(
    chart: &mut ChartContext<'c, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    (x, y): (&str, &str),
    lines: &[Line],
) -> Drawn {
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
    Ok(())
}

/// A picture of named values as bars.
pub(crate) fn bars(title: &str, values: &[(String, f64)]) -> String {
    let most = values.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    picture((SIZE.0, 80 + 28 * values.len() as u32), |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(150)
            .build_cartesian_2d(0.0..most * 1.05, (0..values.len()).into_segmented())
            .map_err(|e| e.to_string())?;
        // From above.
        let name = |place: &SegmentValue<usize>| match place {
            SegmentValue::CenterOf(n) => {
                values.iter().rev().nth(*n).map(|(name, _)| name.clone()).unwrap_or_default()
            }
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().y_labels(values.len()).y_label_formatter(&name);
        mesh.draw().map_err(|e| e.to_string())?;
        let bar = |(n, (_, value)): (usize, &(String, f64))| {
            let corners = [(0.0, SegmentValue::Exact(n)), (*value, SegmentValue::Exact(n + 1))];
            let mut bar = Rectangle::new(corners, Palette99::pick(0).filled());
            bar.set_margin(4, 4, 0, 0);
            bar
        };
        chart.draw_series(values.iter().rev().enumerate().map(bar)).map_err(|e| e.to_string())?;
        Ok(())
    })
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
        let values = [("as it is".to_owned(), 40.0), ("2 lanes".to_owned(), 71.0)];
        let svg = bars("models an hour", &values);
        assert!(svg.matches("<rect").count() >= 3 && svg.contains("2 lanes"), "{svg}");
        assert!(lines("nothing", ("x", "y"), &[]).starts_with("<svg"));
    }
}
