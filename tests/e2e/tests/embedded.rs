//! The embedded form as a person uses it: two commands, the lines that it prints, ctrl-C, kill -9, and a
//! second start.

use anyhow::{Context, Result, ensure};
use e2e::{Said, picture, say};
use harness::{Child, S3Endpoint, Scratch, Signal, meshwright, output, tool, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const WITHIN: Duration = Duration::from_secs(90);

fn up(scratch: &Scratch, more: &[&str]) -> Result<Child> {
    let data = scratch.path().join("data");
    let fixed = ["up", "--s3", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--data"];
    let args = fixed.iter().map(|arg| (*arg).to_owned()).chain([data.display().to_string()]);
    let args: Vec<String> = args.chain(more.iter().map(|arg| (*arg).to_owned())).collect();
    Child::spawn(meshwright("up", args)?.folder(scratch.path()))
}

/// Everything that the newest start has printed, once it has printed all of it.
async fn printed(child: &mut Child) -> Result<String> {
    let last = |line: &str| line.starts_with("Ctrl-C");
    child.wait_for_line("its last line", WITHIN, last).await?;
    let said = child.stdout();
    Ok(said[said.rfind("Page and HTTP API").context("its first line")?..].to_owned())
}

fn value<'a>(said: &'a str, what: &str) -> Result<&'a str> {
    let line = said.lines().find_map(|line| line.strip_prefix(what));
    line.map(str::trim).with_context(|| format!("no {what} in {said}"))
}

fn glbs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let below = paths.iter().filter(|path| path.is_dir()).flat_map(|folder| glbs(folder));
    let here = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "glb"));
    here.cloned().chain(below).collect()
}

async fn models(out: &Path, count: usize) -> Result<Vec<PathBuf>> {
    until("models in the folder", WITHIN, async || {
        let found = glbs(out);
        Ok((found.len() >= count).then_some(found))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_pictures_becomes_a_folder_of_models_through_kill_9_and_a_second_start() {
    let scratch = Scratch::new("folders").expect("a folder");
    let (images, out) = (scratch.path().join("in"), scratch.path().join("out"));
    std::fs::create_dir(&images).expect("a folder");
    for n in 0..12 {
        std::fs::write(images.join(format!("größe {n}.png")), picture(n)).expect("a picture");
    }
    std::fs::write(images.join("notes.txt"), "not a picture").expect("a file");
    let (from, to) = (images.display().to_string(), out.display().to_string());
    let mut child = up(&scratch, &["--images", &from, "--out", &to]).expect("a start");
    models(&out, 1).await.expect("a first model");
    child.kill().expect("kill -9");
    child.restart().expect("a second start");
    let found = models(&out, 12).await.expect("all models");
    for path in found {
        let mut validator = Command::new(tool("gltf-validator").expect("the validator"));
        validator.arg(&path);
        output(validator, WITHIN).await.unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    }
    // Ctrl-C ends it in order; a third start has nothing to do and leaves what is there untouched.
    printed(&mut child).await.expect("its lines");
    child.signal(Signal::INT).expect("ctrl-C");
    assert!(child.wait(WITHIN).await.expect("an end").success());
    let before: Vec<_> =
        glbs(&out).iter().map(|path| path.metadata().and_then(|m| m.modified()).ok()).collect();
    child.restart().expect("a third start");
    let said = printed(&mut child).await.expect("its lines");
    let page = value(&said, "Page and HTTP API").expect("a page").to_owned();
    let jobs = until("the list of jobs", WITHIN, async || {
        let listed: Value = reqwest::get(format!("{page}/api/jobs")).await?.json().await?;
        Ok(listed["jobs"].as_array().filter(|jobs| jobs.len() == 13).cloned())
    });
    let jobs = jobs.await.expect("thirteen jobs");
    let ended = |what: &str| jobs.iter().filter(|job| job["state"] == what).count();
    assert_eq!((ended("done"), ended("rejected")), (12, 1), "{jobs:?}");
    let after: Vec<_> =
        glbs(&out).iter().map(|path| path.metadata().and_then(|m| m.modified()).ok()).collect();
    assert_eq!(before, after);
    let done = jobs.iter().filter(|job| job["state"] == "done").filter_map(|job| job["id"].as_str());
    let all = weights(&page, done).await.expect("files of twelve jobs");
    child.signal(Signal::INT).expect("ctrl-C");
    assert!(child.wait(WITHIN).await.expect("an end").success());
    keeps_the_youngest(&scratch, &all).await.expect("half of the models");
    assert_eq!(glbs(&out).len(), 12, "what was put out is not its own any more");
}

/// When a job ended, which it is, and what its files and its upload take.
type Weight = (u64, String, u64);

/// Those of these jobs that have files, the oldest first.
async fn weights<'a>(page: &str, jobs: impl Iterator<Item = &'a str>) -> Result<Vec<Weight>> {
    let mut weights = Vec::new();
    for id in jobs {
        let job: Value = reqwest::get(format!("{page}/api/jobs/{id}")).await?.json().await?;
        let files = job["artifacts"].as_array().with_context(|| format!("no files in {job}"))?;
        let number = |of: &Value, name: &str| of[name].as_u64().with_context(|| format!("no {name} in {of}"));
        let mut bytes = number(&job, "upload_bytes")?;
        for file in files {
            // Those of export are published, and lie there a second time.
            bytes += number(file, "size_bytes")? * if file["stage"] == "export" { 2 } else { 1 };
        }
        if !files.is_empty() {
            weights.push((number(&job, "decided_at_ms")?, id.to_owned(), bytes));
        }
    }
    weights.sort();
    Ok(weights)
}

/// The next start may keep only half of what is there: the oldest go, with their uploads, and no more of them
/// than must.
async fn keeps_the_youngest(scratch: &Scratch, all: &[Weight]) -> Result<()> {
    let sum = |weights: &[Weight]| weights.iter().map(|(.., bytes)| bytes).sum::<u64>();
    let keep = sum(all) / 2;
    let mut child = up(scratch, &["--keep", &format!("{keep}B")])?;
    let said = printed(&mut child).await?;
    let page = value(&said, "Page and HTTP API")?;
    let kept = until("the oldest models to go", WITHIN, async || {
        let kept = weights(page, all.iter().map(|(_, id, _)| id.as_str())).await?;
        // One that is going has some of its files still.
        Ok((sum(&kept) <= keep && all.ends_with(&kept)).then_some(kept))
    });
    let kept = kept.await?;
    let gone = all.len() - kept.len();
    ensure!(!kept.is_empty(), "nothing was kept of {all:?}");
    // What kill -9 interrupted left files behind that count as well: for one job more at most.
    let too_many = &all[gone.saturating_sub(2)..];
    ensure!(sum(too_many) > keep, "{gone} went of {all:?}, and {keep} bytes may be kept");
    let endpoint = endpoint(scratch, &said)?;
    until("their uploads to go", WITHIN, async || {
        let mut aws = endpoint.aws()?;
        aws.args(["s3", "ls", "s3://uploads/"]);
        let uploads = output(aws, WITHIN).await?;
        Ok((uploads.lines().filter(|line| line.ends_with(".png")).count() == kept.len()).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_up_prints_work_when_they_are_pasted() {
    let scratch = Scratch::new("pasted").expect("a folder");
    let mut child = up(&scratch, &[]).expect("a start");
    let said = printed(&mut child).await.expect("its lines");
    std::fs::write(scratch.path().join("chair.png"), picture(3)).expect("a picture");
    let pasted: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let script = pasted.join("\n").replace("meshwright submit", "\"$MESHWRIGHT\" submit");
    for tool in ["aws ", "mc cp", "submit"] {
        assert!(script.contains(tool), "{script}");
    }
    let shell = paste(&scratch, &script).expect("a shell");
    let answered = output(shell, WITHIN).await.expect("the pasted lines");
    assert!(answered.contains("done"), "{answered}");
    let endpoint = endpoint(&scratch, &said).expect("keys");
    let listed = until("the model in the bucket", WITHIN, async || {
        let mut aws = endpoint.aws()?;
        aws.args(["s3", "ls", "--recursive", "s3://models/"]);
        // It fails when nothing is there.
        let listed = output(aws, WITHIN).await.unwrap_or_default();
        Ok(listed.contains("chair.png/chair.glb").then_some(listed))
    });
    listed.await.expect("a model");
    refuses_a_way_out(&scratch, &endpoint).await.expect("a refusal");
}

/// The pasted text in a shell of its own, with the pinned tools on its path.
fn paste(scratch: &Scratch, script: &str) -> Result<Command> {
    let tools = scratch.path().join("tools");
    std::fs::create_dir(&tools)?;
    for name in ["aws", "mc"] {
        std::os::unix::fs::symlink(tool(name)?, tools.join(name))?;
    }
    let program = meshwright("meshwright", Vec::<String>::new())?;
    let mut shell = Command::new("sh");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH")?);
    shell.args(["-e", "-c", script]).env("PATH", path).env("HOME", scratch.path());
    shell.env("MESHWRIGHT", program.program()).current_dir(scratch.path());
    Ok(shell)
}

fn endpoint(scratch: &Scratch, said: &str) -> Result<S3Endpoint> {
    let keys: Value = serde_json::from_slice(&std::fs::read(value(said, "Keys")?)?)?;
    let key = |name: &str| keys[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
    Ok(S3Endpoint {
        url: value(said, "S3 endpoint")?.to_owned(),
        access_key: key("access_key")?,
        secret_key: key("secret_key")?,
        folder: scratch.path().to_owned(),
    })
}

/// A key that climbs out of its bucket is refused, and no file appears outside.
async fn refuses_a_way_out(scratch: &Scratch, endpoint: &S3Endpoint) -> Result<()> {
    for key in ["a/../b.png", "../../b.png", "a/./b.png"] {
        let mut aws = endpoint.aws()?;
        aws.args(["s3api", "put-object", "--bucket", "uploads", "--key", key, "--body", "chair.png"]);
        let refused = output(aws, WITHIN).await;
        ensure!(refused.is_err(), "{key:?} was taken");
    }
    let outside = |folder: &Path| folder.join("b.png").exists();
    let data = scratch.path().join("data");
    ensure!(!outside(scratch.path()) && !outside(&data) && !outside(&data.join("buckets")), "a file outside");
    Ok(())
}

/// `demo` with these words, to its end.
async fn demo(scratch: &Scratch, name: &str, words: &[&str]) -> Result<Said> {
    let data = scratch.path().join("data").display().to_string();
    let words = ["demo", "--data", &data].into_iter().chain(words.iter().copied());
    let said = Said::of(meshwright(name, words.map(str::to_owned))?.folder(scratch.path())).await?;
    ensure!(said.code == Some(0), "the {name} start: {said:?}");
    Ok(said)
}

/// A row of the demonstration's table: each stage took its time, and what it says of files is true.
fn check_row(row: &Value, folder: &Path) -> Result<()> {
    let name = row["name"].as_str().context("a name")?;
    let files = row["files"].as_array().context("files")?;
    if name == "not-a-picture.png" {
        let told = row["outcome"].as_str().unwrap_or_default();
        ensure!(told.starts_with("rejected: this is no picture; use png"), "{row}");
        let ran = row["stages_s"].as_object().context("stages")?.len();
        ensure!(ran == 0 && files.is_empty() && row["triangles"].is_null(), "{row}");
        return Ok(());
    }
    ensure!(row["outcome"] == "done" && row["triangles"].as_u64() > Some(100), "{row}");
    for stage in ["preprocess", "shape", "texture", "export"] {
        ensure!(row["stages_s"][stage].as_f64() > Some(0.0), "{stage}: {row}");
    }
    ensure!(files.iter().any(|file| file == "model.glb") && files.iter().any(|file| file == "preview.png"));
    for file in files {
        let path = folder.join(name).join(file.as_str().context("a name")?);
        ensure!(path.metadata()?.len() > 0, "{} is empty", path.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_five_models_and_one_rejection() {
    let scratch = Scratch::new("demo").expect("a folder");
    for start in ["first", "second"] {
        let said = demo(&scratch, start, &["--json"]).await.expect("an end");
        let told = said.objects().expect("one object per line");
        let end = told.last().expect("a last line");
        assert!(end["first_model_s"].as_f64() > Some(0.0) && end["page"].is_string(), "{end}");
        let folder = Path::new(end["folder"].as_str().expect("a folder"));
        let rows: Vec<_> = told.iter().filter(|row| row["outcome"].is_string()).collect();
        rows.iter().for_each(|row| check_row(row, folder).expect("a row"));
        let done = rows.iter().filter(|row| row["outcome"] == "done").count();
        assert_eq!((rows.len(), done), (6, 5), "the {start} start: {said:?}");
    }
    // With pictures of one's own, and for a person.
    let images = scratch.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    for n in 0..2 {
        std::fs::write(images.join(format!("own {n}.png")), picture(n)).expect("a picture");
    }
    let said = demo(&scratch, "own", &["--images", &images.display().to_string()]).await.expect("an end");
    for head in ["picture", "outcome", "shape s", "all s", "triangles", "files"] {
        assert!(said.out.contains(head), "{head}: {}", said.out);
    }
    for n in 0..2 {
        let row = said.out.lines().find(|line| line.contains(&format!("own {n}.png"))).expect("a row");
        assert!(row.contains("done") && row.contains("model.glb"), "{row}");
    }
    assert!(said.out.contains("ms per task") && said.out.contains("queued"), "{}", said.out);
    for part in ["First model after ", "The files are in ", "The page is at http://"] {
        assert!(said.out.lines().any(|line| line.starts_with(part)), "{part}: {}", said.out);
    }
    assert!(!said.out.contains("rocket"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_reaches_a_running_service() {
    let scratch = Scratch::new("commands").expect("a folder");
    let mut child = up(&scratch, &[]).expect("a start");
    let page = value(&printed(&mut child).await.expect("its lines"), "Page and HTTP API")
        .expect("a page")
        .to_owned();
    let chair = scratch.path().join("chair.png");
    std::fs::write(&chair, picture(4)).expect("a picture");
    let (chair, missing) =
        (chair.display().to_string(), scratch.path().join("missing.png").display().to_string());
    let says = async |words: &[&str]| say(&page, words).await.expect("an end");

    // One bad file costs only itself, and the end says so.
    let said = says(&["submit", "--json", "--watch", &missing, &chair]).await;
    assert_eq!(said.code, Some(65), "{said:?}");
    assert!(said.err.contains("missing.png") && said.err.contains("1 of 2 files"), "{said:?}");
    let told = said.objects().expect("one object per line");
    let kinds: Vec<_> = told.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert!(kinds.ends_with(&["finished", "phases"]), "it is followed to its end: {said:?}");
    let stages = told.last().expect("phases")["stages"].as_array().expect("stages").len();
    assert_eq!(stages, 4, "{said:?}");
    let job = told[0]["id"].as_str().expect("a job").to_owned();

    tells_what_happened(&page, &job).await.expect("what happened");
    let said = says(&["sweep"]).await;
    let nothing = "0 uploads accepted, 0 tasks queued again";
    assert!(said.code == Some(0) && said.out.contains(nothing), "{said:?}");
    let said = says(&["sweep", "--json"]).await;
    assert_eq!(said.objects().expect("JSON")[0]["accepted"], 0, "{said:?}");
    let said = says(&["cancel", &job]).await;
    assert!(said.code == Some(65) && said.err.contains("the job has ended: done"), "{said:?}");
    let said = says(&["dead-letter", "list"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    let said = says(&["dead-letter", "show", &job]).await;
    assert!(said.code == Some(65) && said.err.contains("is not set aside"), "{said:?}");
    let said = says(&["dead-letter", "redrive", &job, "--json"]).await;
    assert!(said.code == Some(65) && said.err.contains("\"exit_code\":65"), "{said:?}");
    watches_all_until_ctrl_c(&scratch, &page, &chair).await.expect("a watch");
}

/// Commands that only look: what each tells a person, and the field in which a script finds it.
async fn tells_what_happened(page: &str, job: &str) -> Result<()> {
    let looks: [(&[&str], &[&str], &str); 9] = [
        (&["top"], &["worker", "embedded", "preprocess"], "devices"),
        (&["bottleneck"], &["limits you", "one more", "ms per item"], "limit"),
        (&["profile"], &["p50 ms", "shape", "of the time is in no phase"], "stages"),
        (&["profile", job], &["chair.png: done after ", "texture", "  compute"], "stages"),
        (&["gpu"], &["trend", "embedded", "shape", " px: "], "devices"),
        (&["gpu", "--image-size", "512"], &["embedded at shape: ", "for each", " now, "], "sizes"),
        (&["gpu", "--optimize-cache"], &["embedded: ", "ended, "], "devices"),
        (&["explain", job], &["shape: in a batch of 1 on ", "reserved", "it is done"], "batches"),
        (&["watch", job], &["chair.png: done", "ms per task", "compute"], "stages"),
    ];
    for (words, parts, field) in looks {
        let said = say(page, words).await?;
        ensure!(said.code == Some(0), "{words:?}: {said:?}");
        for part in parts {
            ensure!(said.out.contains(part), "{words:?} does not tell {part:?}: {}", said.out);
        }
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let said = say(page, &words).await?;
        let told = said.objects().with_context(|| format!("{words:?}"))?;
        let told = told.last().with_context(|| format!("{words:?} tells a script nothing"))?;
        let is_empty = match &told[field] {
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            other => !other.is_string(),
        };
        ensure!(said.code == Some(0) && !is_empty, "{words:?}: {field} in {told}");
    }
    Ok(())
}

/// `watch` without jobs tells what happens from now on, and ctrl-C ends it.
async fn watches_all_until_ctrl_c(scratch: &Scratch, page: &str, chair: &str) -> Result<()> {
    let spec = meshwright("watch", ["watch", "--server", page])?.folder(scratch.path());
    let mut watch = Child::spawn(spec)?;
    // Whatever comes before it listens is not told, so pictures come until one is.
    until("a line about a new job", WITHIN, async || {
        say(page, &["submit", "--watch", chair]).await?;
        Ok(watch.stdout().contains(": finished").then_some(()))
    })
    .await?;
    ensure!(watch.stdout().contains(": accepted "), "{}", watch.stdout());
    watch.signal(Signal::INT)?;
    let status = watch.wait(WITHIN).await?;
    ensure!(status.code() == Some(130), "{status}");
    Ok(())
}

/// The children of a process, each with its process group.
fn children(parent: u32) -> Vec<(u32, u32)> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let found = processes.flatten().filter_map(|process| {
        let pid: u32 = process.file_name().to_string_lossy().parse().ok()?;
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: state, parent, process group.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
        let (of, group) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse().ok()?);
        (of == parent).then_some((pid, group))
    });
    found.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_terminal_reaches_no_runner() {
    let scratch = Scratch::new("ctrl-c").expect("a folder");
    let (images, out) = (scratch.path().join("in"), scratch.path().join("out"));
    std::fs::create_dir(&images).expect("a folder");
    for n in 0..6 {
        std::fs::write(images.join(format!("{n}.png")), picture(n)).expect("a picture");
    }
    let (from, to) = (images.display().to_string(), out.display().to_string());
    let mut child = up(&scratch, &["--images", &from, "--out", &to]).expect("a start");
    let pid = child.pid();
    // One that is just being made may still have its parent's.
    let runners =
        until("runners that hear nothing of what a terminal tells their worker", WITHIN, async || {
            let found = children(pid);
            Ok((!found.is_empty() && found.iter().all(|(_, group)| *group != pid)).then_some(()))
        });
    runners.await.expect("process groups of their own");
    // As a terminal does it: to the whole group. What runs is finished.
    let mut kill = Command::new("sh");
    kill.args(["-c", &format!("kill -s INT -- -{pid}")]);
    output(kill, WITHIN).await.expect("a signal");
    assert!(child.wait(WITHIN).await.expect("an end").success());
    assert!(!child.stderr().contains("an attempt failed"), "{}", child.stderr());
}
