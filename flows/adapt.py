"""Adapt the restorer to your own LQ photos, without ground truth, and restore them with the result."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from flows import cost
from flows.plan import Plan
from flows.preflight import photo_folders, registered
from flows.restore import check_needs
from flows.rounds import Adaptation, adapt_in_rounds
from flows.rows import Check, Row, reported, rows_of, run_prior, run_restorer
from flows.steps import describe, real_label, reference_metrics, score
from flows.whole_photos import AS_USUAL, Options, Outcome, Part, Whole, outcome, root_for
from flows.workspace import (
    TRAINED,
    Drafts,
    Run,
    Workspace,
    absolute,
    counted,
    results_folder,
    run_here,
    say_replaced,
    say_set_aside,
)
from tasks.basics import ROOT, BadInput, suggestion
from tasks.data.chosen import ChosenPhotos
from tasks.data.ingest import PhotoFolder, discover
from tasks.metrics.registry import DEFAULT, REAL, column, find
from tasks.params.experiment import Experiment, MethodName, given
from tasks.params.fast import fast
from tasks.params.load import load_experiment
from tasks.report.inputs import ReportInputs
from tasks.stages.finetune import finetune
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.paste_faces import names_of
from tasks.stages.photos import PhotosParams, photos
from tasks.stages.report import ReportParams, report
from tasks.store.artifact import ImageFolder
from tasks.store.ownership import manifest_of
from tasks.weights.file import WeightFile

LOG = logging.getLogger(__name__)

PLACES: dict[MethodName, str] = {
    "lq": "lq",
    "pretrained": "restored",
    "pseudo_target": "pseudo_targets",
    "adapted": "adapted",
}
"""Where the images of each row are, below `details`."""
PART = "photos"  # the one part of the tables


METHODS = {"swinir": "dt_bfr_swinir", "codeformer": "dt_bfr_codeformer", "demo": "demo_l1"}
"""What can be adapted, and the experiment that has its models and settings."""
DEFAULT_METHOD = "swinir"

METRICS = (
    *("psnr_input", "lpips_input", "lpips_seeded_input", "id_input"),
    *("niqe", "brisque", "piqe", "sharpness", f"fid@{REAL}", f"fid_seeded@{REAL}"),
)
"""What can be said of restored photos without ground truth."""


class Changes(NamedTuple):
    """What a user wants otherwise than the experiment has it.

    iterations: steps of the fine-tuning; is_fast: pseudo-targets by fewer evaluations, see `tasks.params.fast`.
    """

    iterations: int | None = None
    is_fast: bool = False

    def made_to(self, settings: Experiment) -> Experiment:
        """The experiment, which adapts something, with the changes."""
        if self.iterations:
            recipe = given(settings.finetune, "finetune").model_copy(update={"iterations": self.iterations})
            settings = settings.model_copy(update={"finetune": recipe})
        return fast(settings, "pseudo_target") if self.is_fast else settings


AS_IT_IS = Changes()


def adapt(ready: "Ready", folder: str) -> Workspace:
    """Aligned face crops, looked through by `ready_crops`, in; adapted checkpoint, restored crops and report out.

    The photos lie in <out>/photos, by their own names and in their sub-folders, as PNG; the checkpoint is
    <out>/model/model.safetensors, the page <out>/report/report.html; the rest is in <out>/details, by image id:
    lq (quarantine.csv lists what was set aside), restored, pseudo_targets, rounds (if there are several), adapted, hq,
    real, references, scores. All of it appears at the end.
    """
    work, adapted = ready.work, ready.adapted()
    work.publish_photos(adapted, absolute(folder, "folder"))
    work.publish_with(ready.details)
    LOG.info("Restored %s.", counted(len(adapted.ids), "photo"))
    return work


def ready_crops(
    folder: str,
    hq: str | None = None,
    experiment: str = "demo",
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
    changes: Changes = AS_IT_IS,
    real: str | None = None,
) -> "Ready":
    """What an adaptation to aligned face crops does first: everything is looked through, and its plan is said.

    All paths are absolute. folder: your LQ photos, aligned face crops; nothing is written there. out: where the results
    go, by default <folder>_adapted; a folder that holds anything but earlier results of bfr is refused. hq: ground
    truth by the same names, if you have it: it is used to score the results and for nothing else; experiment: the entry
    whose models and settings to use; fit: "crop" takes the centre of photos that are not square, "aligned" sets them
    aside; changes: of the experiment; real: clean photos of your own, aligned alike, in place of the experiment's real
    photos.
    """
    settings = adaptable(experiment, changes, has_real=real is not None)
    root, paths = results_folder(out, "adapted", {"folder": folder, "hq": hq, "real": real}, finetune.name)
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    folders = {name: PhotoFolder(path) for name, path in paths.items() if name != "real"}
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    if real:
        details.make("real", ingest, intake, folder=PhotoFolder(paths["real"]))
        say_set_aside(details["real"])
    lq = details.make("lq", ingest, intake, **folders)
    say_set_aside(lq)
    plan = plan_of(settings, root, details.results, len(lq.ids))
    hq_photos = partial(details.make, "hq", ingest, intake.model_copy(update={"side": "hq"}), **folders) if hq else None
    label = named_real(settings, [paths["real"]] if real else [])
    return Ready(settings, work, details, plan, f"Adapted to {paths['folder'].name}", label, hq_photos)


def adapt_photos(
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    options: Options,
    *,
    changes: Changes = AS_IT_IS,
    real: Sequence[Path] = (),
    run_stage: Run = run_here,
) -> Outcome:
    """The same for whole photos: their faces are found and aligned, and pasted back as the adapted restorer has them.

    given, options, <out>/photos and <out>/faces: as in `flows.whole_photos.restore_photos`; real: whole photos, too;
    all else as in `ready_crops`.
    """
    ready, whole, part = ready_photos(given, out, experiment, options, changes=changes, real=real, run_stage=run_stage)
    part.restored = ready.adapted()
    work = ready.work
    work.results |= {"photos": whole.pasted(part), "faces": whole.told([part])}
    work.publish_with(ready.details)
    return outcome(work.root, [part])


def ready_photos(
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    options: Options,
    *,
    changes: Changes = AS_IT_IS,
    real: Sequence[Path] = (),
    run_stage: Run = run_here,
) -> tuple["Ready", Whole, Part]:
    """What `adapt_photos` does first: the faces are found, and its plan is said."""
    chosen, clean = ChosenPhotos(given), ChosenPhotos(real) if real else None
    settings = adaptable(experiment, changes, options, has_real=bool(real))
    root = root_for(chosen, out, "adapted", finetune.name)
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    whole = Whole(
        chosen, names_of(chosen, options.max_megapixels), rows(settings)[-1].label, options, settings.dataset.size
    )
    part = whole.with_faces()
    details.results["lq"] = part.faces
    if clean:
        root_for(clean, str(root), "adapted", finetune.name)  # they lie apart, too
        details.results["real"] = Whole(clean, {}, "", for_real(options, whole.size), whole.size).with_faces().faces
    plan = plan_of(settings, root, details.results, len(part.photo_faces), "faces")
    label = named_real(settings, clean.given if clean else [])
    return Ready(settings, work, details, plan, f"Adapted to {chosen.given[0].name}", label), whole, part


@dataclass(frozen=True)
class Ready:
    """An adaptation whose photos, details["lq"], are there. truth: makes the ground truth, if there is any."""

    settings: Experiment
    work: Drafts
    details: Workspace
    plan: Plan
    title: str
    real_label: str
    truth: Callable[[], ImageFolder] | None = None

    def adapted(self) -> ImageFolder:
        """The photos by the adapted restorer; the report is written."""
        truth, earlier = self.truth() if self.truth else None, manifest_of(self.work.place("report"))
        adapted = adapt_restorer(self.settings, self.work, self.details)
        write_report(self.settings, self.work, self.details, truth, self.title, self.real_label)
        say_replaced(earlier, self.work["report"].manifest, self.work.root)
        return adapted


def named(method: str | None, experiment: str | None) -> str:
    """The experiment of what a user asks for. Raises BadInput for an unknown method, and for both."""
    if experiment and method:
        raise BadInput("--method and --experiment both say what to adapt: give one of them.")
    if experiment:
        return experiment
    name = method or DEFAULT_METHOD
    if name not in METHODS:
        near = suggestion(name, METHODS)
        raise BadInput(f"There is no restorer {name!r} to adapt.{near} Valid: {', '.join(METHODS)}; or --experiment.")
    return METHODS[name]


def adaptable(experiment: str, changes: Changes, options: Options = AS_USUAL, *, has_real: bool = False) -> Experiment:
    """Its settings. Raises BadInput where it adapts nothing, and where weights or photos that it needs are missing."""
    settings = load_experiment(experiment)
    if settings.finetune is None:
        raise BadInput(f"The experiment {experiment!r} has no section `finetune`. Choose another one.")
    settings = changes.made_to(settings)
    settings = settings.model_copy(update={"metrics": without_named_sets(settings.metrics)})
    needs = needs_of(settings, options)
    check_needs(settings, needs if has_real else [*needs, partial(check_real, settings)])
    return settings


def needs_of(settings: Experiment, options: Options) -> list[Check]:
    """That the weights are there."""
    return [*(need for row in rows(settings) for need in row.checks()), *options.checks]


def check_real(settings: Experiment) -> None:
    """Raises BadInput where the experiment's real photos are not there and the recipe learns from them."""
    try:
        for folder in photo_folders(settings.dataset)["real"].values():
            discover(folder.path)
    except BadInput as error:
        if needs_real(settings):
            raise BadInput(
                f"{error}\nThe adaptation learns from clean, aligned faces what real ones look like (published: FFHQ, "
                "70,000 of them). Put them there, or name clean photos of your own: --real FOLDER."
            ) from error


def needs_real(settings: Experiment) -> bool:
    """Whether the fine-tuning looks at real photos: its discriminator does, if there is one."""
    return "real" in given(settings.finetune, "finetune").losses


def files_of(experiment: str, options: Options, *, has_real: bool) -> list[WeightFile]:
    """The registered weight files that it needs. Raises BadInput where photos are missing, which nobody can fetch."""
    settings = load_experiment(experiment)
    if not has_real:
        check_real(settings)
    return [*registered(needs_of(settings, options))]


def rows(settings: Experiment) -> list[Row]:
    """Of the report; the last one is the adapted restorer's."""
    return [*rows_of(settings.model_copy(update={"methods": tuple(PLACES), "compare": {}})).values()]


def adapt_restorer(settings: Experiment, work: Workspace, details: Workspace) -> ImageFolder:
    """What the adapted restorer makes of details["lq"]; its checkpoint is work["model"]."""
    lq = details["lq"]
    targets = run_prior(settings, details, run_restorer(settings, details, lq, "restored"), PART, "pseudo_targets")
    first = Adaptation(
        part=PART,
        at="model",
        rounds="details/rounds",
        lq=lq,
        targets=targets,
        real=real_photos(settings, details) or targets,  # CodeFormer's recipe looks at no real photo
        weights=ROOT / given(settings.restorer, "restorer").weights,
    )
    adapt_in_rounds(settings, work, [first])
    return run_restorer(settings, details, lq, "adapted", work["model"].path(TRAINED))


def real_photos(settings: Experiment, details: Workspace) -> ImageFolder | None:
    """The user's, details["real"]; else the experiment's; None where they are not there, and not needed either."""
    if "real" not in details.results:
        folders = photo_folders(settings.dataset)["real"]
        if any(not folder.path.exists() for folder in folders.values()):  # see `check_real`
            return None
        params = PhotosParams(seed=settings.seed, dataset=settings.dataset.only("real"), split="real")
        details.make("real", photos, params, **folders)
    return details["real"]


def named_real(settings: Experiment, given: Sequence[Path]) -> str:
    """What the real photos are: whose, and that they are rendered if they are."""
    return f"real photos in {given[0].name}{', …' if given[1:] else ''}" if given else real_label(settings)


def for_real(options: Options, size: int) -> Options:
    """How real photos are searched for crops of `size` pixels: a face that is enlarged over twice is no clean one."""
    least = max(options.min_face, size / 4)
    return options.model_copy(update={"min_face": least, "max_faces": None, "only_center": False})


def plan_of(settings: Experiment, root: Path, known: Mapping[str, ImageFolder], count: int, *more: str) -> Plan:
    """Says what will be done to how much, and how long that takes here. known: "lq", and "real" if it is the user's.

    more: folders of results, beside the usual ones.
    """

    def make(run: Run) -> None:
        details = Drafts(root / "details", run)
        details.results |= known
        adapt_restorer(settings, Drafts(root, run), details)

    faces, label = len(known["lq"].ids), rows(settings)[-1].label
    found = f"{counted(faces, 'face')} in {counted(count, 'photo')}"
    LOG.info("%s. %s on their pseudo-targets, without ground truth:", found, label)
    lines = [] if cost.is_made(make) else [*cost.adaptation(settings, faces)]
    LOG.info("%s", cost.table(lines))
    recipe, writes = given(settings.finetune, "finetune"), ("photos", *more, "model", "report", "details")
    counts = {"photos": count, "faces": faces, "iterations": recipe.rounds * recipe.iterations}
    plan = Plan(root, counts, known["lq"].quarantine, lines, writes)
    plan.say_what_goes()
    return plan


def without_named_sets(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that compare with no reference set of the experiment's own: that is of other photos than these."""
    return tuple(metric for metric in metrics if column(metric)[1] in (DEFAULT, REAL))


def write_report(
    settings: Experiment, work: Workspace, details: Workspace, truth: ImageFolder | None, title: str, real_label: str
) -> None:
    """Score the images of every row, and publish the report. truth: the ground truth, if there is any."""
    metrics = tuple(dict.fromkeys((*(settings.metrics if truth else ()), *METRICS)))
    sets_there = {REAL: (real_label, details.results.get("real")), DEFAULT: ("ground truth", truth)}
    if not sets_there[REAL][1]:
        LOG.warning("FID to real photos is left out, there are none: name some with --real FOLDER.")
    metrics = tuple(name for name in metrics if not find(name).is_of_sets or sets_there[column(name)[1]][1])
    sets = {
        name: describe(some, details, f"references/{name}", label, given(images, name))
        for name, some in reference_metrics(metrics).items()
        for label, images in [sets_there[name]]
    }
    inputs = ReportInputs(photos={"test": "hq"} if truth else {})
    for method, at in PLACES.items():
        is_input = method == "lq"  # which is infinitely near to itself
        some = [metric for metric in metrics if not (is_input and find(metric).needs_input)]
        score(some, details, f"scores/{method}", details[at], truth, sets, lq=None if is_input else details["lq"])
        inputs.images[PART, method] = at
        inputs.scores[PART, method] = f"scores/{method}"
    places = inputs.named()
    params = ReportParams(
        name=work.root.name,
        title=title,
        settings=settings.model_dump(mode="json", include={"seed", "prior", "restorer", "pseudo_targets", "finetune"}),
        degradations=(PART,),
        methods=reported(rows(settings)),
        metrics=metrics,
        published=(),
        places={name: f"details/{place}" for name, place in places.items()},
    )
    work.make("report", report, params, **{name: details[place] for name, place in places.items()})
