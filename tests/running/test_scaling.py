"""Several workers: a Dask cluster shares the shards of one result, a distributed training is stored once."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import nodes
from tasks.basics import ROOT, WEIGHTS, BadInput
from tasks.methods.dt_bfr import PseudoTargets
from tasks.running.stage import default_store
from tasks.stages.finetune import FineTuneParams
from tasks.stages.pseudo_targets import PseudoTargetParams, pseudo_targets
from tasks.store.artifact import ImageFolder
from tests.running import small

PARAMS = PseudoTargetParams(
    seed=1, arch="demo128", settings=PseudoTargets(respacing="10", start_t=200, stop_t=100, factor=4)
)
PRIOR = WEIGHTS / "demo" / "prior.safetensors"


@pytest.fixture
def photos(tmp_path) -> ImageFolder:
    """Two shards of pseudo-targets."""
    return small.blocks(tmp_path / "photos", 33)


FINE_TUNE = FineTuneParams(
    seed=1,
    arch="swinir",
    settings=small.FINE_TUNE.model_copy(update={"batch": 4, "discriminator_width": 16}),
)
SWINIR = WEIGHTS / "demo" / "swinir.safetensors"
DASK_JOB = """
import os
from pathlib import Path
from distributed import Client, LocalCluster

def spread():
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness
    from tasks import nodes
    from tasks.stages.finetune import FineTuneParams, finetune
    from tasks.stages.pseudo_targets import PseudoTargetParams, pseudo_targets
    from tasks.store.artifact import ImageFolder

    params = PseudoTargetParams.model_validate_json({params!r})
    training = FineTuneParams.model_validate_json({training!r})

    @flow(task_runner=nodes.task_runner())
    def run():
        photos = ImageFolder(Path({photos!r}))
        targets = nodes.run(pseudo_targets, params, restored=photos, weights=Path({prior!r}))
        nodes.run(finetune, training, lq=photos, targets=targets, real=photos, weights=Path({restorer!r}))
        return targets.digest

    with prefect_test_harness(server_startup_timeout=250):
        print("digest", run())

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        os.environ["BFR_DASK"] = cluster.scheduler_address
        spread()
        with Client(cluster) as client:
            done = client.run(lambda dask_worker: dask_worker.state.executed_count)
        print("done by workers", sum(done.values()))
"""


def output_of(job: Path, text: str, *words: str) -> str:
    """What a Python program prints, in a process of its own. Fails where it fails."""
    job.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words, str(job)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_dask_cluster_gives_the_bytes_of_one_worker_and_trains_too(photos, tmp_path):
    alone = pseudo_targets(PARAMS, restored=photos, weights=PRIOR).digest
    for folder in default_store().root.glob("pseudo_targets*"):
        folder.rename(folder.with_name(f"old_{folder.name}"))
    models = {"prior": str(PRIOR), "restorer": str(SWINIR)}
    settings = {"params": PARAMS.model_dump_json(), "training": FINE_TUNE.model_dump_json()}
    said = output_of(tmp_path / "job.py", DASK_JOB.format(photos=str(photos.root), **models, **settings))
    assert f"digest {alone}" in said
    assert "done by workers 3" in said, "the shared result by both, the training by one, nothing here"
    assert len(list(default_store().root.glob("pseudo_targets.shard/*"))) == 2
    assert len(list(default_store().root.glob("finetune/*"))) == 1


def test_dask_without_its_package_says_what_to_install(monkeypatch):
    assert nodes.task_runner() is None
    monkeypatch.setenv("BFR_DASK", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(BadInput, match=r"pip install 'bfr\[dask\]'"):
        nodes.task_runner()


@pytest.mark.slow
def test_a_training_on_two_processes_is_stored_once(photos, tmp_path):
    """As accelerate launch does it: the first process builds, the others train along and find the result."""
    code = f"""
from pathlib import Path
from tasks.stages.finetune import FineTuneParams, finetune
from tasks.store.artifact import ImageFolder
photos = ImageFolder(Path({str(photos.root)!r}))
params = FineTuneParams.model_validate_json({FINE_TUNE.model_dump_json()!r})
made = finetune(params, lq=photos, targets=photos, real=photos, weights=Path({str(SWINIR)!r}))
print("made", made.root)
"""
    said = output_of(tmp_path / "job.py", code, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    assert said.count("made") == 2
    assert len(list(default_store().root.glob("finetune/*"))) == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so eagerly")
def test_memory_is_kept_while_a_stage_computes_and_given_back_at_its_end(tmp_path):
    """In a process of its own, whose memory nothing else has shaped."""
    code = """
import psutil, torch
from tasks.running.device import kept_memory
process = psutil.Process()
with kept_memory():
    torch.ones(100_000_000)
    inside = process.memory_info().rss
print(inside - process.memory_info().rss)
"""
    assert int(output_of(tmp_path / "job.py", code)) > 300_000_000
