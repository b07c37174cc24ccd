"""Fine-tune the prior on an album of one subject, and restore photos of that subject with it (gen2res)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows import cost
from flows.plan import Plan
from flows.preflight import registered
from flows.restore import check_needs
from flows.rows import prior_checks, run_comparison
from flows.whole_photos import AS_USUAL, Options, Outcome, Part, Whole, outcome, root_for
from flows.workspace import TRAINED, Drafts, Run, Workspace, absolute, counted, results_folder, run_here, say_set_aside
from tasks.basics import ROOT, BadInput, Strict, suggestion
from tasks.data.chosen import ChosenPhotos
from tasks.data.ingest import PhotoFolder, discover
from tasks.durations import whole_duration
from tasks.methods.gen2res import NoiseDenoise
from tasks.params.experiment import Comparison, Experiment, given
from tasks.params.load import load_experiment
from tasks.report.content import Method
from tasks.report.inputs import ReportInputs
from tasks.stages.external import ExternalParams, external
from tasks.stages.identify import METRIC, IdentifyParams, identify
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.paste_faces import names_of
from tasks.stages.personalize import PersonalizeParams
from tasks.stages.personalize import personalize as personalize_stage
from tasks.stages.report import ReportParams, report
from tasks.store.artifact import ImageFolder
from tasks.store.files import read_json
from tasks.weights.file import WeightFile

LOG = logging.getLogger(__name__)
PART = "photos"  # the one part of the tables
LABEL = "The personal prior"
PRIORS = {"gen2res": "gen2res", "demo": "demo"}  # what can be made personal, and the experiment that has it


class Tuning(Strict):
    """How long the prior learns, and how the photos are restored. The defaults take minutes on a GPU; published:
    5000 iterations and all 1000 steps.

    iterations, batch, lr: of the fine-tuning; start_t: K, the noise level of 1000 to restore from: more is more
    realistic and less faithful; respacing: how many of the 1000 steps to keep.
    """

    iterations: int = 300
    batch: int = 4
    lr: float = 1e-5
    start_t: int = 200
    respacing: int = 250

    @property
    def method(self) -> NoiseDenoise:
        return NoiseDenoise(kind="noise_denoise", respacing=str(self.respacing), start_t=self.start_t)

    @property
    def training_images(self) -> int:
        return self.iterations * self.batch

    @property
    def published(self) -> "Tuning":
        return self.model_copy(update={"iterations": 5000, "respacing": 1000})


def personalize(personal: "Personal", folder: str) -> Workspace:
    """Aligned face crops, looked through by `ready_crops`, in; personal prior, restored crops and report out.

    The photos lie in <out>/photos, by their own names and in their sub-folders, as PNG; the personal prior is
    <out>/model/model.safetensors; <out>/report/report.html says how much the photos look like the person of the album
    before, by the prior as it was, and after; the rest is in <out>/details, by image id: album, lq (each with a
    quarantine.csv), prior, restored, beside, scores. All of it appears at the end.
    """
    work, restored = personal.work, personal.restored()
    if personal.others:
        as_external, lq = ExternalParams(size=personal.settings.dataset.size), personal.details["lq"]
        personal.details.make("beside", external, as_external, folder=personal.others, lq=lq)
    personal.write_report(f"{absolute(folder, 'folder').name}, restored for one person")
    work.publish_photos(restored, absolute(folder, "folder"))
    work.publish_with(personal.details)
    LOG.info("Restored %s.", counted(len(restored.ids), "photo"))
    return work


def ready_crops(
    album: str,
    folder: str,
    experiment: str = "demo",
    tuning: Tuning | None = None,
    beside: str | None = None,
    out: str | None = None,
    fit: Literal["aligned", "crop"] = "crop",
    run_stage: Run = run_here,
) -> "tuple[Personal, Plan]":
    """What a personalisation of aligned face crops does first: everything is looked through, and its plan is said.

    All paths are absolute. out: where the results go, by default <folder>_personal; a folder that holds anything but
    earlier results of bfr is refused.
    album: about 20 clean photos of the subject; folder: degraded photos of the same one, aligned alike;
    experiment: whose prior. beside: what another method made of the same photos (say CodeFormer, by `bfr restore`), by
    the same names: it enters the report.
    """
    settings = with_prior(experiment)
    folders = {"folder": folder, "album": album, "beside": beside}
    root, paths = results_folder(out, "personal", folders, personalize_stage.name)
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    intake = IngestParams(size=settings.dataset.size, fit=fit)
    photos, lq = (
        details.make(at, ingest, intake, folder=PhotoFolder(paths[name]))
        for at, name in (("album", "album"), ("lq", "folder"))
    )
    say_set_aside(photos, lq)
    others = PhotoFolder(paths["beside"]) if beside else None
    if others:
        discover(others.path)  # now: the fine-tuning takes hours
    personal = Personal(settings, tuning or Tuning(), work, details, others)
    return personal, personal.plan(len(lq.ids))


def personalize_photos(
    album: Sequence[Path],
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    tuning: Tuning,
    options: Options,
    run_stage: Run = run_here,
) -> Outcome:
    """The same for whole photos, and an album of whole photos, of which the largest face of each is the subject's.

    given, options, <out>/photos and <out>/faces: as in `flows.whole_photos.restore_photos`.
    """
    personal, whole, part, _ = ready_photos(album, given, out, experiment, tuning, options, run_stage)
    part.restored = personal.restored()
    personal.write_report(f"{whole.photos.given[0].name}, restored for one person")
    work = personal.work
    work.results |= {"photos": whole.pasted(part), "faces": whole.told([part])}
    work.publish_with(personal.details)
    return outcome(work.root, [part])


def ready_photos(
    album: Sequence[Path],
    given: Sequence[Path],
    out: str | None,
    experiment: str,
    tuning: Tuning,
    options: Options,
    run_stage: Run = run_here,
) -> "tuple[Personal, Whole, Part, Plan]":
    """What `personalize_photos` does first: the faces are found, and its plan is said."""
    chosen, known = ChosenPhotos(given), ChosenPhotos(album)
    settings = with_prior(experiment, options)
    size = settings.dataset.size
    root = root_for(chosen, out, "personal", personalize_stage.name)
    root_for(known, str(root), "personal", personalize_stage.name)  # they lie apart, too
    whole = Whole(chosen, names_of(chosen, options.max_megapixels), LABEL, options, size)
    largest = options.model_copy(update={"max_faces": 1, "only_center": False})
    of_album, part = Whole(known, {}, "", largest, size).with_faces(), whole.with_faces()
    work, details = Drafts(root, run_stage), Drafts(root / "details", run_stage)
    details.results |= {"album": of_album.faces, "lq": part.faces}
    personal = Personal(settings, tuning, work, details)
    return personal, whole, part, personal.plan(len(part.photo_faces), "faces")


def named(method: str | None, experiment: str | None) -> str:
    """The experiment of what a user asks for. Raises BadInput for an unknown prior."""
    name = method or "gen2res"
    if not experiment and name not in PRIORS:
        raise BadInput(f"There is no prior {name!r}.{suggestion(name, PRIORS)} Valid: {', '.join(PRIORS)}.")
    return experiment or PRIORS[name]


def with_prior(experiment: str, options: Options = AS_USUAL) -> Experiment:
    """Its settings. Raises BadInput where it has no prior, or not its weights."""
    settings = load_experiment(experiment)
    check_needs(settings, [*prior_checks(settings), *options.checks])
    return settings


def files_of(experiment: str, options: Options) -> list[WeightFile]:
    """The registered weight files that it needs."""
    return [*registered([*prior_checks(load_experiment(experiment)), *options.checks])]


@dataclass(frozen=True)
class Personal:
    """The prior of the subject of details["album"], which restores details["lq"]. others: what another method made."""

    settings: Experiment
    tuning: Tuning
    work: Drafts
    details: Drafts
    others: PhotoFolder | None = None

    @property
    def training(self) -> PersonalizeParams:
        arch = given(self.settings.prior, "prior").arch
        steps = self.tuning.model_dump(include={"iterations", "batch", "lr"})
        return PersonalizeParams(seed=self.settings.seed, arch=arch, **steps)

    def restored(self) -> ImageFolder:
        """The photos by the personal prior, and by the prior as it was, for comparison."""
        album, lq, method = self.details["album"], self.details["lq"], self.tuning.method
        weights = ROOT / given(self.settings.prior, "prior").weights
        model = self.work.make("model", personalize_stage, self.training, album=album, weights=weights)
        run_comparison(Comparison(method=method), self.settings, self.details, lq, "prior")
        personal = Comparison(method=method, weights=model.path(TRAINED))
        return run_comparison(personal, self.settings, self.details, lq, "restored")

    def plan(self, photos: int, *more: str) -> Plan:
        """Says what will be done, how long that takes here, and what longer brings.

        photos: that have the faces; more: folders of results, beside the usual ones.
        """
        album, faces = self.details["album"], len(self.details["lq"].ids)
        portraits = len(album.ids)
        LOG.info("%d faces in the album, %d to restore. The prior learns the person of the album:", portraits, faces)
        known, once = dict(self.details.results), self.tuning.method.evaluations

        def make(run: Run) -> None:
            work, details = Drafts(self.work.root, run), Drafts(self.details.root, run)
            details.results |= known
            replace(self, work=work, details=details).restored()

        lines = [] if cost.is_made(make) else cost.personal(self.settings, self.tuning.training_images, once, faces)
        LOG.info("%s", cost.table(lines))
        longer = self.tuning.published
        if lines and longer != self.tuning:
            seconds = cost.personal(self.settings, longer.training_images, longer.method.evaluations, faces)
            LOG.info(
                "As published (--iterations %d --respacing %d) it learns the person better and draws finer: about %s.",
                longer.iterations,
                longer.respacing,
                whole_duration(sum(line.seconds for line in seconds)),
            )
        counts = {"album": portraits, "photos": photos, "faces": faces, "iterations": self.tuning.iterations}
        set_aside = [*album.quarantine, *self.details["lq"].quarantine]
        plan = Plan(self.work.root, counts, set_aside, lines, ("photos", *more, "model", "report", "details"))
        plan.say_what_goes()
        return plan

    def write_report(self, title: str) -> None:
        """How much the photos look like the person of the album, by every row that there is."""
        once, work, details = self.tuning.method.evaluations, self.work, self.details
        rows = [
            Method(name="lq", label="LQ input", kind="input", role="LQ", evaluations=0),
            Method(name="prior", label="The prior as it was", kind="baseline", role="prior", evaluations=once),
            Method(name="restored", label=LABEL, kind="adapted", role="personal", evaluations=once),
            Method(name="beside", label="The other method", kind="other", role="other"),
        ]
        rows = [row for row in rows if row.name in details.results]
        inputs = ReportInputs[str]()
        for row in rows:
            at = f"scores/{row.name}"
            scored = details.make(at, identify, IdentifyParams(), images=details[row.name], album=details["album"])
            inputs.images[PART, row.name], inputs.scores[PART, row.name] = row.name, at
        if reason := read_json(scored.path("absent.json")).get(METRIC):
            LOG.warning("How much they look like the person cannot be said: %s", reason)
        places = inputs.named()
        prior = self.settings.model_dump(mode="json")["prior"]
        params = ReportParams(
            name=work.root.name,
            title=title,
            settings={"prior": prior, "tuning": self.training.model_dump(mode="json")},
            degradations=(PART,),
            methods=tuple(rows),
            metrics=(METRIC,),
            published=(),
            places={name: f"details/{place}" for name, place in places.items()},
        )
        work.make("report", report, params, **{name: details[place] for name, place in places.items()})
