//! The picture: four panels over one axis of time, with what was going on behind them.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::series::Series;

const SIZE: (u32, u32) = (1200, 1000);
const GOOD: RGBColor = RGBColor(46, 125, 50);
const BAD: RGBColor = RGBColor(198, 40, 40);
const OTHER: RGBColor = RGBColor(21, 101, 192);
const SHADES: [RGBColor; 2] = [RGBColor(236, 239, 241), RGBColor(225, 232, 240)];

/// One line of a panel.
struct Line {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws it into a file.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(series: &Series, file: &Path) -> Result<(), String> {
    draw_all(series, file).map_err(|error| error.to_string())
}

fn draw_all(series: &Series, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let of = |value: fn(&load::Summary) -> f64| -> Vec<(f64, f64)> {
        series
            .seconds
            .iter()
            .map(|(at, sum)| (*at, value(sum)))
            .collect()
    };
    let line = |name, color, points| Line {
        name,
        color,
        points,
    };
    let first = series.samples.first().map_or(0, |(_, s)| s.updated);
    let waits = series
        .samples
        .iter()
        .map(|(at, s)| (*at, s.longest * 1000.0));
    let updated = series.samples.iter();
    let updated = updated.map(|(at, s)| (*at, s.updated.saturating_sub(first) as f64 / 1e6));
    let panels = [
        (
            "requests a second",
            vec![
                line("served", GOOD, of(|s| (s.sent - s.failed) as f64)),
                line("failed", BAD, of(|s| s.failed as f64)),
            ],
        ),
        (
            "latency, ms",
            vec![
                line("p99", BAD, of(|s| s.p99_ms)),
                line("p95", OTHER, of(|s| s.p95_ms)),
                line("p50", GOOD, of(|s| s.p50_ms)),
            ],
        ),
        (
            "longest wait of a user for a lock, ms",
            vec![line("wait", BAD, waits.collect())],
        ),
        (
            "rows updated, millions",
            vec![line("rows", OTHER, updated.collect())],
        ),
    ];
    let parts = root.split_evenly((panels.len(), 1));
    for (index, ((title, lines), part)) in panels.into_iter().zip(&parts).enumerate() {
        panel(part, series, title, &lines, index == 0)?;
    }
    root.present()?;
    Ok(())
}

fn panel(
    part: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    series: &Series,
    title: &str,
    lines: &[Line],
    named: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let values = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|p| p.1));
    let top = values.fold(0.001, f64::max) * if named { 1.9 } else { 1.1 };
    let mut chart = ChartBuilder::on(part)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .margin_right(20)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..series.length, 0.0..top)?;
    for (band, shade) in series.bands.iter().zip(SHADES.iter().cycle()) {
        let corners = [(band.from, 0.0), (band.to, top)];
        chart.draw_series([Rectangle::new(corners, shade.filled())])?;
    }
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(210, 210, 210))
        .x_label_formatter(&|x| format!("{x:.0} s"))
        .draw()?;
    if named {
        let turned = ("sans-serif", 12)
            .into_font()
            .transform(FontTransform::Rotate90);
        let style = TextStyle::from(turned).pos(Pos::new(HPos::Left, VPos::Center));
        let words = series.bands.iter().map(|band| {
            let middle = f64::midpoint(band.from, band.to);
            Text::new(band.what.clone(), (middle, top * 0.99), style.clone())
        });
        chart.draw_series(words)?;
    }
    for Line {
        name,
        color,
        points,
    } in lines
    {
        let color = *color;
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    Ok(())
}
