//! A bar chart of the costs: a bar for each variant, with a line between the quartiles.

use super::cost::{Costs, Row};
use super::variant::BASE;
use anyhow::{Context as _, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: u32 = 760;
const BAR: i32 = 22;
const LEFT: i32 = 230;
const TOP: i32 = 44;
const OURS: RGBColor = RGBColor(0x2f, 0x6f, 0xb3);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa0, 0xa6);
const TEXT: RGBColor = RGBColor(0x57, 0x60, 0x6a);

/// Writes the added cost of each variant as SVG.
pub(super) fn write(costs: &Costs, path: &Path) -> Result<()> {
    let rows: Vec<&Row> = costs.rows.iter().filter(|row| row.name != BASE).collect();
    let height = TOP + BAR * rows.len() as i32 + 16;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    let most = rows.iter().map(|row| row.added.high).fold(1.0, f64::max);
    let x = |value: f64| LEFT + (value.max(0.0) / most * f64::from(WIDTH as i32 - LEFT - 90)) as i32;
    let style = |size: i32, side| ("sans-serif", size).into_font().color(&TEXT).pos(Pos::new(side, VPos::Center));
    let title = format!("CPU added per request, µs of an Envoy with one worker: {}", costs.scenario.title());
    let drawn = (|| {
        area.draw(&Text::new(title, (12, 20), style(14, HPos::Left)))?;
        for (n, row) in rows.iter().enumerate() {
            let middle = TOP + BAR * n as i32 + BAR / 2;
            let colour = if row.name.starts_with("sidespan") { OURS } else { OTHERS };
            let bar = [(LEFT, middle - 7), (x(row.added.median), middle + 7)];
            area.draw(&Rectangle::new(bar, colour.filled()))?;
            let whisker = vec![(x(row.added.low), middle), (x(row.added.high), middle)];
            area.draw(&PathElement::new(whisker, TEXT.stroke_width(1)))?;
            area.draw(&Text::new(row.name.clone(), (LEFT - 10, middle), style(13, HPos::Right)))?;
            let figure = format!("{:.1}", row.added.median);
            area.draw(&Text::new(figure, (x(row.added.high) + 8, middle), style(13, HPos::Left)))?;
        }
        area.present()
    })();
    drawn.map_err(|error| anyhow::anyhow!("{error}")).with_context(|| format!("cannot write {}", path.display()))
}
