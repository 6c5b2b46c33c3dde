# Everything that one does with Meshwright from a checkout. `infra/just` runs this file on a machine that has no `just`.

set positional-arguments

# Checkpoints and curves of the shape network's training.
training := env("MESHWRIGHT_CACHE", home_directory() / ".cache/meshwright") / "training/run"

# Where cargo builds.
target := absolute_path(env("CARGO_TARGET_DIR", justfile_directory() / "target"))

# The network that cuts out before any background. Without it outlines before busy backgrounds are guessed from colours.
matting := '"${MESHWRIGHT_MATTING_MODEL-$(python3 infra/tools.py path u2netp || echo "no matting network: outlines before busy backgrounds are guessed" >&2)}"'

# The dashboard, built once for each state of its sources. Without Node the program shows the plain page.
dashboard := 'MESHWRIGHT_UI="${MESHWRIGHT_UI-$(python3 infra/tools.py path ui || echo "no dashboard: the program shows the plain page" >&2)}"'

# Lists the recipes.
[private]
default:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

# Turns sample pictures into models, in one process, and shows where they are.
demo *ARGS:
    @MESHWRIGHT_MATTING_MODEL={{ matting }} {{ dashboard }} cargo run --release --locked -- demo "$@"

# Runs the whole system in one process: buckets, stages, dashboard.
up *ARGS:
    @MESHWRIGHT_MATTING_MODEL={{ matting }} {{ dashboard }} cargo run --release --locked -- up "$@"

# Everything that a push must pass: format, lints, and tests of all kinds against real servers.
test: tools lint
    # Tests and binaries in one build: apart, their features would differ and much would be built twice.
    {{ dashboard }} cargo build --release --workspace --lib --bins --tests --locked
    # The same targets again, so that this builds nothing: no examples, and there are no tests in documentation.
    {{ dashboard }} MESHWRIGHT_BIN="{{ target }}/release/meshwright" \
        cargo test --release --workspace --lib --bins --tests --locked --no-fail-fast
    "$(python3 infra/tools.py path mesh-python)" tests/e2e/models/readers.py "{{ target }}/tmp/golden"

# Format and lints alone.
lint: && clippy
    cargo fmt --all --check

[private]
clippy:
    {{ dashboard }} cargo clippy --release --workspace --all-targets --locked -- -D warnings

# Writes the code in the house's format.
format:
    cargo fmt --all

# Visits the models of the protocol, tries their mutants, and runs simulated clusters; `sim large` visits larger worlds,
# `sim race` some of them, `sim cluster JOBS TASKS` prints the planner's figures.
sim *ARGS:
    @if [ $# -eq 0 ]; then cargo test --release --locked -p sim -- --nocapture; \
    else cargo run --release --locked -p sim -- "$@"; fi

# Measures figures and writes them to figures/*.json in the target folder.
bench *ARGS:
    # What is measured is built with what measures it, as tests build it.
    {{ dashboard }} cargo build --release --workspace --bin meshwright --bin bench --locked
    "{{ target }}/release/bench" "$@"

# Builds and tests the dashboard and says where it is; what builds the program does this by itself.
ui:
    @python3 infra/tools.py path ui

# Judges the shapes of all engines on objects that are known all around; figures, and a page with pictures side by side.
quality *ARGS:
    cargo run --release --locked -p quality -- "$@"

# Opens one asymmetric model in every format with other people's programs; `--blender` with Blender too (800 MB, Python 3.11).
readers *WHAT:
    cargo test --release --locked -p export --test golden
    "$(python3 infra/tools.py path mesh-python)" tests/e2e/models/readers.py "{{ target }}/tmp/golden"
    {{ if WHAT == "--blender" { '"$(python3 infra/tools.py path blender)" tests/e2e/models/readers.py "' + target + '/tmp/golden"' } else { "" } }}

# Trains the shape network on procedural scenes, from nothing or from where it was stopped (`train --minutes 60`).
train *ARGS: generator
    @OMP_NUM_THREADS=1 "$(python3 infra/tools.py path training-python)" functions/shape/training/test_losses.py
    @OMP_NUM_THREADS=1 nice "$(python3 infra/tools.py path training-python)" functions/shape/training/train.py \
        --generator "{{ target }}/release/generator" --folder "{{ training }}" "$@"

# Judges the trained weights on families of scenes held out, with and without what they rest on.
ablate *ARGS: generator
    @OMP_NUM_THREADS=1 nice "$(python3 infra/tools.py path training-python)" functions/shape/training/ablate.py \
        --generator "{{ target }}/release/generator" --checkpoint "{{ training }}/checkpoint.pt" "$@"

# Writes the trained weights to where the shape stage takes them from.
weights: generator
    @OMP_NUM_THREADS=1 nice "$(python3 infra/tools.py path training-python)" functions/shape/training/export.py \
        --generator "{{ target }}/release/generator" --checkpoint "{{ training }}/checkpoint.pt" \
        --out functions/shape/weights/layered.onnx --engine functions/shape/src/layered.rs

# Only the generator itself needs this processor's wide instructions.
[private]
generator:
    cargo rustc --release --locked --quiet -p generator --bin generator -- -C target-cpu=native

# Shows what the scenes are: writes a contact sheet into the target folder.
scenes: generator
    "{{ target }}/release/generator" --side 96 --sheet "{{ target }}/scenes.png"
    @echo "{{ target }}/scenes.png"

# Gives so many broken pictures to the stage that decodes them; `MESHWRIGHT_SEED` chooses others.
mutants COUNT="200000":
    MESHWRIGHT_MUTANTS="{{ COUNT }}" cargo test --release --locked -p preprocess --test mutants -- --nocapture

# Prints all figures that were measured here as one table.
figures:
    @python3 infra/figures.py "{{ target }}/figures"

# Checks licences, bans and sources of all dependencies; `deny advisories` asks for known holes (needs the advisory database).
deny *WHAT="licenses bans sources":
    "$(python3 infra/tools.py path cargo-deny)" --locked --workspace --config infra/deny.toml check {{ WHAT }}

# Installs the tools that tests need; silent when they are there.
tools:
    @python3 infra/tools.py install

# Removes the installed tools.
clean-tools:
    @python3 infra/tools.py clean
