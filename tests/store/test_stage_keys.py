"""The modules in the key of every stage, by what it runs: an import that comes in by accident is seen here.

pixels is in each of them and left out. Tables and machinery (tasks/store/keys.py) never are.
"""

import ast

import pytest
from recording import calls_of

from flows.steps import STEPS
from tasks.basics import ROOT
from tasks.store.keys import TABLES, code_of

EXPERIMENTS = ("demo_methods", "demo_cleaning", "demo_inpainting", "dt_bfr_codeformer", "difface_real")
EXPECTED = {
    "photos": (
        "data.ingest data.masks data.metadata data.photo data.registration degradation.blur_jpeg "
        "degradation.masks degradation.preset noise stages.ingest stages.photos "
        "heads.backdrop heads.clothes heads.creases heads.eyes heads.facial_hair heads.form heads.geometry "
        "heads.glasses heads.hair heads.head heads.kernels heads.light heads.many heads.mesh heads.person "
        "heads.photo heads.pixels heads.pose heads.render heads.shading heads.shape heads.skin heads.strands "
    ),
    "degrade demo128": ("degradation.blur_jpeg degradation.preset noise stages.degrade "),
    "degrade raw_x2_severe": (
        "degradation.blur_jpeg degradation.camera degradation.demosaic degradation.preset degradation.raw "
        "noise stages.degrade "
    ),
    "restore feed_forward": (
        "methods.feed_forward methods.method restorers.padding restorers.swinir stages.restore weights.seeding "
    ),
    "pseudo_targets demo128": (
        "diffusion.fast diffusion.lowpass diffusion.samplers diffusion.schedule diffusion.unet methods.dt_bfr noise "
        "stages.pseudo_targets "
    ),
    "finetune swinir": (
        "diffusion.unet metrics.full_reference metrics.offline metrics.perceptual metrics.remembering metrics.seeded "
        "noise restorers.padding restorers.swinir stages.finetune training.discriminator training.finetuning "
        "training.loop training.losses training.swinir_gan weights.seeding "
    ),
    "restore idm": (
        "diffusion.samplers diffusion.schedule diffusion.unet methods.idm methods.method noise stages.restore "
    ),
    "train idm": (
        "degradation.blur_jpeg degradation.preset diffusion.samplers diffusion.schedule diffusion.unet "
        "methods.idm methods.method metrics.full_reference metrics.offline metrics.perceptual "
        "metrics.remembering metrics.seeded models.idm models.kind noise stages.train training.loop "
        "training.network weights.seeding "
    ),
    "evaluate": (
        "diffusion.lowpass metrics.full_reference metrics.metric metrics.niqe metrics.no_reference metrics.offline "
        "metrics.piqe metrics.sets metrics.statistics stages.evaluate stages.reference "
    ),
    "restore difface": (
        "diffusion.samplers diffusion.schedule diffusion.unet methods.difface methods.method noise "
        "restorers.padding restorers.swinir stages.restore weights.seeding "
    ),
    "restore gen2res": (
        "diffusion.samplers diffusion.schedule diffusion.training_loss diffusion.unet methods.gen2res "
        "methods.method noise stages.restore training.loop training.network training.prior "
    ),
    "restore noise_denoise": (
        "diffusion.samplers diffusion.schedule diffusion.training_loss diffusion.unet methods.gen2res "
        "methods.method noise stages.restore training.loop training.network training.prior "
    ),
    "restore difbfsr": (
        "diffusion.samplers diffusion.schedule diffusion.unet methods.difbfsr methods.method noise "
        "stages.restore weights.seeding "
    ),
    "reference": (
        "diffusion.unet metrics.denoiser metrics.frechet metrics.full_reference metrics.inception metrics.metric "
        "metrics.offline metrics.seeded metrics.sets stages.reference "
    ),
    "train prior": (
        "degradation.preset diffusion.schedule diffusion.training_loss diffusion.unet metrics.full_reference "
        "metrics.offline metrics.perceptual metrics.remembering metrics.seeded models.kind models.prior noise "
        "stages.train training.loop training.network training.prior weights.seeding "
    ),
    "generate demo128": ("diffusion.free diffusion.samplers diffusion.schedule diffusion.unet noise stages.generate "),
    "restore free_samples": (
        "diffusion.free diffusion.samplers diffusion.schedule diffusion.unet methods.free_samples methods.method "
        "noise stages.restore "
    ),
    "degrade mask_box": ("degradation.masks degradation.preset noise stages.degrade "),
    "restore difface_inpaint": (
        "diffusion.samplers diffusion.schedule diffusion.unet methods.difface methods.difface_inpaint "
        "methods.method noise restorers.lama restorers.padding stages.restore weights.seeding "
    ),
    "finetune codeformer": (
        "metrics.full_reference metrics.offline metrics.perceptual metrics.remembering metrics.seeded noise "
        "restorers.faces stages.finetune training.codeformer training.finetuning training.loop "
        "training.network "
    ),
    "ingest": (
        "data.ingest data.masks data.metadata data.photo data.registration degradation.masks degradation.preset "
        "stages.ingest "
    ),
}


def name_of(stage, params) -> str:
    """A stage and the method, degradation, kind of training or network that its settings pick."""
    settings = params.model_dump()
    picked = (settings.get("method") or settings.get("training") or {}).get("kind")
    return " ".join(filter(None, [stage.name, picked or settings.get("preset") or settings.get("arch")]))


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for experiment in EXPERIMENTS:
        for step in STEPS:
            for stage, params in calls_of(experiment, step, tmp_path_factory.mktemp("work")):
                names = code_of(stage.make.__module__, params)
                found.setdefault(name_of(stage, params), {name.removeprefix("tasks.") for name in names})
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_a_stage_is_keyed_on_the_code_that_it_runs_and_on_no_other(modules, name):
    assert modules[name] - {"pixels"} == set(EXPECTED[name].split())


def test_every_kind_of_work_is_listed(modules):
    masks_and_raw = {name for name in modules if name.startswith(("degrade mask_", "degrade raw_"))}
    assert set(modules) - masks_and_raw - {"measure", "report", "pseudo_targets ffhq512"} <= set(EXPECTED)


def test_the_report_is_keyed_on_its_pages_and_nothing_else_on_the_report(modules):
    assert {name for name, found in modules.items() if any(part.startswith("report.") for part in found)} == {"report"}
    assert {"report.page", "report.templates", "report.findings"} <= modules["report"]


def test_no_code_takes_an_entry_of_a_table_by_a_name_of_its_own():
    """Tables are no part of a key, so an entry that the settings do not pick would be none either."""
    taken = []
    for path in (ROOT / "tasks").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in TABLES]
        names = {alias.asname or alias.name for node in imports for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names:
                taken += [f"{path}: {ast.unparse(node)}"] if isinstance(node.slice, ast.Constant) else []
    assert not taken
