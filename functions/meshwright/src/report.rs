//! What became of a set of jobs, read from the bucket: the table that `demo` prints at its end, as text or
//! JSON.

use crate::refusal::{Outcome, Refusal};
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use domain::{Ending, JobId, Manifest, Stage};
use ports::{GetOptions, Got, Ledger, Ports};
use serde_json::{Value, json};
use std::path::Path;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) job: JobId,
    pub(crate) outcome: String,
    /// Whether the picture has become what it can become: a model, or a refusal with a reason.
    pub(crate) finished: bool,
    /// Seconds from acceptance by a worker to the stored artifacts, per stage.
    pub(crate) stages: Vec<(Stage, f64)>,
    pub(crate) triangles: Option<usize>,
    pub(crate) files: Vec<String>,
}

impl Row {
    fn seconds(&self) -> f64 {
        // The sum of nothing is -0.0.
        self.stages.iter().fold(0.0, |all, (_, seconds)| all + seconds)
    }

    fn json(&self) -> Value {
        let stages: serde_json::Map<String, Value> =
            self.stages.iter().map(|(stage, seconds)| (stage.to_string(), json!(seconds))).collect();
        json!({"name": self.name, "job": self.job, "outcome": self.outcome, "stages_s": stages,
               "triangles": self.triangles, "files": self.files})
    }
}

/// Reads a job's end from the bucket, and copies its files below `out/<name>/`.
pub(crate) async fn row(
    ports: &Ports,
    site: &domain::Site,
    job: JobId,
    name: &str,
    out: &Path,
) -> Outcome<Row> {
    let ledger = Ledger::new(ports.store.clone(), &site.state);
    let bucket = |error: ports::PortError| Refusal::Unavailable(format!("read job {job}: {error}"));
    let state = ledger.state(job).await.map_err(bucket)?;
    let outcome = ledger.outcome(job, state.life).await.map_err(bucket)?;
    let mut row = Row {
        name: name.to_owned(),
        job,
        outcome: "not finished".to_owned(),
        finished: false,
        stages: Vec::new(),
        triangles: None,
        files: Vec::new(),
    };
    for stage in &state.committed {
        if let Some(manifest) = ledger.manifest(job, *stage).await.map_err(bucket)? {
            let marks = &manifest.marks;
            row.stages.push((*stage, marks.stored_at.since(marks.accepted_at).as_secs_f64()));
            if *stage == Stage::Export {
                copy_files(ports, &site.state, &manifest, &out.join(name), &mut row).await?;
            }
        }
    }
    if let Some(outcome) = outcome {
        row.finished = matches!(outcome.ending, Ending::Done { .. } | Ending::Rejected { .. });
        row.outcome = match outcome.ending {
            Ending::Done { unpublished, .. } => unpublished.unwrap_or_else(|| "done".to_owned()),
            Ending::Rejected { reason } => format!("rejected: {reason}"),
            Ending::Dead { stage, error } => format!("set aside at {stage}: {error}"),
            Ending::Cancelled { reason } => format!("cancelled: {reason}"),
        };
    }
    Ok(row)
}

async fn copy_files(
    ports: &Ports,
    bucket: &str,
    manifest: &Manifest,
    out: &Path,
    row: &mut Row,
) -> Outcome<()> {
    let io = |error: std::io::Error| Refusal::Io(format!("write {}: {error}", out.display()));
    tokio::fs::create_dir_all(out).await.map_err(io)?;
    for artifact in &manifest.artifacts {
        let got = ports.store.get(bucket, &artifact.key, &GetOptions::default()).await;
        let Ok(Got::Found(object)) = got else { continue };
        if artifact.name == "model.glb" {
            row.triangles = mesh::glb::read(&object.body).ok().map(|model| model.mesh.triangles.len());
        }
        tokio::fs::write(out.join(&artifact.name), &object.body).await.map_err(io)?;
        row.files.push(artifact.name.clone());
    }
    Ok(())
}

/// Prints the rows.
pub(crate) fn print(rows: &[Row], json: bool) {
    if json {
        for row in rows {
            say!("{}", row.json());
        }
        return;
    }
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let stages = Stage::ALL.map(|stage| format!("{stage} s"));
    let head = ["picture".to_owned(), "outcome".to_owned()].into_iter().chain(stages);
    table.set_header(head.chain(["all s".to_owned(), "triangles".to_owned(), "files".to_owned()]));
    for row in rows {
        let of =
            |stage: Stage| row.stages.iter().find(|(of, _)| *of == stage).map(|(_, s)| format!("{s:.2}"));
        let mut cells = vec![row.name.clone(), row.outcome.clone()];
        cells.extend(Stage::ALL.map(|stage| of(stage).unwrap_or_default()));
        cells.push(format!("{:.2}", row.seconds()));
        cells.push(row.triangles.map(|n| n.to_string()).unwrap_or_default());
        cells.push(row.files.join(" "));
        table.add_row(cells);
    }
    say!("{table}");
}
